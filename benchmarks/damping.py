"""Damping policies of Levenberg–Marquardt on one level: reached, iterations, trials, seconds.

The default starts from σ₀ = 1e-4 of the mean eigenvalue of JJᵀ. The same starting points for all policies; 1-D
and 2-D Poisson, good (``scaled``) and bad (``normal``) starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import multilevel_opt as mlo
from benchmarks.measure import show, spread
from problems import Poisson

PROBLEMS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"nu": 20, "width": 512}, 1e-6),
    ({"nu": 20, "width": 512, "init": "normal"}, 1e-3),
    ({"nu": 25, "width": 1024, "init": "normal"}, 1e-3),
    ({"dim": 2, "k": 2, "width": 200}, 1e-6),
)
PUBLISHED = {"power": 2, "weight": 0.05, "minimum": 1e-6}
POLICIES: dict[str, mlo.Regularization] = {
    "any decrease, /10 x1.5": mlo.Regularization(power=2, policy=mlo.DelayedGratification(1.5, 10)),
    "any decrease, /4 x1.5": mlo.Regularization(power=2, policy=mlo.DelayedGratification(1.5, 4)),
    "any decrease, /10 x3": mlo.Regularization(power=2, policy=mlo.DelayedGratification(3, 10)),
    "any decrease, /3 x2": mlo.Regularization(power=2, policy=mlo.DelayedGratification(2, 3)),
    "any decrease, error law": mlo.Regularization(power=2, policy=mlo.ErrorLaw()),
    "gain ratio, published": mlo.Regularization(policy=mlo.GainRatio(), **PUBLISHED),
    "gain ratio, relative start": mlo.Regularization(power=2, policy=mlo.GainRatio()),
}
GEODESIC = mlo.LM.replace(subproblem=mlo.DampedLeastSquares(geodesic=True))
SOLVERS = {name: mlo.LM.replace(globalization=value) for name, value in POLICIES.items()}
SOLVERS["any decrease, /10 x1.5, geodesic"] = GEODESIC
STARTS = {f"any decrease, /10 x1.5, start {factor:g}": factor for factor in (1e-2, 1e-3, 1e-5, 1e-6)}


def run(seeds: Sequence[int]) -> None:
    for options, target in PROBLEMS:
        rows = []
        for name in [*SOLVERS, *STARTS]:
            found = [solved(options, target, name, seed) for seed in seeds]
            reached = [r for r in found if r.success]
            rows.append(
                [
                    name,
                    f"{len(reached)}/{len(found)}",
                    spread(r.nit for r in reached),
                    spread(sum(e.trials for e in r.history) for r in reached),
                    spread(r.seconds for r in reached),
                ]
            )
        title = f"Poisson {options} to RMSE {target:g}, {len(seeds)} seeds; median [min, max] of those reached"
        show(title, ("damping", "reached", "iterations", "trials", "seconds"), rows)


def solved(options: dict[str, Any], target: float, name: str, seed: int) -> mlo.Result:
    problem = Poisson(seed=seed, **options)
    solver = SOLVERS[name] if name in SOLVERS else started(problem, STARTS[name])
    stop = mlo.Metric("rmse", target) | mlo.MaxIterations(1000) | mlo.MaxSeconds(20)
    return mlo.least_squares(problem.residual, problem.x0, solver, stop=stop, monitors=problem.metrics)


def started(problem: Poisson, factor: float) -> mlo.Multilevel:
    """The default with σ₀ = ``factor`` times the mean eigenvalue of JJᵀ."""
    _, jacobian = problem.residual.linearize(problem.x0)
    weight = factor * float(jacobian.square().sum()) / min(jacobian.shape)
    return mlo.LM.replace(globalization=mlo.Regularization(power=2, policy=mlo.DelayedGratification(), weight=weight))
