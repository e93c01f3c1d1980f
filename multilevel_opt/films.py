"""Films of solutions that move: a curve in time, or a plane at several times, as GIF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from multilevel_opt.pictures import INK
from multilevel_opt.solution_pictures import curves, images, positive, scales, shape_of, stacked
from multilevel_opt.solution_values import Array, View, views_of

FRAMES = 30  # at most
RATE = 10  # frames a second
DPI = 72

Move = Callable[[int], None]


def moves(values: Mapping[str, Array]) -> bool:
    """Whether the solution has a time along which it is known."""
    views = views_of(values)
    return not views[0][0].in_space or (views[0][0].time is not None and len(views) > 1)


def draw_film(values: Mapping[str, Array], path: Path) -> Path:
    """Draw the arrays of ``solution_values`` of an evolution into a GIF."""
    views = views_of(values)
    frames = views if views[0][0].in_space else _cut(views[0])
    kept = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int))
    frames = [frames[k] for k in kept]
    figure, move = (_line if len(frames[0][0].axes) == 1 else _plane)(frames)
    FigureCanvasAgg(figure)
    figure.canvas.draw()
    figure.set_layout_engine(PlaceHolderLayoutEngine(True, True))  # nothing is laid out anew
    writer = PillowWriter(fps=RATE)
    writer.setup(figure, path, dpi=DPI)
    for k in range(len(frames)):
        move(k)
        writer.grab_frame(facecolor="white")
    writer.finish()
    return path


def _cut(functions: list[View]) -> list[list[View]]:
    """Space-time pictures as curves at every time."""
    time, *_ = functions[0].sides
    return [
        [
            replace(
                view,
                axes=view.axes[1:],
                sides=view.sides[1:],
                fields={name: u[k] for name, u in view.fields.items()},
                in_space=True,
                time=float(t),
                fixed=f"{view.axes[0]} = {t:.3g}",
            )
            for view in functions
        ]
        for k, t in enumerate(time)
    ]


def _line(frames: list[list[View]]) -> tuple[Figure, Move]:
    """Curves and their errors, on axes that stay."""
    count, known = len(frames[0]), frames[0][0].error is not None
    figure = Figure(figsize=(7.5, (4.4 if known else 3.0) * count), layout="constrained")
    drawn = []
    for part, first in zip(stacked(figure, count), _whole(frames), strict=True):
        low, high = (f(first.fields.get("exact", first.fields["network"])) for f in (np.nanmin, np.nanmax))
        room = 0.08 * float(high - low) or 1.0
        axes, artists = curves(part, first, (float(low) - room, float(high) + room))
        drawn.append((axes, artists, axes.set_title(first.fixed, color=INK, fontsize=11, loc="left")))

    def move(k: int) -> None:
        for (_, artists, title), view in zip(drawn, frames[k], strict=True):
            title.set_text(view.fixed)
            for name, artist in artists.items():
                shown = view.error if name == "error" else view.fields[name]
                assert shown is not None
                artist.set_data(view.sides[0], positive(shown) if name == "error" else shown)

    return figure, move


def _whole(frames: list[list[View]]) -> list[View]:
    """For every function a curve through all frames, for axes that hold them all."""
    found = []
    for functions in zip(*frames, strict=True):
        first = functions[0]
        fields = {name: np.concatenate([view.fields[name] for view in functions]) for name in first.fields}
        sides = (np.tile(first.sides[0], len(functions)),)
        found.append(replace(first, sides=sides, fields=fields))
    return found


def _plane(frames: list[list[View]]) -> tuple[Figure, Move]:
    """Images of which the colours mean the same at all times."""
    count, panels = len(frames[0]), 3 if frames[0][0].error is not None else 1
    height = sum(2.6 * shape_of(view) + 0.8 for view in frames[0])
    figure = Figure(figsize=(2.9 * panels + 1.2, height), layout="constrained")
    drawn = []
    for j, part in enumerate(stacked(figure, count)):
        scale = scales([functions[j] for functions in frames])
        drawn.append((images(part, frames[0][j], scale), part.suptitle(frames[0][j].fixed, fontsize=11)))

    def move(k: int) -> None:
        for (artists, title), view in zip(drawn, frames[k], strict=True):
            title.set_text(view.fixed)
            for name, artist in artists.items():
                shown = view.error if name == "error" else view.fields[name]
                assert shown is not None
                artist.set_data(shown.T)

    return figure, move
