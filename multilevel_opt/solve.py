"""From a problem and the name of a method to a result and its record: what the command line calls.

A method is a line of ``METHODS``: a solver and how its hierarchy is built.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from multilevel_opt import build
from multilevel_opt.api import Callback, minimize, start_point, within_memory
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.result import Event, Result
from multilevel_opt.stopping import GradientNorm, Loss, MaxIterations, MaxSeconds, Metric, Stop
from multilevel_opt.subproblem import DampedLeastSquares
from multilevel_opt.variants import AR1, AR2, LM, RLM, TR1, TR2

SCHEMA = 1


class Problem(Protocol):
    """What a problem offers; ``PDEProblem`` is one, a user's own class may be another.

    Attributes:
        objective: the function to minimize.
        x0: start point, shape (n,).
        metrics: error measures of x by name; may be empty.
        parameters: what defines the problem, as plain values.
    """

    @property
    def objective(self) -> Objective: ...
    @property
    def x0(self) -> Tensor: ...
    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Method:
    """A solver and its hierarchy.

    Attributes:
        solver: the configuration.
        build: (objective, x0, levels, seed) -> hierarchy, by coarsening; the first is the default. Empty for
            single-level methods.
        summary: one line for the command line.
        levels: default number of levels.
    """

    solver: Multilevel
    summary: str
    build: Mapping[str, Callable[[Any, Tensor, int, int], Hierarchy]] | None = None
    levels: int = 1


METHODS: dict[str, Method] = {
    "lm": Method(LM, "Levenberg-Marquardt on one level, delayed gratification"),
    "lm-published": Method(
        LM.replace(globalization=RLM.globalization), "Levenberg-Marquardt on one level, gain ratio, published constants"
    ),
    "lm-geodesic": Method(
        LM.replace(subproblem=DampedLeastSquares(geodesic=True)), "Levenberg-Marquardt with geodesic acceleration"
    ),
    "rlm": Method(
        RLM,
        "published recursive Levenberg-Marquardt: smaller networks by AMG, first-order coherence",
        {"amg": partial(build.amg_coarsening, model="network")},
        2,
    ),
    "galerkin": Method(
        LM,
        "Levenberg-Marquardt with Galerkin levels f(x + P s), coherent to every order",
        {
            "subnetwork": build.subnetwork_coarsening,
            "amg": partial(build.amg_coarsening, model="galerkin"),
            "random": build.random_coarsening,
        },
        2,
    ),
    "ar1": Method(AR1, "first order, quadratic regularization"),
    "ar2": Method(AR2, "second order, cubic regularization (ARC)"),
    "tr1": Method(TR1, "first order, trust region"),
    "tr2": Method(TR2, "second order, trust region (Steihaug)"),
}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        result: of the solver.
        hierarchy: that was used.
        record: the JSON object that describes the run (docs/reference.md, "Result format").
    """

    result: Result
    hierarchy: Hierarchy
    record: dict[str, Any]


def solve(
    problem: Problem,
    method: str = "lm",
    *,
    name: str | None = None,
    levels: int | None = None,
    coarsening: str | None = None,
    until: Mapping[str, float] | None = None,
    max_iterations: int = 1000,
    max_seconds: float | None = None,
    memory: float | None = None,
    callback: Callback | None = None,
    listener: Callable[[Event], None] | None = None,
    announce: Callable[[Hierarchy], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Run:
    """Solve a problem by a method of the table.

    Args:
        problem: see ``Problem``.
        method: a key of ``METHODS``.
        name: of the problem, for the record.
        levels: number of levels; None for the method's default.
        coarsening: a key of the method's ``build``; None for its first.
        until: targets by name: "loss", "gradient_norm", or a metric of the problem; the first one reached stops.
        max_iterations: limit of iterations of the finest level.
        max_seconds: limit of seconds of solving.
        memory: budget in bytes for dense linear algebra.
        callback: as for ``minimize``.
        listener: as for ``minimize``.
        checkpoint: as for ``minimize``.
        resume: as for ``minimize``.
        announce: called with the hierarchy before the first iteration.

    Returns:
        Result, hierarchy and record.

    Raises:
        InputError: unknown method, coarsening or target, or bad start point; one sentence.
    """
    chosen, n_levels, make = method_of(method, levels, coarsening)
    x0 = start_point(problem.x0)
    stop = stop_rule(until or {}, problem.metrics, max_iterations, max_seconds)
    started = time.perf_counter()
    objective = problem.objective
    if isinstance(objective, LeastSquares):
        objective = within_memory(objective, x0, memory)
    hierarchy = make(objective, x0, n_levels, int(problem.parameters.get("seed", 0) or 0))
    setup = time.perf_counter() - started
    if announce is not None:
        announce(hierarchy)
    result = minimize(
        objective,
        x0,
        chosen.solver,
        hierarchy=hierarchy,
        stop=stop,
        callback=callback,
        listener=listener,
        monitors=problem.metrics,
        checkpoint=checkpoint,
        resume=resume,
    )
    record = _record(problem, name or type(problem).__name__.lower(), method, result, setup, until or {})
    return Run(result, hierarchy, record | _described(hierarchy))


def method_of(
    method: str, levels: int | None, coarsening: str | None
) -> tuple[Method, int, Callable[[Any, Tensor, int, int], Hierarchy]]:
    """The line of ``METHODS``, the number of levels and the builder; raises ``InputError`` for what does not fit."""
    chosen = METHODS.get(method)
    if chosen is None:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    n_levels = chosen.levels if levels is None else levels
    if n_levels < 1:
        raise InputError(f"levels={n_levels} is out of range: give 1 or more")
    if chosen.build is None:
        if n_levels > 1 or coarsening is not None:
            several = ", ".join(key for key, other in METHODS.items() if other.build is not None)
            raise InputError(f"method {method!r} has one level and no coarsening: use one of {several}")
        return chosen, n_levels, lambda f, x, n, seed: Hierarchy(x.numel())
    kind = coarsening if coarsening is not None else next(iter(chosen.build))
    if kind not in chosen.build:
        raise InputError(f"unknown coarsening {kind!r} for method {method!r}: choose one of {', '.join(chosen.build)}")
    return chosen, n_levels, chosen.build[kind]


def stop_rule(
    until: Mapping[str, float], metrics: Mapping[str, Any], max_iterations: int, max_seconds: float | None
) -> Stop:
    """The stopping rule of targets and limits; raises ``InputError`` for an unknown target or a bad value."""
    fixed: dict[str, Callable[[float], Stop]] = {"loss": Loss, "gradient_norm": GradientNorm}
    rule: Stop = MaxIterations(max_iterations)
    if max_seconds is not None:
        rule = rule | MaxSeconds(max_seconds)
    for target, value in until.items():
        if not (isfinite(value) and value > 0):
            raise InputError(f"target {target}={value} is out of range: give a positive number")
        if target in fixed:
            rule = fixed[target](value) | rule
        elif target in metrics:
            rule = Metric(target, value) | rule
        else:
            known = ", ".join([*fixed, *metrics])
            raise InputError(f"unknown target {target!r}: choose one of {known}")
    return rule if until else GradientNorm(1e-8) | rule


def _record(
    problem: Problem, name: str, method: str, result: Result, setup: float, until: Mapping[str, float]
) -> dict[str, Any]:
    rows = getattr(problem, "n_residuals", None)
    tried, rejected = result.coarse_steps
    counts = {kind: [ledger.counts[kind] for ledger in result.ledgers] for kind in result.ledgers[0].counts}
    return {
        "schema": SCHEMA,
        "problem": name,
        "parameters": dict(problem.parameters),
        "method": method,
        "levels": len(result.sizes),
        "seed": problem.parameters.get("seed"),
        "status": result.status.name.lower(),
        "message": result.message,
        "converged": result.success,
        "target": dict(until),
        "iterations": result.nit,
        "iterations_per_level": list(result.iterations_per_level),
        "trials": sum(event.trials for event in result.history if event.level == 0),
        "coarse_steps": tried,
        "coarse_steps_rejected": rejected,
        "evaluations": counts,
        "flops": result.flops,
        "flops_per_level": [ledger.flops for ledger in result.ledgers],
        "seconds": result.seconds,
        "seconds_setup": setup,
        "loss": result.fun,
        "gradient_norm": float(result.grad.norm()),
        **{key: result.metrics.get(key) for key in ("rmse", "relative_l2")},
        "n_parameters": result.sizes[0],
        "n_residuals": rows,
        "level_parameters": list(result.sizes),
        "level_residuals": [rows] * len(result.sizes),
        "linear_algebra": result.linear_algebra,
        "device": str(result.x.device),
        "dtype": str(result.x.dtype).removeprefix("torch."),
        "peak_memory_bytes": _peak_memory(result.x.device),
        "versions": _versions(),
    }


def _described(hierarchy: Hierarchy) -> dict[str, Any]:
    """What a record says of the hierarchy beside its sizes."""
    return {
        "level_kinds": ["the objective", *(level.kind for level in hierarchy)],
        "level_nnz": [None, *(level.nnz for level in hierarchy)],
        "notes": list(hierarchy.notes),
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("multilevel-opt", "torch", "numpy", "scipy", "pyamg"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
