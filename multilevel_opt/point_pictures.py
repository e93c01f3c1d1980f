"""Pictures of the residual of an equation and of the points where it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multilevel_opt.pictures import INK, LEVEL_COLOURS, save
from multilevel_opt.solution_pictures import bar, decades, image, logarithmic, positive, shape_of
from multilevel_opt.solution_values import CLOUDS, Array, View, views_of

RESIDUAL_COLOURS = "cividis"
LABELS = {"interior": "interior points", "boundary": "points of conditions", "added": "added by refinement"}
MARKS: dict[str, dict[str, Any]] = {
    "interior": {"color": "#5b5b5b", "zorder": 2},
    "boundary": {"color": LEVEL_COLOURS[0], "zorder": 3},
    "added": {"color": LEVEL_COLOURS[1], "zorder": 4},
}


def has_points(values: Mapping[str, Array]) -> bool:
    """Whether there is a residual to draw."""
    return "residual" in values and bool(np.isfinite(values["residual"]).any())


def draw_points(values: Mapping[str, Array], path: Path) -> Path:
    """Draw the residual on the line or plane of ``solution_values``, and the points of training."""
    view = views_of(values)[0][0]
    clouds = {name: values[name] for name in CLOUDS if name in values and len(values[name])}
    if len(view.axes) == 1:
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        _line(figure.subplots(), view, clouds)
    else:
        figure = Figure(figsize=(9.6, 4.2 * shape_of(view) + 1.1), layout="constrained")
        _plane(figure, view, values, clouds)
    handles, labels = figure.axes[-1 if len(view.axes) == 1 else 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=10, markerscale=2)
    return save(figure, path)


def _line(axes: Axes, view: View, clouds: Mapping[str, Array]) -> None:
    residual = view.fields["residual"]
    axes.plot(view.sides[0], positive(residual), color=LEVEL_COLOURS[4], lw=1.2, label="|residual of the equation|")
    logarithmic(axes, residual)
    for name, z in clouds.items():
        height = np.full(len(z), 0.03)
        across = axes.get_xaxis_transform()
        axes.plot(z[:, 0], height, ls="", marker="|", ms=9, label=LABELS[name], transform=across, **MARKS[name])
    axes.set_xlabel(view.axes[0], color=INK)
    axes.grid(True, color="#e3e3e3", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def _plane(figure: Figure, view: View, values: Mapping[str, Array], clouds: Mapping[str, Array]) -> None:
    left, right = figure.subplots(1, 2)
    residual = view.fields["residual"]
    drawn = image(left, view, residual, decades([residual]), RESIDUAL_COLOURS)
    left.set_title("|residual of the equation|", color=INK, fontsize=11)
    bar(figure, drawn, left)
    turned = slice(None) if view.in_space else slice(None, None, -1)  # time runs to the right
    for name, z in clouds.items():
        x, y = z[:, turned].T
        size = float(np.clip(60 / len(z) ** 0.5, 0.8, 3.5))
        right.plot(x, y, ls="", marker="o", ms=size, mew=0, label=f"{len(z)} {LABELS[name]}", **MARKS[name])
    right.set(xlim=left.get_xlim(), ylim=left.get_ylim())
    right.set_box_aspect(shape_of(view))
    right.set_xlabel(view.axes[0], color=INK)
    right.tick_params(colors=INK, labelsize=9)
    right.margins(0.02)
    for axes in (left, right):
        axes.set_ylabel(view.axes[1], color=INK)
