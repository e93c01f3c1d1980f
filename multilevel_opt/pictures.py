"""Pictures of a run, drawn by matplotlib's object interface: no window, no global state.

``convergence_picture``: loss and error against iterations, flops and seconds, one colour a level.
``solution_picture``: the exact solution, the network's and their difference, where the problem offers
``picture_grid()``, ``solution(x, z)`` and, if it is known, ``exact(z)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10, nan
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from torch import Tensor

from multilevel_opt.errors import InputError

Array = NDArray[np.float64]

# Okabe & Ito: told apart by every kind of colour vision, and in print by their lightness.
LEVEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, FAINT = "#262626", "#8a8a8a"
ERRORS = ("rmse", "relative_l2")


class _Event(Protocol):
    """What is drawn of an iteration; see ``result.Event``."""

    @property
    def level(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def loss(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def flops(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


def convergence_picture(history: Sequence[_Event], path: Path) -> Path:
    """Draw loss and error measure of a run into ``path`` (PNG, PDF or SVG by its suffix)."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    unit, flops = _in_thousands([e.flops for e in history])
    positions = _iterations(history), flops, [e.seconds for e in history]
    labels = "iterations of the finest level", f"floating-point operations{unit}", "seconds"
    for axes, label, where in zip(panels, labels, positions, strict=True):
        _trace(axes, history, where)
        _dress(axes, label)
    panels[0].set_ylabel("loss, error", color=INK)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = _legend(history)
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=10)
    else:
        panels[1].text(0.5, 0.5, "no iterations", transform=panels[1].transAxes, ha="center", color=FAINT)
        for axes in panels:
            axes.set(xticks=[], yticks=[])
    return _save(figure, path)


def solution_picture(problem: object, x: Tensor, path: Path) -> Path | None:
    """Draw the solution of a problem at x into ``path``; None, and no file, where it offers none to draw."""
    values = solution_values(problem, x)
    return draw_solution(values, path) if values is not None and drawable(values) else None


def solution_values(problem: object, x: Tensor) -> dict[str, Array] | None:
    """``points`` (k, d), ``network`` (k,) and, where it is known, ``exact`` (k,), as plain arrays."""
    grid: Callable[[], Tensor] | None = getattr(problem, "picture_grid", None)
    solution: Callable[[Tensor, Tensor], Tensor] | None = getattr(problem, "solution", None)
    exact: Callable[[Tensor], Tensor] | None = getattr(problem, "exact", None)
    if grid is None or solution is None:
        return None
    z = grid()
    values = {"points": _array(z), "network": _array(solution(x, z)).reshape(-1)}
    try:
        if exact is not None:
            values["exact"] = _array(exact(z)).reshape(-1)
    except InputError:  # the problem says that it knows no exact solution
        pass
    return values


def drawable(values: Mapping[str, Array]) -> bool:
    """Whether the points lie on a line, or on a full grid of a plane."""
    z = values["points"]
    sides = [len(np.unique(z[:, k])) for k in _varying(z)]
    return len(sides) == 1 or (len(sides) == 2 and sides[0] * sides[1] == len(z))


def draw_solution(values: Mapping[str, Array], path: Path) -> Path:
    """Draw the arrays of ``solution_values``: curves in one dimension, images on a grid of a plane."""
    z = values["points"]
    varying = _varying(z)
    names = [f"z{_SUBSCRIPTS[k]}" if z.shape[1] > 1 else "z" for k in varying]
    if len(varying) == 1:
        return _save(_curves(z[:, varying[0]], values, names[0]), path)
    return _save(_images(z[:, varying], values, names), path)


def _varying(z: Array) -> list[int]:
    """The coordinates that are not the same at all points."""
    return [k for k in range(z.shape[1]) if np.ptp(z[:, k]) > 0]


_SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"


def _iterations(history: Sequence[_Event]) -> list[float]:
    """Abscissa of every event: the number of the finest iteration, coarse ones spread over the one they serve."""
    where: list[float] = []
    done, waiting = 0, 0
    for event in history:
        waiting += 1
        if event.level == 0:
            where += [done + k / waiting for k in range(1, waiting + 1)]
            done, waiting = done + 1, 0
    return [*where, *(done + k / (waiting + 1) for k in range(1, waiting + 1))]


def _in_thousands(values: Sequence[float]) -> tuple[str, list[float]]:
    """The values in units of 10³ᵏ, and how to say so."""
    largest = max(values, default=0.0)
    exponent = 3 * int(log10(largest) // 3) if largest >= 1 else 0
    return (f" (10$^{{{exponent}}}$)" if exponent else ""), [value / 10.0**exponent for value in values]


def _trace(axes: Axes, history: Sequence[_Event], where: Sequence[float]) -> None:
    error = _error_name(history)
    for level in sorted({event.level for event in history}, reverse=True):
        colour, fine = _colour(level), level == 0
        for visit in _visits(history, level):
            x, y = [where[k] for k in visit], [_positive(history[k].loss) for k in visit]
            single: dict[str, Any] = {"marker": "."} if len(visit) == 1 else {}
            axes.plot(x, y, color=colour, lw=1.8 if fine else 1.2, zorder=2 + fine, **single)
    finest = [k for k, event in enumerate(history) if event.level == 0]
    y = [_positive(history[k].gradient_norm if error is None else history[k].metrics.get(error, nan)) for k in finest]
    axes.plot([where[k] for k in finest], y, color=INK, lw=1.8, ls=(0, (4, 1.5)), zorder=4)
    for accepted in (True, False):
        marks = [k for k, e in enumerate(history) if e.level == 0 and e.kind == "coarse" and e.accepted is accepted]
        size = 4.5 if len(marks) < 40 else 3.0
        axes.plot([where[k] for k in marks], [_positive(history[k].loss) for k in marks], **_mark(accepted, size))


def _visits(history: Sequence[_Event], level: int) -> list[list[int]]:
    """Indices of the events of a level; a new list wherever the level above went on in between."""
    if level == 0:
        return [[k for k, event in enumerate(history) if event.level == 0]]
    visits: list[list[int]] = [[]]
    for k, event in enumerate(history):
        if event.level == level:
            visits[-1].append(k)
        elif event.level < level and visits[-1]:
            visits.append([])
    return [visit for visit in visits if visit]


def _mark(accepted: bool, size: float = 4.5) -> dict[str, Any]:
    face = LEVEL_COLOURS[0] if accepted else "white"
    return {"ls": "", "marker": "o", "ms": size, "mfc": face, "mec": LEVEL_COLOURS[0], "mew": 1.0, "zorder": 5}


def _legend(history: Sequence[_Event]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=_colour(level), lw=1.8, label=f"loss, level {level}{' (finest)' if level == 0 else ''}")
        for level in sorted({event.level for event in history})
    ]
    error = _error_name(history)
    if history:
        label = "gradient norm" if error is None else _spoken(error)
        handles.append(Line2D([], [], color=INK, lw=1.8, ls=(0, (4, 1.5)), label=label))
    for accepted, label in ((True, "coarse step"), (False, "coarse step, rejected")):
        if any(e.level == 0 and e.kind == "coarse" and e.accepted is accepted for e in history):
            handles.append(Line2D([], [], label=label, **_mark(accepted)))
    return handles


def _error_name(history: Sequence[_Event]) -> str | None:
    known = {name for event in history if event.level == 0 for name in event.metrics}
    return next((name for name in (*ERRORS, *sorted(known)) if name in known), None)


def _spoken(name: str) -> str:
    return {"rmse": "RMSE", "relative_l2": "relative L2 error"}.get(name, name)


def _colour(level: int) -> str:
    return LEVEL_COLOURS[level % len(LEVEL_COLOURS)]


def _positive(value: float) -> float:
    """The value where a logarithmic axis can show it, else NaN."""
    return value if 1e-250 < value < 1e250 else float("nan")


def _dress(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, color=INK)
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    if any(bool(np.isfinite(y).any()) for y in lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.set_xlim(left=0)
    axes.grid(True, which="major", color="#e3e3e3", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def _curves(z: Array, values: Mapping[str, Array], label: str) -> Figure:
    order = np.argsort(z)
    z, network, exact = z[order], values["network"][order], values.get("exact")
    figure = Figure(figsize=(9, 5.2 if exact is not None else 3.6), layout="constrained")
    ratios = [2, 1] if exact is not None else [1]
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    if exact is not None:
        panels[0].plot(z, exact[order], color=FAINT, lw=4.5, alpha=0.6, label="exact", solid_capstyle="round")
        error = np.abs(network - exact[order])
        panels[1].plot(z, np.where(error > 0, error, np.nan), color=LEVEL_COLOURS[1], lw=1.2)
        _logarithmic(panels[1], error)
        panels[1].set_ylabel("|network − exact|", color=INK)
    panels[0].plot(z, network, color=LEVEL_COLOURS[0], lw=1.6, label="network")
    panels[0].set_ylabel("u", color=INK)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    panels[-1].set_xlabel(label, color=INK)
    for axes in panels:
        axes.set_xlim(z[0], z[-1])
        axes.grid(True, color="#e3e3e3", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
    return figure


def _logarithmic(axes: Axes, error: Array) -> None:
    """A log axis that shows the size of the error, not how close its zeros come to zero."""
    seen = error[np.isfinite(error) & (error > 0)]
    if not seen.size:
        return
    axes.set_yscale("log")
    high = float(seen.max())
    low = max(float(np.quantile(seen, 0.02)), 1e-5 * high)
    axes.set_ylim(10 ** (log10(low) - 0.1), 10 ** (log10(high) + 0.2))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _images(z: Array, values: Mapping[str, Array], labels: Sequence[str]) -> Figure:
    shape = len(np.unique(z[:, 0])), len(np.unique(z[:, 1]))
    order = np.lexsort((z[:, 1], z[:, 0]))
    pictures = {name: values[name][order].reshape(shape) for name in ("exact", "network") if name in values}
    limits = _span(next(iter(pictures.values())))
    drawn = [(name, u, "viridis", limits) for name, u in pictures.items()]
    if "exact" in pictures:
        error = pictures["network"] - pictures["exact"]
        size = float(np.nanmax(np.abs(error), initial=0.0)) or 1e-300
        drawn.append(("network − exact", error, "RdBu_r", (-size, size)))
    figure = Figure(figsize=(4.3 * len(drawn), 4.0), layout="constrained")
    extent = [b for k in (0, 1) for b in (float(z[:, k].min()), float(z[:, k].max()))]
    for axes, (name, u, colours, (low, high)) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True
    ):
        image = axes.imshow(u.T, origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high, aspect="auto")
        bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
        bar.ax.ticklabel_format(scilimits=(-3, 4))
        bar.ax.tick_params(colors=INK, labelsize=9)
        axes.set_box_aspect(float(np.clip((extent[3] - extent[2]) / (extent[1] - extent[0]), 0.25, 4)))
        axes.set_title(name, color=INK, fontsize=11)
        axes.set_xlabel(labels[0], color=INK)
        axes.set_ylabel(labels[1], color=INK)
        axes.tick_params(colors=INK, labelsize=9)
    return figure


def _span(u: Array) -> tuple[float, float]:
    seen = u[np.isfinite(u)]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure).print_figure(path, dpi=140, facecolor="white")
    return path
