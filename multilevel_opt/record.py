"""The JSON record of a run (docs/reference.md, "Result format"): one object for studies, reports and the shell."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.problem import Problem
from multilevel_opt.result import Result

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

SCHEMA = 1


def record_of(
    problem: Problem,
    name: str,
    method: str,
    result: Result,
    hierarchy: Hierarchy,
    setup: float,
    until: Mapping[str, float],
) -> dict[str, Any]:
    """The record of a run: plain values, every key explained in docs/reference.md."""
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
        "gradient_norm": result.gradient_norm,
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
        **_described(hierarchy),
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
