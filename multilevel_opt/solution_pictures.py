"""Pictures of solutions: the exact one, the network's and the size of their difference, on lines and planes.

One row for each function and slice. Exact solution and network share one scale of colours; errors have a
logarithmic one. Lengths are drawn to scale; time runs to the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log10
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from multilevel_opt.notation import number
from multilevel_opt.pictures import FAINT, INK, LEVEL_COLOURS, save
from multilevel_opt.solution_values import Array, View, drawable, solution_values, views_of

COLOURS, ERROR_COLOURS, OUTSIDE = "viridis", "magma", "#ececec"
DECADES = 4.0  # of a logarithmic scale of colours
STILLS = 3  # pictures of a film that are drawn below each other
TITLES = {"exact": "exact", "network": "network"}


def solution_picture(problem: object, x: Tensor, path: Path) -> Path | None:
    """Draw the solution of a problem at x into ``path``; None, and no file, where it offers none to draw."""
    values = solution_values(problem, x)
    return draw_solution(values, path) if values is not None and drawable(values) else None


def draw_solution(values: Mapping[str, Array], path: Path, dpi: int = 140) -> Path:
    """Draw the arrays of ``solution_values``: curves in one dimension, images on grids of planes."""
    rows = [view for functions in stills(views_of(values)) for view in functions]
    if len(rows[0].axes) == 1:
        known = rows[0].error is not None
        figure = Figure(figsize=(9, (5.2 if known else 3.6) * len(rows)), layout="constrained")
        for part, view in zip(stacked(figure, len(rows)), rows, strict=True):
            curves(part, view)
        return save(figure, path, dpi)
    width = 3.55
    height = sum(width * shape_of(view) + 0.8 for view in rows)
    figure = Figure(figsize=(width * (3 if rows[0].error is not None else 1) + 1.6, height), layout="constrained")
    parts = stacked(figure, len(rows), [shape_of(view) * width + 0.8 for view in rows])
    for part, view in zip(parts, rows, strict=True):
        images(part, view)
    return save(figure, path, dpi)


def stills(views: list[list[View]]) -> list[list[View]]:
    """The first, middle and last view of a film; all views of anything else."""
    if views[0][0].time is None or len(views) <= STILLS:
        return views
    return [views[0], views[len(views) // 2], views[-1]]


def stacked(figure: Any, count: int, heights: Sequence[float] | None = None) -> list[Any]:
    """One part of the figure below the other; the figure itself if there is one."""
    return [figure] if count == 1 else list(np.ravel(figure.subfigures(count, 1, height_ratios=heights)))


def title_of(view: View, what: str, still: bool) -> str:
    """A function and what of it, and where it is looked at unless it moves."""
    return f"{view.name}, {what}" + (f"  ({view.fixed})" if view.fixed and still else "")


def curves(figure: Any, view: View, limits: tuple[float, float] | None = None) -> tuple[Axes, Any]:
    """Draw a function on a line, above its error; returns the upper panel and the artists that move in a film."""
    z, error = view.sides[0], view.error
    ratios = [2, 1] if error is not None else [1]
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    moving = {}
    if error is not None:
        (moving["exact"],) = panels[0].plot(
            z, view.fields["exact"], color=FAINT, lw=4.5, alpha=0.6, label="exact", solid_capstyle="round"
        )
        (moving["error"],) = panels[1].plot(z, positive(error), color=LEVEL_COLOURS[1], lw=1.2)
        logarithmic(panels[1], error)
        panels[1].set_ylabel(f"|{view.name} − exact|", color=INK)
        if limits is None:
            panels[1].set_title(_relative(view), color=INK, fontsize=10, loc="right")
    (moving["network"],) = panels[0].plot(z, view.fields["network"], color=LEVEL_COLOURS[0], lw=1.6, label="network")
    panels[0].set_ylabel(view.name + (f"  ({view.fixed})" if view.fixed and limits is None else ""), color=INK)
    if limits is not None:
        panels[0].set_ylim(limits)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    panels[-1].set_xlabel(view.axes[0], color=INK)
    for axes in panels:
        axes.set_xlim(z[0], z[-1])
        axes.grid(True, color="#e3e3e3", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
    return panels[0], moving


def positive(error: Array) -> Array:
    """An error where a logarithmic axis can show it, else NaN."""
    return np.where(error > 0, error, np.nan)


def logarithmic(axes: Axes, error: Array) -> None:
    """A log axis that shows the size of the error, not how close its zeros come to zero."""
    seen = error[np.isfinite(error) & (error > 0)]
    if not seen.size:
        return
    axes.set_yscale("log")
    high = float(seen.max())
    low = max(float(np.quantile(seen, 0.02)), 1e-5 * high)
    axes.set_ylim(10 ** (log10(low) - 0.1), 10 ** (log10(high) + 0.2))
    axes.yaxis.set_minor_formatter(NullFormatter())


def images(figure: Any, view: View, scale: Mapping[str, Normalize] | None = None) -> dict[str, Any]:
    """Draw a function on a grid: exact, network, error; returns the images by name."""
    still = scale is None
    scale = scales([view]) if scale is None else scale
    drawn = [(TITLES[key], view.fields[key], "value") for key in ("exact", "network") if key in view.fields]
    if view.error is not None:
        drawn.append(("error", view.error, "error"))
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    found = {}
    for axes, (what, u, kind) in zip(panels, drawn, strict=True):
        found[what] = image(axes, view, u, scale[kind], COLOURS if kind == "value" else ERROR_COLOURS)
        title = title_of(view, what, still) if what != "error" else "|network − exact|"
        axes.set_title(title, color=INK, fontsize=11)
    panels[0].set_ylabel(view.axes[1], color=INK)
    bar(figure, found["network"], panels[-1 if view.error is None else -2])
    if view.error is not None:
        bar(figure, found["error"], panels[-1])
    if view.error is not None and still:
        panels[-1].set_title(f"|network − exact|\n{_relative(view)}", color=INK, fontsize=10)
    return found


def _relative(view: View) -> str:
    told = view.relative_error
    return f"relative L² error {number(told)}" if isfinite(told) else ""


def image(axes: Axes, view: View, u: Array, norm: Normalize, colours: str) -> Any:
    """One image of values on the grid of a view, to scale, on light grey."""
    (left, right), (bottom, top) = ((float(side[0]), float(side[-1])) for side in view.sides)
    if isinstance(norm, LogNorm):
        u = np.where(u < float(norm.vmin or 0.0), float(norm.vmin or 0.0), u)
    whole = bool(np.isfinite(u).all())
    drawn = axes.imshow(
        u.T,
        origin="lower",
        extent=(left, right, bottom, top),
        cmap=colormaps[colours].with_extremes(bad=OUTSIDE),
        norm=norm,
        aspect="auto",
        interpolation="bilinear" if whole else "nearest",
    )
    axes.set_box_aspect(shape_of(view))
    axes.set_xlabel(view.axes[0], color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.locator_params(nbins=5)
    return drawn


def bar(figure: Any, drawn: Any, panel: Axes) -> None:
    """The scale of colours, to the right of a panel."""
    found = figure.colorbar(drawn, cax=panel.inset_axes((1.03, 0.0, 0.045, 1.0)))
    found.outline.set_visible(False)
    found.ax.tick_params(colors=INK, labelsize=9)
    if isinstance(drawn.norm, LogNorm):
        found.ax.yaxis.set_major_locator(LogLocator(numticks=7))
        found.ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        found.ax.ticklabel_format(scilimits=(-3, 4))


def shape_of(view: View) -> float:
    """Height over width of an image: that of the region in space, 3:4 where one axis is a time."""
    if not view.in_space:
        return 0.75
    width, height = (float(side[-1] - side[0]) for side in view.sides)
    return float(np.clip(height / width, 0.3, 2.0))


def scales(views: Sequence[View]) -> dict[str, Normalize]:
    """Scales of colours that several views share: of values, and of errors."""
    truth = [view.fields.get("exact", view.fields["network"]) for view in views]
    found: dict[str, Normalize] = {"value": Normalize(*_span(truth))}
    errors = [view.error for view in views if view.error is not None]
    return found | ({"error": decades(errors)} if errors else {})


def decades(fields: Sequence[Array]) -> LogNorm:
    """A logarithmic scale from the largest value down, by four decades at most."""
    seen = np.concatenate([u[np.isfinite(u) & (u > 0)] for u in fields])
    if not seen.size:
        return LogNorm(1e-16, 1e-12)
    high = float(seen.max())
    low = max(float(np.quantile(seen, 0.01)), high * 10**-DECADES)
    return LogNorm(min(low, high / 10), high)


def _span(fields: Sequence[Array]) -> tuple[float, float]:
    finite = np.concatenate([u[np.isfinite(u)] for u in fields])
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
