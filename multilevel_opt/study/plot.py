"""Pictures of studies as data, and how they are drawn: one drawing routine, in a light and a dark dress.

Every series has a colour, a dash pattern and a marker of its own, so that none depends on seeing colours.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from multilevel_opt.notation import number

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
        ticks: where the axis of x has its labels; empty for the usual places.
        share: whether y is a share, from 0 to 1.
    """

    name: str
    title: str
    alt: str
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = True
    log_y: bool = False
    ticks: tuple[float, ...] = ()
    share: bool = False


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
# Inches. Fixed margins, where an automatic layout would draw everything twice.
WIDTH, AXES, LEFT, RIGHT, TOP, BOTTOM, LINE = 5.2, 3.0, 0.84, 0.12, 0.12, 0.55, 0.2
TITLE, LABEL = 62, 54  # characters of a line, of the legend's
SHORT = 24  # characters of a label: if all are as short, the legend has two columns
DPI = 120


def draw(plot: Plot, dress: Dress = LIGHT) -> Figure:
    """The figure of a plot."""
    title = "\n".join(textwrap.wrap(_plain(plot.title), TITLE))
    above = TOP + LINE * (1 + title.count("\n"))
    labels = ["\n".join(textwrap.wrap(_plain(series.label), LABEL)) for series in plot.series]
    columns = 2 if all(len(label) <= SHORT for label in labels) else 1
    below = BOTTOM + LINE * -(-sum(1 + label.count("\n") for label in labels) // columns)
    height = AXES + above + below
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=dress.page)
    figure.subplots_adjust(LEFT / WIDTH, below / height, 1 - RIGHT / WIDTH, 1 - above / height)
    axes = figure.subplots()
    for series, label in zip(plot.series, labels, strict=True):
        _curve(axes, series, label, dress)
    _scales(axes, plot)
    _dress(axes, plot, dress)
    axes.set_title(title, color=dress.ink, fontsize=10.5)
    if plot.series:
        figure.legend(
            loc="lower center", ncols=columns, frameon=False, fontsize=9, labelcolor=dress.ink, handlelength=3.2
        )
    else:
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center", color=dress.ink)
    return figure


def png(figure: Figure) -> bytes:
    """The bytes of a figure; the same figure gives the same bytes."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return stream.getvalue()


def pdf(figure: Figure) -> bytes:
    """The bytes of a figure; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="pdf", metadata={"CreationDate": None})
    return stream.getvalue()


def _curve(axes: Axes, series: Series, label: str, dress: Dress) -> None:
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
        label=label,
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
        seen = seen[np.isfinite(seen) & (seen > 0)]
        if seen.max() / seen.min() < 30:
            chosen.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
        # Signs of a font, not mathematics, which takes most of the time of drawing; minor ticks take the rest.
        chosen.set_major_formatter(FuncFormatter(lambda value, _: number(float(value), 3)))
        chosen.set_minor_locator(NullLocator())
    if plot.share:
        axes.set_ylim(-0.05, 1.05)
    if plot.ticks:
        axes.set_xticks(plot.ticks, [number(value, 3) for value in plot.ticks])


def _dress(axes: Axes, plot: Plot, dress: Dress) -> None:
    axes.set_facecolor(dress.page)
    axes.set_xlabel(_plain(plot.x), color=dress.ink)
    axes.set_ylabel(_plain(plot.y), color=dress.ink)
    axes.grid(True, color=dress.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=dress.ink, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(dress.ink)


def _plain(text: str) -> str:
    """Text in which nothing is mathematics, and that no legend leaves out."""
    return text.replace("$", r"\$").removeprefix("_") if text.startswith("_") else text.replace("$", r"\$")
