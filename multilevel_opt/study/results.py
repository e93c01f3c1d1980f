"""The tables of a study in the layout of the literature: a problem, and for each method iterations, error and save.

save = flops of the reference method / flops of the method, both to the same target from the same start; beside it
stands the ratio of seconds, set-up included. A run that missed its target costs ∞: save is 0 where only the
reference reached the target, ∞ where only the method did, and undefined where neither did.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

from multilevel_opt.study.groups import Arrangement, Group, Record, cost, solved, value
from multilevel_opt.study.published import Published, ends_and_middle, middle_and_ends
from multilevel_opt.study.spread import Spread, spread
from multilevel_opt.study.table import Column, Table

ERRORS = {"rmse": "RMSE", "relative_l2": "relative L2 error", "loss": "loss", "gradient_norm": "gradient norm"}
NOTE = (
    "Median [lower quartile, upper quartile] over the runs. A run that missed its target counts as ∞ iterations, "
    "flops and seconds, and is never left out."
)
SAVE = (
    "save: flops of {0} over those of the method from the same start, minimum – median – maximum; seconds: the same "
    "ratio of wall time with set-up. 0: only {0} reached the target; ∞: only the method did."
)


def result_tables(study: Arrangement, published: Sequence[Published] = ()) -> list[Table]:
    """A table for each group."""
    return [result_table(group, study, published) for group in study.groups]


def result_table(group: Group, study: Arrangement, published: Sequence[Published] = ()) -> Table:
    """The methods of one group, with published figures below ours."""
    measure = error_measure(group)
    ours = [_row(group, method, measure, study.reference) for method in study.methods if method in group.runs]
    theirs = [row for row in published if row.belongs_to(group.problem, group.everything)]
    columns = (
        Column("method", "method"),
        Column("solved", "solved", "share"),
        Column("iterations", "iterations", "spread"),
        Column("error", ERRORS[measure], "spread"),
        Column("flops", "flops", "spread"),
        Column("seconds", "seconds", "spread"),
        Column("save", "save", "range"),
        Column("save_seconds", "save in seconds", "range"),
    )
    notes = (NOTE, *([SAVE.format(study.reference)] if study.reference else []), *_sources(theirs))
    title = f"{group.title}: to {group.aim}" if group.aim else group.title
    return Table(title, columns, tuple([*ours, *map(_published_row, theirs)]), notes)


def error_measure(group: Group) -> str:
    """The error measure that a group is judged by: the first of ``ERRORS`` that its runs have."""
    records = [record for runs in group.runs.values() for record in runs.values()]
    return next((name for name in ERRORS if any(value(record, name) is not None for record in records)), "loss")


def saves(group: Group, method: str, reference: str | None, name: str) -> Spread:
    """Ratios of costs of the reference and the method over the starts where the ratio is defined and known."""
    pairs = group.pairs(reference, method) if reference is not None else []
    costs = [(cost(base, name), cost(own, name)) for base, own in pairs]
    return spread(
        base / own if own != inf else 0.0
        for base, own in costs
        if base is not None and own is not None and own > 0 and (isfinite(base) or isfinite(own))
    )


def _row(group: Group, method: str, measure: str, reference: str | None) -> tuple[tuple[Any, ...], ...]:
    records = list(group.runs[method].values())
    ratios = [saves(group, method, reference, name) for name in ("flops", "seconds")] if method != reference else []
    return (
        (method,),
        (sum(map(solved, records)), len(records)),
        *(_quartiles(spread(c for r in records if (c := cost(r, "iterations")) is not None)) for _ in (0,)),
        _quartiles(spread(e for r in records if (e := _error(r, measure)) is not None)),
        *(_quartiles(spread(c for r in records if (c := cost(r, n)) is not None)) for n in ("flops", "seconds")),
        *((ratio.low, ratio.median, ratio.high) for ratio in ratios),
        *([(None, None, None)] * (2 - len(ratios))),
    )


def _error(record: Record, measure: str) -> float | None:
    """The error at the end; ∞ where the run failed."""
    return inf if record.get("error") else value(record, measure)


def _quartiles(found: Spread) -> tuple[float | None, float | None, float | None]:
    return found.median, found.q25, found.q75


def _published_row(row: Published) -> tuple[tuple[Any, ...], ...]:
    nothing = (None, None, None)
    return (
        (f"{row.method} (published)",),
        (None, None),
        middle_and_ends(row.iterations),
        middle_and_ends(row.rmse),
        nothing,
        nothing,
        ends_and_middle(row.save),
        nothing,
    )


def _sources(rows: Sequence[Published]) -> list[str]:
    return list(dict.fromkeys(f"Published: {row.source}." for row in rows if row.source))
