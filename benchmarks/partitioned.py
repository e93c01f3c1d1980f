"""Partitioned secant curvature in TR2 beside L-BFGS-B of scipy: iterations at n = 1000, CPU seconds at n = 10 000.

A run is solved when no entry of ∇f exceeds 1e-6, within the limit. scipy gets value and gradient by one call of the
same code, m = 10, and its own tests never stop it. Ratios are those of L-BFGS-B to ours: above 1 ours needed fewer. CPU
seconds of one thread (``time.process_time``), medians of rounds in which all methods take their turn, so that the load
of the machine counts little. Standard starts, then starts moved by ``NOISE`` times a normal vector of every seed, and
there another size. ``--seeds`` chooses the seeds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isqrt
from statistics import median

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
ROUNDS = {1000: 1, 10_000: 5}  # of a problem; a run that came to its limit is not repeated
NOISE, MOVED, MOVED_LIMIT = 0.1, 5000, 3.0  # of starts that are moved: how far, the size, CPU seconds
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
    f, x0 = made(NAMES[0], min(LIMITS), None)
    theirs(f(), x0, 1.0)  # what a process does for the first time is nobody's
    ours(f(), x0, OURS[0], 1.0)
    for size, limit in LIMITS.items():
        found = {name: measured(name, size, limit, ROUNDS[size]) for name in NAMES}
        told(found, f"n = {size}, until no entry of the gradient exceeds {TOLERANCE:g}; * a higher minimum")
        counted(found, f"n = {size}")
    for seed in seeds:
        counted({name: measured(name, MOVED, MOVED_LIMIT, 1, seed) for name in NAMES}, f"n = {MOVED}, seed {seed}")


def made(name: str, size: int, seed: int | None) -> tuple[Callable[[], mlo.PartiallySeparable], torch.Tensor]:
    """A function that makes the objective anew, and the start, moved where there is a seed."""
    objective: Callable[[], mlo.PartiallySeparable]
    if name == "MinimalSurface":
        surface = MinimalSurfaceElements(n=isqrt(size))
        objective, x0 = (lambda: surface.energy(surface.n)), surface.x0
    else:
        make: type[SeparableProblem] = getattr(gallery, name)
        problem = make(n=size - size % make.multiple)
        objective, x0 = (lambda: mlo.PartiallySeparable(problem.elements(), problem.n)), problem.x0
    if seed is None:
        return objective, x0
    return objective, x0 + NOISE * torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed), dtype=x0.dtype)


def measured(name: str, size: int, limit: float, rounds: int, seed: int | None = None) -> dict[str, Outcome]:
    """What every method needed, seconds as medians of rounds."""
    f, x0 = made(name, size, seed)
    methods: dict[str, Callable[[], Outcome]] = {"L-BFGS-B": lambda: theirs(f(), x0, limit)}
    methods |= {c: partial(lambda c: ours(f(), x0, c, limit), c) for c in OURS}  # patterns are compiled in every run
    found: dict[str, list[Outcome]] = {method: [] for method in methods}
    for _ in range(rounds):
        for method, solve in methods.items():
            if not found[method] or found[method][-1].seconds < inf:
                found[method].append(solve())
    return {m: replace(each[0], seconds=median(o.seconds for o in each)) for m, each in found.items()}


def told(found: dict[str, dict[str, Outcome]], title: str) -> None:
    rows = []
    for name, outcomes in found.items():
        base = outcomes["L-BFGS-B"]
        row = [name, f"{short(base.iterations)}; {short(base.seconds)}"]
        for curvature in OURS:
            one = outcomes[curvature]
            higher = "*" if one.value > base.value + 1e-3 * max(1.0, abs(base.value)) else ""
            iterations, seconds = ratio(base.iterations, one.iterations), ratio(base.seconds, one.seconds)
            row.append(f"{short(one.iterations)} ({short(iterations)}); {short(seconds)}{higher}")
        rows.append(row)
    each = (f"{c}: iterations (ratio); ratio of seconds" for c in OURS)
    show(title, ["problem", "L-BFGS-B: iterations; seconds", *each], rows)


def counted(found: dict[str, dict[str, Outcome]], which: str) -> None:
    """On how many problems ours needed fewer iterations, and fewer seconds."""
    bases = {name: outcomes["L-BFGS-B"] for name, outcomes in found.items()}
    for measure in ("iterations", "seconds"):
        fewer = {
            c: sum(ratio(getattr(bases[name], measure), getattr(found[name][c], measure)) > 1 for name in found)
            for c in OURS
        }
        say(f"{which}: fewer {measure} on " + ", ".join(f"{k} ({c})" for c, k in fewer.items()) + f" of {len(found)}")


def ratio(theirs: float, ours: float) -> float:
    return 0.0 if ours == inf else theirs / ours
