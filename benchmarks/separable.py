"""The test functions of any size, n = 1000: TR2 and AR2 beside trust-ncg and L-BFGS-B of scipy, with equal derivatives.

A run is solved when ‖∇f‖₂ <= 1e-5 within the time limit; scipy's own tests are set so that they do not stop it before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

import multilevel_opt as mlo
import problems.separable as gallery
from benchmarks.measure import say, short, show
from problems.separable import SeparableProblem

TOLERANCE = 1e-5
LIMIT = 10.0  # seconds for a run
SIZE = 1000

Array = npt.NDArray[np.float64]


class Ended(Exception):
    """The gradient is small, or the time is over."""


@dataclass(frozen=True)
class Outcome:
    solved: bool
    value: float
    gradients: int
    products: int
    seconds: float


class Watched:
    """The function for scipy, by the same code as ours; ends the run at the tolerance or at the time limit."""

    def __init__(self, problem: SeparableProblem) -> None:
        self.f = mlo.PartiallySeparable(problem.elements(), problem.n)
        self.gradients = self.products = 0
        self.value = self.norm = float("inf")
        self._at: tuple[Array, mlo.Taylor] | None = None
        self.started = time.perf_counter()

    def model(self, x: Array) -> mlo.Taylor:
        if self._at is None or not np.array_equal(self._at[0], x):
            self._at = x.copy(), self.f.expand(torch.as_tensor(x.copy()), 2)
        return self._at[1]

    def function(self, x: Array) -> float:
        if time.perf_counter() - self.started > LIMIT:
            raise Ended
        return float(self.f(torch.as_tensor(x.copy())))

    def gradient(self, x: Array) -> Array:
        model = self.model(x)
        self.gradients += 1
        norm = float(model.gradient.norm())
        if norm < self.norm:
            self.norm, self.value = norm, float(model.value)
        if norm <= TOLERANCE:
            raise Ended
        return model.gradient.numpy()

    def product(self, x: Array, v: Array) -> Array:
        self.products += 1
        if time.perf_counter() - self.started > LIMIT:
            raise Ended
        return self.model(x).forms[1](torch.as_tensor(v.copy())).numpy()


def scipys(method: str, **options: float) -> Callable[[SeparableProblem], Outcome]:
    def run(problem: SeparableProblem) -> Outcome:
        w = Watched(problem)
        hessp = {"hessp": w.product} if method == "trust-ncg" else {}
        with contextlib.suppress(Ended):
            scipy.optimize.minimize(
                w.function, problem.x0.numpy(), jac=w.gradient, method=method, options=options, **hessp
            )
        seconds = time.perf_counter() - w.started
        return Outcome(w.norm <= TOLERANCE, w.value, w.gradients, w.products, seconds)

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
    "scipy trust-ncg": scipys("trust-ncg", gtol=0.0, maxiter=100_000),
    "scipy L-BFGS-B": scipys("L-BFGS-B", gtol=0.0, ftol=0.0, maxiter=10**6, maxfun=10**6),
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
