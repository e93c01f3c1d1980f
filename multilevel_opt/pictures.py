"""Pictures of a run, drawn by matplotlib's object interface: no window, no global state.

``convergence_picture``: loss and error against iterations, flops and seconds, one colour a level. Those of
solutions are in ``solution_pictures``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10, nan
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

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
    return save(figure, path)


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


def save(figure: Figure, path: Path, dpi: int = 140) -> Path:
    """Write the figure; its format is that of the suffix."""
    FigureCanvasAgg(figure).print_figure(path, dpi=dpi, facecolor="white")
    return path
