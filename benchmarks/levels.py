"""What levels save: ``lm`` against ``galerkin`` and ``rlm`` on the 1-D Poisson problems of the 2018 talk.

save = flops of lm / flops of the method, both to RMSE 1e-3 from the same start, and the ratio of seconds; beside them
the save against lm with the published damping, with which the published saves of rlm compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import multilevel_opt as mlo
from benchmarks.measure import show, spread
from problems import Poisson

PROBLEMS = ({"nu": 20, "width": 512}, {"nu": 25, "width": 1024})
METHODS = ("lm", "lm-published", "galerkin", "rlm")
TARGET = 1e-3
LIMIT = 120.0  # seconds for a run
HEADER = ("method", "reached", "iterations", "trials", "save", "seconds", "save (published)", "rejected, %")

Record = dict[str, Any]


def run(seeds: Sequence[int]) -> None:
    for options in PROBLEMS:
        records = {name: [solved(options, name, seed) for seed in seeds] for name in METHODS}
        rows = [[name, *row(records["lm"], records["lm-published"], found)] for name, found in records.items()]
        title = f"Poisson {options} init=normal to RMSE {TARGET:g}, {len(seeds)} seeds; median [min, max]"
        show(title, HEADER, rows)


def solved(options: dict[str, Any], method: str, seed: int) -> Record:
    problem = Poisson(init="normal", seed=seed, **options)
    return mlo.solve(problem, method, until={"rmse": TARGET}, max_iterations=3000, max_seconds=LIMIT).record


def row(single: Sequence[Record], published: Sequence[Record], found: Sequence[Record]) -> list[str]:
    rejected = [r["coarse_steps_rejected"] / r["coarse_steps"] for r in found if r["coarse_steps"]]
    return [
        f"{sum(r['converged'] for r in found)}/{len(found)}",
        spread(r["iterations"] for r in found),
        spread(r["trials"] for r in found),
        ratios(single, found, lambda r: r["flops"]),
        ratios(single, found, lambda r: r["seconds"] + r["seconds_setup"]),
        ratios(published, found, lambda r: r["flops"]),
        spread(100 * share for share in rejected),
    ]


def ratios(base: Sequence[Record], found: Sequence[Record], cost: Callable[[Record], float]) -> str:
    """Cost of one method over that of another, on the seeds on which both reached the target."""
    pairs = [(a, b) for a, b in zip(base, found, strict=True) if a["converged"] and b["converged"]]
    return spread(cost(a) / cost(b) for a, b in pairs)
