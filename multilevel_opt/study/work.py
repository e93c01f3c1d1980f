"""Work against error: what it costs to bring the error of a run down to a level, read from the history of the run.

A history has at most 200 rows, so that a cost is that of the first row at or below the level: exact, or too
large by less than the distance of two rows. A level that a run never reaches costs ∞.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel_opt.study.groups import Group, Record, value
from multilevel_opt.study.spread import Spread, spread

Array = NDArray[np.float64]

LEVELS = 60  # of a curve


def column(record: Record, name: str) -> Array:
    """A column of the history, NaN where a row has no number; empty where there is no such column."""
    names = record.get("history_columns") or []
    if name not in names:
        return np.empty(0)
    k = names.index(name)
    return np.asarray([row[k] for row in record.get("history") or []], dtype=np.float64)


def has(record: Record, name: str) -> bool:
    """Whether the history knows a column."""
    return bool(np.isfinite(column(record, name)).any())


def trace(record: Record, error: str, cost: str) -> tuple[Array, Array]:
    """(cost, smallest error so far) of every row where both are known; seconds include the set-up."""
    costs, errors = column(record, cost), column(record, error)
    if len(costs) != len(errors):
        return np.empty(0), np.empty(0)
    if cost == "seconds":
        costs = costs + (value(record, "seconds_setup") or 0.0)
    known = np.isfinite(costs) & np.isfinite(errors)
    return costs[known], np.minimum.accumulate(errors[known]) if known.any() else errors[known]


def costs_to(record: Record, error: str, cost: str, levels: ArrayLike) -> Array:
    """The cost of the first row whose error is at or below each level; ∞ where there is none."""
    costs, errors = trace(record, error, cost)
    first = np.searchsorted(-errors, -np.asarray(levels, dtype=np.float64), side="left")
    return np.append(costs, inf)[first]


def error_levels(records: Sequence[Record], error: str) -> Array:
    """Levels from the largest to the smallest error of the histories, evenly spaced in the logarithm."""
    found = [errors[np.isfinite(errors) & (errors > 0)] for errors in (column(record, error) for record in records)]
    found = [errors for errors in found if len(errors)]
    if not found:
        return np.empty(0)
    return np.geomspace(max(errors[0] for errors in found), min(errors.min() for errors in found), LEVELS)


def cost_curve(group: Group, method: str, error: str, cost: str, levels: Array) -> list[Spread]:
    """At every level the spread, over the starts, of what reaching it costs; failures count as ∞."""
    reached = [costs_to(record, error, cost, levels) for record in group.runs[method].values()]
    return [spread(float(run[k]) for run in reached) for k in range(len(levels))]


def decrease_costs(group: Group, methods: Sequence[str], tolerance: float) -> tuple[list[list[float]], list[float]]:
    """Flops until the convergence test of Moré and Wild, and the unit of work, of every start that all methods share.

    The test is f ≤ f_L + τ (f₀ − f_L), with f₀ the loss of the first row, the largest over the methods, and f_L the
    smallest loss of any method. The unit is 2mn flops, one product of an m×n Jacobian with a vector, and 2n where there
    are no residuals.
    """
    rows, units = [], []
    for start in group.starts:
        runs = [group.runs.get(method, {}).get(start) for method in methods]
        records = [record for record in runs if record is not None]
        ends = [(f[0], f[-1]) for record in records if len(f := trace(record, "loss", "flops")[1])]
        sizes = [size for record in records if (size := value(record, "n_parameters"))]
        if len(records) < len(methods) or not ends or not sizes:
            continue
        first, best = max(high for high, _ in ends), min(low for _, low in ends)
        level = best + tolerance * (first - best)
        rows.append([float(costs_to(record, "loss", "flops", [level])[0]) for record in records])
        residuals = next((m for record in records if (m := value(record, "n_residuals"))), 1.0)
        units.append(2.0 * residuals * sizes[0])
    return rows, units
