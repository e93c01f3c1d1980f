"""What every solver of the table does in every corner case, through every front end.

A solver added to ``variants.SOLVERS`` is tested here without a further line.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.errors import NonFiniteError, UnsupportedCombination
from multilevel_opt.variants import SOLVERS
from tests.references.mgh import MGH

Residual = Callable[[Tensor], Tensor]
Status = mlo.Status


def half_squares(residual: Residual) -> mlo.Function:
    return mlo.Function(lambda x: 0.5 * (residual(x) ** 2).sum())


def takes_functions(name: str) -> bool:
    """Whether the solver minimizes functions that are no sum of squares."""
    try:
        mlo.minimize(lambda x: (x**2).sum(), [1.0], SOLVERS[name], stop=mlo.MaxIterations(0))
    except UnsupportedCombination:
        return False
    return True


PLAIN = [name for name in SOLVERS if takes_functions(name)]
FRONTS = [(name, "minimize") for name in PLAIN] + [
    (name, front) for front in ("least_squares", "levels") for name in SOLVERS
]
every_front = pytest.mark.parametrize(("name", "front"), FRONTS, ids=[f"{name}-{front}" for name, front in FRONTS])
every_solver = pytest.mark.parametrize("name", SOLVERS)
every_plain = pytest.mark.parametrize("name", PLAIN)
TIGHT = mlo.GradientNorm(1e-6) | mlo.MaxIterations(400)


def solve(name: str, front: str, residual: Residual, x0: Any, **options: Any) -> mlo.Result:
    """½‖r‖² as a function, as a least-squares problem, or on two levels."""
    solver = SOLVERS[name]
    if front == "minimize":
        return mlo.minimize(half_squares(residual), x0, solver, **options)
    if front == "least_squares":
        return mlo.least_squares(residual, x0, solver, **options)
    n = len(x0)
    P = np.eye(n)[:, : max(1, n // 2)]
    eager = solver.replace(cycle=replace(solver.cycle, kappa=0.0, coarse_iterations=3, sufficient=1.0, tolerance=0.0))
    return mlo.minimize(mlo.LeastSquares(residual), x0, eager, hierarchy=mlo.galerkin([P]), **options)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def valley(x: Tensor) -> Tensor:
    return MGH["Rosenbrock"].residual(x)


def bowl(x: Tensor) -> Tensor:
    return torch.cat([x - 1, 0.3 * x**2])


def decreases(result: mlo.Result) -> bool:
    """Every accepted step lowers f, or keeps it within rounding while it halves the gradient."""
    events = [event for event in result.history if event.level == 0]
    return all(
        b.loss < a.loss
        or (not b.accepted and b.loss == a.loss)
        or (b.loss <= a.loss + 1e-14 * abs(a.loss) and b.gradient_norm < 0.5 * a.gradient_norm)
        for a, b in pairwise(events)
    )


def one_sentence(text: str) -> bool:
    return bool(text) and "\n" not in text


# -- stops ------------------------------------------------------------------------------------------------------------


@every_front
def test_one_iteration(name: str, front: str) -> None:
    found = solve(name, front, valley, [-1.2, 1.0], stop=mlo.MaxIterations(1))
    assert (found.nit, found.status) == (1, Status.MAX_ITERATIONS)
    assert found.fun < 0.5 * float((valley(tensor(-1.2, 1.0)) ** 2).sum())
    assert found.fun == pytest.approx(0.5 * float((valley(found.x) ** 2).sum()), rel=1e-12)


@every_front
def test_the_user_stops_at_iteration_8(name: str, front: str) -> None:
    seen: list[int] = []

    def callback(event: mlo.Event, x: Tensor) -> bool:
        seen.append(event.iteration)
        return event.iteration == 8

    found = solve(name, front, lambda x: torch.exp(-x), [0.0, 1.0], stop=mlo.MaxIterations(50), callback=callback)
    assert (found.nit, found.status, seen) == (8, Status.USER, list(range(1, 9)))


@every_front
def test_a_start_at_the_solution(name: str, front: str) -> None:
    for residual, x0 in ((valley, [1.0, 1.0]), (lambda x: x - 1, [1.0, 1.0])):
        found = solve(name, front, residual, x0)
        assert (found.nit, found.status, found.fun) == (0, Status.GRADIENT, 0.0)
        assert found.x.tolist() == x0


@every_front
def test_one_unknown(name: str, front: str) -> None:
    found = solve(name, front, lambda x: torch.cat([x**2 - 2, x - 1]), [3.0], stop=TIGHT)
    assert found.success
    assert found.x.shape == (1,)
    assert abs(float(found.grad)) <= 1e-6


@every_front
def test_a_constant_function(name: str, front: str) -> None:
    for residual in (lambda x: torch.ones(3, dtype=x.dtype), lambda x: 0 * x + 1):
        found = solve(name, front, residual, [3.0, 4.0])
        assert (found.nit, found.status, found.fun > 0) == (0, Status.GRADIENT, True)


@every_front
def test_a_residual_that_is_zero(name: str, front: str) -> None:
    found = solve(name, front, lambda x: 0 * x, [3.0, 4.0], stop=mlo.GradientNorm(0.0))
    assert (found.nit, found.status, found.fun) == (0, Status.GRADIENT, 0.0)


@every_front
def test_single_precision(name: str, front: str) -> None:
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float32)
    found = solve(name, front, bowl, x0, stop=mlo.GradientNorm(1e-3) | mlo.MaxIterations(300))
    assert found.success
    assert found.x.dtype == found.grad.dtype == torch.float32
    reference = solve(name, front, bowl, [-1.2, 1.0], stop=mlo.GradientNorm(1e-6) | mlo.MaxIterations(300))
    assert found.fun == pytest.approx(reference.fun, rel=1e-5)


# -- points that are not finite ---------------------------------------------------------------------------------------


@every_front
@pytest.mark.parametrize("bad", [nan, inf])
def test_a_trial_point_that_is_not_finite_is_rejected_and_the_run_goes_on(name: str, front: str, bad: float) -> None:
    calls: list[int] = []

    def residual(x: Tensor) -> Tensor:
        calls.append(1)
        return bowl(x) * bad if len(calls) in (6, 7, 12) else bowl(x)

    found = solve(name, front, residual, [4.0, -2.0], stop=TIGHT)
    assert found.success
    assert len(calls) > 12
    assert decreases(found)
    noted = [event for event in found.history if "not finite" in event.note]
    assert noted or sum(event.trials - event.accepted for event in found.history) > 0
    assert all(np.isfinite([event.loss, event.gradient_norm]).all() for event in found.history)


@every_front
def test_the_reason_of_a_rejection_is_noted(name: str, front: str) -> None:
    start = [0.3, 2.0]

    def residual(x: Tensor) -> Tensor:
        return x if x.detach().tolist() == start else x * nan

    found = solve(name, front, residual, start)
    assert found.status is Status.NON_FINITE or front == "levels"
    assert not found.success
    assert "not finite at the trial point" in " ".join(event.note for event in found.history)
    assert found.x.tolist() == start
    assert one_sentence(found.message)


@every_front
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_start_that_is_not_finite_is_refused(name: str, front: str, bad: float) -> None:
    with pytest.raises(NonFiniteError, match="start where both are finite") as caught:
        solve(name, front, lambda x: x * bad, [1.0, 2.0])
    assert one_sentence(str(caught.value))


def spiked(model: mlo.Taylor, x: Tensor) -> mlo.Taylor:
    """The model with a NaN gradient for 2 < x < 2.9."""
    bad = bool(((x > 2) & (x < 2.9)).any())
    return replace(model, forms=(lambda: x * nan, *model.forms[1:])) if bad else model


class Spiked(mlo.LeastSquares):
    """½(1 + (x − 3)²) whose gradient is NaN for 2 < x < 2.9, while its value is finite."""

    def expand(self, x: Tensor, order: int) -> mlo.Taylor:
        return spiked(super().expand(x, order), x)


class SpikedFunction(mlo.Function):
    """The same without its residual, for models of order 3."""

    def expand(self, x: Tensor, order: int) -> mlo.Taylor:
        return spiked(super().expand(x, order), x)


@every_solver
def test_a_nan_gradient_at_a_finite_value_is_rejected(name: str) -> None:
    solver = SOLVERS[name]
    f: mlo.Objective = SpikedFunction(lambda x: 0.5 * (1 + (x - 3) ** 2).sum())
    if solver.order < 3:
        f = Spiked(lambda x: torch.sqrt(1 + (x - 3) ** 2))
        solver = solver.replace(curvature=mlo.GaussNewton()) if name in PLAIN else solver
    found = mlo.minimize(f, tensor(0.0), solver, stop=mlo.MaxIterations(80))
    assert bool(torch.isfinite(found.grad).all())
    assert not 2 < float(found.x) < 2.9
    assert float(found.x) > 0
    assert decreases(found)


# -- functions without a minimizer, with noise, with a kink ------------------------------------------------------------


UNBOUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x.sum(),
    "steep": lambda x: 1e30 * x.sum(),
    "flat": lambda x: 1e-5 * x.sum(),
    "-exp": lambda x: -torch.exp(x).sum(),
    "-x²": lambda x: -(x**2).sum(),
    "-x⁴": lambda x: -(x**4).sum(),
}
FLAT = "flat", True  # on levels the digits of f end at −1e13, eighteen decades below its start


@every_plain
@pytest.mark.parametrize(
    ("kind", "levels"), [(kind, levels) for kind in UNBOUNDED for levels in (False, True) if (kind, levels) != FLAT]
)
def test_an_unbounded_function_ends_as_such(name: str, kind: str, levels: bool) -> None:
    started = time.monotonic()
    hierarchy = mlo.galerkin([np.eye(2)[:, :1]]) if levels else None
    found = mlo.minimize(UNBOUNDED[kind], [1.0, 2.0], SOLVERS[name], hierarchy=hierarchy)
    assert (found.status, found.success) == (Status.UNBOUNDED, False)
    assert "fell below" in found.message
    assert found.nit < 250
    assert time.monotonic() - started < 20


@every_plain
def test_a_deep_minimum_is_not_taken_for_unbounded(name: str) -> None:
    """Negative control: −1e25 is a minimum here, reached from values of that size."""
    found = mlo.minimize(lambda x: 1e25 * ((x - 1) ** 2 - 1).sum(), [2.0, 2.0], SOLVERS[name])
    assert found.status is not Status.UNBOUNDED
    assert found.fun == pytest.approx(-2e25, rel=1e-6)


@every_front
@pytest.mark.parametrize("noise", [1e-8, 1e-5, 1e-2])
def test_a_noisy_function_ends(name: str, front: str, noise: float) -> None:
    generator = torch.Generator().manual_seed(3)

    def residual(x: Tensor) -> Tensor:
        disturbed = noise * torch.randn(1, generator=generator, dtype=x.dtype)
        return torch.cat([x - 1, 0.5 * x.sum(0, keepdim=True) + disturbed])

    found = solve(name, front, residual, [4.0, 2.0], stop=mlo.GradientNorm(0.0) | mlo.MaxIterations(60))
    assert found.status in (Status.STALLED, Status.GRADIENT, Status.MAX_ITERATIONS)
    assert one_sentence(found.message)
    assert decreases(found)
    assert float((found.x - 2 / 3).norm()) < 10 * noise**0.5 + 1e-3
    assert found.nfev < 20_000


@every_plain
@pytest.mark.parametrize("levels", [False, True])
def test_a_kink_ends_with_a_reason(name: str, levels: bool) -> None:
    hierarchy = mlo.galerkin([np.eye(2)[:, :1]]) if levels else None
    stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(60 if levels else 1000)
    found = mlo.minimize(lambda x: x.abs().sum(), [0.7, -1.3], SOLVERS[name], hierarchy=hierarchy, stop=stop)
    assert found.status in (Status.STALLED, Status.GRADIENT, *([Status.MAX_ITERATIONS] if levels else []))
    assert one_sentence(found.message)
    assert decreases(found)
    assert found.fun < (2.0 if levels else 1e-3)


# -- exceptions of the user's code ------------------------------------------------------------------------------------


class Mine(Exception):
    """Of the user."""


@every_front
@pytest.mark.parametrize("error", [Mine, ValueError, RuntimeError, KeyError, SystemExit])
def test_exceptions_of_the_user_pass_unchanged(name: str, front: str, error: type[BaseException]) -> None:
    raised = error("mine")

    def residual(x: Tensor) -> Tensor:
        if x.detach().tolist() != [-1.2, 1.0]:
            raise raised
        return valley(x)

    with pytest.raises(error) as caught:
        solve(name, front, residual, [-1.2, 1.0])
    assert caught.value is raised


@every_front
def test_ctrl_c_in_the_function_keeps_the_last_complete_iteration(name: str, front: str) -> None:
    calls: list[int] = []
    limit = 14

    def residual(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return torch.exp(-x)

    found = solve(name, front, residual, [0.0, 1.0], stop=mlo.MaxIterations(60))
    assert found.status is Status.INTERRUPTED
    assert f"after {found.nit} iterations" in found.message
    assert found.fun == pytest.approx(0.5 * float((torch.exp(-found.x) ** 2).sum()))
    limit = 0
    again = solve(name, front, residual, [0.0, 1.0], stop=mlo.MaxIterations(found.nit))
    assert torch.equal(again.x, found.x)


# -- scale ------------------------------------------------------------------------------------------------------------


PUBLISHED = {"rlm"}  # its σ₀ and σ_min are numbers of the paper, for losses of ordinary size


@every_front
@pytest.mark.parametrize("scale", [1e-50, 1e50])
def test_the_scale_of_f_does_not_matter(name: str, front: str, scale: float) -> None:
    """1e±100 in f: as good a point as at scale one, at the same relative tolerance, in a similar number of steps."""
    stop = mlo.GradientNorm(1e-5) | mlo.MaxIterations(400)
    scaled = mlo.GradientNorm(1e-5 * scale**2) | mlo.MaxIterations(400)
    usual = solve(name, front, bowl, [4.0, -2.0], stop=stop)
    found = solve(name, front, lambda x: scale * bowl(x), [4.0, -2.0], stop=scaled)
    assert one_sentence(found.message)
    assert decreases(found)
    assert usual.success
    if name not in PUBLISHED:
        assert found.success
        torch.testing.assert_close(found.x, usual.x, atol=1e-4, rtol=0)
        assert found.nit <= 2 * usual.nit + 80
