"""Partitioned secant curvature in TR2 beside L-BFGS-B of scipy: iterations at n = 1000, CPU seconds at n = 10 000.

A run is solved when no entry of ∇f exceeds 1e-6, within the limit. scipy gets value and gradient by one call of the
same code, m = 10, and its own tests never stop it. Ratios are those of L-BFGS-B to ours: above 1 ours needed fewer. CPU
seconds of one thread (``time.process_time``), so that the load of the machine counts little.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isqrt

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

import multilevel_opt as mlo
import problems.separable as gallery
from benchmarks.measure import say, short, show
from multilevel_opt.stopping import Progress, Stop
from problems.separable import SeparableProblem
from problems.surface_elements import MinimalSurfaceElements

TOLERANCE = 1e-6
LIMITS = {1000: 20.0, 10_000: 5.0}  # CPU seconds for a run
NAMES = (
    "Arwhead",
    "Bdqrtic",
    "BroydenTridiagonal",
    "ChainedPowell",
    "ChainedRosenbrock",
    "Cragglvy",
    "Dixmaan",
    "Edensch",
    "Engval1",
    "MinimalSurface",
)
OURS = ("plbfgs", "plsr1", "plse")

Array = npt.NDArray[np.float64]


class Ended(Exception):
    """The gradient is small, or the time is over."""


@dataclass(frozen=True)
class CPUSeconds(Stop):
    """Ends a run of ours as one of scipy is ended."""

    until: float

    def __call__(self, progress: Progress) -> tuple[mlo.Status, str] | None:
        return (mlo.Status.MAX_SECONDS, "the limit") if time.process_time() > self.until else None


@dataclass(frozen=True)
class Outcome:
    iterations: float
    seconds: float
    value: float


def theirs(f: mlo.PartiallySeparable, x0: torch.Tensor, limit: float) -> Outcome:
    started, norms, values, iterations = time.process_time(), [inf], [inf], [0]

    def both(x: Array) -> tuple[float, Array]:
        model = f.expand(torch.as_tensor(x), 1)
        norms.append(float(model.gradient.abs().max()))
        values.append(float(model.value))
        if norms[-1] <= TOLERANCE or time.process_time() - started > limit:
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


def ours(f: mlo.PartiallySeparable, x0: torch.Tensor, curvature: str, limit: float) -> Outcome:
    started = time.process_time()
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[curvature])
    stop = mlo.GradientNorm(TOLERANCE, inf) | CPUSeconds(started + limit)
    found = mlo.minimize(f, x0, solver, stop=stop)
    seconds = time.process_time() - started
    return Outcome(len(found.history) if found.success else inf, seconds if found.success else inf, found.fun)


def run(seeds: Sequence[int]) -> None:
    for size in LIMITS:
        compare(size, NAMES, OURS)


def made(name: str, size: int) -> tuple[Callable[[], mlo.PartiallySeparable], torch.Tensor]:
    """A function that makes the objective anew, and the start."""
    if name == "MinimalSurface":
        surface = MinimalSurfaceElements(n=isqrt(size))
        return lambda: surface.energy(surface.n), surface.x0
    make: type[SeparableProblem] = getattr(gallery, name)
    problem = make(n=size - size % make.multiple)
    return lambda: mlo.PartiallySeparable(problem.elements(), problem.n), problem.x0


def compare(size: int, names: Sequence[str], curvatures: Sequence[str]) -> None:
    f, x0 = made(names[0], size)
    theirs(f(), x0, LIMITS[size])  # what a process does for the first time is nobody's
    rows, fewer, faster = [], dict.fromkeys(curvatures, 0), dict.fromkeys(curvatures, 0)
    for name in names:
        f, x0 = made(name, size)
        base = theirs(f(), x0, LIMITS[size])
        row = [name, f"{short(base.iterations)}; {short(base.seconds)}"]
        for curvature in curvatures:
            found = ours(f(), x0, curvature, LIMITS[size])  # patterns are compiled in every run
            higher = "*" if found.value > base.value + 1e-3 * max(1.0, abs(base.value)) else ""
            ratios = ratio(base.iterations, found.iterations), ratio(base.seconds, found.seconds)
            row.append(f"{short(found.iterations)} ({short(ratios[0])}); {short(ratios[1])}{higher}")
            fewer[curvature] += ratios[0] > 1
            faster[curvature] += ratios[1] > 1
        rows.append(row)
    columns = [
        "problem",
        "L-BFGS-B: iterations; seconds",
        *(f"{c}: iterations (ratio); ratio of seconds" for c in curvatures),
    ]
    show(f"n = {size}, until no entry of the gradient exceeds {TOLERANCE:g}; * a higher minimum", columns, rows)
    say("fewer iterations: " + ", ".join(f"{c} {k}/{len(names)}" for c, k in fewer.items()))
    say("fewer CPU seconds: " + ", ".join(f"{c} {k}/{len(names)}" for c, k in faster.items()))


def ratio(theirs: float, ours: float) -> float:
    return 0.0 if ours == inf else theirs / ours
