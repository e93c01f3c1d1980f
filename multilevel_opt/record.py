"""The JSON record of a run (docs/reference.md, "Result format"): one object for studies, reports and the shell."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.markup import card, table
from multilevel_opt.notation import number
from multilevel_opt.problem import Problem
from multilevel_opt.result import Result

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

SCHEMA = 1
ERRORS = {"rmse": "RMSE", "relative_l2": "relative L2 error", "loss": "loss", "gradient_norm": "gradient norm"}
ERRORS |= {"test_accuracy": "accuracy on the test samples", "test_nll": "negative log-likelihood on the test samples"}
COUNTS = {
    "function": "f",
    "gradient": "∇f",
    "residual": "r",
    "jacobian": "J",
    "jvp": "J·v",
    "vjp": "Jᵀ·w",
    "hvp": "H·v",
}


def record_of(
    problem: Problem,
    name: str,
    method: str,
    curvature: str | None,
    result: Result,
    hierarchy: Hierarchy,
    setup: float,
    until: Mapping[str, float],
    remarks: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The record of a run: plain values, every key explained in docs/reference.md.

    ``remarks`` are those of ``remarked``; None where the problem makes none.
    """
    rows = getattr(problem, "n_residuals", None)
    tried, rejected = result.coarse_steps
    counts = {kind: [ledger.counts[kind] for ledger in result.ledgers] for kind in result.ledgers[0].counts}
    return {
        "schema": SCHEMA,
        "problem": name,
        "parameters": dict(problem.parameters),
        "method": method,
        "curvature": curvature,
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
        "overfit": None if remarks is None else any(remark.startswith("overfit") for remark in remarks),
        "loss": result.fun,
        "gradient_norm": result.gradient_norm,
        **{key: result.metrics.get(key) for key in ("rmse", "relative_l2", "test_accuracy", "test_nll")},
        "metrics": dict(result.metrics),
        "n_parameters": result.sizes[0],
        "n_residuals": rows,
        "level_parameters": list(result.sizes),
        "level_residuals": [rows, *(level.rows or rows for level in hierarchy)],
        "linear_algebra": result.linear_algebra,
        "routing": list(result.ledgers[0].decisions),
        "device": str(result.x.device),
        "dtype": str(result.x.dtype).removeprefix("torch."),
        "peak_memory_bytes": _peak_memory(result.x.device),
        "versions": _versions(),
        **_described(hierarchy),
        "notes": [*hierarchy.notes, *(remarks or ())],
    }


def remarked(problem: Problem, result: Result) -> tuple[Result, list[str] | None]:
    """The result with what the problem says of its solution, for example that it overfits, in its message.

    The second value are the full remarks; None where the problem makes none.
    """
    told: Callable[[Tensor], list[str]] | None = getattr(problem, "remarks", None)
    if told is None:
        return result, None
    remarks = told(result.x)
    short = [remark.partition(";")[0] for remark in remarks]
    return replace(result, message="; ".join([result.message, *short])), remarks


def level_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each level, finest first, as reports show them."""
    sizes: Sequence[int] = record.get("level_parameters") or []
    columns = {
        "unknowns": sizes,
        "nnz": record.get("level_nnz"),
        "kind": record.get("level_kinds"),
        "iterations": record.get("iterations_per_level"),
        "flops": record.get("flops_per_level"),
        **{name: record["evaluations"][name] for name in counted(record)},
    }
    return [{name: values[k] if values else None for name, values in columns.items()} for k in range(len(sizes))]


def method_told(record: Mapping[str, Any]) -> str:
    """The method of a record; where it was chosen, what."""
    chosen = record.get("chosen")
    return str(record["method"]) + (f" ({chosen['method']})" if chosen else "")


def counted(record: Mapping[str, Any]) -> dict[str, str]:
    """Kinds of evaluations that happened at all, with their labels."""
    evaluations = record.get("evaluations") or {}
    return {name: label for name, label in COUNTS.items() if any(evaluations.get(name) or [])}


def card_of(record: Mapping[str, Any]) -> str:
    """A record as a notebook shows it, HTML: outcome, costs and levels."""
    labels = counted(record)
    levels = level_rows(record)
    names = ["unknowns", "iterations", "flops", *labels]
    rows = [[str(k), str(row["kind"]), *(number(row[name]) for name in names)] for k, row in enumerate(levels)]
    headings = ["level", "coarse model", *(labels.get(name, name) for name in names)]
    errors = {label: record[name] for name, label in ERRORS.items() if record.get(name) is not None}
    costs = {name: record.get(name) for name in ("iterations", "flops", "seconds", "seconds_setup")}
    return card(
        f"{record['problem']} by {method_told(record)}",
        str(record["message"]),
        {"converged": "yes" if record["converged"] else "no", **errors, **costs},
        table("levels", headings, rows),
    )


def _described(hierarchy: Hierarchy) -> dict[str, Any]:
    """What a record says of the hierarchy beside its sizes."""
    return {
        "level_kinds": ["the objective", *(level.kind for level in hierarchy)],
        "level_nnz": [None, *(level.nnz for level in hierarchy)],
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if resource is None:
        return 0
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
