"""A finest level of rows that overfits gets more of them; one that does not, or that has no more, keeps its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.methods import METHODS
from multilevel_opt.pde.supply import candidates
from multilevel_opt.refiner import Refiner, replayed
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.solve import Run, solve
from multilevel_opt.stopping import Progress
from problems import Kovasznay, Poisson

F64 = {"dtype": torch.float64}


def few(**changes: Any) -> Poisson:
    return Poisson(**{"dim": 2, "k": 2, "width": 12, "points": 30, "activation": "tanh", "seed": 3, **changes})


def run(refine: int, problem: Any = None, **options: Any) -> Run:
    options = {"max_iterations": 50, "until": {"relative_l2": 1e-6}, "cycle": {"refine": refine}, **options}
    return solve(problem or few(), "rows", **options)


def added(result: Result) -> list[str]:
    return [event.note for event in result.history if "rows added" in event.note]


@pytest.mark.parametrize("seed", [3, 4])
def test_a_level_that_overfits_gets_more_rows_and_its_error_falls(seed: int) -> None:
    with_more, without = (run(refine, few(seed=seed), max_iterations=80) for refine in (4, 0))
    assert added(with_more.result)
    assert not added(without.result)
    assert "held-out rows" in added(with_more.result)[0]
    for name in ("held_out", "relative_l2"):
        assert with_more.record["metrics"][name] < 0.3 * without.record["metrics"][name]


def test_a_level_that_does_not_overfit_keeps_its_rows() -> None:
    cycles = ({"refine": refine, "nested_iterations": 8} for refine in (4, 0))
    ours, plain = (run(0, few(points=900), max_iterations=6, cycle=cycle).result for cycle in cycles)
    assert [event.loss for event in ours.history] == [event.loss for event in plain.history]
    assert ours.flops > plain.flops  # for looking at the held-out rows


def test_what_has_no_rows_in_reserve_keeps_its_own() -> None:
    t = torch.linspace(-1, 1, 6, **F64)  # type: ignore[call-overload]
    f = mlo.LeastSquares(lambda x: (x * t[:, None] ** torch.arange(6)).sum(1) - torch.sin(9 * t))
    assert f.held_out() is None
    assert f.refined(torch.zeros(6, **F64), 0) is None  # type: ignore[call-overload]
    assert mlo.Function(lambda x: x @ x).held_out() is None
    assert Refiner.of(METHODS["rows"].solver, f, METHODS["rows"].solver.init(f, torch.ones(6, **F64)), (6,)) is None  # type: ignore[call-overload]
    assert Refiner.of(mlo.LM, few().objective, mlo.LM.init(few().objective, few().x0), (49,)) is None


@pytest.mark.parametrize("problem", [few(points=900), Kovasznay(points=60, width=6, depth=1)])
def test_new_points_join_the_old_ones_where_the_residual_is_large(problem: mlo.PDEProblem) -> None:
    x, old = problem.x0, problem.residual
    new = old.refined(x, 0)
    assert new is not None
    points = new.blocks[0].points
    assert torch.equal(points[: len(points) // 2], old.blocks[0].points)
    assert [b.rows for b in new.blocks] == [2 * old.blocks[0].rows, *(b.rows for b in old.blocks[1:])]
    assert bool(problem.cloud.contains(points).all())
    held = {tuple(z) for z in problem.held_out_residual.blocks[0].points.tolist()}
    assert not held & {tuple(z) for z in points.tolist()}
    squares = new.with_blocks(new.blocks[:1])(x).square().view(new.blocks[0].count, -1).sum(0)
    _, everywhere = candidates(problem, x, len(points) // 2, 0)
    uniform = float((everywhere / 2**0.5).square().mean())  # each row has half the weight now
    assert float(squares[len(points) // 2 :].mean()) > 1.1 * uniform


def test_rows_keep_the_weight_of_their_equation() -> None:
    class Flat(Poisson):
        def equation(self, u: mlo.pde.Field, z: Tensor) -> Tensor:
            return 0 * u.value + 3.0

    problem = Flat(dim=2, width=4, points=50, boundary_weight=1.0)
    more = problem.objective.refined(problem.x0, 0)
    assert more is not None
    assert float(more(problem.x0)) == pytest.approx(float(problem.objective(problem.x0)))


def test_the_finer_run_starts_at_the_best_point_seen() -> None:
    problem, seen = few(), dict[int, tuple[float, Tensor]]()

    def watch(event: Event, x: Tensor) -> None:
        seen[event.iteration] = float(problem.objective.held_out()(x)), x  # type: ignore[misc]

    result = run(1, problem, callback=watch).result
    first = next(event.iteration for event in result.history if "rows added" in event.note)
    lowest = min((h, k) for k, (h, _) in seen.items() if k <= first)[1]
    finer = problem.objective.refined(seen[lowest][1], 0)
    assert finer is not None
    after = next(event for event in result.history if event.level == 0 and event.iteration == first + 1)
    assert after.loss <= float(finer(seen[lowest][1]))


def test_an_end_that_fits_its_rows_only_is_none() -> None:
    problem, solver = few(), METHODS["rows"].solver
    state = solver.init(problem.objective, problem.x0)
    refiner = Refiner.of(solver, problem.objective, state, (49,))
    assert refiner is not None
    verdict = Status.GRADIENT, "gradient norm 0 <= 1"
    assert not refiner.wants(verdict)
    held, _ = refiner._gate.last
    refiner._gate._past.append((held, 1e-3 * held))
    assert refiner.wants(verdict)
    assert refiner.wants((Status.STALLED, ""))
    assert not refiner.wants((Status.TARGET, ""))
    assert refiner(Progress(0, 0.0, 0.0, 0.0, {})) is None
    refiner._gate._past.append((1e-12 * held, 1e-15 * held))  # so small that it does not matter
    assert not refiner.wants(verdict)


def test_targets_and_limits_come_first() -> None:
    whole = run(1)
    first = next(event.iteration for event in whole.result.history if "rows added" in event.note)
    stopped = run(1, max_iterations=first)
    assert stopped.record["status"] == "max_iterations"
    assert not added(stopped.result)


def test_a_run_with_more_rows_resumes_exactly(tmp_path: Path) -> None:
    file, whole = tmp_path / "run.pt", run(4).result
    numbers = [event.iteration for event in whole.history if "rows added" in event.note]
    for iteration in (numbers[0] - 1, numbers[0], numbers[0] + 2):
        broken = run(4, checkpoint=file, max_iterations=iteration)
        assert broken.result.nit == iteration
        again = run(4, checkpoint=file, resume=True).result
        assert [replace(e, seconds=0.0) for e in again.history] == [replace(e, seconds=0.0) for e in whole.history]
        assert torch.equal(again.x, whole.x)
        assert [led.as_dict() for led in again.ledgers] == [led.as_dict() for led in whole.ledgers]
    x = few().x0
    with pytest.raises(mlo.InputError, match="more rows"):
        replayed(mlo.LeastSquares(torch.sin), {"points": [x]})
