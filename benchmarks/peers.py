"""``LM`` beside scipy's ``least_squares``: same residual, same Jacobian, same start, to the same RMSE."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import show, spread
from problems import Poisson

TARGET = 1e-4
LIMIT = 60.0  # seconds for a run
PEERS = ("trf", "lm")

Array = npt.NDArray[np.float64]


class Reached(Exception):
    """The target or the time limit was reached."""


class Watched:
    """The residual and its Jacobian for scipy; stops it at the target, with the clock stopped while it looks."""

    def __init__(self, problem: Poisson) -> None:
        self.problem = problem
        self.jacobians = self.residuals = 0
        self.rmse = float("inf")
        self.started, self.watching = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.watching

    def residual(self, x: Array) -> Array:
        self.residuals += 1
        return self.problem.objective.residuals(_tensor(x)).numpy()

    def jacobian(self, x: Array) -> Array:
        looked = time.perf_counter()
        self.rmse = self.problem.metrics["rmse"](_tensor(x))
        self.watching += time.perf_counter() - looked
        if self.rmse <= TARGET or self.seconds > LIMIT:
            raise Reached
        self.jacobians += 1
        return self.problem.residual.linearize(_tensor(x))[1].numpy()


def run(seeds: Sequence[int]) -> None:
    problems = [Poisson(dim=2, k=2, width=60, points="20x20", seed=seed) for seed in seeds]
    rows = [["multilevel_opt LM", *summary([ours(problem) for problem in problems])]]
    rows += [[f"scipy {name}", *summary([theirs(problem, name) for problem in problems])] for name in PEERS]
    m, n = problems[0].n_residuals, problems[0].x0.numel()
    title = f"2-D Poisson, m = {m}, n = {n}, to RMSE {TARGET:g}, {len(seeds)} seeds; median [min, max]"
    show(title, ["solver", "reached", "Jacobians", "residuals", "seconds"], rows)


def ours(problem: Poisson) -> tuple[float, int, int, float]:
    stop = mlo.Metric("rmse", TARGET) | mlo.MaxSeconds(LIMIT) | mlo.MaxIterations(5000)
    out = mlo.least_squares(problem.objective, problem.x0, mlo.LM, stop=stop, monitors=problem.metrics)
    return out.metrics["rmse"], out.njev, out.nfev, out.seconds


def theirs(problem: Poisson, method: str) -> tuple[float, int, int, float]:
    watched = Watched(problem)
    options: dict[str, Any] = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 5000}
    with contextlib.suppress(Reached):
        scipy.optimize.least_squares(
            watched.residual, problem.x0.numpy(), watched.jacobian, method=method, x_scale=1.0, **options
        )
    return watched.rmse, watched.jacobians, watched.residuals, watched.seconds


def summary(runs: Sequence[tuple[float, int, int, float]]) -> list[str]:
    reached = sum(rmse <= TARGET for rmse, *_ in runs)
    return [f"{reached}/{len(runs)}", *(spread(column) for column in list(zip(*runs, strict=True))[1:])]


def _tensor(x: Array) -> Tensor:
    return torch.as_tensor(x.copy())
