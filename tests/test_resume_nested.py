"""Runs that are broken off on a coarse level, or between coarse-row steps, go on bit for bit."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt import neurons
from multilevel_opt.methods import METHODS
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.solve import solve
from problems import Helmholtz, Poisson

STOP = mlo.MaxIterations(12)
Solve = Callable[..., Result]


def square(**changes: Any) -> Poisson:
    return Poisson(**{"dim": 2, "k": 1, "width": 8, "points": 200, "activation": "tanh", "seed": 3, **changes})


def short(method: str) -> mlo.Multilevel:
    solver = METHODS[method].solver
    return solver.replace(cycle=replace(solver.cycle, nested_iterations=15))


def rows(**options: Any) -> Result:
    problem = square()
    levels = mlo.rows(problem.objective, problem.x0, 4)
    options = {"stop": STOP, "monitors": {"residual": problem.training}, **options}
    return mlo.least_squares(problem.objective, problem.x0, short("rows"), hierarchy=levels, **options)


def widths(**options: Any) -> Result:
    problem = square()
    levels = neurons.widths(problem.objective, problem.x0, 2)
    options = {"stop": STOP, **options}
    return mlo.least_squares(problem.objective, problem.x0, short("nested"), hierarchy=levels, **options)


@cache
def uninterrupted(run: Solve) -> Result:
    return run()


def assert_same(one: Result, two: Result) -> None:
    for e, o in zip(one.history, two.history, strict=True):
        assert replace(e, seconds=0.0) == replace(o, seconds=0.0)
    assert torch.equal(one.x, two.x)
    assert (one.fun, one.nit, one.status, one.metrics) == (two.fun, two.nit, two.status, two.metrics)
    assert [ledger.as_dict() for ledger in one.ledgers] == [ledger.as_dict() for ledger in two.ledgers]


def after_events(count: int) -> Callable[[Event], None]:
    """A listener that interrupts inside of an iteration, after so many events."""
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        if len(seen) == count:
            raise KeyboardInterrupt

    return listener


@pytest.mark.parametrize("run", [rows, widths])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_interrupted_anywhere_and_resumed_equals_uninterrupted(run: Solve, share: float, tmp_path: Path) -> None:
    file, whole = tmp_path / "run.pt", uninterrupted(run)
    count = max(1, round(share * len(whole.history)))
    first = run(checkpoint=file, listener=after_events(count))
    assert first.status is Status.INTERRUPTED
    assert len(first.history) == count - 1  # the last complete iteration
    assert bool(torch.isfinite(first.x).all())
    torch.load(file, weights_only=True)
    assert_same(run(checkpoint=file, resume=True), whole)


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    file, whole = tmp_path / "run.pt", uninterrupted(rows)
    run = rows(checkpoint=file, listener=after_events(12))
    runs = 1
    while run.status is Status.INTERRUPTED:
        run = rows(checkpoint=file, resume=True, listener=after_events(12))
        runs += 1
    assert runs > 3
    assert_same(run, whole)


def test_the_run_has_coarse_levels_coarse_row_steps_and_a_gate() -> None:
    whole = uninterrupted(rows)
    assert {event.level for event in whole.history} == {0, 1, 2, 3}
    assert any(event.kind == "coarse" and event.accepted for event in whole.history if event.level == 0)
    assert any("held-out rows" in event.note for event in whole.history)


def test_a_checkpoint_of_any_moment_continues(tmp_path: Path) -> None:
    """As after a crash: nothing is written but what was written on the way."""
    whole = uninterrupted(rows)
    copies: list[Path] = []

    def listener(event: Event) -> None:
        if (tmp_path / "run.pt").exists() and len(copies) < 60:
            copies.append(Path(shutil.copy(tmp_path / "run.pt", tmp_path / f"{len(copies)}.pt")))

    rows(checkpoint=tmp_path / "run.pt", checkpoint_seconds=0.0, listener=listener)
    assert len(copies) > 10
    for file in copies[5 :: len(copies) // 3]:
        assert_same(rows(checkpoint=file, resume=True), whole)


@pytest.mark.parametrize("lost", [{"experience": None}, {"formed": True}])
def test_everything_that_is_kept_is_needed(lost: dict[str, Any], tmp_path: Path) -> None:
    file, whole = tmp_path / "run.pt", uninterrupted(rows)
    rows(checkpoint=file, stop=mlo.MaxIterations(6))
    data = torch.load(file, weights_only=True)
    assert data["effective"] > 0
    torch.save({**data, **lost}, file)
    other = rows(checkpoint=file, resume=True)
    assert [e.kind for e in other.history] != [e.kind for e in whole.history] or other.flops != whole.flops


def test_a_limit_of_iterations_or_seconds_is_no_end(tmp_path: Path) -> None:
    file, whole = tmp_path / "run.pt", uninterrupted(rows)
    rows(checkpoint=file, stop=mlo.MaxIterations(5))
    assert_same(rows(checkpoint=file, resume=True), whole)
    hurried = rows(checkpoint=file, stop=mlo.MaxIterations(5) | mlo.MaxSeconds(1e-9))
    assert hurried.status is Status.MAX_SECONDS
    assert hurried.nit == 0
    assert_same(rows(checkpoint=file, resume=True), whole)


def test_the_point_of_an_interrupted_ascent_is_no_worse_than_the_start() -> None:
    problem = square()
    first = rows(listener=after_events(20))
    assert first.fun < float(problem.objective(problem.x0))
    assert first.message.startswith("the run was interrupted")


@pytest.mark.parametrize("method", ["rows", None])
def test_a_record_of_solve_is_that_of_the_uninterrupted_run(method: str | None, tmp_path: Path) -> None:
    problem = Helmholtz(dim=2, width=4, points=2000, activation="tanh")
    options: dict[str, Any] = {
        "levels": 3,
        "max_iterations": 4,
        "until": {"relative_l2": 1e-9},
        "cycle": {"nested_iterations": 4},
    }
    whole = solve(problem, method, **options).record
    assert whole["level_residuals"][0] >= 2000
    file = tmp_path / "run.pt"
    for count in (3, 11):
        broken = solve(problem, method, checkpoint=file, listener=after_events(count), **options)
        assert broken.record["status"] == "interrupted"
        again = solve(problem, method, checkpoint=file, resume=True, **options).record
        clocks = {"seconds", "seconds_setup", "peak_memory_bytes"}
        assert {k: v for k, v in again.items() if k not in clocks} == {
            k: v for k, v in whole.items() if k not in clocks
        }


def test_a_checkpoint_of_a_coarse_level_is_for_the_same_levels_and_method(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    rows(checkpoint=file, listener=after_events(5))
    problem = square()

    def resumed(solver: mlo.Multilevel, levels: int, f: Any = problem.objective) -> str:
        hierarchy = mlo.rows(problem.objective, problem.x0, levels)
        with pytest.raises(mlo.InputError) as caught:
            mlo.least_squares(f, problem.x0, solver, hierarchy=hierarchy, checkpoint=file, resume=True)
        return str(caught.value)

    ours = METHODS["rows"].solver
    assert "4 levels, the hierarchy 2" in resumed(ours, 2)
    assert "on a coarse level" in resumed(ours, 1)
    assert "on a coarse level" in resumed(ours.replace(cycle=replace(ours.cycle, nested=False)), 4)
    other = square(width=12)
    with pytest.raises(mlo.InputError, match="resume the same problem"):
        mlo.least_squares(other.objective, other.x0, ours, checkpoint=file, resume=True)


def test_another_loss_of_a_coarse_level_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    t = torch.linspace(-1, 1, 40, dtype=torch.float64)

    def run(factor: float, **options: Any) -> Result:
        def residual(x: Tensor) -> Tensor:
            return factor * (torch.exp(x[0] * t) + x[1] * t - torch.cos(3 * t))

        f, x = mlo.LeastSquares(residual), torch.ones(2, dtype=torch.float64)
        return mlo.least_squares(f, x, METHODS["rows"].solver, hierarchy=mlo.rows(f, x, 3), checkpoint=file, **options)

    run(1.0, listener=after_events(2))
    with pytest.raises(mlo.InputError, match="there it was"):
        run(2.0, resume=True)
