"""The pictures of a study: work against error, profiles, growth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multilevel_opt.study.groups import Arrangement, Group, cost
from multilevel_opt.study.growth import Family, cost_growth, families
from multilevel_opt.study.plot import Plot, Series
from multilevel_opt.study.profiles import Profile, data_profiles, performance_profiles
from multilevel_opt.study.results import ERRORS
from multilevel_opt.study.spread import Spread, spread
from multilevel_opt.study.work import cost_curve, decrease_costs, error_levels, has

Array = NDArray[np.float64]

COSTS = {"flops": "floating-point operations", "seconds": "seconds, set-up included"}
TOLERANCES = (1e-1, 1e-3, 1e-6)  # of the convergence test of data profiles


def work_plots(study: Arrangement) -> list[Plot]:
    """Flops and seconds against error for every group whose runs have histories."""
    return [plot for k, group in enumerate(study.groups, 1) for plot in _work_of(group, k, study.methods)]


def profile_plots(study: Arrangement) -> list[Plot]:
    """Performance profiles in flops and seconds, and data profiles of the loss."""
    found = []
    for name, label in COSTS.items():
        methods, costs = common_costs(study, name)
        if costs and len(methods) > 1:
            title = f"Performance profile, {name}: {len(costs)} starts"
            profiles = dict(zip(methods, performance_profiles(costs), strict=True))
            axis = f"{label.split(',')[0]}, in units of the best method"
            found.append(_profile_plot(f"profile-{name}", title, axis, profiles, study.methods))
    return [*found, *_data_plots(study)]


def growth_plots(study: Arrangement) -> list[Plot]:
    """Cost against the size, for every family of groups."""
    return [
        _growth_plot(family, k, name, label, study.methods)
        for k, family in enumerate(families(study), 1)
        for name, label in COSTS.items()
        if any(cost(record, name) is not None for method in study.methods for _, record in family.runs(method))
    ]


def common_costs(study: Arrangement, name: str) -> tuple[list[str], list[list[float]]]:
    """(methods whose costs are known, a row of costs for each start that all of them were run from)."""
    methods = [
        method
        for method in study.methods
        if all(
            cost(record, name) is not None for group in study.groups for record in group.runs.get(method, {}).values()
        )
    ]
    return methods, [row for group in study.groups for row in group.costs(name, methods)]


def _work_of(group: Group, number: int, methods: Sequence[str]) -> list[Plot]:
    records = [record for runs in group.runs.values() for record in runs.values()]
    error = next((name for name in ERRORS if any(has(record, name) for record in records)), None)
    levels = error_levels(records, error) if error is not None else np.empty(0)
    if error is None or not len(levels):
        return []
    plots = []
    for name, label in COSTS.items():
        drawn = {
            method: cost_curve(group, method, error, name, levels)
            for method in methods
            if any(has(record, name) for record in group.runs.get(method, {}).values())
        }
        if not drawn:
            continue
        series = [_across(method, curve, levels, methods.index(method)) for method, curve in drawn.items()]
        alt = f"{label} needed to reach a level of the {ERRORS[error]}, {group.title}: {', '.join(drawn)}."
        plots.append(Plot(f"work-{number}-{name}", group.title, alt, label, ERRORS[error], tuple(series), log_y=True))
    return plots


def _across(method: str, curve: Sequence[Spread], levels: Array, style: int) -> Series:
    """Median cost at every level, with the quartiles as a band along the axis of costs."""
    median, low, high = (
        np.asarray([getattr(point, part) for point in curve], dtype=np.float64) for part in ("median", "q25", "q75")
    )
    known = np.isfinite(median)
    median, low = (np.where(known, values, np.nan) for values in (median, low))
    high = np.where(known & np.isfinite(high), high, median)
    return Series(method, median, levels, low, high, across=True, style=style)


def _profile_plot(name: str, title: str, axis: str, profiles: dict[str, Profile], methods: Sequence[str]) -> Plot:
    ends = [float(profile.steps[-1]) for profile in profiles.values() if len(profile.steps)]
    starts = [float(profile.steps[0]) for profile in profiles.values() if len(profile.steps)]
    end, start = 1.3 * max(ends, default=1.0), min(starts, default=1.0)
    series = [
        Series(
            method,
            np.asarray([start, *profile.steps, end]),
            np.asarray([profile.at(start), *profile.shares, profile.solved]),
            steps=True,
            style=methods.index(method),
        )
        for method, profile in profiles.items()
    ]
    told = ", ".join(f"{method} {profile.solved:.0%}" for method, profile in profiles.items())
    return Plot(name, title, f"{title}. Solved at all: {told}.", axis, "share of starts", tuple(series), share=True)


def _data_plots(study: Arrangement) -> list[Plot]:
    methods = [
        method
        for method in study.methods
        if any(has(record, "flops") for group in study.groups for record in group.runs.get(method, {}).values())
    ]
    plots = []
    for tolerance in TOLERANCES if len(methods) > 1 else ():
        found = [decrease_costs(group, methods, tolerance) for group in study.groups]
        costs, units = [row for rows, _ in found for row in rows], [unit for _, units in found for unit in units]
        if costs:
            profiles = dict(zip(methods, data_profiles(costs, units), strict=True))
            title = f"Data profile of the loss, τ = {tolerance:g}: {len(costs)} starts"
            axis = "work, in products of the Jacobian with a vector"
            plots.append(_profile_plot(f"data-profile-{tolerance:g}", title, axis, profiles, methods))
    return plots


def _growth_plot(family: Family, number: int, name: str, label: str, methods: Sequence[str]) -> Plot:
    series, sizes = [], np.asarray([size for size, _ in family.members])
    for method in methods:
        points = [_costs_at(group, method, name) for _, group in family.members]
        if any(point.n for point in points):
            series.append(_along(f"{method}{_exponent(family, method, name)}", sizes, points, methods.index(method)))
    told = "; ".join(one.label for one in series)
    alt = f"Median {label} against {family.parameter}, {family.title}: {told}."
    drawn, ticks = tuple(series), tuple(sizes)
    return Plot(f"growth-{number}-{name}", family.title, alt, family.parameter, label, drawn, log_y=True, ticks=ticks)


def _costs_at(group: Group, method: str, name: str) -> Spread:
    found = (cost(record, name) for record in group.runs.get(method, {}).values())
    return spread(c for c in found if c is not None)


def _along(label: str, sizes: Array, points: Sequence[Spread], style: int) -> Series:
    median, low, high = (
        np.asarray([getattr(point, part) for point in points], dtype=np.float64) for part in ("median", "q25", "q75")
    )
    known = np.isfinite(median)
    high = np.where(known & np.isfinite(high), high, median)
    return Series(label, sizes, np.where(known, median, np.nan), np.where(known, low, np.nan), high, style=style)


def _exponent(family: Family, method: str, name: str) -> str:
    found = cost_growth(family, method, name)
    return f": {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found is not None else ""
