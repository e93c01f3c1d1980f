"""The tables of a study in the layout of the literature: a problem, and for each method iterations, error and save.

save = flops of the reference method / flops of the method, both to the same target from the same start; beside it
stands the ratio of seconds, set-up included. A run that missed its target costs ∞: save is 0 where only the
reference reached the target, ∞ where only the method did, and undefined where neither did. A study without targets
whose runs all used up their budgets, as in training, has neither: its tables tell what the runs spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from multilevel_opt.study.groups import (
    COSTS,
    Arrangement,
    Group,
    Record,
    arrange,
    cost,
    solved,
    spent,
    value,
    without_targets,
)
from multilevel_opt.study.published import Published, ends_and_middle, middle_and_ends
from multilevel_opt.study.spread import Spread, spread
from multilevel_opt.study.table import Column, Table, joined

ERRORS = {"rmse": "RMSE", "relative_l2": "relative L2 error", "loss": "loss", "gradient_norm": "gradient norm"}
TESTED = {"test_accuracy": "test accuracy", "test_nll": "test NLL"}
NOTE = (
    "Median [lower quartile, upper quartile] over the runs. A run that missed its target counts as ∞ iterations, "
    "flops and seconds, and is never left out."
)
SPENT = "Median [lower quartile, upper quartile] over the runs, which had no target and ended with their budget."
OF_TARGETS = ("solved", "save", "save_seconds")
NOTHING = (None, None, None)
SAVE = (
    "save: flops of {0} over those of the method from the same start, minimum – median – maximum; seconds: the same "
    "ratio of wall time with set-up. 0: only {0} reached the target; ∞: only the method did."
)


def result_tables(study: Arrangement, published: Sequence[Published] = ()) -> list[Table]:
    """A table for each group."""
    return [result_table(group, study, published) for group in study.groups]


def results_of(records: Iterable[Record], reference: str | None = None) -> Table:
    """All groups in one table; ``reference`` as for ``arrange``."""
    return results_table(arrange(records, reference))


def results_table(study: Arrangement, published: Sequence[Published] = ()) -> Table:
    """All groups in one table, told apart by problem, parameters and target."""
    told = [(_told(group), result_table(group, study, published)) for group in study.groups]
    return joined("Results", told)


def result_table(group: Group, study: Arrangement, published: Sequence[Published] = ()) -> Table:
    """The methods of one group, with published figures below ours."""
    measure, tested = error_measure(group), _tested(study)
    price = spent if without_targets(study) else cost
    ours = [
        _row(group, method, [measure, *tested], study.reference, price)
        for method in study.methods
        if method in group.runs
    ]
    theirs = [row for row in published if row.belongs_to(group.problem, group.everything)]
    columns = (
        Column("method", "method"),
        Column("solved", "solved", "share"),
        Column("iterations", "iterations", "spread"),
        Column("error", ERRORS[measure], "spread"),
        Column("save", "save", "range"),
        Column("save_seconds", "save in seconds", "range"),
        Column("flops", "flops", "spread"),
        Column("seconds", "seconds", "spread"),
        *(Column(name, label, "spread") for name, label in tested.items()),
    )
    notes = (NOTE, *([SAVE.format(study.reference)] if study.reference else []), *_sources(theirs))
    title = f"{group.title}: to {group.aim}" if group.aim else group.title
    unknown = (NOTHING,) * len(tested)
    whole = Table(title, columns, (*ours, *((*_published_row(row), *unknown) for row in theirs)), notes)
    return replace(whole.without(OF_TARGETS), notes=(SPENT, *_sources(theirs))) if without_targets(study) else whole


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


def _row(
    group: Group,
    method: str,
    measures: Sequence[str],
    reference: str | None,
    price: Callable[[Record, str], float | None],
) -> tuple[tuple[Any, ...], ...]:
    records = list(group.runs[method].values())
    costs = {name: _quartiles([price(record, name) for record in records]) for name in COSTS}
    found = [saves(group, method, reference, name) for name in ("flops", "seconds")]
    error = _quartiles([_error(record, measures[0]) for record in records])
    tested = [_quartiles([value(record, name) for record in records]) for name in measures[1:]]
    ratios = [(ratio.low, ratio.median, ratio.high) if method != reference else NOTHING for ratio in found]
    return (
        (method,),
        (sum(map(solved, records)), len(records)),
        costs["iterations"],
        error,
        *ratios,
        costs["flops"],
        costs["seconds"],
        *tested,
    )


def _tested(study: Arrangement) -> dict[str, str]:
    """The measures of test samples that runs of the study have, with their labels."""
    records = [record for group in study.groups for runs in group.runs.values() for record in runs.values()]
    return {name: label for name, label in TESTED.items() if any(value(record, name) is not None for record in records)}


def _told(group: Group) -> dict[str, Any]:
    """What tells a group apart."""
    aims = {f"to {name}": level for name, level in group.target.items()}
    return {"problem": group.problem, **group.parameters, **aims, "measure": error_measure(group)}


def _error(record: Record, measure: str) -> float | None:
    """The error at the end; ∞ where the run failed."""
    return inf if record.get("error") else value(record, measure)


def _quartiles(values: Iterable[float | None]) -> tuple[float | None, float | None, float | None]:
    """(median, lower quartile, upper quartile) of what is known."""
    found = spread(value for value in values if value is not None)
    return found.median, found.q25, found.q75


def _published_row(row: Published) -> tuple[tuple[Any, ...], ...]:
    return (
        (f"{row.method} (published)",),
        (None, None),
        middle_and_ends(row.iterations),
        middle_and_ends(row.rmse),
        ends_and_middle(row.save),
        NOTHING,
        NOTHING,
        NOTHING,
    )


def _sources(rows: Sequence[Published]) -> list[str]:
    return list(dict.fromkeys(f"Published: {row.source}." for row in rows if row.source))
