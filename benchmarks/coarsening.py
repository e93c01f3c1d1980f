"""Coarse spaces of ``galerkin``: save in flops and ratio of seconds against one level, same starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import multilevel_opt as mlo
from benchmarks.measure import show, spread
from problems import Poisson

PROBLEMS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"nu": 20, "width": 512, "init": "normal"}, 1e-3),
    ({"nu": 25, "width": 1024, "init": "normal"}, 1e-3),
    ({"dim": 2, "k": 2, "width": 200}, 1e-3),
    ({"nu": 20, "width": 512}, 1e-6),
)
Build = Callable[[Any, Any, int], mlo.Hierarchy | None]
SPACES: dict[str, Build] = {
    "one level": lambda f, x, seed: None,
    "subnetwork r/16, largest": lambda f, x, seed: mlo.subnetwork(f, x),
    "subnetwork r/8, largest": lambda f, x, seed: mlo.subnetwork(f, x, fraction=8),
    "subnetwork r/16, weighted": lambda f, x, seed: mlo.subnetwork(f, x, rule="weighted", seed=seed),
    "subnetwork, three levels": lambda f, x, seed: mlo.subnetwork(f, x, 3, fraction=8),
    "AMG": lambda f, x, seed: mlo.amg(f, x),
    "random subspace n/16": lambda f, x, seed: mlo.random_subspace(x, seed=seed),
}


def run(seeds: Sequence[int]) -> None:
    for options, target in PROBLEMS:
        found = {name: [solved(options, target, make, seed) for seed in seeds] for name, make in SPACES.items()}
        rows = [[name, *row(found["one level"], results)] for name, results in found.items()]
        title = f"Poisson {options} to RMSE {target:g}, {len(seeds)} seeds; median [min, max]"
        show(title, ("coarse space", "reached", "iterations", "save", "ratio of seconds"), rows)


def row(single: Sequence[mlo.Result], results: Sequence[mlo.Result]) -> list[str]:
    pairs = [(a, b) for a, b in zip(single, results, strict=True) if a.success and b.success]
    return [
        f"{sum(r.success for r in results)}/{len(results)}",
        spread(r.nit for r in results if r.success),
        spread(a.flops / b.flops for a, b in pairs),
        spread(a.seconds / b.seconds for a, b in pairs),
    ]


def solved(options: dict[str, Any], target: float, make: Build, seed: int) -> mlo.Result:
    problem = Poisson(seed=seed, **options)
    stop = mlo.Metric("rmse", target) | mlo.MaxIterations(1000) | mlo.MaxSeconds(20)
    hierarchy = make(problem.objective, problem.x0, seed)
    return mlo.least_squares(
        problem.residual, problem.x0, mlo.LM, hierarchy=hierarchy, stop=stop, monitors=problem.metrics
    )
