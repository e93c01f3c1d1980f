"""The Levenberg–Marquardt step: primal, dual and matrix-free forms, predictions, acceleration, plans and flops."""

from math import inf

import pytest
import torch
from torch import Tensor

from multilevel_opt import LM, LeastSquares, MaxIterations, least_squares
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.globalization import Regularization
from multilevel_opt.objective.algebra import Polynomial, PowerNorm
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.damped_least_squares import DampedLeastSquares
from multilevel_opt.subproblem.router import Form, Shape, costed, memory_budget, plan

N = 6


def residual(m: int) -> LeastSquares:
    A = torch.randn(m, N, dtype=torch.float64)
    return LeastSquares(lambda x: torch.sin(A @ x) + 0.1 * (A @ x) ** 2 - 1)


def vector() -> Tensor:
    return torch.randn(N, dtype=torch.float64)


def model(m: int, linear: bool = False, shift: bool = False) -> Taylor:
    f: Objective = residual(m)
    if linear:
        f = f + Polynomial(vector(), Function(lambda x: torch.exp(x).sum()).expand(vector(), 1))
    if shift:
        f = f + PowerNorm(0.4, 2, vector())
    return f.expand(vector(), 2)


def hessian(model: Taylor) -> Tensor:
    return torch.stack([model.hvp(torch.zeros_like(e), e) for e in torch.eye(N, dtype=torch.float64)])


def sigma(weight: float) -> Regularization:
    return Regularization(power=2, weight=weight)


@pytest.mark.parametrize("form", ["primal", "dual", "orthogonal", "matrix-free"])
@pytest.mark.parametrize(("linear", "shift"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("m", [4, 9])
def test_all_forms_give_the_regularized_minimizer(m: int, linear: bool, shift: bool, form: Form) -> None:
    taylor = model(m, linear, shift)
    prepared = DampedLeastSquares(form=form, forcing=1e-14).prepare(taylor)
    for weight in (1e-2, 3.0):
        step = prepared.solve(sigma(weight))
        assert step is not None
        expected = torch.linalg.solve(hessian(taylor) + weight * torch.eye(N, dtype=torch.float64), -taylor.gradient)
        torch.testing.assert_close(step.s, expected, rtol=1e-7, atol=1e-7)
        assert step.predicted == pytest.approx(float(taylor.value - taylor(step.s)), rel=1e-8)
        assert step.predicted > 0


def test_an_inexact_matrix_free_step_predicts_exactly() -> None:
    taylor = model(9, True, True)
    step = DampedLeastSquares(form="matrix-free", forcing=0.5, max_products=2).prepare(taylor).solve(sigma(0.1))
    assert step is not None
    assert step.predicted == pytest.approx(float(taylor.value - taylor(step.s)), rel=1e-10)


def test_a_matrix_free_jacobian_gives_the_same_step() -> None:
    f, x = residual(9), vector()
    free = LeastSquares(f.residual, matrix_free=True)
    solver = DampedLeastSquares(forcing=1e-14)
    one, two = (solver.prepare(g.expand(x, 2)).solve(sigma(0.2)) for g in (f, free))
    assert one is not None
    assert two is not None
    torch.testing.assert_close(one.s, two.s, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_acceleration_follows_the_second_derivative_of_the_residual(form: Form) -> None:
    f, x, weight = residual(4), vector(), 20.0
    taylor = f.expand(x, 2)
    plain = DampedLeastSquares(form=form).prepare(taylor).solve(sigma(weight))
    bent = DampedLeastSquares(form=form, geodesic=True).prepare(taylor).solve(sigma(weight))
    assert plain is not None
    assert bent is not None
    h = 1e-4
    r = f.residual
    s = plain.s
    second = (r(x + h * s) - 2 * r(x) + r(x - h * s)) / h**2
    J = torch.func.jacrev(r)(x)
    a = -0.5 * torch.linalg.solve(J.T @ J + weight * torch.eye(N, dtype=torch.float64), J.T @ second)
    assert 2 * float(a.norm()) <= 0.75 * float(s.norm())
    torch.testing.assert_close(bent.s - s, a, rtol=1e-4, atol=1e-7)
    assert bent.predicted == plain.predicted
    short = DampedLeastSquares(form=form, geodesic=True, acceleration_bound=1e-9).prepare(taylor).solve(sigma(weight))
    assert short is not None
    torch.testing.assert_close(short.s, s)


def test_acceleration_survives_a_linear_term_and_ignores_nan() -> None:
    taylor = model(4, linear=True)
    assert DampedLeastSquares(geodesic=True).prepare(taylor).solve(sigma(1.0)) is not None
    f = LeastSquares(lambda x: x + (x - 1).clamp_min(0).pow(1.5))
    x = torch.ones(N, dtype=torch.float64)
    step = DampedLeastSquares(geodesic=True).prepare(f.expand(x, 2)).solve(sigma(1.0))
    assert step is not None
    assert bool(torch.isfinite(step.s).all())


def test_a_singular_system_asks_for_more_regularization() -> None:
    f = LeastSquares(lambda x: x.sum().expand(N))
    prepared = DampedLeastSquares(form="primal").prepare(f.expand(vector(), 2))
    assert prepared.solve(sigma(1e-30)) is None
    assert prepared.solve(sigma(1e-3)) is not None


def test_a_model_without_residual_is_refused() -> None:
    with pytest.raises(UnsupportedCombination, match="needs a residual"):
        DampedLeastSquares().prepare(Function(lambda x: x.sum()).expand(vector(), 2))


def test_the_plan_takes_the_smaller_space_within_the_budget() -> None:
    assert plan(100, 30, 8, inf).form == "primal"
    assert plan(30, 100, 8, inf).form == "dual"
    assert plan(30, 30, 8, inf).form == "primal"
    for rows, columns, form in ((100, 30, "primal"), (30, 100, "dual")):
        needed = 8 * (100 * 30 + 2 * 30 * 30)
        assert plan(rows, columns, 8, needed).form == form
        assert plan(rows, columns, 8, needed - 1).form == "matrix-free"
        assert plan(rows, columns, 4, needed / 2).form == form
        assert costed(plan(rows, columns, 8, inf).form, Shape(rows, columns)).bytes == needed
    assert "dual Cholesky 30x30 (m=30, n=100" in str(plan(30, 100, 8, inf))
    assert "matrix-free conjugate gradients" in str(plan(30, 100, 8, 0))


def test_the_plan_of_a_run_is_told() -> None:
    f = residual(9)
    assert "primal" in least_squares(f, vector(), stop=MaxIterations(1)).linear_algebra
    assert "matrix-free" in least_squares(f, vector(), stop=MaxIterations(1), memory=100.0).linear_algebra
    assert 1e7 < memory_budget(torch.device("cpu")) < 1e14


@pytest.mark.parametrize("m", [4, 9])
def test_flops_of_one_iteration_equal_the_hand_count(m: int) -> None:
    """Start and accepted point: J (6mn) and Jᵀr (2mn). Gram matrix mnk, then for every trial a factorization
    k³/3, a solution 2k² (and s = Jᵀy, 2mn, in the dual form) and a residual 2mn, with k = min(m, n)."""
    result = least_squares(residual(m), vector(), LM, stop=MaxIterations(1))
    n, k, trials = N, min(m, N), result.history[0].trials
    dual = m < n
    expand = 6.0 * m * n + 2 * m * n
    trial = k**3 / 3 + 2 * k**2 + (2 * m * n if dual else 0) + 2 * m * n
    assert result.history[0].accepted
    assert result.flops == pytest.approx(2 * expand + m * n * k + trials * trial)
    counts = result.ledgers[0].counts
    assert (counts["jacobian"], counts["gradient"], counts["residual"]) == (2, 2, trials)


def test_flops_of_a_matrix_free_iteration_equal_the_hand_count() -> None:
    """Start and accepted point: r (2mn) and Jᵀr (6mn); every product of CG J v (4mn) and Jᵀw (6mn)."""
    m = 9
    free = LeastSquares(residual(m).residual, matrix_free=True)
    solver = LM.replace(subproblem=DampedLeastSquares(form="matrix-free"))
    result = least_squares(free, vector(), solver, stop=MaxIterations(1))
    counts = result.ledgers[0].counts
    assert counts["jvp"] == counts["vjp"] - 2
    assert result.flops == pytest.approx(m * N * (2.0 * counts["residual"] + 6 * counts["vjp"] + 4 * counts["jvp"]))


def test_flops_of_gauss_newton_products() -> None:
    for matrix_free, unit in ((False, 4.0), (True, 10.0)):
        f = LeastSquares(residual(9).residual, matrix_free=matrix_free)
        taylor = f.expand(vector(), 2)
        before = f.ledger.flops
        taylor.forms[1](vector())
        assert f.ledger.flops - before == unit * 9 * N


def test_flops_of_exact_models_of_least_squares() -> None:
    """A gradient is three residuals, a Hessian product six; a residual costs 2mn."""
    f = residual(9)
    taylor = f.exact.expand(vector(), 2)
    assert f.ledger.flops == 3 * 2.0 * 9 * N
    taylor.forms[1](vector())
    assert f.ledger.flops == 9 * 2.0 * 9 * N


def test_the_ledger_holds_the_bytes_of_the_plan() -> None:
    result = least_squares(residual(9), vector(), LM, stop=MaxIterations(1))
    assert result.ledgers[0].bytes == plan(9, N, 8, inf).bytes
