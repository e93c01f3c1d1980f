"""Pictures of solutions: the exact one, the network's and their difference, on a line or a plane.

A problem offers ``picture_grid()``, ``solution(x, z)`` and, if it is known, ``exact(z)``; ``inside(z)`` where its
domain is not the whole grid. Each of several functions gets panels of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pictures import FAINT, INK, LEVEL_COLOURS, save

Array = NDArray[Any]


def solution_picture(problem: object, x: Tensor, path: Path) -> Path | None:
    """Draw the solution of a problem at x into ``path``; None, and no file, where it offers none to draw."""
    values = solution_values(problem, x)
    return draw_solution(values, path) if values is not None and drawable(values) else None


def solution_values(problem: object, x: Tensor) -> dict[str, Array] | None:
    """Plain arrays: ``points`` (k, d), ``network`` (k,) and, where it is known, ``exact`` (k,); NaN outside the domain.

    Of K functions ``network`` and ``exact`` have the shape (k, K).
    """
    grid: Callable[[], Tensor] | None = getattr(problem, "picture_grid", None)
    solution: Callable[[Tensor, Tensor], Tensor] | None = getattr(problem, "solution", None)
    exact: Callable[[Tensor], Tensor] | None = getattr(problem, "exact", None)
    inside: Callable[[Tensor], Tensor] | None = getattr(problem, "inside", None)
    if grid is None or solution is None:
        return None
    z = grid()
    values = {"points": _array(z), "network": _array(solution(x, z))}
    try:
        if exact is not None:
            values["exact"] = _array(exact(z))
    except InputError:  # the problem says that it knows no exact solution
        pass
    for name in values.keys() - {"points"}:
        values[name] = values[name].reshape(len(z), -1) if values[name].ndim > 1 else values[name]
        if inside is not None:
            values[name][~inside(z).cpu().numpy()] = np.nan
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
    functions = _each(values)
    if len(varying) == 1:
        figure = Figure(figsize=(9, (5.2 if "exact" in values else 3.6) * len(functions)), layout="constrained")
        for part, (name, mine) in zip(_stacked(figure, len(functions)), functions, strict=True):
            _curves(part, z[:, varying[0]], mine, names[0], name)
        return save(figure, path)
    columns = 3 if "exact" in values else 1
    figure = Figure(figsize=(4.3 * columns, 4.0 * len(functions)), layout="constrained")
    for part, (name, mine) in zip(_stacked(figure, len(functions)), functions, strict=True):
        _images(part, z[:, varying], mine, names, name)
    return save(figure, path)


def _stacked(figure: Any, count: int) -> list[Any]:
    """One part of the figure below the other; the figure itself if there is one."""
    return [figure] if count == 1 else list(np.ravel(figure.subfigures(count, 1)))


def _each(values: Mapping[str, Array]) -> list[tuple[str, dict[str, Array]]]:
    """Name and values of every function; "u" of a single one."""
    if values["network"].ndim == 1:
        return [("u", dict(values))]
    names = [f"u{_SUBSCRIPTS[k]}" for k in range(values["network"].shape[1])]
    drawn = [key for key in ("network", "exact") if key in values]
    return [(name, {key: values[key][:, k] for key in drawn}) for k, name in enumerate(names)]


def _varying(z: Array) -> list[int]:
    """The coordinates that are not the same at all points."""
    return [k for k in range(z.shape[1]) if np.ptp(z[:, k]) > 0]


_SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"


def _curves(figure: Any, z: Array, values: Mapping[str, Array], label: str, name: str) -> None:
    order = np.argsort(z)
    z, network, exact = z[order], values["network"][order], values.get("exact")
    ratios = [2, 1] if exact is not None else [1]
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    if exact is not None:
        panels[0].plot(z, exact[order], color=FAINT, lw=4.5, alpha=0.6, label="exact", solid_capstyle="round")
        error = np.abs(network - exact[order])
        panels[1].plot(z, np.where(error > 0, error, np.nan), color=LEVEL_COLOURS[1], lw=1.2)
        _logarithmic(panels[1], error)
        panels[1].set_ylabel("|network − exact|", color=INK)
    panels[0].plot(z, network, color=LEVEL_COLOURS[0], lw=1.6, label="network")
    panels[0].set_ylabel(name, color=INK)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    panels[-1].set_xlabel(label, color=INK)
    for axes in panels:
        axes.set_xlim(z[0], z[-1])
        axes.grid(True, color="#e3e3e3", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)


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


def _images(figure: Any, z: Array, values: Mapping[str, Array], labels: Sequence[str], name: str) -> None:
    shape = len(np.unique(z[:, 0])), len(np.unique(z[:, 1]))
    order = np.lexsort((z[:, 1], z[:, 0]))
    pictures = {key: values[key][order].reshape(shape) for key in ("exact", "network") if key in values}
    limits = _span(next(iter(pictures.values())))
    drawn = [(key, u, "viridis", limits) for key, u in pictures.items()]
    if "exact" in pictures:
        error = pictures["network"] - pictures["exact"]
        size = max(abs(end) for end in _span(error)) or 1e-300
        drawn.append(("network − exact", error, "RdBu_r", (-size, size)))
    extent = [b for k in (0, 1) for b in (float(z[:, k].min()), float(z[:, k].max()))]
    for axes, (title, u, colours, (low, high)) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True
    ):
        image = axes.imshow(u.T, origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high, aspect="auto")
        bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
        bar.ax.ticklabel_format(scilimits=(-3, 4))
        bar.ax.tick_params(colors=INK, labelsize=9)
        axes.set_box_aspect(float(np.clip((extent[3] - extent[2]) / (extent[1] - extent[0]), 0.25, 4)))
        axes.set_title(title if name == "u" else f"{name}: {title}", color=INK, fontsize=11)
        axes.set_xlabel(labels[0], color=INK)
        axes.set_ylabel(labels[1], color=INK)
        axes.tick_params(colors=INK, labelsize=9)


def _span(u: Array) -> tuple[float, float]:
    seen = u[np.isfinite(u)]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float64)
