"""What choosing costs: CPU seconds of ``auto`` beside those of methods that it could have named, to the same error.

The tasks are those of ``equations``, with the coefficient of every seed changed as there. ``auto`` goes first; then
each method has as much time as the median of ``auto`` was, since one that needs more cannot be better, and is left when
half of its seeds have missed the target. The ratio is the median of ``auto`` over the least median of the others: at
most ``BAR`` is asked for. On a cloud of 4000 points, more than 2-D Helmholtz needs, plain ``lm`` should take
``SAFE_BAR`` times as long as ``auto``, and gets twice that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import median

import multilevel_opt as mlo
from benchmarks.equations import TASKS, Task, asked, solved
from benchmarks.measure import say, short, show
from multilevel_opt.auto import AUTO
from multilevel_opt.registry import load

METHODS = ("lm", "lm-short", "lm-features", "rows")
BAR, SAFE_BAR = 1.2, 3.0
FLOOR = 0.05  # seconds
CLOUD = {"dim": 2, "wavenumber": 1.0, "points": 4000}
SAFE = (
    Task("helmholtz", 1e-6, 120, "wavenumber", CLOUD),
    Task("helmholtz", 1e-6, 120, "wavenumber", {**CLOUD, "depth": 2, "width": 26, "activation": "tanh"}),
)


@dataclass(frozen=True)
class Compared:
    """Median seconds by method, infinite where the target was missed, and how long methods other than auto had."""

    task: Task
    seconds: Mapping[str, float]
    limit: float

    @property
    def ratio(self) -> float:
        """Of ``auto`` to the best of the others, or to the time that they had in vain; infinite where auto misses."""
        best = min(taken for name, taken in self.seconds.items() if name != AUTO)
        return self.seconds[AUTO] / min(best, self.limit)

    def row(self) -> list[str]:
        cells = ["-" if taken == inf else short(taken) for taken in self.seconds.values()]
        missed = all(taken == inf for name, taken in self.seconds.items() if name != AUTO)
        return [self.task.title(), f"{self.task.target:g}", *cells, f"{'< ' if missed else ''}{self.ratio:.2f}"]


def run(seeds: Sequence[int], methods: Sequence[str] = (), only: Sequence[str] = ()) -> None:
    """Both tables, for the problems asked for."""
    mlo.solve(load("helmholtz")(dim=2), AUTO, max_iterations=1)  # the first call in a process is the slowest
    tasks, names = asked(only, (*TASKS, *SAFE)), methods or METHODS
    for pool, others, times, bar in ((TASKS, names, 1.0, BAR), (SAFE, ["lm"], 2 * SAFE_BAR, 1 / SAFE_BAR)):
        if not (chosen := [task for task in tasks if task in pool]):
            continue
        found = [compared(task, seeds, others, times) for task in chosen]
        title = f"Median CPU seconds, {len(seeds)} seeds; -: not within {times:g} times those of auto"
        show(title, ["problem", "target", AUTO, *others, "auto / best"], [one.row() for one in found])
        good = sum(one.ratio <= bar for one in found)
        say(f"auto takes at most {bar:.2f} times the best of {', '.join(others)} on {good} of {len(found)} problems")


def compared(task: Task, seeds: Sequence[int], methods: Sequence[str], times: float) -> Compared:
    """The others have ``times`` the median of ``auto``, or the limit of the task where that misses the target."""
    own = middle(task, AUTO, seeds)
    limit = min(task.limit, max(times * own, FLOOR))
    others = {name: middle(replace(task, limit=limit), name, seeds) for name in methods}
    return Compared(task, {AUTO: own} | others, limit)


def middle(task: Task, method: str, seeds: Sequence[int]) -> float:
    """Median seconds to the target, infinite for a run that misses it; no more runs once half of them have."""
    taken: list[float] = []
    for seed in seeds:
        found = solved(task, method, seed)
        taken.append(found["seconds"] if found["reached"] else inf)
        if 2 * taken.count(inf) >= len(seeds):
            return inf
    return median(taken)
