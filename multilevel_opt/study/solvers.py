"""What the cells of a study can run: our own methods (``METHODS``, ``TRAINERS``) and those of others (``PEERS``)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multilevel_opt.auto import AUTO, usual_method
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.methods import METHODS, cycle_of, method_of, solver_of
from multilevel_opt.problem import Problem
from multilevel_opt.record import record_of
from multilevel_opt.result import Result
from multilevel_opt.solve import Run, solve
from multilevel_opt.stopping import Verdict, stop_rule
from multilevel_opt.study import watch
from multilevel_opt.study.peers import PEERS
from multilevel_opt.training import TRAINERS

COLUMNS = ("iteration", "flops", "seconds", "loss", "gradient_norm")
ROWS = 200
STUDY = {"problem", "method", "name", "until", "max_iterations", "max_seconds", "memory", "options"}
HOOKS = {"callback", "listener", "announce", "checkpoint", "resume"}
UNKNOWN = ("flops", "flops_per_level", "trials")  # nobody counts inside a peer
OPTIONS = tuple(name for name in inspect.signature(solve).parameters if name not in STUDY | HOOKS)

History = list[list[float | None]]


def check_method(method: str, options: Mapping[str, Any]) -> None:
    """Raises ``InputError`` for a method that does not exist, and for options that it does not take."""
    if method in PEERS:
        PEERS[method].settings(method, options)
        return
    if method in TRAINERS:
        TRAINERS[method].settings(method, options)
        return
    if method not in METHODS and method != AUTO:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join([AUTO, *METHODS, *TRAINERS, *PEERS])}")
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"unknown option {name!r} of method {method!r}: the options are {', '.join(OPTIONS)}")
    if method == AUTO:  # the rest is known when it has chosen
        return
    levels, coarsening = options.get("levels"), options.get("coarsening")
    if not isinstance(levels, int | None) or isinstance(levels, bool) or not isinstance(coarsening, str | None):
        raise InputError(
            f"levels={levels!r}, coarsening={coarsening!r} of method {method!r} is not a number and a name: correct it"
        )
    chosen, _, _ = method_of(method, levels, coarsening)
    solver_of(chosen, options.get("curvature"))
    cycle = options.get("cycle", {})
    if not isinstance(cycle, Mapping):
        raise InputError(f"cycle={cycle!r} of method {method!r} is not a table: write cycle = {{ sufficient = 1.0 }}")
    cycle_of(chosen.solver.cycle, cycle)


@dataclass(frozen=True)
class Task:
    """What a method is asked to do with a problem.

    Attributes:
        problem: name of the problem.
        method: a key of ``METHODS``, ``TRAINERS`` or ``PEERS``, or ``auto``.
        options: of the method.
        until: targets by name.
        budget: ``max_iterations``, ``max_seconds``, ``memory``.
    """

    problem: str
    method: str
    options: Mapping[str, Any]
    until: Mapping[str, float]
    budget: Mapping[str, Any]


def solved(problem: Problem, task: Task) -> tuple[dict[str, Any], list[str], History]:
    """The record of a run, and the columns and rows of its history."""
    usual = usual_method(problem) if task.method == AUTO else task.method
    run = _peer if usual in PEERS else _trainer if usual in TRAINERS else _ours
    record, rows = run(problem, task)
    return record, [*COLUMNS, *problem.metrics], thinned(rows)


def thinned(rows: History, most: int = ROWS) -> History:
    """At most ``most`` of the rows, evenly spaced, the first and the last among them."""
    if len(rows) <= most:
        return rows
    return [rows[round(k * (len(rows) - 1) / (most - 1))] for k in range(most)]


def _ours(problem: Problem, task: Task) -> tuple[dict[str, Any], History]:
    run = solve(problem, task.method, name=task.problem, until=task.until, **task.budget, **task.options)
    start = problem.objective.expand(problem.x0, 1)
    first = [0.0, 0.0, float(start.value), float(start.gradient.norm())]
    rows: History = [[0, *first, *(metric(problem.x0) for metric in problem.metrics.values())]]
    return run.record, [*rows, *_events(run, problem)]


def _trainer(problem: Problem, task: Task) -> tuple[dict[str, Any], History]:
    samples = getattr(problem, "samples", None)
    first: History = []
    if samples is not None:  # before the training, while running means are those of the start
        loss = samples.mean_loss(problem.x0)
        first = [[0, 0.0, 0.0, loss, None, *(metric(problem.x0) for metric in problem.metrics.values())]]
    run = solve(problem, task.method, name=task.problem, until=task.until, options=task.options, **task.budget)
    return run.record, [*first, *_events(run, problem)]


def _events(run: Run, problem: Problem) -> History:
    """A row for every iteration of the finest level."""
    return [
        [e.iteration, e.flops, e.seconds, e.loss, e.gradient_norm, *(e.metrics.get(key) for key in problem.metrics)]
        for e in run.result.history
        if e.level == 0
    ]


def _peer(problem: Problem, task: Task) -> tuple[dict[str, Any], History]:
    peer = PEERS[task.method]
    settings = peer.settings(task.method, task.options)
    if getattr(problem, "x_bounds", None) is not None:
        raise UnsupportedCombination(f"the problem has bounds, which {task.method!r} does not know here: leave it out")
    stop = stop_rule(task.until, problem.metrics, task.budget["max_iterations"], task.budget["max_seconds"])
    watched = watch.Watched(problem, stop)
    result = _result(watched, watch.run(watched, peer.run, settings), peer.summary)
    record = record_of(problem, task.problem, task.method, None, result, Hierarchy(watched.x.numel()), 0.0, task.until)
    record |= dict.fromkeys(UNKNOWN if peer.counted else (*UNKNOWN, "evaluations"))
    record["iterations_per_level"] = [result.nit]
    return record, [
        [row.iteration, None, row.seconds, row.loss, row.norm, *row.metrics.values()] for row in watched.rows
    ]


def _result(watched: watch.Watched, verdict: Verdict, summary: str) -> Result:
    """What a peer has found."""
    last, (status, message) = watched.rows[-1], verdict
    return Result(
        x=watched.x,
        fun=last.loss,
        grad=watched.gradient,
        status=status,
        message=message,
        nit=last.iteration,
        history=(),
        ledgers=(watched.ledger,),
        sizes=(watched.x.numel(),),
        seconds=watched.clock.seconds(),
        linear_algebra=summary,
        metrics=last.metrics,
        gradient_norm=last.norm,
    )
