"""The Moré–Garbow–Hillstrom problems: our solvers beside scipy's and pytorch-minimize's, with the same derivatives.

Solved: the largest entry of the gradient of Σ r² is at most 1e-6, or Σ r² is a known global minimum to five digits.
Evaluations are those of the function (of the residual for least squares) at the first iterate where that holds. From
the standard starts, from starts moved by 1 % (one set for each seed), and from ten times the standard starts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

import multilevel_opt as mlo
from benchmarks.measure import say, show
from problems.more_garbow_hillstrom import MGH, NAMES

TOLERANCE = 1e-6
LIMIT = 1000  # iterations
SECONDS = 20.0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What a solver did on a problem: whether it solved it, evaluations and iterations until then, seconds."""

    solved: bool
    evaluations: int
    iterations: int
    seconds: float


class Reached(Exception):
    """The criterion holds, or the time is up."""


class Watched:
    """Σ r² with its derivatives for other software, which is stopped when the criterion holds."""

    def __init__(self, problem: MGH) -> None:
        self.problem, self.f, self.target = problem, problem.sum_of_squares, lowest(problem)
        self.evaluations = self.iterations = 0
        self.solved = False
        self.started = time.perf_counter()

    def value(self, x: Array) -> float:
        self.evaluations += 1
        return float(self.f(torch.as_tensor(x.copy())))

    def gradient(self, x: Array) -> Array:
        model = self.f.expand(torch.as_tensor(x.copy()), 1)
        return self.watch(float(model.value), model.gradient.numpy())

    def watch(self, value: float, gradient: Array) -> Array:
        self.solved = bool(np.abs(gradient).max() <= TOLERANCE or value <= self.target)
        if self.solved or time.perf_counter() - self.started > SECONDS:
            raise Reached
        self.iterations += 1
        return gradient

    def hessian(self, x: Array) -> Array:
        return self.f.expand(torch.as_tensor(x.copy()), 2).hessian().numpy()

    def product(self, x: Array, v: Array) -> Array:
        return self.f.expand(torch.as_tensor(x.copy()), 2).forms[1](torch.as_tensor(v.copy())).numpy()

    def residual(self, x: Array) -> Array:
        self.evaluations += 1
        return self.problem.objective.residuals(torch.as_tensor(x.copy())).numpy()

    def jacobian(self, x: Array) -> Array:
        r, jacobian = (t.numpy() for t in self.problem.objective.jacobian(torch.as_tensor(x.copy())))
        self.watch(float(r @ r), 2 * jacobian.T @ r)
        return jacobian


def lowest(problem: MGH) -> float:
    """Σ r² at the known global minimum, to five digits."""
    return problem.minima[0] * (1 + 1e-5) + 1e-14 if problem.minima else -inf


def ours(solver: mlo.Multilevel, squares: bool = False) -> Callable[[MGH], Found]:
    """One of our solvers; ``squares``: on ½Σ r² with its residual, to the same criterion."""
    factor = 0.5 if squares else 1.0

    def run(problem: MGH) -> Found:
        f = problem.objective if squares else problem.sum_of_squares
        stop = mlo.GradientNorm(factor * TOLERANCE, inf) | mlo.Loss(factor * lowest(problem))
        limits = mlo.MaxIterations(LIMIT) | mlo.MaxSeconds(SECONDS)
        try:
            out = mlo.minimize(f, problem.x0, solver, stop=stop | limits)
        except mlo.NonFiniteError:
            return Found(False, 1, 0, 0.0)
        return Found(out.success, out.nfev + 1, out.nit, out.seconds)

    return run


def scipys(method: str) -> Callable[[MGH], Found]:
    """A method of ``scipy.optimize.minimize`` with tolerances that leave the end to the criterion."""
    needs = {"Newton-CG": "product", "trust-ncg": "product", "trust-krylov": "product", "trust-exact": "hessian"}
    options: dict[str, Any] = {"BFGS": {"gtol": 1e-12}, "L-BFGS-B": {"gtol": 1e-12, "ftol": 0.0, "maxfun": 100000}}
    options["Newton-CG"] = {"xtol": 1e-14}

    def call(watched: Watched) -> None:
        second = {"product": {"hessp": watched.product}, "hessian": {"hess": watched.hessian}}
        scipy.optimize.minimize(
            watched.value,
            watched.problem.x0.numpy(),
            jac=watched.gradient,
            method=method,
            options={"maxiter": LIMIT, **options.get(method, {"gtol": 1e-12})},
            **second.get(needs.get(method, ""), {}),
        )

    return lambda problem: watched_run(problem, call)


def scipy_least_squares(method: str) -> Callable[[MGH], Found]:
    """A method of ``scipy.optimize.least_squares``."""

    def call(watched: Watched) -> None:
        tolerances = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": LIMIT}
        start = watched.problem.x0.numpy()
        scipy.optimize.least_squares(watched.residual, start, watched.jacobian, method=method, **tolerances)

    return lambda problem: watched_run(problem, call)


def watched_run(problem: MGH, call: Callable[[Watched], None]) -> Found:
    watched = Watched(problem)
    with contextlib.suppress(Reached, ValueError, ArithmeticError), np.errstate(all="ignore"):
        call(watched)
    return Found(watched.solved, watched.evaluations, watched.iterations, time.perf_counter() - watched.started)


def pytorch_minimize(method: str) -> Callable[[MGH], Found] | None:
    """A method of the optional package pytorch-minimize, which counts one evaluation for each iteration."""
    try:
        import torchmin
    except ImportError:
        return None

    def run(problem: MGH) -> Found:
        started = time.perf_counter()

        def function(x: torch.Tensor) -> torch.Tensor:
            return problem.definition.residual(x).square().sum()

        try:
            out = torchmin.minimize(function, problem.x0, method=method, max_iter=LIMIT, options={"gtol": 1e-6})
        except (RuntimeError, ValueError, AssertionError):
            return Found(False, 0, 0, time.perf_counter() - started)
        gradient = problem.sum_of_squares.expand(out.x.detach(), 1).gradient
        solved = float(gradient.abs().max()) <= TOLERANCE or float(out.fun) <= lowest(problem)
        return Found(solved, int(out.nfev), int(out.nit), time.perf_counter() - started)

    return run


SOLVERS: dict[str, Callable[[MGH], Found] | None] = {
    "AR2": ours(mlo.AR2),
    "AR3": ours(mlo.AR3),
    "TR2": ours(mlo.TR2),
    "LM": ours(mlo.LM, squares=True),
    "lm-short": ours(mlo.METHODS["lm-short"].solver, squares=True),
    **{name: ours(mlo.METHODS[name].solver) for name in ("ar2-gain", "ar3-gain", "ar3-prerejection")},
    **{name: ours(mlo.METHODS[name].solver) for name in ("tr2-gltr", "tr2-steihaug")},
    **{f"scipy {name}": scipys(name) for name in ("BFGS", "L-BFGS-B", "Newton-CG")},
    **{f"scipy {name}": scipys(name) for name in ("trust-ncg", "trust-krylov", "trust-exact")},
    **{f"scipy {name}": scipy_least_squares(name) for name in ("trf", "lm")},
    "pytorch-minimize trust-exact": pytorch_minimize("trust-exact"),
}


def run(seeds: Sequence[int]) -> None:
    standard = table("standard starts", [MGH(name=name) for name in NAMES], SOLVERS)
    both = [(a, b) for a, b in zip(standard["AR3"], standard["AR2"], strict=True) if a.solved and b.solved]
    fewer = sum(a.iterations < b.iterations for a, b in both)
    say(f"AR3 takes fewer iterations than AR2 on {fewer} of {len(both)} problems that both solve")
    mine = {name: SOLVERS[name] for name in ("AR2", "AR3", "TR2", "LM", "lm-short", "scipy trust-exact")}
    for seed in seeds:
        moved = [MGH(name=name, perturbation=0.01, seed=seed) for name in NAMES]
        table(f"starts moved by 1 %, seed {seed}", moved, mine)
    table("ten times the standard starts", [MGH(name=name, start=10.0) for name in NAMES], mine)


def table(
    title: str, problems: Sequence[MGH], solvers: dict[str, Callable[[MGH], Found] | None]
) -> dict[str, list[Found]]:
    rows, all_found = [], {}
    for name, solver in solvers.items():
        if solver is None:
            rows.append([name, "not installed", "", "", "", ""])
            continue
        found = all_found[name] = [solver(problem) for problem in problems]
        failed = ", ".join(str(p.number) for p, f in zip(problems, found, strict=True) if not f.solved)
        done = [f for f in found if f.solved]
        rows.append(
            [
                name,
                f"{len(done)}/{len(found)}",
                f"{median(f.evaluations if f.solved else 10**6 for f in found):.0f}",
                f"{median(f.iterations for f in done):.0f}",
                f"{sum(f.seconds for f in found):.1f}",
                failed,
            ]
        )
    header = ["solver", "solved", "evaluations (median)", "iterations (median)", "seconds (sum)", "not solved"]
    show(f"Moré-Garbow-Hillstrom, {title}, gradient to {TOLERANCE:g}", header, rows)
    return all_found
