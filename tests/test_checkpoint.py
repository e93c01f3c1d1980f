"""Interrupted and resumed runs equal uninterrupted ones; files that are no such checkpoint are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multilevel_opt import (
    AR2,
    BFGS,
    LBFGS,
    LM,
    LSR1,
    RLM,
    SR1,
    TR2,
    Cycle,
    Exact,
    GradientNorm,
    Hierarchy,
    LeastSquares,
    MaxIterations,
    Multilevel,
    Result,
    Status,
    build,
    minimize,
    neurons,
    with_curvature,
)
from multilevel_opt.errors import InputError
from multilevel_opt.transfer.geometric import linear_1d
from problems import Poisson

N = 15


def residual(u: Tensor) -> Tensor:
    end = u.new_zeros(1)
    padded = torch.cat([end, u, end])
    return 16 * (padded[2:] - 2 * u + padded[:-2]) - (torch.exp(u) + 1) / 16


def start() -> Tensor:
    return torch.linspace(-1, 1, N, dtype=torch.float64) ** 3


def random_levels() -> Hierarchy:
    return build.random_subspace(start(), 3, fraction=2, seed=1)


def galerkin_levels() -> Hierarchy:
    return build.galerkin([linear_1d(N), linear_1d(7)])


EAGER = Cycle(kappa=1e-3, coarse_iterations=3)
PACED = replace(EAGER, longest_wait=4)
CASES: dict[str, tuple[Multilevel, Callable[[], Hierarchy] | None]] = {
    "LM": (LM, None),
    "AR2": (AR2, None),
    "LM random": (LM.replace(cycle=EAGER), random_levels),
    "LM galerkin": (LM.replace(cycle=EAGER), galerkin_levels),
    "LM paced": (LM.replace(cycle=PACED), random_levels),
    "TR2 random": (TR2.replace(cycle=EAGER), random_levels),
    "TR2 galerkin": (TR2.replace(cycle=EAGER), galerkin_levels),
    "AR2 random": (AR2.replace(cycle=EAGER), random_levels),
    "BFGS": (with_curvature(TR2, BFGS(learn_from_rejected=True)), None),
    "LSR1": (with_curvature(AR2, LSR1(memory=3, patience=2)), None),
    "SR1 random": (with_curvature(TR2.replace(cycle=EAGER), SR1()), random_levels),
    "LBFGS galerkin": (with_curvature(LM.replace(cycle=EAGER), LBFGS(memory=4)), galerkin_levels),
}
STOP = GradientNorm(1e-9) | MaxIterations(9)


def solve(case: str, **options: object) -> Result:
    solver, levels = CASES[case]
    hierarchy = None if levels is None else levels()
    return minimize(LeastSquares(residual), start(), solver, hierarchy=hierarchy, stop=STOP, **options)  # type: ignore[arg-type]


def interrupt_at(iteration: int) -> Callable[[object, Tensor], None]:
    def callback(event: object, x: Tensor) -> None:
        if event.iteration == iteration:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    return callback


def timeless(result: Result) -> list[object]:
    return [replace(event, seconds=0.0) for event in result.history]


def assert_same(one: Result, two: Result) -> None:
    assert timeless(one) == timeless(two)
    assert torch.equal(one.x, two.x)
    assert (one.fun, one.nit, one.status) == (two.fun, two.nit, two.status)
    assert [ledger.as_dict() for ledger in one.ledgers] == [ledger.as_dict() for ledger in two.ledgers]


@pytest.mark.parametrize("iteration", [1, 2, 3, 4])
@pytest.mark.parametrize("case", CASES)
def test_interrupted_and_resumed_equals_uninterrupted(case: str, iteration: int, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    whole = solve(case)
    assert whole.nit > iteration
    first = solve(case, checkpoint=file, callback=interrupt_at(iteration))
    assert (first.status, first.nit) == (Status.INTERRUPTED, iteration)
    assert f"after {iteration} iterations" in first.message
    assert timeless(first) == timeless(whole)[: len(first.history)]
    assert_same(solve(case, checkpoint=file, resume=True), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_an_interruption_inside_a_coarse_solve_goes_back_to_the_last_iteration(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    events: list[int] = []

    def listener(event: object) -> None:
        events.append(event.level)  # type: ignore[attr-defined]
        if events.count(1) == 4:
            raise KeyboardInterrupt

    whole = solve("LM galerkin")
    first = solve("LM galerkin", checkpoint=file, listener=listener)
    assert first.status is Status.INTERRUPTED
    assert first.history[-1].level == 0
    assert len(first.history) < len(events)
    assert_same(solve("LM galerkin", checkpoint=file, resume=True), whole)


def test_resume_goes_on_after_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    f = LeastSquares(residual)
    whole = minimize(f, start(), TR2, stop=MaxIterations(6))
    minimize(f, start(), TR2, stop=MaxIterations(2), checkpoint=file)
    assert_same(minimize(f, start(), TR2, stop=MaxIterations(6), checkpoint=file, resume=True), whole)
    again = minimize(f, start(), TR2, stop=MaxIterations(6), checkpoint=file, resume=True)
    assert_same(again, whole)


def test_monitors_and_seconds_continue(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    monitors = {"norm": lambda x: float(x.norm())}
    whole = solve("LM", monitors=monitors)
    first = solve("LM", monitors=monitors, checkpoint=file, callback=interrupt_at(2))
    resumed = solve("LM", monitors=monitors, checkpoint=file, resume=True)
    assert_same(resumed, whole)
    assert resumed.metrics == whole.metrics
    assert resumed.seconds >= first.seconds > 0
    assert resumed.history[first.nit].seconds > first.history[-1].seconds


@pytest.mark.parametrize(("solver", "levels"), [(LM, True), (RLM, False)])
def test_a_network_problem_resumes_exactly(solver: Multilevel, levels: bool, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"

    def run(**options: object) -> Result:
        problem = Poisson(nu=3, width=16, seed=0)
        hierarchy = neurons.subnetwork(problem.objective, problem.x0, 2, fraction=4) if levels else None
        cycle = Cycle(coarse_iterations=4, kappa=0.0)
        method = solver.replace(cycle=cycle)
        return minimize(problem.objective, problem.x0, method, hierarchy=hierarchy, stop=MaxIterations(6), **options)  # type: ignore[arg-type]

    whole = run()
    run(checkpoint=file, callback=interrupt_at(3))
    assert_same(run(checkpoint=file, resume=True), whole)


# -- what is refused --------------------------------------------------------------------------------------------------


def written(tmp_path: Path, case: str = "TR2 random") -> Path:
    file = tmp_path / "run.pt"
    solve(case, checkpoint=file, callback=interrupt_at(2))
    return file


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip"])
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    file.write_bytes(content)
    assert "cannot read the checkpoint" in refused(lambda: solve("LM", checkpoint=file, resume=True))
    assert file.read_bytes() == content


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refused(lambda: solve("LM", checkpoint=tmp_path / "none.pt", resume=True))


@pytest.mark.parametrize("data", [{"schema": 1}, {"schema": 99}, [1, 2], {"schema": 1, "x": torch.ones(N)}, 3.0])
def test_other_data_is_refused(data: object, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    torch.save(data, file)
    assert "not a checkpoint of schema" in refused(lambda: solve("LM", checkpoint=file, resume=True))


def test_code_is_not_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "owned"),)  # type: ignore[return-value]

    file = tmp_path / "run.pt"
    torch.save({"schema": 1, "x": Evil()}, file)
    refused(lambda: solve("LM", checkpoint=file, resume=True))
    assert not (tmp_path / "owned").exists()


def test_another_problem_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "TR2 galerkin")
    levels = galerkin_levels()
    solver = CASES["TR2 galerkin"][0]

    def resume(f: object, x0: Tensor, solver: Multilevel, hierarchy: Hierarchy) -> str:
        return refused(lambda: minimize(f, x0, solver, hierarchy=hierarchy, checkpoint=file, resume=True))  # type: ignore[arg-type]

    f = LeastSquares(residual)
    assert "holds (15,)" in resume(f, torch.ones(4, dtype=torch.float64), solver, Hierarchy(4))
    assert "float32" in resume(f, start().float(), solver, levels)
    assert "3 levels, the hierarchy 1" in resume(f, start(), solver, Hierarchy(N))
    assert "same method" in resume(f, start(), LM, levels)
    assert "resume the same problem" in resume(LeastSquares(lambda u: 2 * residual(u)), start(), solver, levels)


@pytest.mark.parametrize("curvature", [Exact(), BFGS(), LBFGS(memory=5)], ids=lambda c: c.name)
def test_another_curvature_is_refused_where_it_would_lose_or_misread_pairs(curvature: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    solver, f = with_curvature(TR2, LBFGS(memory=4)), LeastSquares(residual)
    minimize(f, start(), solver, stop=MaxIterations(3), checkpoint=file)
    other = with_curvature(TR2, curvature)
    message = refused(lambda: minimize(f, start(), other, checkpoint=file, resume=True))
    assert "resume with the same" in message


def test_a_folder_that_does_not_exist_is_refused_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "none" / "run.pt"
    calls: list[int] = []
    message = refused(lambda: solve("LM", checkpoint=file, callback=lambda event, x: calls.append(1)))
    assert "cannot write" in message
    assert not calls
