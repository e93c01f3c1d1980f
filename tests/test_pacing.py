import itertools

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.recorder import Recorder
from multilevel_opt.snapshots import known
from problems import Poisson

P = torch.eye(6, dtype=torch.float64)[:, :2]


def quartic(x: torch.Tensor) -> torch.Tensor:
    return ((x - 1) ** 2).sum() + (x**4).sum()


@pytest.mark.parametrize(("sufficient", "coarse"), [(1.0, True), (1e-3, False)])
def test_no_coarse_step_while_taylor_steps_suffice(sufficient: float, coarse: bool) -> None:
    cycle = mlo.Cycle(kappa=0.0, sufficient=sufficient)
    x0 = torch.full((6,), 3.0, dtype=torch.float64)
    result = mlo.minimize(
        quartic, x0, mlo.AR2.replace(cycle=cycle), hierarchy=mlo.galerkin([P]), stop=mlo.MaxIterations(3)
    )
    taylor = [e for e in result.history if e.level == 0 and e.kind == "taylor"]
    losses = [quartic(x0).item(), *(e.loss for e in taylor)]
    if not coarse:
        assert all(b < (1 - sufficient) * a for a, b in itertools.pairwise(losses))
    assert (result.coarse_steps[0] > 0) == coarse


def test_a_useless_level_is_visited_ever_more_rarely() -> None:
    useless = mlo.TransferOperator(torch.eye(40, dtype=torch.float64)[:, -1:])
    scale = torch.linspace(1, 30, 40, dtype=torch.float64)

    def residual(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([scale * (x - 1), 0.3 * x**2])

    def visits(longest: int) -> list[int]:
        cycle = mlo.Cycle(kappa=0.0, longest_wait=longest, coarse_iterations=3)
        solver = mlo.RLM.replace(cycle=cycle, globalization=mlo.Regularization(power=2, weight=1e3))
        result = mlo.least_squares(
            residual,
            torch.full((40,), 4.0, dtype=torch.float64),
            solver,
            hierarchy=mlo.galerkin([useless]),
            stop=mlo.MaxIterations(24),
        )
        return [e.iteration for e in result.history if e.level == 0 and e.kind == "coarse"]

    alternating, paced = visits(0), visits(8)
    assert len(paced) < len(alternating)
    gaps = [b - a for a, b in itertools.pairwise(paced)]
    assert gaps == sorted(gaps)


def test_coarse_levels_have_their_own_policy_also_after_a_resume() -> None:
    fine = mlo.LM.globalization
    assert fine.for_coarse().policy == mlo.DelayedGratification(up=3.0)
    first, second, third = known(fine, [{"weight": w, "power": 2.0} for w in (1.0, 2.0, 3.0)])
    assert (first.policy, first.weight) == (mlo.DelayedGratification(), 1.0)
    assert (second.policy, second.weight) == (third.policy, 2.0) == (mlo.DelayedGratification(up=3.0), 2.0)
    assert third.weight == 3.0
    plain = mlo.Regularization(power=2, policy=mlo.GainRatio())
    assert plain.for_coarse().policy == plain.policy


def test_galerkin_takes_the_first_coarsening_that_fits() -> None:
    shallow, deep = Poisson(nu=4, width=32), Poisson(nu=4, width=12, depth=2)
    for problem, kind in ((shallow, "neurons"), (deep, "AMG")):
        assert kind in mlo.solve(problem, "galerkin", max_iterations=0).hierarchy.levels[0].kind
    with pytest.raises(mlo.UnsupportedCombination, match="one hidden layer"):
        mlo.solve(deep, "galerkin", coarsening="subnetwork", max_iterations=0)


def test_points_are_restricted_as_asked() -> None:
    problem = Poisson(nu=6, width=40, init="normal")
    f, x = problem.objective, problem.x0
    transposed, injected, averaged = (
        mlo.amg(f, x, points=points).levels[0].transfer for points in ("transpose", "injection", "averaging")
    )
    torch.testing.assert_close(transposed.restrict_point(x), transposed.restrict(x))
    values = {float(v) for v in x}
    assert all(float(v) in values for v in injected.restrict_point(x))
    ones = torch.ones_like(x)
    shallow = slice(0, 2 * transposed.n_coarse // 3 - 1)  # input weights and biases: one neuron each
    torch.testing.assert_close(averaged.restrict_point(ones)[shallow], ones[: transposed.n_coarse][shallow])
    with pytest.raises(mlo.InputError, match="restriction of points"):
        mlo.amg(f, x, points="nearest")


def test_a_step_below_the_rounding_of_f_is_judged_by_the_gradient() -> None:
    def residual(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[0] - 1, x[1] + 1e-3 * x[0] ** 2, 1e4 + 0 * x[0]])

    start = torch.tensor([1.0 + 3e-8, 0.0], dtype=torch.float64)
    result = mlo.least_squares(residual, start, stop=mlo.GradientNorm(1e-9) | mlo.MaxIterations(20))
    polished = [e for e in result.history if "below the rounding" in e.note]
    assert polished
    assert result.status is mlo.Status.GRADIENT
    assert sum(e.trials for e in result.history) < 40


def test_the_recorder_goes_back_to_a_snapshot() -> None:
    recorder = Recorder([])
    snapshot = recorder.snapshot()
    recorder.metrics = {"rmse": 1.0}
    recorder.restore(snapshot)
    assert recorder.metrics == {}


def test_amg_levels_need_a_jacobian_that_fits_the_memory() -> None:
    problem = Poisson(nu=4, width=32, depth=2)
    with pytest.raises(mlo.UnsupportedCombination, match="does not fit the memory"):
        mlo.solve(problem, "rlm", memory=1e3, max_iterations=0)
    assert "random" in mlo.solve(problem, "galerkin", memory=1e3, max_iterations=0).hierarchy.levels[0].kind


def test_error_measures_belong_to_the_point_returned() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return (x**2).sum() + 1e-3 * torch.sin(40 * x).sum()

    picky = mlo.AR1.replace(globalization=mlo.Regularization(policy=mlo.GainRatio(eta1=0.74), weight=2.2))
    start = torch.tensor([0.9, 1.1], dtype=torch.float64)
    for limit in range(12):
        result = mlo.minimize(
            f, start, picky, monitors={"size": lambda x: float(x.norm())}, stop=mlo.MaxIterations(limit)
        )
        assert result.metrics["size"] == float(result.x.norm())
