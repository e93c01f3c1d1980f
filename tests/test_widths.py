"""Nested iteration over width: lifting keeps the function, and the small network does the work."""

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.methods import METHODS
from multilevel_opt.nested import start
from multilevel_opt.recorder import Recorder
from multilevel_opt.solve import solve
from multilevel_opt.transfer.blocks import selection
from problems import Heat, Poisson


def network(**changes: object) -> Poisson:
    return Poisson(**{"nu": 8.0, "width": 96, "init": "normal", "seed": 11, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("problem", [network(), network(dim=2, k=1, points="6x7"), Heat(width=96, depth=1, points=40)])
def test_a_lifted_iterate_is_the_same_function(problem: mlo.PDEProblem) -> None:
    hierarchy = mlo.widths(problem.objective, problem.x0, 3)
    above = problem.x0
    for level, finer in zip(hierarchy, [problem.objective, hierarchy.levels[0].objective], strict=True):
        assert level.transfer is not None
        assert level.objective is not None
        assert finer is not None
        y = level.transfer.restrict_point(above)
        y = y + 0.1 * torch.randn(y.shape, dtype=y.dtype, device=y.device)
        lifted = level.transfer.lifted(y, above)
        assert float(finer(lifted)) == pytest.approx(float(level.objective(y)), rel=1e-12)
        torch.testing.assert_close(level.transfer.restrict_point(lifted), y, rtol=0, atol=0)
        kept = above.index_copy(0, level.transfer.P.indices, y)  # type: ignore[attr-defined]  # with its output weights
        assert abs(float(finer(kept)) / float(finer(lifted)) - 1) > 1e-6
        above = level.transfer.restrict_point(above)


def test_the_levels_choose_the_neurons_of_largest_weight_and_contain_each_other() -> None:
    problem = network(width=512)
    hierarchy = mlo.widths(problem.objective, problem.x0, 3)
    assert hierarchy.sizes == (3 * 512 + 1, 3 * 32 + 1, 3 * 8 + 1)
    transfer = hierarchy.levels[0].transfer
    assert transfer is not None
    assert transfer.neurons is not None
    weights = problem.x0[:512].abs()
    assert set(transfer.neurons.tolist()) == set(weights.topk(32).indices.tolist())
    torch.testing.assert_close(
        transfer.restrict_point(problem.x0),
        selection(problem.objective.layout, transfer.neurons).restrict_point(problem.x0),
        rtol=0,
        atol=0,
    )


def test_the_small_network_reaches_the_target_without_work_on_the_large_one() -> None:
    run = solve(network(), "nested", until={"rmse": 1e-2})
    assert run.result.success
    assert run.record["rmse"] <= 1e-2
    assert run.record["iterations_per_level"][0] == 0
    assert run.record["iterations_per_level"][1] > 0
    assert run.record["evaluations"]["jacobian"][0] == 1  # of the model at the lifted iterate
    assert network().rmse(run.result.x) == run.record["rmse"]


def test_a_level_that_stops_progressing_is_left_and_the_large_network_goes_on() -> None:
    problem = network(width=96)
    hierarchy = mlo.widths(problem.objective, problem.x0, 2)
    solver = METHODS["nested"].solver
    solver = solver.replace(cycle=mlo.Cycle(shape="cascade", nested_iterations=3, nested_reduction=1e-6))
    result = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=hierarchy, stop=mlo.Loss(1e-4))
    assert result.success
    assert result.ledgers[1].counts["jacobian"] <= 4
    levels = [event.level for event in result.history]
    assert levels == sorted(levels, reverse=True)
    assert all(event.kind == "taylor" for event in result.history)


def test_a_plateau_of_thirty_iterations_ends_a_level() -> None:
    problem = network()
    hierarchy = mlo.widths(problem.objective, problem.x0, 2)
    ledgers = [mlo.Ledger() for _ in range(2)]
    ends = []
    for stagnation in (0.0, 2.0):
        cycle = mlo.Cycle(shape="cascade", nested_stagnation=stagnation, nested_iterations=45, nested_reduction=0.0)
        recorder = Recorder(ledgers, {})
        start(METHODS["nested"].solver.replace(cycle=cycle), problem.objective, problem.x0, hierarchy, recorder)
        ends.append(len(recorder.history))
    assert ends == [45, 30]


def test_networks_with_several_layers_are_refused() -> None:
    problem = network(depth=2, width=8)
    with pytest.raises(UnsupportedCombination, match="one hidden layer"):
        mlo.widths(problem.objective, problem.x0, 2)
