"""Every method of a study against the reference method, group by group: the table, and what it shows in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from multilevel_opt.study.compare import Comparison, compare
from multilevel_opt.study.groups import Arrangement, Group, without_targets
from multilevel_opt.study.table import Column, Table

NAMES = ("flops", "seconds")


def against(group: Group, reference: str, method: str, name: str) -> Comparison:
    """A method and the reference over their common starts; the ratio is cost(reference) / cost(method)."""
    rows = group.costs(name, [method, reference])
    return compare(method, reference, [(own, base) for own, base in rows if own > 0 and base > 0])


def comparison_table(study: Arrangement) -> Table:
    """Ratios of costs with intervals, and what they show."""
    reference = study.reference or ""
    columns = (
        Column("problem", "problem"),
        Column("method", "method"),
        Column("shown", "what is shown"),
        *(Column(f"save_{name}", f"save in {name}", "estimate") for name in NAMES),
        Column("both", "both solve", "number"),
        Column("only_reference", f"only {reference}", "number"),
        Column("only_method", "only the method", "number"),
        Column("neither", "neither", "number"),
    )
    rows = tuple(_row(group, method, found) for group, method, found in _each(study))
    notes = (
        f"save: geometric mean of cost of {reference} over cost of the method, over the starts that both solve, with "
        "its 95 % studentized bootstrap interval. No difference is shown where the interval covers 1. Each interval "
        "stands for itself: of twenty, one is expected to miss.",
    )
    return Table(f"Each method against {reference}, from the same starts", columns, rows, notes if rows else ())


def sentences(study: Arrangement) -> list[str]:
    """One sentence in flops, where they are known, and one in seconds for each method and group."""
    return [_said(**found) for _, _, found in _each(study)]


def _said(flops: Comparison, seconds: Comparison) -> str:
    if not flops.starts:
        return f"In seconds {seconds.verdict}"
    ends = f" [{seconds.low:.3g}, {seconds.high:.3g}]" if seconds.low is not None and seconds.high is not None else ""
    factor = f", save {seconds.ratio:.3g}{ends}" if seconds.ratio is not None else ""
    return f"In flops {flops.verdict} In seconds: {seconds.outcome}{factor}."


def _each(study: Arrangement) -> Iterator[tuple[Group, str, dict[str, Comparison]]]:
    for group in () if without_targets(study) else study.groups:
        for method in study.methods:
            if study.reference in group.runs and method in group.runs and method != study.reference:
                yield group, method, {name: against(group, str(study.reference), method, name) for name in NAMES}


def _row(group: Group, method: str, found: dict[str, Comparison]) -> tuple[tuple[Any, ...], ...]:
    first = found["flops"] if found["flops"].starts else found["seconds"]
    counts = ((first.both,), (first.only_b,), (first.only_a,), (first.neither,))
    ratios = [(c.ratio, c.low, c.high) for c in found.values()]
    return ((group.title,), (method,), (_shown(found),), *ratios, *counts)


def _shown(found: dict[str, Comparison]) -> str:
    by_outcome: dict[str, list[str]] = {}
    for name, comparison in found.items():
        by_outcome.setdefault(comparison.outcome, []).append(name)
    told = [f"{outcome} in {' and '.join(names)}" for outcome, names in by_outcome.items()]
    reliability = max(found.values(), key=lambda comparison: comparison.starts).more_reliable
    return "; ".join([*([f"{reliability} solves more"] if reliability else []), *told])
