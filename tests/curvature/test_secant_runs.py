"""Runs with secant curvature: convergence beside scipy, no Hessian products, levels, rejected steps, bad points."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt import (
    AR2,
    BFGS,
    LBFGS,
    LM,
    LSR1,
    SR1,
    TR1,
    TR2,
    Cycle,
    Exact,
    Function,
    GaussNewton,
    GradientNorm,
    Hierarchy,
    LeastSquares,
    MaxIterations,
    Multilevel,
    Regularization,
    Steihaug,
    build,
    minimize,
    optim,
    with_curvature,
)
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.recorder import Recorder
from multilevel_opt.transfer.geometric import linear_1d
from tests.references.mgh import MGH

CURVATURES: dict[str, Any] = {"bfgs": BFGS(), "sr1": SR1(), "lbfgs": LBFGS(), "lsr1": LSR1()}
BASES = {"TR2": TR2, "AR2": AR2, "LM": LM}
PAIRS = [(solver, curvature) for solver in BASES for curvature in CURVATURES]
TIGHT = GradientNorm(1e-7) | MaxIterations(400)


def made(solver: str, curvature: str) -> Multilevel:
    return with_curvature(BASES[solver], CURVATURES[curvature])


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def quadratic(n: int) -> tuple[Tensor, Tensor]:
    """A Hessian of condition 100 and the minimizer of ½xᵀHx − (Hx*)ᵀx."""
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
    return Q @ torch.diag(torch.logspace(0, 2, n, dtype=torch.float64)) @ Q.T, torch.randn(n, dtype=torch.float64)


@pytest.mark.parametrize(("solver", "curvature"), [pair for pair in PAIRS if pair != ("AR2", "lsr1")])  # slow there
def test_rosenbrock_is_solved_without_a_hessian_product(solver: str, curvature: str) -> None:
    problem = MGH["Rosenbrock"]
    result = minimize(problem.value, problem.start, made(solver, curvature), stop=TIGHT)
    assert result.success
    torch.testing.assert_close(result.x, tensor(1.0, 1.0), rtol=1e-5, atol=1e-5)
    (ledger,) = result.ledgers
    used = {kind: n for kind, n in ledger.counts.items() if n}
    accepted = sum(event.accepted for event in result.history)
    assert set(used) == {"function", "gradient"}
    assert used["gradient"] <= 1 + accepted + sum("rounding" in event.note for event in result.history)
    assert all(b.loss <= a.loss for a, b in pairwise(result.history))


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("name", ["Rosenbrock", "Beale", "Wood", "Bard", "Broyden tridiagonal"])
def test_trust_regions_need_no_more_than_three_times_the_gradients_of_scipy(name: str, curvature: str) -> None:
    problem = MGH[name]

    def value_and_gradient(x: Any) -> tuple[float, Any]:
        point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = problem.value(point)
        return float(value.detach()), torch.autograd.grad(value, point)[0].numpy()

    options = {"gtol": 1e-6, "norm": 2}
    theirs = scipy.optimize.minimize(
        value_and_gradient, problem.start.numpy(), jac=True, method="BFGS", options=options
    )
    ours = minimize(problem.value, problem.start, made("TR2", curvature), stop=GradientNorm(1e-6) | MaxIterations(400))
    assert ours.success
    assert any(ours.fun == pytest.approx(minimum / 2, rel=1e-4, abs=1e-10) for minimum in problem.minima)
    assert ours.ledgers[0].counts["gradient"] <= 3 * theirs.njev + 5


@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_quadratic_of_condition_100_takes_a_few_times_its_unknowns(curvature: str) -> None:
    H, known = quadratic(12)

    def f(x: Tensor) -> Tensor:
        return 0.5 * (x - known) @ (H @ (x - known))

    stop = GradientNorm(1e-7) | MaxIterations(10 * 12)
    result = minimize(f, torch.zeros_like(known), made("TR2", curvature), stop=stop)
    assert result.success
    torch.testing.assert_close(result.x, known, rtol=1e-7, atol=1e-7)
    assert not minimize(f, torch.zeros_like(known), TR1, stop=stop).success  # negative control: without curvature


@pytest.mark.parametrize("name", CURVATURES)
def test_the_model_at_a_new_point_has_the_curvature_learned_on_the_way_there(name: str) -> None:
    problem, solver = MGH["Wood"], made("TR2", name)
    f, recorder = Function(problem.value), Recorder([Ledger()])
    state = solver.init(f, problem.start)
    for _ in range(6):
        after = solver.step(f, state, Hierarchy(4), recorder)
        if after.moved:
            s, y = after.x - state.x, after.model.gradient - state.model.gradient
            if int(after.curvature.store.refused) == 0:  # type: ignore[attr-defined]
                torch.testing.assert_close(after.model.hvp(torch.zeros_like(s), s), y, rtol=1e-8, atol=1e-8)
        state = after
    assert int(state.curvature.store.count) > 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CURVATURES)
def test_scaling_the_function_by_a_power_of_two_changes_no_iterate(name: str) -> None:
    problem = MGH["Beale"]
    solver = made("TR2", name).replace(subproblem=Steihaug(forcing=1e-12))  # its other tolerance is absolute
    stop = MaxIterations(12)
    one = minimize(problem.value, problem.start, solver, stop=stop)
    two = minimize(lambda x: 2.0**20 * problem.value(x), problem.start, solver, stop=stop)
    assert torch.equal(one.x, two.x)
    assert [2.0**20 * event.loss for event in one.history] == [event.loss for event in two.history]


@pytest.mark.parametrize("name", CURVATURES)
def test_products_are_counted_as_work(name: str) -> None:
    problem = MGH["Wood"]
    result = minimize(problem.value, problem.start, made("TR2", name), stop=MaxIterations(5))
    assert result.flops > 0
    assert minimize(problem.value, problem.start, TR2, stop=MaxIterations(5)).flops == 0  # a function without flops=


@pytest.mark.parametrize("name", CURVATURES)
def test_pairs_of_rejected_steps_cost_one_gradient_each_and_are_learned(name: str) -> None:
    problem = MGH["Rosenbrock"]
    curvature = replace(CURVATURES[name], learn_from_rejected=True)
    f, recorder, solver = Function(problem.value), Recorder([Ledger()]), with_curvature(TR2, curvature)
    f = f.counted(recorder.ledgers[0])
    state = solver.init(f, problem.start)
    rejected = accepted = 0
    for _ in range(15):
        state = solver.step(f, state, Hierarchy(2), recorder)
        rejected += recorder.history[-1].trials - state.moved
        accepted += state.moved
    assert rejected > 0
    assert recorder.ledgers[0].counts["gradient"] == 1 + accepted + rejected
    plain = minimize(problem.value, problem.start, with_curvature(TR2, CURVATURES[name]), stop=TIGHT)
    taught = minimize(problem.value, problem.start, solver, stop=TIGHT)
    assert taught.success
    assert [e.loss for e in taught.history] != [e.loss for e in plain.history]


@pytest.mark.parametrize(("solver", "curvature"), PAIRS)
def test_points_where_f_is_not_finite_are_rejected_and_teach_nothing(solver: str, curvature: str) -> None:
    def f(x: Tensor) -> Tensor:
        return -torch.log(x).sum() + (x**2).sum()  # nan where x < 0

    chosen = made(solver, curvature)
    chosen = chosen.replace(curvature=replace(chosen.curvature, learn_from_rejected=True))  # type: ignore[type-var]
    result = minimize(f, tensor(5.0, 0.1, 2.0), chosen, stop=TIGHT)
    assert result.success
    torch.testing.assert_close(result.x, torch.full_like(result.x, 0.5**0.5), rtol=1e-6, atol=1e-6)


# -- which solver of the step -----------------------------------------------------------------------------------------


def test_the_step_of_lm_with_secant_curvature_needs_no_residual_and_with_gauss_newton_keeps_its_own() -> None:
    assert with_curvature(LM, GaussNewton()) == LM
    assert with_curvature(LM, Exact()).subproblem == AR2.subproblem
    assert with_curvature(LM, LBFGS()).subproblem == AR2.subproblem
    assert with_curvature(TR2, GaussNewton()).subproblem == TR2.subproblem
    assert with_curvature(AR2, Exact()) == AR2
    with pytest.raises(UnsupportedCombination, match="with_curvature"):
        minimize(MGH["Wood"].value, MGH["Wood"].start, LM.replace(curvature=BFGS()))


@pytest.mark.parametrize("name", CURVATURES)
def test_a_quadratically_regularized_step_solves_its_shifted_system(name: str) -> None:
    """(B + σI) s = −g, where B + σI is positive definite."""
    problem = MGH["Broyden tridiagonal"]
    f, recorder, solver = Function(problem.value), Recorder([Ledger()]), made("LM", name)
    state = solver.init(f, problem.start)
    for _ in range(3):
        state = solver.step(f, state, Hierarchy(10), recorder)
    form = state.curvature.form(state.model.gradient[None])  # type: ignore[attr-defined]
    lowest = float(torch.linalg.eigvalsh(form.dense()).min())
    shifted = Regularization(power=2, weight=2 * abs(lowest) + 0.1)
    step = solver.subproblem.prepare(state.model).solve(shifted)
    assert step is not None
    expected = -form.solve(state.model.gradient[None], shifted.scalar)[0]
    assert float((step.s - expected).norm()) <= 0.1 * float(expected.norm())  # the tolerance of the Krylov space


# -- levels -----------------------------------------------------------------------------------------------------------

SIZE = 15


def energy(u: Tensor) -> Tensor:
    """∫ ½u'² + exp(u) on a grid of any size."""
    end, h = u.new_zeros(1), 1 / (u.numel() + 1)
    padded = torch.cat([end, u, end])
    return (padded[1:] - padded[:-1]).square().sum() / (2 * h) + h * torch.exp(u).sum()


def start() -> Tensor:
    return torch.linspace(-1, 1, SIZE, dtype=torch.float64) ** 3


LEVELS = {
    "galerkin": lambda: build.galerkin([linear_1d(SIZE), linear_1d(7)]),
    "own": lambda: build.from_objectives([Function(energy), Function(energy)], [linear_1d(SIZE)]),
    "random": lambda: build.random_subspace(start(), 3, fraction=2, seed=1),
}
EAGER = Cycle(kappa=1e-3, coarse_iterations=5)
DENSE = [("TR2", curvature, levels) for curvature in ("bfgs", "sr1") for levels in LEVELS]
LIMITED = [("TR2", curvature, "own") for curvature in ("lbfgs", "lsr1")]
OTHERS = [("TR2", "lbfgs", "galerkin"), ("AR2", "lbfgs", "own"), ("LM", "bfgs", "own")]


@pytest.mark.parametrize(("solver", "curvature", "levels"), DENSE + LIMITED + OTHERS)
def test_several_levels_converge(solver: str, curvature: str, levels: str) -> None:
    method = made(solver, curvature).replace(cycle=EAGER)
    stop = GradientNorm(1e-5) | MaxIterations(200)
    result = minimize(energy, start(), method, hierarchy=LEVELS[levels](), stop=stop)
    assert result.success
    assert result.coarse_steps[0] > 0
    exact = minimize(energy, start(), TR2, stop=GradientNorm(1e-9))
    torch.testing.assert_close(result.x, exact.x, rtol=0, atol=1e-5)


def test_levels_of_least_squares_form_no_jacobian() -> None:
    problem = MGH["Broyden tridiagonal"]
    f, hierarchy = LeastSquares(problem.residual), build.random_subspace(problem.start, 2, fraction=2)
    result = minimize(f, problem.start, made("TR2", "bfgs").replace(cycle=EAGER), hierarchy=hierarchy)
    assert result.success
    assert result.coarse_steps[0] > 0
    for ledger in result.ledgers:
        assert {kind for kind, n in ledger.counts.items() if n} <= {"function", "gradient", "residual"}


@pytest.mark.parametrize("curvature", ["bfgs", "lsr1"])
@pytest.mark.parametrize("levels", LEVELS)
def test_a_level_keeps_its_pairs_while_it_has_the_same_function(levels: str, curvature: str) -> None:
    method, hierarchy = made("TR2", curvature).replace(cycle=EAGER), LEVELS[levels]()
    recorder = Recorder([Ledger() for _ in range(len(hierarchy))])
    state = method.init(Function(energy), start())
    counts: list[int] = []
    while state.visits < 4:
        state = method.step(Function(energy), state, hierarchy, recorder)
        if recorder.history[-1].kind == "coarse":
            store = state.below[0].curvature.store  # type: ignore[attr-defined]
            counts.append(int(store.count + store.refused))
    if levels == "random":  # another P at every visit: nothing is carried over
        assert max(counts) <= EAGER.coarse_iterations
    else:
        assert counts == sorted(counts)
        assert counts[-1] > EAGER.coarse_iterations


def test_coherence_of_order_two_takes_exact_products_or_is_refused() -> None:
    cycle = replace(EAGER, coherence=2)
    exact = minimize(energy, start(), AR2.replace(cycle=cycle), hierarchy=LEVELS["own"](), stop=MaxIterations(4))
    assert exact.ledgers[1].counts["hvp"] > 0
    with pytest.raises(UnsupportedCombination, match="coherence=1"):
        with_curvature(AR2.replace(cycle=cycle), LBFGS())


# -- the torch front end ----------------------------------------------------------------------------------------------


def test_the_optimizer_carries_pairs_from_step_to_step_and_through_its_state_dict() -> None:
    data = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]

    def fresh() -> tuple[torch.nn.Module, optim.Multilevel, Any]:
        torch.manual_seed(0)
        layers = [
            torch.nn.Linear(1, 6, dtype=torch.float64),
            torch.nn.Tanh(),
            torch.nn.Linear(6, 1, dtype=torch.float64),
        ]
        model = torch.nn.Sequential(*layers)
        return (
            model,
            optim.Multilevel(model, with_curvature(TR2, LBFGS())),
            lambda: (model(data) - data**2).square().mean(),
        )

    model, opt, closure = fresh()
    losses = [opt.step(closure) for _ in range(60)]
    assert losses[-1] < 1e-2 * losses[0]
    memory, weights = opt.state_dict(), {k: v.clone() for k, v in model.state_dict().items()}
    assert memory["levels"]["curvature"][0]["count"].item() > 20
    expected = [opt.step(closure) for _ in range(5)]
    model, opt, closure = fresh()
    model.load_state_dict(weights)
    opt.load_state_dict(memory)
    assert [opt.step(closure) for _ in range(5)] == expected
