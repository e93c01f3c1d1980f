"""CPU seconds to an error on the differential equations of the gallery, with defaults and changed coefficients.

Every seed changes the coefficient of a problem by up to five per cent, so that nothing is known in advance. The
factorization of a matrix of order 2000, timed beside every run, tells how fast the machine was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

import multilevel_opt as mlo
from benchmarks.measure import say, show, spread
from multilevel_opt.registry import load

METHODS = ("auto",)
CHANGE = 0.05
ORDER = 2000
HEADER = ("problem", "target", "within s", "reached", "seconds", "best error", "in factorizations", "worst/median")

Found = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """A problem, the coefficient that every seed changes, and the error that is asked for.

    Attributes:
        problem: its name.
        target: of the metric.
        limit: seconds.
        changed: the coefficient; empty for none.
        parameters: of the problem.
        metric: its name.
    """

    problem: str
    target: float
    limit: float
    changed: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "relative_l2"

    def title(self) -> str:
        return " ".join([self.problem, *(f"{key}={value}" for key, value in self.parameters.items())])


TASKS = (
    Task("poisson", 1e-6, 3, "nu", {"nu": 20.0}),
    Task("poisson", 1e-6, 3, "nu", {"nu": 25.0}),
    Task("poisson", 1e-6, 3, "nu", {"nu": 60.0}),
    Task("helmholtz", 1e-6, 3, "nu", {"nu": 5.0}),
    Task("helmholtz", 1e-6, 3, "nu", {"nu": 20.0}),
    Task("poisson", 1e-7, 20, "", {"dim": 2, "k": 1}),
    Task("poisson", 1e-7, 20, "", {"dim": 2, "k": 2}),
    Task("poisson", 1e-3, 180, "", {"dim": 3}),
    Task("poisson", 1e-4, 120, "", {"dim": 5}),
    Task("helmholtz", 1e-6, 20, "wavenumber", {"dim": 2, "wavenumber": 1.0}),
    Task("helmholtz", 1e-4, 60, "wavenumber", {"dim": 2, "a1": 6.0, "a2": 6.0, "wavenumber": 1.0}),
    Task("helmholtz", 1e-5, 120, "contrast", {"dim": 2, "contrast": 0.5}),
    Task("multiscale-poisson", 1e-4, 120),
    Task("pendulum", 1e-3, 180, "omega", {"omega": 4.0}),
    Task("liouville", 1e-3, 180, "c", {"c": 1.0}),
    Task("heat", 1e-3, 180, "a", {"a": 0.1}),
    Task("wave", 1e-4, 120),
    Task("convection", 5e-4, 120, "beta", {"beta": 30.0}),
    Task("convection", 5e-4, 120, "beta", {"beta": 40.0}),
    Task("reaction", 1e-4, 120, "rho", {"rho": 5.0}),
    Task("burgers", 1e-4, 120, "viscosity", {"viscosity": 0.01 / torch.pi}),
    Task("allen-cahn", 1e-3, 300, "diffusion", {"diffusion": 1e-4}),
    Task("kdv", 1e-3, 180, "fast", {"fast": 6.0}),
    Task("poisson-holes", 1e-4, 60, "radius", {"radius": 0.2}),
    Task("poisson-lshape", 1e-3, 180, "singular", {"singular": 1.0}),
    Task("kovasznay", 1e-5, 120, "reynolds", {"reynolds": 40.0}),
    Task("cavity", 5e-3, 180, "", {"reynolds": 100.0}),
    Task("burgers-inverse", 1e-2, 120, "viscosity", {"viscosity": 0.01 / torch.pi}, "viscosity_error"),
    Task("burgers-inverse", 5e-2, 120, "viscosity", {"viscosity": 0.01 / torch.pi, "noise": 0.01}, "viscosity_error"),
    Task("conductivity-inverse", 1e-2, 120, "", {}, "conductivity_error"),
    Task("conductivity-inverse", 5e-2, 120, "", {"noise": 0.01}, "conductivity_error"),
)


def run(seeds: Sequence[int], methods: Sequence[str] = (), only: Sequence[str] = ()) -> None:
    say(f"threads: {torch.get_num_threads()}; every seed changes the coefficients by up to {CHANGE:.0%}")
    for method in methods or METHODS:
        runs = {task: [solved(task, method, seed) for seed in seeds] for task in asked(only)}
        title = f"{method}, {len(seeds)} seeds; median [min, max]"
        show(title, HEADER, [row(task, found) for task, found in runs.items()])
        say(f"{method}: {counted([f for found in runs.values() for f in found])}")


def asked(only: Sequence[str], tasks: Sequence[Task] = TASKS) -> list[Task]:
    """The tasks whose titles have all words of one of these: ``helmholtz``, ``helmholtz dim=2``; all for none."""
    chosen = [task for task in tasks if not only or any({*words.split()} <= {*task.title().split()} for words in only)]
    if not chosen:
        raise SystemExit(f"no task is called {' or '.join(only)}: {', '.join(task.title() for task in tasks)}")
    return chosen


def counted(found: Sequence[Found]) -> str:
    """How many pairs of problem and seed reached their target in time."""
    reached = sum(f["reached"] for f in found)
    return f"{reached} of {len(found)} pairs (problem, seed) reached their target in time, {reached / len(found):.0%}"


def row(task: Task, found: Sequence[Found]) -> list[str]:
    reached = [f for f in found if f["reached"]]
    seconds = [f["seconds"] for f in reached]
    cells = [task.title(), f"{task.target:g}", f"{task.limit:g}", f"{len(reached)}/{len(found)}", spread(seconds)]
    worst = f"{max(seconds) / median(seconds):.1f}" if seconds else "-"
    return [*cells, spread(f["error"] for f in found), spread(f["seconds"] / f["unit"] for f in reached), worst]


def solved(task: Task, method: str, seed: int) -> Found:
    """One run: whether it reached the target in time, its CPU seconds with set-up, the error, and the unit of time."""
    unit = factorization()
    started = time.process_time()
    problem = load(task.problem)(**changed(task, seed), seed=seed)
    late = lambda event, x: time.process_time() - started > task.limit  # noqa: E731
    record = mlo.solve(problem, method, until={task.metric: task.target}, max_iterations=5000, callback=late).record
    seconds = time.process_time() - started
    reached = record["converged"] and seconds <= task.limit
    found = {
        "reached": reached,
        "seconds": seconds,
        "error": {**record, **record["metrics"]}[task.metric],
        "unit": unit,
    }
    say(f"  {method} {task.title()} seed {seed}: {record['status']}, {seconds:.1f} s, {found['error']:.2e}")
    return found


def changed(task: Task, seed: int) -> dict[str, Any]:
    """The parameters with the coefficient of this seed."""
    factor = 1 + CHANGE * random.Random(seed).uniform(-1, 1)
    return {key: value * factor if key == task.changed else value for key, value in task.parameters.items()}


def factorization() -> float:
    """Median seconds of a Cholesky factorization of order 2000, float64."""
    matrix = torch.eye(ORDER, dtype=torch.float64).mul_(ORDER).add_(1.0)
    taken = []
    for _ in range(4):
        started = time.process_time()
        torch.linalg.cholesky(matrix)
        taken.append(time.process_time() - started)
    return median(taken[1:])
