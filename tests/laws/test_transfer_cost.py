"""A coarse solve with an objective of its own never evaluates the fine one, and its cost goes to its own ledger."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from multilevel_opt import AR1, AR2, LM, RLM, TR2, LeastSquares, build, minimize
from multilevel_opt.ledger import Ledger
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.recorder import Recorder
from multilevel_opt.state import Cycle
from multilevel_opt.stopping import MaxIterations
from multilevel_opt.transfer.geometric import linear_1d

N = 15


class Counted:
    """A callable that counts its calls."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.function(x)


def residual(n: int) -> Callable[[Tensor], Tensor]:
    """A nonlinear boundary-value problem on n interior points."""
    h = 1 / (n + 1)

    def r(u: Tensor) -> Tensor:
        ends = u.new_zeros(1)
        padded = torch.cat([ends, u, ends])
        laplacian = (padded[2:] - 2 * u + padded[:-2]) / h**2
        return h * (laplacian - torch.exp(u) - 1)

    return r


def energy(n: int) -> Callable[[Tensor], Tensor]:
    h = 1 / (n + 1)

    def f(u: Tensor) -> Tensor:
        ends = u.new_zeros(1)
        padded = torch.cat([ends, u, ends])
        return 0.5 * ((padded[1:] - padded[:-1]) ** 2).sum() / h + h * (torch.exp(u) - 3 * u).sum()

    return f


def start() -> Tensor:
    return torch.linspace(-1, 1, N, dtype=torch.float64) ** 3


def coarse_step(solver: Multilevel, fine: object, coarse: object, cycle: Cycle) -> tuple[int, Recorder, list[int]]:
    """One coarse step; returns (events below, account, fine counts before and after the coarse solve)."""
    hierarchy = build.from_objectives([fine, coarse], [linear_1d(N)])  # type: ignore[list-item]
    solver = solver.replace(cycle=cycle)
    recorder = Recorder([Ledger(), Ledger()])
    f = hierarchy.objective.counted(recorder.ledgers[0])  # type: ignore[union-attr]
    state = solver.init(f, start())
    counted: Counted = fine.residual.function if isinstance(fine, LeastSquares) else fine  # type: ignore[assignment]
    seen: list[int] = []
    flops: list[float] = []

    def listener(event: object) -> None:
        seen.append(counted.calls)
        flops.append(recorder.ledgers[0].flops)

    recorder.listener = listener
    before, paid = counted.calls, recorder.ledgers[0].flops
    solver.step(f, state, hierarchy, recorder)
    below = [event for event in recorder.history if event.level == 1]
    assert recorder.history[-1].kind == "coarse"
    assert flops[: len(below)] == [paid] * len(below)
    return len(below), recorder, [before, *seen[: len(below)]]


@pytest.mark.parametrize("solver", [LM, RLM], ids=["LM", "RLM"])
def test_no_fine_evaluation_inside_a_coarse_solve_of_least_squares(solver: Multilevel) -> None:
    fine, coarse = LeastSquares(Counted(residual(N))), LeastSquares(Counted(residual(7)))
    below, recorder, calls = coarse_step(solver, fine, coarse, Cycle(coarse_iterations=5, kappa=0.01))
    assert below >= 2
    assert len(set(calls)) == 1
    assert recorder.ledgers[1].flops > 0


@pytest.mark.parametrize("solver", [AR1, AR2, TR2], ids=["AR1", "AR2", "TR2"])
def test_no_fine_evaluation_inside_a_coarse_solve(solver: Multilevel) -> None:
    fine, coarse = Counted(energy(N)), Counted(energy(7))
    below, recorder, calls = coarse_step(solver, fine, coarse, Cycle(coarse_iterations=5, kappa=0.01))
    assert below >= 2
    assert len(set(calls)) == 1
    assert recorder.ledgers[1].counts["gradient"] >= below
    assert coarse.calls > 0


def test_a_galerkin_solve_does_evaluate_the_fine_function() -> None:
    f = Counted(energy(N))
    result = minimize(f, start(), AR2, hierarchy=build.galerkin([linear_1d(N)]), stop=MaxIterations(1))
    assert result.history[-1].kind == "coarse"
    assert f.calls > result.ledgers[0].counts["function"] + result.ledgers[0].counts["gradient"]
    assert result.ledgers[1].counts["gradient"] > 1


def test_second_order_coherence_costs_fine_hessian_products_and_nothing_else() -> None:
    fine, coarse = Counted(energy(N)), Counted(energy(7))
    hierarchy = build.from_objectives([fine, coarse], [linear_1d(N)])
    cycle = Cycle(coarse_iterations=4, kappa=0.01, coherence=2)
    result = minimize(fine, start(), AR2.replace(cycle=cycle), hierarchy=hierarchy, stop=MaxIterations(1))
    assert result.history[-1].kind == "coarse"
    counts = result.ledgers[0].counts
    assert fine.calls == counts["gradient"] + counts["function"] == 3  # start, trial, accepted point
    assert counts["hvp"] > 0
