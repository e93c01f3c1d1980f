"""Partitioned secant curvature in TR2 beside L-BFGS-B of scipy: iterations at n = 1000, CPU seconds at n = 10 000.

A run is solved when no entry of ∇f exceeds 1e-6, within the limit. scipy gets value and gradient by one call of the same code, m = 10,
and its own tests never stop it. Ratios are those of L-BFGS-B to ours: above 1 ours needed fewer. CPU seconds of one
thread (``time.process_time``), so that the load of the machine does not count.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

import multilevel_opt as mlo
import problems.separable as gallery
from benchmarks.measure import say, short, show
from problems.separable import SeparableProblem

TOLERANCE = 1e-6
LIMIT = 60.0  # CPU seconds for a run
NAMES = (
    "Arwhead",
    "Bdqrtic",
    "BroydenTridiagonal",
    "ChainedPowell",
    "ChainedRosenbrock",
    "ChainedWood",
    "Cragglvy",
    "Dixmaan",
    "Edensch",
    "Engval1",
)
OURS = ("plbfgs", "plsr1", "plse", "pbfgs", "psr1", "pse")

Array = npt.NDArray[np.float64]


class Ended(Exception):
    """The gradient is small, or the time is over."""


@dataclass(frozen=True)
class Outcome:
    iterations: float
    seconds: float
    value: float


def theirs(f: mlo.PartiallySeparable, x0: torch.Tensor) -> Outcome:
    started, norms, values, iterations = time.process_time(), [inf], [inf], [0]

    def both(x: Array) -> tuple[float, Array]:
        model = f.expand(torch.as_tensor(x), 1)
        norms.append(float(model.gradient.abs().max()))
        values.append(float(model.value))
        if norms[-1] <= TOLERANCE or time.process_time() - started > LIMIT:
            raise Ended
        return values[-1], model.gradient.numpy()

    def counted(x: Array) -> None:
        iterations[0] += 1

    options = {"gtol": 0.0, "ftol": 0.0, "maxiter": 10**7, "maxfun": 10**7}
    with contextlib.suppress(Ended):
        scipy.optimize.minimize(both, x0.numpy(), jac=True, method="L-BFGS-B", callback=counted, options=options)
    seconds = time.process_time() - started
    solved = norms[-1] <= TOLERANCE
    return Outcome(iterations[0] + 1 if solved else inf, seconds if solved else inf, values[-1])


def ours(f: mlo.PartiallySeparable, x0: torch.Tensor, curvature: str) -> Outcome:
    started = time.process_time()
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[curvature])
    stop = mlo.GradientNorm(TOLERANCE, inf) | mlo.MaxSeconds(LIMIT) | mlo.MaxIterations(50_000)
    found = mlo.minimize(f, x0, solver, stop=stop)
    seconds = time.process_time() - started
    return Outcome(len(found.history) if found.success else inf, seconds if found.success else inf, found.fun)


def run(seeds: Sequence[int]) -> None:
    compare(1000, NAMES, OURS)
    compare(10_000, NAMES, OURS)


def compare(size: int, names: Sequence[str], curvatures: Sequence[str]) -> None:
    rows, fewer, faster = [], dict.fromkeys(curvatures, 0), dict.fromkeys(curvatures, 0)
    for name in names:
        make: type[SeparableProblem] = getattr(gallery, name)
        problem = make(n=size - size % make.multiple)
        f = mlo.PartiallySeparable(problem.elements(), problem.n)
        base = theirs(f, problem.x0)
        row = [name, f"{short(base.iterations)}; {short(base.seconds)}"]
        for curvature in curvatures:
            fresh = mlo.PartiallySeparable(problem.elements(), problem.n)  # patterns are compiled in every run
            found = ours(fresh, problem.x0, curvature)
            higher = "*" if found.value > base.value + 1e-3 * max(1.0, abs(base.value)) else ""
            ratios = ratio(base.iterations, found.iterations), ratio(base.seconds, found.seconds)
            row.append(f"{short(found.iterations)} ({short(ratios[0])}); {short(ratios[1])}{higher}")
            fewer[curvature] += ratios[0] > 1
            faster[curvature] += ratios[1] > 1
        rows.append(row)
    columns = ["problem", "L-BFGS-B: iterations; seconds", *(f"{c}: iterations (ratio); ratio of seconds" for c in curvatures)]
    show(f"n = {size}, until no entry of the gradient exceeds {TOLERANCE:g}; * a higher minimum", columns, rows)
    say("fewer iterations: " + ", ".join(f"{c} {k}/{len(names)}" for c, k in fewer.items()))
    say("fewer CPU seconds: " + ", ".join(f"{c} {k}/{len(names)}" for c, k in faster.items()))


def ratio(theirs: float, ours: float) -> float:
    return 0.0 if ours == inf else theirs / ours
