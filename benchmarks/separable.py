"""The test functions of any size, n = 1000: TR2 and AR2 beside trust-ncg and L-BFGS-B of scipy, with equal derivatives.

A run is solved when ‖∇f‖₂ <= 1e-5 after an iteration within the time limit; scipy's own tests are switched off, see
``multilevel_opt.study.peers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import multilevel_opt as mlo
import problems.separable as gallery
from benchmarks.measure import say, short, show
from multilevel_opt.study.solvers import Task, solved
from problems.separable import SeparableProblem

TOLERANCE = 1e-5
LIMIT = 10.0  # seconds for a run
SIZE = 1000


@dataclass(frozen=True)
class Outcome:
    solved: bool
    value: float
    gradients: int
    products: int
    seconds: float


def scipys(method: str) -> Callable[[SeparableProblem], Outcome]:
    def run(problem: SeparableProblem) -> Outcome:
        budget = {"max_iterations": 10**6, "max_seconds": LIMIT, "memory": None}
        record, _, _ = solved(problem, Task("", method, {}, {"gradient_norm": TOLERANCE}, budget))
        counts = record["evaluations"]
        return Outcome(record["converged"], record["loss"], counts["gradient"][0], counts["hvp"][0], record["seconds"])

    return run


def ours(solver: mlo.Multilevel) -> Callable[[SeparableProblem], Outcome]:
    def run(problem: SeparableProblem) -> Outcome:
        stop = mlo.GradientNorm(TOLERANCE) | mlo.MaxSeconds(LIMIT) | mlo.MaxIterations(100_000)
        f = mlo.PartiallySeparable(problem.elements(), problem.n)
        found = mlo.minimize(f, problem.x0, solver, stop=stop)
        counts = found.ledgers[0].counts
        return Outcome(found.success, found.fun, counts["gradient"], counts["hvp"], found.seconds)

    return run


SOLVERS: dict[str, Callable[[SeparableProblem], Outcome]] = {
    "TR2": ours(mlo.TR2),
    "tr2-gltr": ours(mlo.METHODS["tr2-gltr"].solver),
    "AR2": ours(mlo.AR2),
    "scipy trust-ncg": scipys("scipy-trust-ncg"),
    "scipy L-BFGS-B": scipys("scipy-lbfgsb"),
}


def run(seeds: Sequence[int]) -> None:
    names = [name for name in gallery.__all__ if name != "SeparableProblem"]
    found: dict[str, dict[str, Outcome]] = {}
    for name in names:
        problem = made(getattr(gallery, name))
        found[name] = {solver: run_one(problem) for solver, run_one in SOLVERS.items()}
    everyone = [name for name in names if all(outcome.solved for outcome in found[name].values())]
    rows = []
    for solver in SOLVERS:
        outcomes = {name: found[name][solver] for name in names}
        same = [outcomes[name] for name in everyone]
        columns = [[o.gradients for o in same], [o.products for o in same], [o.seconds for o in same]]
        solved = sum(outcome.solved for outcome in outcomes.values())
        rows.append([solver, f"{solved}/{len(names)}", *(short(median(column)) for column in columns)])
    told = f"medians over the {len(everyone)} that all solve"
    title = f"n = {SIZE}, to a gradient norm of {TOLERANCE:g} in {LIMIT:g} s; {told}"
    show(title, ["solver", "solved", "gradients", "Hessian products", "seconds"], rows)
    for solver in SOLVERS:
        failed = [name for name in names if not found[name][solver].solved]
        higher = [name for name in names if found[name][solver].solved and worse(found[name], solver)]
        say(f"{solver}: not solved {', '.join(failed) or 'none'}; higher minimum {', '.join(higher) or 'none'}")


def made(make: type[SeparableProblem]) -> SeparableProblem:
    """The function with about SIZE variables."""
    return make(n=SIZE - SIZE % make.multiple)


def worse(outcomes: dict[str, Outcome], solver: str) -> bool:
    """Whether another solver found a clearly lower minimum."""
    best = min(outcome.value for outcome in outcomes.values() if outcome.solved)
    return outcomes[solver].value > best + 1e-3 * max(1.0, abs(best))
