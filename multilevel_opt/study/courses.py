"""Pictures of what training reaches on the test samples: a measure against the iterations and against the seconds.

A row of a history is an epoch, so that the runs of a method are put side by side row by row: at every row the median of
the measure with its quartiles as a band, at the median of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from multilevel_opt.study.groups import Arrangement, Group, Record, value
from multilevel_opt.study.plot import Plot, Series
from multilevel_opt.study.spread import Spread, spread
from multilevel_opt.study.work import column, has

MEASURES = {"test_accuracy": "test accuracy"}
COSTS = {"iteration": "iterations", "seconds": "seconds, set-up included"}


def course_plots(study: Arrangement) -> list[Plot]:
    """A picture for each group whose histories have one of ``MEASURES``, and each of ``COSTS``."""
    return [
        plot
        for number, group in enumerate(study.groups, 1)
        for measure in MEASURES
        for cost in COSTS
        for plot in _course(group, number, study.methods, measure, cost)
    ]


def _course(group: Group, number: int, methods: Sequence[str], measure: str, cost: str) -> list[Plot]:
    series = []
    for method in methods:
        records = [record for record in group.runs.get(method, {}).values() if has(record, measure)]
        if records:
            series.append(_median(method, records, measure, cost, methods.index(method)))
    if not series:
        return []
    label = MEASURES[measure]
    told = ", ".join(f"{one.label} {one.y[-1]:.3f}" for one in series)
    alt = f"Median {label} against {COSTS[cost]}, {group.title}; in the end: {told}."
    name = f"course-{number}-{measure.replace('_', '-')}-{cost}"
    return [Plot(name, group.title, alt, COSTS[cost], label, tuple(series), log_x=False)]


def _median(method: str, records: Sequence[Record], measure: str, cost: str, style: int) -> Series:
    rows = max(len(column(record, measure)) for record in records)
    found = [_at(records, row, measure, cost) for row in range(rows)]
    known = [(x, y) for x, y in found if x.n and y.n]
    parts = ([x.median for x, _ in known], *([getattr(y, part) for _, y in known] for part in ("median", "q25", "q75")))
    x, middle, low, high = (np.asarray(part, dtype=np.float64) for part in parts)
    return Series(method, x, middle, low, high, style=style)


def _at(records: Sequence[Record], row: int, measure: str, cost: str) -> tuple[Spread, Spread]:
    """Cost and measure of a row of the histories."""
    pairs = []
    for record in records:
        costs, measures = column(record, cost), column(record, measure)
        if row < min(len(costs), len(measures)) and isfinite(costs[row]) and isfinite(measures[row]):
            started = (value(record, "seconds_setup") or 0.0) if cost == "seconds" else 0.0
            pairs.append((float(costs[row]) + started, float(measures[row])))
    return spread(x for x, _ in pairs), spread(y for _, y in pairs)
