"""The cost of one Levenberg-Marquardt iteration against the floor of its linear algebra, measured beside it.

Floor: one Gram product by the plain BLAS call and one Cholesky factorization, of the shapes that the step uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import medians, say, show
from problems import Poisson

BAR = 2.0
RUN_ITERATIONS = 10


def run(seeds: Sequence[int]) -> None:
    problem = Poisson(dim=2, k=2, width=500, points="45x45", seed=seeds[0])
    pieces = medians(floor(problem) | iteration(problem))
    base = pieces["Gram product, torch.mm"] + pieces["Cholesky, torch.linalg"]
    once = sum(pieces[name] for name in ("expand", "prepare", "solve", "trial value"))
    whole, trials = mean_of_run(problem)
    rows = [[name, f"{1e3 * seconds:.0f}", f"{seconds / base:.2f}"] for name, seconds in pieces.items()]
    rows += [["floor: product and factorization", f"{1e3 * base:.0f}", "1.00"]]
    rows += [["one iteration, one trial", f"{1e3 * once:.0f}", f"{once / base:.2f}"]]
    rows += [
        [f"mean of {RUN_ITERATIONS} iterations of a run, {trials} trials", f"{1e3 * whole:.0f}", f"{whole / base:.2f}"]
    ]
    m, n = problem.n_residuals, problem.x0.numel()
    show(f"LM iteration, 2-D Poisson, m = {m}, n = {n}", ["", "ms", "of the floor"], rows)
    say(f"one iteration costs {once / base:.2f} times the floor, in a run {whole / base:.2f}; the bar is {BAR:g}\n")


def floor(problem: Poisson) -> dict[str, Callable[[], Tensor]]:
    _, jacobian = problem.objective.jacobian(problem.x0)
    wide = jacobian if jacobian.shape[0] < jacobian.shape[1] else jacobian.T
    gram = wide @ wide.T
    gram.diagonal().add_(1e-3 * gram.diagonal().mean())
    return {
        "Gram product, torch.mm": lambda: torch.mm(wide, wide.T),
        "Cholesky, torch.linalg": lambda: torch.linalg.cholesky(gram),
    }


def iteration(problem: Poisson) -> dict[str, Callable[[], object]]:
    f, x, solver = problem.objective, problem.x0, mlo.LM
    state = solver.init(f, x)
    prepared = solver.subproblem.prepare(state.model)
    step = prepared.solve(state.globalization)
    assert step is not None
    return {
        "expand": lambda: solver.curvature.expand(f, x, solver.order),
        "prepare": lambda: solver.subproblem.prepare(state.model),
        "solve": lambda: prepared.solve(state.globalization),
        "trial value": lambda: float(f(x + step.s)),
    }


def mean_of_run(problem: Poisson) -> tuple[float, int]:
    """Seconds per iteration of a run, rejected trials included, and the number of trials; the first is left out."""
    result = mlo.least_squares(problem.objective, problem.x0, mlo.LM, stop=mlo.MaxIterations(RUN_ITERATIONS + 1))
    first, *rest = result.history
    return (rest[-1].seconds - first.seconds) / len(rest), sum(event.trials for event in rest)
