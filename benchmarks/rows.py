"""Row levels: rows added where the finest level overfits, and coarse levels in single precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from benchmarks.measure import say
from multilevel_opt.pde import PDEProblem
from multilevel_opt.solve import solve
from problems.burgers import Burgers
from problems.helmholtz import Helmholtz
from problems.kovasznay import Kovasznay

Make = Callable[..., PDEProblem]
FEW: Mapping[str, Make] = {
    "helmholtz dim=2 a1=1 a2=4 depth=2 points=300": lambda **k: Helmholtz(dim=2, a1=1, a2=4, depth=2, points=300, **k),
    "burgers points=300": lambda **k: Burgers(points=300, **k),
    "kovasznay points=100": lambda **k: Kovasznay(points=100, **k),
}
MANY: Mapping[str, tuple[Make, tuple[float, ...]]] = {
    "helmholtz dim=2 a1=1 a2=4 depth=2 points=4000": (
        lambda **k: Helmholtz(dim=2, a1=1, a2=4, depth=2, points=4000, **k),
        (1e-3, 1e-4, 1e-5),
    ),
    "kovasznay points=3000": (lambda **k: Kovasznay(points=3000, **k), (1e-3, 1e-4, 1e-5)),
    "burgers points=4000": (lambda **k: Burgers(points=4000, **k), (1e-2, 1e-3, 1e-4)),
}
ITERATIONS, TARGET, SECONDS = 150, 1e-5, 40.0


def run(seeds: Sequence[int]) -> None:
    """Both tables."""
    refinement(seeds[:3])
    precision(seeds[:1])


def refinement(seeds: Sequence[int]) -> None:
    """Relative errors after 150 iterations of the finest level at most, without and with rows added."""
    say("problem, seed: relative error and CPU seconds without added rows; with them, how often they were added")
    for name, make in FEW.items():
        for seed in seeds:
            told = []
            for refine in (0, 4):
                started = time.process_time()
                options: dict[str, Any] = {"cycle": {"refine": refine}, "max_iterations": ITERATIONS}
                done = solve(make(seed=seed), "rows", until={"relative_l2": TARGET}, **options)
                often = sum("rows added" in event.note for event in done.result.history)
                told.append(f"{done.record['relative_l2']:.1e} {time.process_time() - started:.1f} s ({often})")
            say(f"{name}, {seed}: {'; '.join(told)}")


class _Late(Exception):
    """The seconds are over."""


class _Stamps:
    """CPU seconds at which errors were first met, on whatever level."""

    def __init__(self, errors: Sequence[float]) -> None:
        self._errors, self._started = errors, time.process_time()
        self.met: dict[float, float] = {}

    def watch(self, problem: PDEProblem, x: Tensor) -> PDEProblem:
        """The problem with a watched error, starting at x."""
        error = problem.metrics["relative_l2"]

        def watched(at: Tensor) -> float:
            value, spent = error(at), time.process_time() - self._started
            for wanted in self._errors:
                if value <= wanted:
                    self.met.setdefault(wanted, round(spent, 1))
            if spent > SECONDS:
                raise _Late
            return value

        vars(problem).update(metrics={**problem.metrics, "relative_l2": watched}, x0=x)
        return problem


def precision(seeds: Sequence[int]) -> None:
    """CPU seconds to errors: all in float64, and nested iteration in float32 first."""
    for name, (make, errors) in MANY.items():
        for seed in seeds:
            for single in (False, True):
                stamps = _Stamps(errors)
                with suppress(_Late):
                    _climbed(make, seed, single, errors[-1], stamps)
                say(f"{name}, {seed}, {'float32 first' if single else 'float64'}: {stamps.met}")


def _climbed(make: Make, seed: int, single: bool, target: float, stamps: _Stamps) -> None:
    x = make(seed=seed).x0
    until, cycle = {"relative_l2": target}, {"refine": 0}
    if single:
        coarse = stamps.watch(make(seed=seed, dtype="float32"), x.float())
        x = solve(coarse, "rows", until=until, cycle=cycle, max_iterations=0).result.x.to(x.dtype)
    solve(stamps.watch(make(seed=seed), x), "rows", until=until, cycle=cycle)
