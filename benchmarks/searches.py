"""Long and short searches of the damping, ``lm`` and ``lm-short``: CPU seconds, iterations and trials to an error.

On equations of the gallery, each seed with a changed coefficient or start; then on the Moré–Garbow–Hillstrom problems.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import multilevel_opt as mlo
from benchmarks import mgh
from benchmarks.equations import Found, Task, changed
from benchmarks.measure import say, show, spread
from multilevel_opt.registry import load
from problems.more_garbow_hillstrom import MGH, NAMES

METHODS = ("lm", "lm-short")
SMALL: dict[str, Any] = {"dim": 2, "k": 2, "points": 300, "width": 60}
TASKS = (
    Task("poisson", 1e-6, 8, "nu", {"nu": 20.0}),
    Task("poisson", 1e-3, 8, "nu", {"nu": 20.0, "init": "normal", "width": 256}),
    Task("helmholtz", 1e-6, 8, "nu", {"nu": 5.0}),
    Task("poisson", 1e-4, 8, "", SMALL),
    Task("poisson", 1e-7, 20, "", {"dim": 2, "k": 2}),
    Task("helmholtz", 1e-6, 20, "wavenumber", {"dim": 2, "wavenumber": 1.0}),
)
HEADER = ("method", "reached", "CPU seconds", "iterations", "trials", "seconds, over those of lm")


def run(seeds: Sequence[int]) -> None:
    for task in TASKS:
        found = {method: [solved(task, method, seed) for seed in seeds] for method in METHODS}
        title = f"{task.title()} to {task.target:g}, {len(seeds)} seeds; median [min, max], all seeds"
        show(title, HEADER, [row(method, found) for method in METHODS])
    for title, start in (("standard starts", 1.0), ("ten times the standard starts", 10.0)):
        problems = [MGH(name=name, start=start) for name in NAMES]
        mgh.table(title, problems, {name: mgh.SOLVERS[name] for name in ("LM", "lm-short")})


def row(method: str, found: dict[str, list[Found]]) -> list[str]:
    mine = found[method]
    ratios = [f["seconds"] / base["seconds"] for f, base in zip(mine, found["lm"], strict=True)]
    reached = f"{sum(f['reached'] for f in mine)}/{len(mine)}"
    cells = [spread(f[key] for f in mine) for key in ("seconds", "iterations", "trials")]
    return [method, reached, *cells, f"{median(ratios):.2f}"]


def solved(task: Task, method: str, seed: int) -> Found:
    """One run to the error or the limit of CPU seconds."""
    started, events = time.process_time(), list[mlo.Event]()
    problem = load(task.problem)(**changed(task, seed), seed=seed)
    late = lambda event, x: time.process_time() - started > task.limit  # noqa: E731
    until = {task.metric: task.target}
    run = mlo.solve(problem, method, until=until, max_iterations=5000, callback=late, listener=events.append)
    seconds = time.process_time() - started
    record, trials = run.record, sum(event.trials for event in events)
    say(f"  {method} {task.title()} seed {seed}: {record['status']}, {seconds:.2f} s, {record[task.metric]:.1e}")
    return {
        "reached": record["converged"] and seconds <= task.limit,
        "seconds": seconds,
        "iterations": record["iterations"],
        "trials": trials,
    }
