"""From a problem and the name of a method to a result and its record: what the command line calls.

A method is in one of two tables, and each table has its way to a result: ``METHODS`` minimizes the objective of a
problem, on one level or several, and ``TRAINERS`` trains on its samples, a mini-batch at a time. ``auto``, the default,
is no method of its own: it chooses one of them (``auto.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multilevel_opt.api import minimize, start_point, within_memory
from multilevel_opt.auto import AUTO, Choice, choose
from multilevel_opt.bounds import region
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.methods import METHODS, cycle_of, method_of, solver_of
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.problem import Problem, completed
from multilevel_opt.record import card_of, record_of, remarked
from multilevel_opt.result import Event, Result
from multilevel_opt.session import Callback
from multilevel_opt.stages import in_stages
from multilevel_opt.stopping import Stop, stop_rule
from multilevel_opt.subproblem import DampedLeastSquares
from multilevel_opt.training import TRAINERS
from multilevel_opt.training.run import Run as TrainingRun
from multilevel_opt.training.run import Watchers


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


@dataclass(frozen=True)
class Request:
    """What is asked of a method, see ``solve``."""

    name: str
    method: str
    levels: int | None = None
    coarsening: str | None = None
    curvature: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    until: Mapping[str, float] = field(default_factory=dict)
    max_iterations: int = 1000
    max_seconds: float | None = None
    memory: float | None = None
    callback: Callback | None = None
    listener: Callable[[Event], None] | None = None
    announce: Callable[[Hierarchy], None] | None = None
    checkpoint: Path | None = None
    resume: bool = False
    choice: Choice | None = None

    def limits(self, problem: Problem) -> tuple[Stop, bool]:
        """The stopping rule of targets and limits, and whether there are targets."""
        rising = getattr(problem, "rising", ())
        return stop_rule(self.until, problem.metrics, self.max_iterations, self.max_seconds, rising), bool(self.until)


@in_stages
def solve(
    problem: Problem,
    method: str | None = None,
    *,
    name: str | None = None,
    levels: int | None = None,
    coarsening: str | None = None,
    curvature: str | None = None,
    cycle: Mapping[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
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
        method: a key of ``METHODS`` or of ``TRAINERS``; None or "auto": what ``auto.choose`` takes for the problem.
        name: of the problem, for the record.
        levels: number of levels; None for the method's default.
        coarsening: a key of the method's ``build``; None for the first of them that fits the problem.
        curvature: a key of ``variants.CURVATURES``; None for the method's own.
        cycle: options of ``Cycle`` by name, in place of those of the method.
        options: options of the method by name: of a trainer such as ``lr``, otherwise the same as ``cycle``.
        until: targets by name: "loss", "gradient_norm", or a metric of the problem; the first one reached stops.
        max_iterations: limit of iterations of the finest level, or of epochs.
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
    problem = completed(problem)
    started = time.perf_counter()
    choice = choose(problem, until, curvature, memory) if method in (None, AUTO) else None
    chosen = str(method) if choice is None else choice.method
    _check(choice, chosen, levels, coarsening, curvature, options or {})
    choosing = time.perf_counter() - started
    request = Request(
        name or type(problem).__name__.lower(),
        chosen,
        levels,
        coarsening,
        curvature,
        {**(cycle or {}), **(options or {})},
        until or {},
        max_iterations,
        max_seconds,
        memory,
        callback,
        listener,
        announce,
        checkpoint,
        resume,
        choice,
    )
    return _told(_trained(problem, request) if chosen in TRAINERS else _begun(problem, request), choice, choosing)


def check_method(
    method: str,
    levels: int | None = None,
    coarsening: str | None = None,
    curvature: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Raises ``InputError`` for a method that does not exist, and for what it does not take.

    What ``auto`` takes is known only when it has chosen.
    """
    if method == AUTO:
        return
    if method not in TRAINERS:
        if method not in METHODS:
            raise InputError(f"unknown method {method!r}: choose one of {', '.join([AUTO, *METHODS, *TRAINERS])}")
        solver = solver_of(method_of(method, levels, coarsening)[0], curvature)
        cycle_of(solver.cycle, options or {})
        return
    given = {"levels": levels, "coarsening": coarsening, "curvature": curvature}
    for name, value in given.items():
        if value not in (None, 1):
            raise InputError(f"method {method!r} trains on one level and takes no {name}={value}: leave it out")
    TRAINERS[method].settings(method, options or {})


def _check(choice: Choice | None, method: str, *given: Any) -> None:
    """``check_method``, which says what was chosen."""
    try:
        check_method(method, *given)
    except InputError as error:
        raise error if choice is None else InputError(f"{choice}; but {error}") from None


def _told(run: Run, choice: Choice | None, seconds: float) -> Run:
    """The run with what was chosen, and the seconds of choosing, in its record."""
    record = run.record | {"seconds_setup": run.record["seconds_setup"] + seconds, "chosen": None}
    if choice is not None:
        notes = [note for note in record["notes"] if note != str(choice)]
        record |= {"method": AUTO, "chosen": choice.told(), "notes": [str(choice), *notes]}
    return replace(run, record=record)


def scalar_of(method: str) -> str:
    """What the scalar in the history of a method is called."""
    return TRAINERS[method].scalar if method in TRAINERS else METHODS[method].scalar


def iterations_of(method: str, problem: Any, limit: int) -> int:
    """The iterations of a run at most: of a trainer the epochs of the problem, where those are fewer."""
    return min(limit, problem.epochs) if method in TRAINERS and hasattr(problem, "epochs") else limit


def _trained(problem: Any, asked: Request) -> Run:
    """By the table ``TRAINERS``."""
    if getattr(problem, "samples", None) is None:
        known = ", ".join(METHODS)
        raise UnsupportedCombination(
            f"method {asked.method!r} trains on samples, and {asked.name} offers none: use one of {known}"
        )
    stop, targets = asked.limits(problem)
    started = time.perf_counter()
    watchers = Watchers(asked.callback, asked.listener, asked.checkpoint)
    hierarchy = Hierarchy(problem.x0.numel())
    run = TrainingRun(problem, TRAINERS[asked.method], asked.method, asked.options, stop, targets, watchers)
    setup = time.perf_counter() - started
    result = run.go(asked.resume)
    record = record_of(problem, asked.name, asked.method, None, result, hierarchy, setup, asked.until)
    return Run(result, hierarchy, record | {"method_options": dict(run.settings)})


def _begun(problem: Problem, asked: Request) -> Run:
    """``_minimized``; after a start that ``auto`` tries in vain, from that of the problem."""
    choice = asked.choice
    if choice is None or choice.start is None or not choice.tentative:
        return _minimized(problem, asked)
    plain = replace(asked, method="lm", levels=None, coarsening=None, options={}, max_iterations=0)
    run = _minimized(problem, replace(plain, checkpoint=None, resume=False, announce=None))
    if run.result.success:
        return run
    again = _minimized(problem, replace(asked, choice=replace(choice, flops=run.record["flops"], start=None)))
    return again if again.result.success or not run.result.fun < again.result.fun else _kept(run, again)


def _kept(best: Run, last: Run) -> Run:
    """The last run, with the point of the better one before it."""
    note = "the point from random features alone is better and returned"
    own = {name: getattr(best.result, name) for name in ("x", "fun", "grad", "metrics", "gradient_norm")}
    result = replace(last.result, message=f"{last.result.message}; {note}", **own)
    point = ("loss", "gradient_norm", "rmse", "relative_l2", "metrics", "overfit")
    record = last.record | {name: best.record[name] for name in point} | {"message": result.message}
    return replace(last, result=result, record=record)


def _minimized(problem: Problem, asked: Request) -> Run:
    """By the table ``METHODS``."""
    chosen, n_levels, make = method_of(asked.method, asked.levels, asked.coarsening)
    solver = solver_of(chosen, asked.curvature)
    solver = solver.replace(cycle=cycle_of(solver.cycle, asked.options))
    bounds = getattr(problem, "x_bounds", None)
    if solver.curvature.residual and not problem.objective.has_residual:
        others = ", ".join(k for k, other in METHODS.items() if not other.solver.curvature.residual)
        raise UnsupportedCombination(
            f"method {asked.method!r} needs a residual, and {asked.name} has none: use one of {others}"
        )
    x0 = start_point(problem.x0 if asked.choice is None or asked.choice.start is None else asked.choice.start)
    inside = region(bounds, x0).nearest(x0)
    stop, _ = asked.limits(problem)
    started = time.perf_counter()
    objective = problem.objective
    if isinstance(objective, LeastSquares):
        objective = within_memory(objective, inside, asked.memory)
    hierarchy = make(problem, objective, inside, n_levels, int(problem.parameters.get("seed", 0) or 0))
    if asked.choice is not None:
        flops = hierarchy.flops + asked.choice.flops
        hierarchy = replace(hierarchy, flops=flops, notes=(str(asked.choice), *hierarchy.notes))
    if isinstance(objective, LeastSquares) and isinstance(solver.subproblem, DampedLeastSquares):
        planned = solver.subproblem.planned(objective, objective.evaluated_rows, inside)
        hierarchy = replace(hierarchy, notes=(*hierarchy.notes, f"steps by {planned}"))
    setup = time.perf_counter() - started
    if asked.announce is not None:
        asked.announce(hierarchy)
    result = minimize(
        objective,
        x0,
        solver,
        hierarchy=hierarchy,
        bounds=bounds,
        stop=stop,
        callback=asked.callback,
        listener=asked.listener,
        monitors=problem.metrics,
        checkpoint=asked.checkpoint,
        resume=asked.resume,
    )
    kind = solver.curvature.name if solver.order > 1 else None
    result, remarks = remarked(problem, result)
    record = record_of(problem, asked.name, asked.method, kind, result, hierarchy, setup, asked.until, remarks)
    return Run(result, hierarchy, record | {"method_options": dict(asked.options)})
