"""A solution as plain arrays, and these as views: values of one function on a line or on a grid of a plane.

A problem offers ``solution(x, z)`` and ``picture_grid()``, points on a line or plane, or in place of it
``views(x)``, a list of such sets of points: slices, or a plane at several times. It may offer ``exact(z)``;
``inside(z)`` where its domain is not the whole grid; ``residual_at(x, z)``; ``training_points()``, sets of points by
name; and a ``frame`` with the names of its coordinates and functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from multilevel_opt.errors import InputError

Array = NDArray[Any]

FIELDS = ("network", "exact")
OF_POINTS = ("points", *FIELDS, "view", "residual")  # arrays with one entry for each point
TEXTS = ("coordinates", "functions")
CLOUDS = ("interior", "boundary", "added")  # points of training


@dataclass(frozen=True)
class View:
    """One function on a line or on a grid of a plane.

    Attributes:
        name: of the function.
        axes: names of the coordinates that vary; the horizontal one first.
        sides: their values, ascending, (n,) each.
        fixed: the other coordinates, for a title: "z = 0.5".
        fields: ``network``, ``exact`` and ``residual`` as far as they are known, (n,) or (n, n').
        in_space: whether both axes are lengths, which are drawn to scale.
        time: the time of all points, where there is one.
    """

    name: str
    axes: tuple[str, ...]
    sides: tuple[Array, ...]
    fixed: str
    fields: Mapping[str, Array]
    in_space: bool = True
    time: float | None = None

    @property
    def error(self) -> Array | None:
        """|network − exact|; None where no truth is known."""
        if "exact" not in self.fields:
            return None
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(self.fields["network"] - self.fields["exact"]))

    @property
    def relative_error(self) -> float:
        """‖network − exact‖ / ‖exact‖ over this view; NaN where it cannot be told."""
        if self.error is None or not np.isfinite(self.error).any():
            return float("nan")
        size = float(np.sqrt(np.nanmean(self.fields["exact"] ** 2)))
        return float(np.sqrt(np.nanmean(self.error**2))) / size if size else float("nan")


def solution_values(problem: object, x: Tensor) -> dict[str, Array] | None:
    """Plain arrays of the solution of a problem at x; None where it offers none.

    ``points`` (k, d), ``network`` (k,), and where they are known ``exact`` (k,) and ``residual`` (k,), NaN outside the
    domain; of K functions ``network`` and ``exact`` have the shape (k, K). ``view`` (k,) numbers the view of each
    point. ``coordinates`` and ``functions`` are names, ``time`` is the number of the coordinate of time.
    ``interior``, ``boundary`` and ``added`` are points of training.
    """
    solution: Callable[[Tensor, Tensor], Tensor] | None = getattr(problem, "solution", None)
    sets = _sets(problem, x)
    if solution is None or not sets:
        return None
    z = _joined(sets)
    values = {"points": _array(z), "network": _array(solution(x, z))}
    if len(sets) > 1:
        values["view"] = np.repeat(np.arange(len(sets), dtype=float), [len(part) for part in sets])
    exact: Callable[[Tensor], Tensor] | None = getattr(problem, "exact", None)
    if exact is not None:
        with suppress(InputError):  # the problem says that it knows no exact solution
            values["exact"] = _array(exact(z))
    for name in values.keys() & set(FIELDS):
        values[name] = values[name].reshape(len(z), -1) if values[name].ndim > 1 else values[name]
    return _masked(values, problem, z) | _named(problem) | _trained(problem, x, sets)


def _sets(problem: object, x: Tensor) -> list[Tensor]:
    views: Callable[[Tensor], list[Tensor]] | None = getattr(problem, "views", None)
    grid: Callable[[], Tensor] | None = getattr(problem, "picture_grid", None)
    if views is not None:
        return views(x)
    return [] if grid is None else [grid()]


def _joined(sets: list[Tensor]) -> Tensor:
    first = sets[0]
    joined = first.new_empty(sum(map(len, sets)), first.shape[1])
    for part, rows in zip(sets, joined.split([len(part) for part in sets]), strict=True):
        rows.copy_(part)
    return joined


def _masked(values: dict[str, Array], problem: object, z: Tensor) -> dict[str, Array]:
    """The fields, NaN at points outside the domain."""
    inside: Callable[[Tensor], Tensor] | None = getattr(problem, "inside", None)
    if inside is not None:
        outside = ~inside(z).cpu().numpy()
        for name in values.keys() & set(FIELDS):
            values[name][outside] = np.nan
    return values


def _named(problem: object) -> dict[str, Array]:
    frame: Any = getattr(problem, "frame", None)
    if frame is None:
        return {}
    names = {"coordinates": np.array(frame.coordinates), "functions": np.array(frame.outputs)}
    times = [] if frame.space is None else [k for k in range(len(frame.coordinates)) if k not in frame.space]
    return names | ({"time": np.array(times, dtype=float)} if times else {})


def _trained(problem: object, x: Tensor, sets: list[Tensor]) -> dict[str, Array]:
    """Residual and points of training of a problem on a line or plane."""
    residual: Callable[[Tensor, Tensor], Tensor] | None = getattr(problem, "residual_at", None)
    points: Callable[[], Mapping[str, Tensor]] | None = getattr(problem, "training_points", None)
    if len(sets) > 1 or sets[0].shape[1] > 2:
        return {}
    found = {} if points is None else {name: _array(z) for name, z in points().items() if len(z)}
    return found if residual is None else found | {"residual": _array(residual(x, sets[0]))}


def drawable(values: Mapping[str, Array]) -> bool:
    """Whether the points of every view lie on a line, or on a full grid of a plane."""
    return all(_on_grid(z) for z in _parts(values, values["points"]))


def _on_grid(z: Array) -> bool:
    sides = [len(np.unique(z[:, k])) for k in varying(z)]
    return len(sides) == 1 or (len(sides) == 2 and sides[0] * sides[1] == len(z))


def varying(z: Array) -> list[int]:
    """The coordinates that are not the same at all points."""
    return [k for k in range(z.shape[1]) if np.ptp(z[:, k]) > 0]


def views_of(values: Mapping[str, Array]) -> list[list[View]]:
    """The views, and of each all functions."""
    fields = {name: _parts(values, values[name]) for name in (*FIELDS, "residual") if name in values}
    return [
        _functions(values, z, {name: parts[k] for name, parts in fields.items()})
        for k, z in enumerate(_parts(values, values["points"]))
    ]


def _parts(values: Mapping[str, Array], array: Array) -> list[Array]:
    """An array of points cut into views."""
    view = values.get("view")
    return [array] if view is None else [array[view == k] for k in np.unique(view)]


def _functions(values: Mapping[str, Array], z: Array, fields: Mapping[str, Array]) -> list[View]:
    """Every function on the points z (m, d) of one view."""
    names = coordinates_of(values)
    time = int(values["time"][0]) if "time" in values else None
    axes = sorted(varying(z), key=lambda k: (k != time, k))
    order = np.lexsort([z[:, k] for k in reversed(axes)])
    sides = tuple(np.unique(z[:, k]) for k in axes)
    shape = tuple(map(len, sides))
    others = [k for k in range(z.shape[1]) if k not in axes]
    fixed = [f"{names[k]} = {z[0, k]:.3g}" for k in others]
    if len(fixed) > 3:
        fixed = ["all others " + fixed[-1].partition(" ")[2]]
    functions = fields["network"].shape[1] if fields["network"].ndim > 1 else 1
    spoken = values.get("functions")
    called = [str(name) for name in spoken] if spoken is not None and len(spoken) == functions else _called(functions)

    def grid(array: Array, k: int) -> Array:
        column = array[:, k] if array.ndim > 1 else array
        return np.asarray(column[order].reshape(shape))

    return [
        View(
            name,
            tuple(names[axis] for axis in axes),
            sides,
            ", ".join(fixed),
            {key: grid(array, k) for key, array in fields.items()},
            time not in axes,
            float(z[0, time]) if time is not None and time not in axes else None,
        )
        for k, name in enumerate(called)
    ]


_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def coordinates_of(values: Mapping[str, Array]) -> list[str]:
    """Names of the coordinates; z₁, z₂, … where they have none."""
    d, given = values["points"].shape[1], values.get("coordinates")
    if given is not None and len(given) == d:
        return [str(name) for name in given]
    return ["z"] if d == 1 else [f"z{k}".translate(_SUBSCRIPTS) for k in range(1, d + 1)]


def _called(functions: int) -> list[str]:
    return ["u"] if functions == 1 else [f"u{k}".translate(_SUBSCRIPTS) for k in range(1, functions + 1)]


def _array(values: Tensor) -> Array:
    return values.detach().cpu().numpy().astype(np.float64)
