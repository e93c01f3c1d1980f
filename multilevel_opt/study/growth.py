"""What happens as a problem grows, and near the end of a run: exponents of cost and error, orders of convergence.

A family is a set of groups that differ in one numerical parameter only; that of a grid "64x64" is its number of points.
Over a family of three values or more the cost of the solved runs and the error of the finished ones are fitted by
powers of the parameter (``rates.power_law``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from multilevel_opt.study.groups import COSTS, Arrangement, Group, Record, cost, solved, value
from multilevel_opt.study.rates import FEWEST, Array, Estimate, asymptotic, order_of_convergence, power_law
from multilevel_opt.study.spread import spread
from multilevel_opt.study.table import Column, Table
from multilevel_opt.study.work import column

ERRORS = ("rmse", "relative_l2")
ROUNDING = 1e-12  # relative size of a gradient norm that is rounding
FINISHED = ("gradient", "target", "stalled")


@dataclass(frozen=True)
class Family:
    """Groups that differ in one numerical parameter.

    Attributes:
        parameter: its name.
        title: what they share, in words.
        members: (value of the parameter, group), ascending.
    """

    parameter: str
    title: str
    members: tuple[tuple[float, Group], ...]

    def runs(self, method: str) -> list[tuple[float, Record]]:
        """(value of the parameter, record) of every run of a method."""
        return [(size, record) for size, group in self.members for record in group.runs.get(method, {}).values()]


def families(study: Arrangement) -> list[Family]:
    """Every family of three members or more."""
    found: dict[tuple[str, str], dict[float, Group]] = {}
    for group in study.groups:
        for name, item in group.parameters.items():
            size = size_of(item)
            if size is not None:
                rest = {other: told for other, told in group.parameters.items() if other != name}
                shared = Group(group.problem, rest, {}, group.target, {})
                title = f"{shared.title}: to {shared.aim}" if shared.aim else shared.title
                found.setdefault((name, title), {})[size] = group
    return [
        Family(name, title, tuple(sorted(members.items(), key=lambda member: member[0])))
        for (name, title), members in found.items()
        if len(members) >= FEWEST
    ]


def size_of(item: Any) -> float | None:
    """A positive number as it is, a grid such as ``"64x64"`` as its number of points, None for anything else."""
    if isinstance(item, str) and re.fullmatch(r"\d+(x\d+)+", item):
        return float(prod(map(int, item.split("x")))) or None
    return float(item) if isinstance(item, int | float) and not isinstance(item, bool) and item > 0 else None


def growth_table(study: Arrangement) -> Table:
    """Exponents of cost and error over every family."""
    columns = (
        Column("problem", "problem"),
        Column("parameter", "grows with"),
        Column("method", "method"),
        Column("solved", "solved", "share"),
        *(Column(f"{name}_exponent", f"{name} exponent", "estimate") for name in COSTS),
        Column("error_exponent", "error exponent", "estimate"),
        Column("remark", "remark"),
    )
    rows = [
        _growth_row(family, method) for family in families(study) for method in study.methods if family.runs(method)
    ]
    notes = (
        "cost ≈ C · parameter^exponent over the solved runs, least squares of the logarithms with the 95 % interval of "
        "Student's t. Where runs failed at large sizes the exponent of those that remain is too small.",
    )
    return Table("Growth of cost and error", columns, tuple(rows), notes if rows else ())


def cost_growth(family: Family, method: str, name: str) -> Estimate | None:
    """The exponent of a cost over the solved runs of a family."""
    known = [(size, c) for size, record in family.runs(method) if (c := cost(record, name)) is not None]
    return power_law([size for size, _ in known], [c for _, c in known])


def order_of_accuracy(family: Family, method: str) -> Estimate | None:
    """The exponent of the error over the finished runs; None where the error itself was the target."""
    error = next((name for name in ERRORS if any(value(r, name) is not None for _, r in family.runs(method))), None)
    if error is None or any(name in ERRORS for _, group in family.members for name in group.target):
        return None
    runs = [(size, value(r, error)) for size, r in family.runs(method) if r.get("status") in FINISHED]
    known = [(size, e) for size, e in runs if e is not None]
    return power_law([size for size, _ in known], [e for _, e in known])


def order_table(study: Arrangement) -> Table:
    """Orders of convergence of the gradient norm, of every group and method."""
    columns = (
        Column("problem", "problem"),
        Column("method", "method"),
        Column("runs", "runs", "share"),
        Column("order", "order", "estimate"),
        Column("per_run", "order run by run", "spread"),
    )
    found = [_order_row(group, method) for group in study.groups for method in group.runs]
    rows = tuple(row for row in found if row is not None)
    notes = (
        "‖g‖ after an iteration ≈ C · (‖g‖ before it)^order over the last iterations of solved runs, at most ten, in "
        "which the norm fell steadily, with the 95 % interval; 1 is linear, 2 quadratic. A run that stops early, at a "
        "target for the error, has not reached its asymptotic order. Of all runs, those in which the norm fell over "
        "three iterations or more count.",
    )
    return Table("Order of convergence of the gradient norm", columns, rows, notes if rows else ())


def gradient_norms(record: Record) -> Array:
    """The asymptotic end of the gradient norms of a run, consecutive iterations only."""
    norms, iterations = column(record, "gradient_norm"), column(record, "iteration")
    if not norms.size or len(norms) != len(iterations):
        return np.empty(0)
    gaps = np.flatnonzero(np.diff(iterations) != 1)
    norms = norms[int(gaps[-1]) + 1 :] if gaps.size else norms
    moved = np.append(True, np.diff(norms) != 0)  # a rejected step leaves the iterate, and its gradient, as they are
    norms = norms[moved]
    return asymptotic(norms, floor=ROUNDING * float(np.nanmax(norms))) if np.isfinite(norms).any() else np.empty(0)


def _growth_row(family: Family, method: str) -> tuple[tuple[Any, ...], ...]:
    runs = family.runs(method)
    found = {name: cost_growth(family, method, name) for name in COSTS}
    accuracy = order_of_accuracy(family, method)
    remarks = _remarks({**found, "error": accuracy})
    return (
        (family.title,),
        (family.parameter,),
        (method,),
        (sum(solved(record) for _, record in runs), len(runs)),
        *map(_ends, found.values()),
        _ends(accuracy),
        ("; ".join(remarks),),
    )


def _order_row(group: Group, method: str) -> tuple[tuple[Any, ...], ...] | None:
    runs = group.runs[method]
    sequences = [errors for r in runs.values() if solved(r) and len(errors := gradient_norms(r)) > FEWEST]
    found = order_of_convergence(sequences)
    if found is None:
        return None
    each = spread(one.value for errors in sequences if (one := order_of_convergence([errors])) is not None)
    counts = len(sequences), len(runs)
    return (group.title,), (method,), counts, _ends(found), (each.median, each.q25, each.q75)


def _remarks(found: Mapping[str, Estimate | None]) -> list[str]:
    by_text: dict[str, list[str]] = {}
    for name, estimate in found.items():
        if estimate is not None and estimate.remark:
            by_text.setdefault(estimate.remark, []).append(name)
    return [f"{', '.join(names)} {text}" for text, names in by_text.items()]


def _ends(found: Estimate | None) -> tuple[float | None, ...]:
    return (found.value, found.low, found.high) if found is not None else (None, None, None)
