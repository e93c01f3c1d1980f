"""One cell, solved in this process: from plain values to a record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from multilevel_opt import registry
from multilevel_opt.errors import MultilevelError
from multilevel_opt.record import SCHEMA
from multilevel_opt.study.grid import Cell
from multilevel_opt.study.solvers import Task, solved

KEYS = (
    *(
        "schema",
        "problem",
        "parameters",
        "method",
        "method_options",
        "curvature",
        "levels",
        "seed",
        "status",
        "message",
    ),
    *(
        "message",
        "converged",
        "target",
        "iterations",
        "iterations_per_level",
        "trials",
        "coarse_steps",
        "coarse_steps_rejected",
    ),
    *("evaluations", "flops", "flops_per_level", "seconds", "seconds_setup", "loss", "gradient_norm", "rmse"),
    *("relative_l2", "test_accuracy", "test_nll", "metrics", "overfit", "n_parameters", "n_residuals"),
    *(
        "level_parameters",
        "level_residuals",
        "level_kinds",
        "level_nnz",
        "linear_algebra",
        "routing",
        "chosen",
        "notes",
    ),
    *("device", "dtype", "peak_memory_bytes", "versions"),
)


def solve_cell(cell: Cell) -> dict[str, Any]:
    """The record of a cell, also where its problem or its method fails."""
    started = time.perf_counter()
    torch.set_num_threads(cell.limits["threads"])
    try:
        with threadpool_limits(cell.limits["threads"]):
            kind = registry.load(cell.source)
            problem = registry.make(kind, cell.parameters)
            name = registry.short(cell.problem)
            record, columns, rows = solved(problem, Task(name, cell.method, cell.options, cell.until, cell.budget))
    except Exception as error:
        return failed(cell, sentence(error), time.perf_counter() - started)
    history = {"history_columns": columns, "history": rows}
    return record | identity(cell) | history | {"error": None, "seconds_cell": time.perf_counter() - started}


def failed(cell: Cell, error: str, seconds: float | None) -> dict[str, Any]:
    """The record of a cell that has no result."""
    known = {
        "schema": SCHEMA,
        "problem": registry.short(cell.problem),
        "parameters": dict(cell.parameters),
        "method": cell.method,
        "status": "failed",
        "message": error,
        "converged": False,
        "target": dict(cell.until),
    }
    history: dict[str, Any] = {"history_columns": [], "history": []}
    return dict.fromkeys(KEYS) | known | identity(cell) | history | {"error": error, "seconds_cell": seconds}


def identity(cell: Cell) -> dict[str, Any]:
    """What tells the records of a study apart."""
    return {
        "study": cell.study,
        "cell": cell.key,
        "seed": cell.seed,
        "method_name": cell.method_name,
        "method_options": dict(cell.options),
    }


def sentence(error: Exception) -> str:
    """What went wrong in a cell, in one sentence."""
    if isinstance(error, MultilevelError):
        return str(error)
    if out_of_memory(error):
        return "the memory does not suffice: raise limits.memory, or give a smaller budget.memory"
    return registry.told(error)


def out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed."""
    told = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in told)


def from_plain(data: Mapping[str, Any]) -> Cell:
    """The cell of the fields that ``dataclasses.asdict`` gives."""
    return Cell(**data)
