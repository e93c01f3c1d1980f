"""The loop: agreement with scipy, decrease, stops, points that are not finite, noise, coarse steps."""

from dataclasses import replace
from itertools import pairwise
from math import inf, nan

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt import (
    AR1,
    AR2,
    LM,
    RLM,
    TR1,
    TR2,
    Cycle,
    DampedLeastSquares,
    Event,
    Function,
    GainRatio,
    GradientNorm,
    LeastSquares,
    Loss,
    MaxIterations,
    MaxSeconds,
    Metric,
    Multilevel,
    Regularization,
    Result,
    Status,
    TransferOperator,
    TrustRegion,
    build,
    least_squares,
    minimize,
)
from multilevel_opt.errors import InputError, NonFiniteError, NotConverged, ShapeError, UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.recorder import Recorder
from multilevel_opt.transfer.geometric import linear_1d
from tests.references.mgh import MGH

ALL = {"AR1": AR1, "AR2": AR2, "TR1": TR1, "TR2": TR2, "LM": LM, "RLM": RLM}
SECOND = {"AR2": AR2, "TR2": TR2}
SQUARES = {"LM": LM, "RLM": RLM, "LM+": LM.replace(subproblem=DampedLeastSquares(geodesic=True))}
TIGHT = GradientNorm(1e-8) | MaxIterations(150)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def decreases(result: Result, level: int = 0) -> bool:
    events = [event for event in result.history if event.level == level]
    return all(_decreased(a, b) for a, b in pairwise(events))


def _decreased(a: Event, b: Event) -> bool:
    """Strictly, or, where f cannot show the decrease, within its rounding with half the gradient."""
    if "below the rounding" in b.note:
        return (b.loss <= a.loss + 1e-15 * abs(a.loss) and b.gradient_norm < 0.5 * a.gradient_norm) or not b.accepted
    return b.loss < a.loss if b.accepted else b.loss == a.loss


@pytest.mark.parametrize(
    ("name", "solver"),
    [(name, solver) for name in MGH for solver in SQUARES if solver != "LM+" or name in ("Beale", "Box", "Rosenbrock")],
)
def test_levenberg_marquardt_finds_the_minima_of_scipy(name: str, solver: str) -> None:
    problem = MGH[name]
    found = least_squares(problem.residual, problem.start, SQUARES[solver], stop=TIGHT)
    reference = scipy.optimize.least_squares(
        lambda x: problem.residual(torch.from_numpy(x)).numpy(), problem.x0, xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    assert decreases(found)
    assert 2 * found.fun == pytest.approx(2 * reference.cost, rel=1e-5, abs=1e-10)
    assert any(2 * found.fun == pytest.approx(minimum, rel=1e-4, abs=1e-10) for minimum in problem.minima)
    assert found.success or float(found.grad.norm()) < 1e-4


@pytest.mark.parametrize("solver", SECOND)
@pytest.mark.parametrize("name", MGH)
def test_second_order_solvers_find_the_minima_of_scipy(name: str, solver: str) -> None:
    problem = MGH[name]
    found = minimize(problem.value, problem.start, SECOND[solver], stop=TIGHT)
    gradient, hessian = torch.func.grad(problem.value), torch.func.hessian(problem.value)
    reference = scipy.optimize.minimize(
        lambda x: float(problem.value(torch.from_numpy(x))),
        problem.x0,
        jac=lambda x: gradient(torch.from_numpy(x)).numpy(),
        hess=lambda x: hessian(torch.from_numpy(x)).numpy(),
        method="trust-exact",
        options={"gtol": 1e-8},
    )
    assert decreases(found)
    assert found.fun == pytest.approx(reference.fun, rel=1e-6, abs=1e-10)
    assert found.success
    assert float(gradient(found.x).norm()) <= 1e-8


@pytest.mark.parametrize("solver", [AR1, TR1], ids=["AR1", "TR1"])
@pytest.mark.parametrize("name", ["Rosenbrock", "Beale", "Wood"])
def test_first_order_solvers_decrease(name: str, solver: Multilevel) -> None:
    problem = MGH[name]
    found = minimize(problem.value, problem.start, solver, stop=MaxIterations(60))
    assert decreases(found)
    assert found.fun < 0.5 * float(problem.value(problem.start))
    assert found.status is Status.MAX_ITERATIONS


def test_saddle_points_are_left() -> None:
    """From x₁ = 0 the gradient points along the valley to the saddle; a random start does not."""

    def f(x: Tensor) -> Tensor:
        return 0.25 * x[0] ** 4 - 0.5 * x[0] ** 2 + 0.5 * x[1] ** 2

    for solver in SECOND.values():
        found = minimize(f, tensor(1e-6, 1.0), solver)
        assert found.fun == pytest.approx(-0.25)


@pytest.mark.parametrize("name", ALL)
def test_one_seed_one_history(name: str) -> None:
    runs = []
    for _ in range(2):
        x0 = torch.linspace(-1, 1, 12, dtype=torch.float64)
        f = LeastSquares(lambda x: torch.cat([10 * (x[1:] - x[:-1] ** 2), 1 - x]))
        hierarchy = build.random_subspace(x0, 3, fraction=2, seed=3)
        levels = hierarchy if name != "RLM" else build.random_subspace(x0, 2, fraction=2, seed=3)
        runs.append(minimize(f, x0, ALL[name], hierarchy=levels, stop=MaxIterations(8)))
    one, two = ([replace(event, seconds=0.0) for event in run.history] for run in runs)
    assert one == two
    assert torch.equal(runs[0].x, runs[1].x)
    other = minimize(
        f, x0, ALL[name], hierarchy=build.random_subspace(x0, 2, fraction=2, seed=4), stop=MaxIterations(8)
    )
    assert not torch.equal(other.x, runs[0].x)


@pytest.mark.parametrize("name", ALL)
def test_limits_of_iterations(name: str) -> None:
    problem = MGH["Rosenbrock"]
    f = LeastSquares(problem.residual)
    none = minimize(f, problem.start, ALL[name], stop=MaxIterations(0))
    assert (none.nit, len(none.history), none.status) == (0, 0, Status.MAX_ITERATIONS)
    assert torch.equal(none.x, problem.start)
    one = minimize(f, problem.start, ALL[name], stop=MaxIterations(1))
    assert (one.nit, len(one.history), one.status) == (1, 1, Status.MAX_ITERATIONS)
    assert one.fun < none.fun
    assert not one.success
    with pytest.raises(NotConverged, match="1 iterations, the limit"):
        one.raise_for_status()


def test_other_stops() -> None:
    x0 = MGH["Rosenbrock"].start
    assert minimize(rosenbrock, x0, AR2, stop=MaxSeconds(0.0)).status is Status.MAX_SECONDS
    target = minimize(rosenbrock, x0, AR2, stop=Loss(1.0) | MaxIterations(100))
    assert (target.status, target.success) == (Status.TARGET, True)
    assert target.fun <= 1.0
    assert target.raise_for_status() is target
    watched = minimize(
        rosenbrock,
        x0,
        AR2,
        monitors={"error": lambda x: float((x - 1).norm())},
        stop=Metric("error", 0.1) | MaxIterations(100),
    )
    assert watched.status is Status.TARGET
    assert watched.metrics["error"] <= 0.1 < watched.history[-2].metrics["error"]
    assert float((watched.x - 1).norm()) == watched.metrics["error"]


def test_the_user_stops() -> None:
    seen: list[int] = []

    def callback(event: object, x: Tensor) -> bool:
        seen.append(event.iteration)  # type: ignore[attr-defined]
        assert rosenbrock(x) == pytest.approx(event.loss)  # type: ignore[attr-defined]
        return len(seen) == 3

    result = minimize(rosenbrock, MGH["Rosenbrock"].start, AR2, callback=callback)
    assert seen == [1, 2, 3]
    assert (result.nit, result.status) == (3, Status.USER)


@pytest.mark.parametrize("name", ALL)
def test_a_start_at_the_solution_ends_at_once(name: str) -> None:
    x0 = tensor(1.0, 1.0)
    result = minimize(LeastSquares(MGH["Rosenbrock"].residual), x0, ALL[name])
    assert (result.nit, result.status, result.fun) == (0, Status.GRADIENT, 0.0)
    assert torch.equal(result.x, x0)


# -- points that are not finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LM", "RLM", "AR2", "TR2"])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_wall_rejects_the_step_and_the_run_goes_on(name: str, bad: float) -> None:
    def residual(x: Tensor) -> Tensor:
        r = torch.stack([3 * torch.log(x[0]), x[1] - x[0], 0.1 * (x[0] - 2)])
        return torch.where(x[0] <= 0, torch.full_like(r, bad), r)

    x0 = tensor(5.0, -3.0)  # the first Newton step of log goes far below zero
    result = minimize(LeastSquares(residual), x0, ALL[name], stop=GradientNorm(1e-7) | MaxIterations(200))
    assert result.success
    assert decreases(result)
    assert result.x[0] == pytest.approx(1.0, abs=0.05)


def test_the_wall_is_met() -> None:
    """Negative control of the test above: the undefined side is really tried."""
    tried: list[float] = []

    def residual(x: Tensor) -> Tensor:
        tried.append(float(x[0]))
        return torch.stack([3 * torch.log(x[0]), x[1] - x[0], 0.1 * (x[0] - 2)])

    x0 = tensor(5.0, -3.0)
    result = minimize(LeastSquares(residual), x0, LM.replace(globalization=Regularization(power=2, weight=1e-8)))
    assert min(tried) < 0
    assert result.history[0].note or result.history[0].trials > 1


@pytest.mark.parametrize("name", ALL)
def test_nan_everywhere_but_at_the_start(name: str) -> None:
    x0 = tensor(0.3, 2.0)

    def residual(x: Tensor) -> Tensor:
        return x if bool((x == x0).all()) else x * nan

    result = (
        minimize(Function(lambda x: (residual(x) ** 2).sum()), x0, ALL[name])
        if name[:2] in ("AR", "TR")
        else (least_squares(residual, x0, ALL[name]))
    )
    assert result.status is Status.NON_FINITE
    assert not result.success
    assert "not finite at the trial point" in result.message
    assert torch.equal(result.x, x0)
    assert result.nit == 1


class Spiked(Function):
    """½(x − 3)² whose gradient is NaN for 2 < x < 2.9."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        super().__init__(lambda x: 0.5 * ((x - 3) ** 2).sum(), ledger=ledger)

    def expand(self, x: Tensor, order: int) -> object:  # type: ignore[override]
        model = super().expand(x, order)
        if bool(((x > 2) & (x < 2.9)).any()):
            return replace(model, forms=(lambda: x * nan, *model.forms[1:]))
        return model


@pytest.mark.parametrize("name", ["AR1", "AR2", "TR1", "TR2"])
def test_a_nan_gradient_at_a_finite_value_is_rejected(name: str) -> None:
    solver = ALL[name]
    scale = replace(solver.globalization, **({"radius": 2.5} if name[:2] == "TR" else {"weight": 0.5}))
    result = minimize(Spiked(), tensor(0.0), solver.replace(globalization=scale), stop=MaxIterations(60))
    assert bool(torch.isfinite(result.grad).all())
    assert not 2 < float(result.x) < 2.9
    assert float(result.x) > 0
    assert decreases(result)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [nan, inf])
def test_a_start_that_is_not_finite_is_an_input_error(name: str, bad: float) -> None:
    f = LeastSquares(lambda x: x * bad)
    with pytest.raises(NonFiniteError, match="start where both are finite") as caught:
        minimize(f, tensor(1.0, 2.0), ALL[name])
    assert "\n" not in str(caught.value)


def test_a_nan_gradient_at_the_start_is_an_input_error() -> None:
    with pytest.raises(NonFiniteError, match="gradient norm"):
        minimize(lambda x: torch.sqrt(x * 0).sum() + x.sum(), tensor(1.0), AR2)


@pytest.mark.parametrize("name", ["AR2", "TR2"])
def test_a_second_derivative_that_is_not_finite_ends_with_the_reason(name: str) -> None:
    result = minimize(lambda x: (x.abs() ** 1.5).sum(), tensor(0.0, 1.0), ALL[name])
    assert result.status in (Status.NON_FINITE, Status.STALLED)
    assert result.nit == 1
    assert result.fun <= 1.0
    assert bool(torch.isfinite(result.x).all())


@pytest.mark.parametrize("name", ["AR1", "AR2", "TR1", "TR2"])
def test_an_unbounded_function_stops(name: str) -> None:
    result = minimize(lambda x: -(x**4).sum(), tensor(1.0, 2.0), ALL[name])
    assert result.status is Status.UNBOUNDED
    assert "fell below" in result.message


@pytest.mark.parametrize("name", ALL)
def test_a_noisy_function_ends(name: str) -> None:
    generator = torch.Generator().manual_seed(0)

    def residual(x: Tensor) -> Tensor:
        return torch.cat([x, 1e-3 * torch.randn(1, generator=generator, dtype=x.dtype)])

    f = LeastSquares(residual) if "LM" in name else Function(lambda x: (residual(x) ** 2).sum())
    result = minimize(f, tensor(1.0, 2.0), ALL[name], stop=GradientNorm(0.0) | MaxIterations(300))
    assert result.status in (Status.STALLED, Status.GRADIENT, Status.MAX_ITERATIONS)  # the noise has no gradient
    assert decreases(result)
    assert result.fun < 1e-2


@pytest.mark.parametrize("name", ALL)
def test_a_tolerance_of_zero_ends_at_the_rounding(name: str) -> None:
    """Without a limit of iterations: strict decrease, so that the run must end."""
    f = LeastSquares(lambda x: torch.cat([x - 1, 0.5 * x.sum(0, keepdim=True) - 2]))
    result = minimize(f, tensor(3.0, -1.0), ALL[name], stop=GradientNorm(0.0))
    assert result.status in (Status.STALLED, Status.GRADIENT)
    assert float(result.grad.norm()) < 1e-6
    assert result.nit < 200


def test_a_long_row_of_successes_does_not_lose_the_weight() -> None:
    result = least_squares(lambda x: torch.exp(-x), tensor(0.0), stop=GradientNorm(0.0) | MaxIterations(400))
    assert result.status in (Status.MAX_ITERATIONS, Status.STALLED)
    assert all(event.scalar > 0 for event in result.history)


# -- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_one_unknown(name: str) -> None:
    result = minimize(LeastSquares(lambda x: torch.cat([x**2 - 2, x - 1])), tensor(3.0), ALL[name])
    assert result.success
    assert result.x.shape == (1,)


@pytest.mark.parametrize("name", ALL)
def test_single_precision(name: str) -> None:
    problem = MGH["Beale"]
    x0 = problem.start.float()
    result = minimize(LeastSquares(problem.residual), x0, ALL[name], stop=GradientNorm(1e-3) | MaxIterations(300))
    assert result.x.dtype == result.grad.dtype == torch.float32
    assert result.fun < 1e-3
    levels = build.galerkin([np.array([[1.0], [0.5]])])  # float64
    assert minimize(LeastSquares(problem.residual), x0, ALL[name], hierarchy=levels, stop=MaxIterations(4)).fun < 7.0


def test_kinds_of_start_points() -> None:
    for x0 in (
        [-1.2, 1.0],
        np.array([-1.2, 1.0]),
        torch.nn.Parameter(tensor(-1.2, 1.0)),
        np.array([2, 2]),
        torch.tensor([2, 2]),
        (2, 2),
    ):
        result = minimize(rosenbrock, x0, AR2)
        assert result.success
        assert result.x.dtype == torch.float64
        assert not result.x.requires_grad


def test_the_start_point_of_the_user_is_not_touched() -> None:
    x0, array = tensor(-1.2, 1.0), np.array([-1.2, 1.0])
    for start in (x0, array):
        minimize(rosenbrock, start, AR2)
    assert x0.tolist() == array.tolist() == [-1.2, 1.0]


@pytest.mark.parametrize(
    "x0", [torch.ones(2, 2), torch.ones(()), torch.ones(0), 3.0, "abc", None, [1.0, nan], [[1.0]], [1j, 2.0], [inf]]
)
def test_bad_start_points_are_refused_in_one_sentence(x0: object) -> None:
    with pytest.raises(InputError, match="x0") as caught:
        minimize(rosenbrock, x0, AR2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(2, 1), (1, 2), ()])
def test_a_residual_of_wrong_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    f = LeastSquares(lambda x: x.sum() if shape == () else x.reshape(shape))
    for call in (lambda: minimize(f, tensor(1.0, 2.0), ALL[name]), lambda: least_squares(f, tensor(1.0, 2.0))):
        with pytest.raises(ShapeError, match=r"the residual must return a tensor of shape \(m,\)"):
            call()


def test_an_objective_of_wrong_shape_is_named() -> None:
    for f in (lambda x: x, lambda x: 3.0):
        with pytest.raises(ShapeError, match="must return one number"):
            minimize(f, tensor(1.0, 2.0), AR2)  # type: ignore[arg-type]


def test_a_hierarchy_of_another_size_is_named() -> None:
    with pytest.raises(ShapeError, match="has 7 unknowns on its finest level, x0 has 2"):
        minimize(rosenbrock, tensor(1.0, 2.0), AR2, hierarchy=build.galerkin([linear_1d(7)]))


def test_levenberg_marquardt_needs_a_residual() -> None:
    with pytest.raises(UnsupportedCombination, match="Function has no residual"):
        minimize(rosenbrock, tensor(1.0, 2.0), LM)


def test_resume_needs_a_checkpoint() -> None:
    with pytest.raises(InputError, match="checkpoint=FILE"):
        minimize(rosenbrock, tensor(1.0, 2.0), AR2, resume=True)


# -- results ----------------------------------------------------------------------------------------------------------


def test_the_result_has_the_vocabulary_of_scipy() -> None:
    result = minimize(rosenbrock, MGH["Rosenbrock"].start, AR2)
    assert result.fun == float(rosenbrock(result.x))
    assert result.njev == 1 + sum(event.accepted for event in result.history)
    assert result.nfev == sum(event.trials for event in result.history)
    assert result.nit == len(result.history) == result.iterations_per_level[0]
    text = str(result)
    for word in ("converged", "loss", "gradient norm", "iterations", "flops", "steps by"):
        assert word in text


def test_the_point_that_met_the_target_is_returned() -> None:
    """A strict ratio rejects lower points; the metric was met by the iterate and not by them."""
    strict = AR2.replace(globalization=Regularization(policy=GainRatio(eta1=0.95, eta2=0.96), weight=1e-3))
    x0 = tensor(-1.2, 1.0)
    monitors = {"iterations": lambda x: -float(len(calls))}
    calls: list[int] = []
    for limit in range(1, 12):
        calls.clear()
        result = minimize(
            rosenbrock,
            x0,
            strict,
            monitors=monitors,
            callback=lambda event, x: calls.append(1),
            stop=Metric("iterations", -float(limit)) | MaxIterations(50),
        )
        assert result.status is Status.TARGET
        assert result.fun == result.history[-1].loss


def test_the_best_point_is_returned_otherwise() -> None:
    """A trial point of lower value, rejected for its ratio, is better than the iterate."""
    picky = TR1.replace(globalization=TrustRegion(radius=1.5, eta1=0.99, eta2=0.995))
    result = minimize(lambda x: (x**2).sum() + x.sum() * 0.1, tensor(2.0), picky, stop=MaxIterations(1))
    values = [event.loss for event in result.history]
    assert result.fun < values[-1]
    assert result.fun == pytest.approx(float((result.x**2).sum() + 0.1 * result.x.sum()))


# -- several levels ---------------------------------------------------------------------------------------------------

N = 31


def bratu(n: int) -> LeastSquares:
    h = 1 / (n + 1)

    def residual(u: Tensor) -> Tensor:
        end = u.new_zeros(1)
        padded = torch.cat([end, u, end])
        return ((padded[2:] - 2 * u + padded[:-2]) / h**2 - torch.exp(u) - 1) * h

    return LeastSquares(residual)


def energy(n: int) -> Function:
    h = 1 / (n + 1)

    def value(u: Tensor) -> Tensor:
        end = u.new_zeros(1)
        padded = torch.cat([end, u, end])
        return 0.5 * ((padded[1:] - padded[:-1]) ** 2).sum() / h + h * (torch.exp(u) + u).sum()

    return Function(value)


def hat() -> Tensor:
    return 1 - torch.linspace(-1, 1, N, dtype=torch.float64).abs()


@pytest.mark.parametrize("galerkin", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_multilevel_runs_find_the_same_minimum(name: str, galerkin: bool) -> None:
    squares = "LM" in name
    make = bratu if squares else energy
    levels = 2 if name == "RLM" else 3
    transfers = [linear_1d(N), linear_1d(15)][: levels - 1]
    hierarchy = build.galerkin(transfers) if galerkin else build.geometric(make, N, levels)
    solver = ALL[name].replace(cycle=Cycle(kappa=1e-3, coarse_iterations=5))
    limit = 15 if name[-1] == "1" else 80
    result = minimize(make(N), hat(), solver, hierarchy=hierarchy, stop=GradientNorm(1e-7) | MaxIterations(limit))
    assert decreases(result)
    tried, rejected = result.coarse_steps
    assert tried >= 2
    assert rejected < tried
    assert min(result.iterations_per_level) > 0
    if name[-1] != "1":
        reference = minimize(energy(N), hat(), TR2, stop=GradientNorm(1e-8) | MaxIterations(200))
        torch.testing.assert_close(result.x, reference.x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_coarse_and_taylor_steps_alternate_at_most(name: str) -> None:
    f = bratu(N)
    solver = ALL[name].replace(cycle=Cycle(kappa=0.0, taylor_steps=2, coarse_iterations=3))
    result = minimize(f, hat(), solver, hierarchy=build.galerkin([linear_1d(N)]), stop=MaxIterations(9))
    kinds = [event.kind for event in result.history if event.level == 0]
    assert kinds == ["coarse", "taylor", "taylor"] * (len(kinds) // 3)
    runs = "".join("c" if event.level else "|" for event in result.history).split("|")
    assert max(map(len, runs)) <= 3


@pytest.mark.parametrize("kappa", [1e9, 1e-9])
def test_the_usefulness_test_decides(kappa: float) -> None:
    solver = LM.replace(cycle=Cycle(kappa=kappa))
    result = minimize(bratu(N), hat(), solver, hierarchy=build.galerkin([linear_1d(N)]), stop=MaxIterations(5))
    assert (result.coarse_steps[0] > 0) == (kappa < 1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("name", ALL)
def test_the_scale_of_the_restriction_does_not_change_a_galerkin_step(name: str, scale: float) -> None:
    P = TransferOperator(linear_1d(N).P, scale=scale)
    solver = ALL[name].replace(cycle=Cycle(kappa=1e-5))
    result = minimize(bratu(N), hat(), solver, hierarchy=build.galerkin([P]), stop=MaxIterations(1))
    event = result.history[-1]
    assert event.kind == "coarse"
    assert event.ratio == pytest.approx(1.0, abs=0.05)  # μ is f itself: what was predicted is what happens
    assert event.accepted


def test_a_scaled_coarse_objective_predicts_in_the_units_of_the_fine_one() -> None:
    f = energy(N)
    P = linear_1d(N)
    for scale in (1.0, 0.1):
        t = TransferOperator(P.P, scale=scale)
        pulled = Function(lambda y, a=scale: a * f.function(P.prolong(y)))  # type: ignore[misc]
        hierarchy = build.from_objectives([f, pulled], [t])
        x0 = P.prolong(torch.ones(15, dtype=torch.float64))
        points = TransferOperator(P.P, scale=scale, points=torch.linalg.pinv(P.P.dense(device="cpu")))
        hierarchy = build.from_objectives([f, pulled], [points])
        result = minimize(f, x0, TR2, hierarchy=hierarchy, stop=MaxIterations(1))
        assert result.history[-1].kind == "coarse"
        assert result.history[-1].ratio == pytest.approx(1.0, abs=1e-6)


def test_a_coarse_model_that_is_not_finite_is_a_rejected_step() -> None:
    hierarchy = build.from_objectives([energy(N), lambda y: torch.log(y - 1e3).sum()], [linear_1d(N)])
    result = minimize(energy(N), hat(), TR2, hierarchy=hierarchy, stop=GradientNorm(1e-7) | MaxIterations(100))
    assert result.success
    tried, rejected = result.coarse_steps
    assert tried == rejected > 0
    assert "not finite at its start" in result.history[0].note


def test_a_misleading_coarse_objective_only_costs_time() -> None:
    hierarchy = build.from_objectives([energy(N), lambda y: -1e6 * (y**4).sum()], [linear_1d(N)])
    for solver in (AR2, TR2):
        result = minimize(energy(N), hat(), solver, hierarchy=hierarchy, stop=GradientNorm(1e-6) | MaxIterations(50))
        assert decreases(result)
        assert result.coarse_steps[1] > 2
        assert result.success


def test_a_coarse_level_without_decrease_leaves_the_radius_alone() -> None:
    class Stuck(Function):
        """Values that never decrease, whatever the derivatives promise."""

        def __call__(self, x: Tensor) -> Tensor:
            return torch.full((), 1e9, dtype=x.dtype)

    stuck = Stuck(lambda y: (y**2).sum())
    hierarchy = build.from_objectives([energy(N), stuck], [linear_1d(N)])
    solver = TR2.replace(globalization=TrustRegion(radius=1.0))
    result = minimize(energy(N), hat(), solver, hierarchy=hierarchy, stop=MaxIterations(1))
    event = result.history[-1]
    assert (event.kind, event.accepted, event.scalar) == ("coarse", False, 1.0)
    assert "no decrease" in event.note
    assert result.ledgers[0].counts["function"] == 0


@pytest.mark.parametrize("radius", [1e-3, 0.1])
def test_coarse_steps_respect_the_trust_region(radius: float) -> None:
    solver = TR2.replace(globalization=TrustRegion(radius=radius), cycle=Cycle(kappa=0.0, coarse_iterations=20))
    f, P = energy(N), linear_1d(N)
    result = minimize(f, hat(), solver, hierarchy=build.galerkin([P]), stop=MaxIterations(1))
    length = float((result.x - hat()).norm())
    assert result.history[-1].accepted
    assert length <= 2 * radius * (1 + 1e-6)
    assert max(event.scalar for event in result.history if event.level == 1) <= radius / P.norm() * (1 + 1e-12)
    assert result.history[-1].scalar == pytest.approx(2.5 * radius)  # a very good step that filled the ball


def test_levels_keep_scalars_of_their_own() -> None:
    solver = LM.replace(cycle=Cycle(kappa=0.0, coarse_iterations=2))
    result = minimize(bratu(N), hat(), solver, hierarchy=build.galerkin([linear_1d(N)]), stop=MaxIterations(4))
    fine = [event.scalar for event in result.history if event.level == 0]
    coarse = [event.scalar for event in result.history if event.level == 1]
    assert fine[0] != coarse[0]
    assert coarse[2] in (coarse[1] / 10, pytest.approx(coarse[1] / 10)) or coarse[2] > coarse[1]  # carried over


def test_the_published_weight_is_inherited() -> None:
    result = minimize(
        bratu(N),
        hat(),
        RLM.replace(cycle=Cycle(kappa=0.0, coarse_iterations=1)),
        hierarchy=build.galerkin([linear_1d(N)]),
        stop=MaxIterations(1),
    )
    inner, outer = result.history
    assert inner.scalar in (0.05 * 0.5, 0.05 * 0.85) or inner.scalar > 0.05
    assert outer.scalar in (0.05 * 0.5, 0.05 * 0.85, 0.05 * 1.5)


def test_the_cost_of_building_is_charged() -> None:
    hierarchy = replace(build.galerkin([linear_1d(N)]), flops=1e12)
    result = minimize(bratu(N), hat(), LM, hierarchy=hierarchy, stop=MaxIterations(0))
    assert result.ledgers[0].flops >= 1e12


def test_states_of_a_solver_are_values() -> None:
    """A step from the same state twice gives the same state."""
    f, hierarchy = energy(N), build.galerkin([linear_1d(N)])
    solver = TR2.replace(cycle=Cycle(kappa=0.0))
    state = solver.init(f, hat())
    one = solver.step(f, state, hierarchy, Recorder([Ledger(), Ledger()]))
    two = solver.step(f, state, hierarchy, Recorder([Ledger(), Ledger()]))
    assert torch.equal(one.x, two.x)
    assert torch.equal(state.x, hat())
    assert one.globalization == two.globalization
