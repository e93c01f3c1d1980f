"""From a problem and the name of a method to a result and its record: what the command line calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from multilevel_opt.api import Callback, minimize, start_point, within_memory
from multilevel_opt.bounds import region
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.methods import METHODS, cycle_of, default_method, method_of, solver_of
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.problem import Problem, completed
from multilevel_opt.record import card_of, record_of
from multilevel_opt.result import Event, Result
from multilevel_opt.stopping import GradientNorm, Loss, MaxIterations, MaxSeconds, Metric, Stop


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

    def _repr_html_(self) -> str:
        """The run as a notebook shows it."""
        return card_of(self.record)


def solve(
    problem: Problem,
    method: str | None = None,
    *,
    name: str | None = None,
    levels: int | None = None,
    coarsening: str | None = None,
    curvature: str | None = None,
    cycle: Mapping[str, float] | None = None,
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
        problem: see ``Problem`` and ``completed``.
        method: a key of ``METHODS``; None: see ``default_method``.
        name: of the problem, for the record.
        levels: number of levels; None for the method's default.
        coarsening: a key of the method's ``build``; None for the first of them that fits the problem.
        curvature: a key of ``variants.CURVATURES``; None for the method's own.
        cycle: options of ``Cycle`` by name, in place of those of the method.
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
        InputError: unknown method, coarsening, curvature or target, or bad start point; one sentence.
    """
    called = name or type(problem).__name__.lower()
    problem = completed(problem)
    method = default_method(problem) if method is None else method
    chosen, n_levels, make = method_of(method, levels, coarsening)
    solver = solver_of(chosen, curvature)
    solver = solver.replace(cycle=cycle_of(solver.cycle, cycle or {}))
    bounds = getattr(problem, "x_bounds", None)
    if solver.curvature.residual and not problem.objective.has_residual:
        others = ", ".join(k for k, other in METHODS.items() if not other.solver.curvature.residual)
        raise UnsupportedCombination(f"method {method!r} needs a residual, and {called} has none: use one of {others}")
    x0 = start_point(problem.x0)
    inside = region(bounds, x0).nearest(x0)
    stop = stop_rule(until or {}, problem.metrics, max_iterations, max_seconds)
    started = time.perf_counter()
    objective = problem.objective
    if isinstance(objective, LeastSquares):
        objective = within_memory(objective, inside, memory)
    hierarchy = make(problem, objective, inside, n_levels, int(problem.parameters.get("seed", 0) or 0))
    setup = time.perf_counter() - started
    if announce is not None:
        announce(hierarchy)
    result = minimize(
        objective,
        x0,
        solver,
        hierarchy=hierarchy,
        bounds=bounds,
        stop=stop,
        callback=callback,
        listener=listener,
        monitors=problem.metrics,
        checkpoint=checkpoint,
        resume=resume,
    )
    kind = solver.curvature.name if solver.order > 1 else None
    return Run(result, hierarchy, record_of(problem, called, method, kind, result, hierarchy, setup, until or {}))


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
