"""Pictures of studies as data, and how they are drawn: one drawing routine, in a light and a dark dress.

Every series has a colour, a dash pattern and a marker of its own, so that none depends on seeing colours.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        label: in the legend.
        x: (k,), NaN where the curve is interrupted.
        y: (k,).
        low: (k,) lower ends of a band, None for no band.
        high: (k,) upper ends.
        across: the band is along x, not along y.
        steps: a step function, constant to the right of every x.
        style: number of its colour, dashes and marker.
    """

    label: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    across: bool = False
    steps: bool = False
    style: int = 0


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        name: of its files.
        title: above it.
        alt: what is seen, in words, for those who cannot see it.
        x: label of the axis.
        y: label of the axis.
        series: the curves.
        log_x: logarithmic axis.
        log_y: logarithmic axis.
    """

    name: str
    title: str
    alt: str
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = True
    log_y: bool = False


@dataclass(frozen=True)
class Dress:
    """Colours of a picture."""

    page: str
    ink: str
    faint: str
    colours: tuple[str, ...]


# Okabe & Ito, told apart by every kind of colour vision; the dark dress has lighter tints of the same hues.
LIGHT = Dress(
    "#ffffff", "#262626", "#dcdcdc", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#56B4E9", "#5a5a5a")
)
DARK = Dress(
    "#222427", "#e8e8ea", "#45484d", ("#6CB8EE", "#FF9A5C", "#3FD0A4", "#EDA5CC", "#F2C14E", "#B5DDF7", "#bdbdbd")
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SIZE = (5.2, 4.0)  # inches


def draw(plot: Plot, dress: Dress = LIGHT) -> Figure:
    """The figure of a plot."""
    figure = Figure(figsize=SIZE, layout="constrained", facecolor=dress.page)
    axes = figure.subplots()
    axes.set_facecolor(dress.page)
    for series in plot.series:
        _curve(axes, series, dress)
    _scales(axes, plot)
    _dress(axes, plot, dress)
    if plot.series:
        figure.legend(
            loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=dress.ink, handlelength=3.2
        )
    else:
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center", color=dress.ink)
    return figure


def encoded(figure: Figure, suffix: str, dpi: int = 120) -> bytes:
    """The bytes of a figure as "png" or "pdf"; the same figure gives the same bytes."""
    stream = io.BytesIO()
    without_date = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[suffix]
    FigureCanvasAgg(figure).print_figure(stream, format=suffix, dpi=dpi, metadata=without_date)
    return stream.getvalue()


def _curve(axes: Axes, series: Series, dress: Dress) -> None:
    colour = dress.colours[series.style % len(dress.colours)]
    dashes, marker = DASHES[series.style % len(DASHES)], MARKERS[series.style % len(MARKERS)]
    every = max(1, len(series.x) // 6)
    axes.plot(
        series.x,
        series.y,
        color=colour,
        linestyle=dashes,
        marker=marker,
        markevery=(min(2 * series.style, every - 1), every),
        markersize=5,
        linewidth=1.7,
        drawstyle="steps-post" if series.steps else "default",
        label=series.label.replace("$", r"\$"),
    )
    if series.low is not None and series.high is not None:
        fill = axes.fill_betweenx if series.across else axes.fill_between
        fill(series.y if series.across else series.x, series.low, series.high, color=colour, alpha=0.16, linewidth=0)


def _scales(axes: Axes, plot: Plot) -> None:
    for axis, logarithmic, values in (
        ("x", plot.log_x, [s.x for s in plot.series]),
        ("y", plot.log_y, [s.y for s in plot.series]),
    ):
        seen = np.concatenate([*values, np.empty(0)])
        if not logarithmic or not (seen > 0).any():
            continue
        getattr(axes, f"set_{axis}scale")("log")
        chosen = getattr(axes, f"{axis}axis")
        chosen.set_minor_formatter(NullFormatter())
        seen = seen[np.isfinite(seen) & (seen > 0)]
        if seen.max() / seen.min() < 30 and seen.min() >= 0.1:
            chosen.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
            chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _dress(axes: Axes, plot: Plot, dress: Dress) -> None:
    axes.set_title(plot.title.replace("$", r"\$"), color=dress.ink, fontsize=11, wrap=True)
    axes.set_xlabel(plot.x.replace("$", r"\$"), color=dress.ink)
    axes.set_ylabel(plot.y.replace("$", r"\$"), color=dress.ink)
    axes.grid(True, color=dress.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=dress.ink, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(dress.ink)
