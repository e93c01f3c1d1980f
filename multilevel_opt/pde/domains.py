"""Where an equation holds: boxes, and products of a domain of space with an interval of time.

``Interval(0, 1) * Time(2)``, ``Box([(0, 1), (0, 2)])``; polygons, discs and their unions and differences are in
``regions``. A domain makes its points: of the interior, of its boundary with outward normals, at the start of
the time. They are made on the CPU in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.pde import sampling as boxes
from multilevel_opt.pde.fields import named
from multilevel_opt.pde.sampling import SAMPLINGS, Array

TRIES = 8
THIN = 1e-2  # share of its box below which points of a domain are not sought by trial


class Domain:
    """A bounded set of R^d; a subclass gives ``names``, ``bounds``, ``measure``, ``contains`` and ``boundary``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return named(len(self.bounds))

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of every coordinate."""
        raise UnsupportedCombination(f"{type(self).__name__} has no bounds: define them")

    @property
    def measure(self) -> float:
        """Length, area or volume."""
        raise UnsupportedCombination(f"{type(self).__name__} has no measure: define it")

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return len(self.bounds)

    @property
    def space(self) -> tuple[int, ...]:
        """The coordinates of space: all, unless the domain has a time."""
        return tuple(range(self.dim))

    @property
    def volume_of_box(self) -> float:
        """Measure of the bounding box."""
        return prod(high - low for low, high in self.bounds)

    def contains(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether the points (m, d) lie in the closed domain, (m,), with a tolerance of rounding."""
        raise UnsupportedCombination(f"{type(self).__name__} cannot tell its points: define contains")

    def inside(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """As ``contains``, without its tolerance."""
        return self.contains(z)

    def interior(self, points: int | str, sampling: str, seed: int) -> Array:
        """Points (t, d) by a key of ``SAMPLINGS``; a grid has about as many as asked for.

        Raises:
            InputError: unknown ``sampling`` or bad ``points``.
        """
        boxes.check_sampling(sampling)
        low, high = np.array(self.bounds).T
        share = self.measure / self.volume_of_box
        sides = boxes.per_side(points, self.dim)
        count = int(points) if not isinstance(points, str) else prod(sides)
        if share < THIN:
            return self.drawn(count, boxes.no_grid(sampling), seed)
        if boxes.is_grid(points, sampling):
            sides = tuple(max(1, round(n * share ** (-1 / self.dim))) for n in sides)
            z = low + (high - low) * SAMPLINGS[sampling](sides, prod(sides), seed)
            kept: Array = z[self.inside(z)]
            if len(kept):
                return kept
            sampling = "sobol"
        tries = count if share > 1 - 1e-12 else round(1.1 * count / share) + 8
        for _ in range(TRIES):
            z = low + (high - low) * SAMPLINGS[sampling](sides, tries, seed)
            kept = z[self.inside(z)]
            if len(kept) >= count:
                return kept[:count]
            tries *= 2
        raise InputError(f"no points were found in {self}: its measure {self.measure:g} is too small for its bounds")

    def drawn(self, count: int, sampling: str, seed: int) -> Array:
        """Interior points (count, d) of a domain that fills little of its box; ``InputError`` where it cannot."""
        raise InputError(
            f"{self} fills {self.measure / self.volume_of_box:.1g} of the box around it: give bounds that fit it better"
        )

    def boundary(self, points: int | str, sampling: str, seed: int) -> tuple[Array, Array]:
        """Boundary points about as dense as ``points`` interior ones, and outward unit normals; (t_b, d) each."""
        raise UnsupportedCombination(f"{type(self).__name__} has no boundary points: define boundary")

    def initial(self, points: int | str, sampling: str, seed: int) -> Array:
        """Points (t_0, d) at the start of the time.

        Raises:
            InputError: the domain has no time.
        """
        raise InputError(f"{self} has no time, so no initial condition: multiply the domain by Time(...)")

    def pairs(self, name: str, points: int | str, sampling: str, seed: int) -> tuple[Array, Array, Array]:
        """Pairs of opposite points, (k, d) each, on the two faces of a coordinate; normals (k, d) of the second.

        Raises:
            InputError: the coordinate has no two opposite faces.
        """
        raise InputError(f"{self} has no opposite faces to join: periodic conditions need a box")

    def __mul__(self, time: Time) -> SpaceTime:
        if not isinstance(time, Time):
            raise InputError(f"a domain is multiplied by Time(...), got {type(time).__name__}")
        return SpaceTime(self, time)


@dataclass(frozen=True)
class Box(Domain):
    """A box; an interval where d = 1.

    Attributes:
        sides: (low, high) of every coordinate.
        axes: names of the coordinates; None: x, y, z.

    Raises:
        InputError: an empty side, or another number of names.
    """

    sides: Sequence[tuple[float, float]]
    axes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.sides or any(not (np.isfinite([a, b]).all() and a < b) for a, b in self.sides):
            raise InputError(f"a box of the sides {list(self.sides)} is empty: give low < high for every coordinate")
        if self.axes is not None and len(self.axes) != len(self.sides):
            raise InputError(f"a box of {len(self.sides)} sides needs as many names, got {self.axes}")

    @property
    def names(self) -> tuple[str, ...]:
        return self.axes or named(len(self.sides))

    @cached_property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        return tuple((float(low), float(high)) for low, high in self.sides)

    @property
    def measure(self) -> float:
        return self.volume_of_box

    def contains(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        low, high = np.array(self.bounds).T
        near = 1e-12 * (high - low)
        return np.asarray(((z >= low - near) & (z <= high + near)).all(axis=1))

    def boundary(self, points: int | str, sampling: str, seed: int) -> tuple[Array, Array]:
        low, high = np.array(self.bounds).T
        unit, faces = boxes.unit_boundary(self.dim, points, sampling, seed, high - low)
        normals = np.zeros_like(unit)
        normals[np.arange(len(unit)), faces // 2] = 2.0 * (faces % 2) - 1.0
        return low + (high - low) * unit, normals

    def pairs(self, name: str, points: int | str, sampling: str, seed: int) -> tuple[Array, Array, Array]:
        if name not in self.names:
            raise InputError(f"a periodic condition in {name!r}, but the coordinates are {', '.join(self.names)}")
        axis = self.names.index(name)
        sides = boxes.per_side(points, self.dim)
        others = tuple(n for k, n in enumerate(sides) if k != axis)
        flat = SAMPLINGS[boxes.no_grid(sampling)](others, prod(others), seed) if others else np.zeros((1, 0))
        low, high = np.array(self.bounds).T
        first, second = (low + (high - low) * np.insert(flat, axis, float(side), axis=1) for side in (0, 1))
        normals = np.zeros_like(first)
        normals[:, axis] = 1.0
        return first, second, normals


def Interval(low: float, high: float, name: str = "x") -> Box:  # noqa: N802 - reads as the class it makes
    """The interval (low, high)."""
    return Box([(low, high)], (name,))


@dataclass(frozen=True)
class Time:
    """The interval (start, stop) of time.

    Attributes:
        stop: last time.
        start: first time.
        name: of the coordinate.

    Raises:
        InputError: it is empty.
    """

    stop: float
    start: float = 0.0
    name: str = "t"

    def __post_init__(self) -> None:
        if not self.start < self.stop:
            raise InputError(f"the time from {self.start} to {self.stop} is empty: give stop > start")


@dataclass(frozen=True)
class SpaceTime(Domain):
    """A domain of space during an interval of time, its last coordinate; its boundary is that of space.

    Attributes:
        place: the domain of space.
        time: the interval.
    """

    place: Domain
    time: Time

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.place.names, self.time.name)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        return (*self.place.bounds, (self.time.start, self.time.stop))

    @property
    def measure(self) -> float:
        return self.place.measure * (self.time.stop - self.time.start)

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(range(self.place.dim))

    def contains(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        near = 1e-12 * (self.time.stop - self.time.start)
        during = (z[:, -1] >= self.time.start - near) & (z[:, -1] <= self.time.stop + near)
        return np.asarray(self.place.contains(z[:, :-1]) & during)

    def inside(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return self.place.inside(z[:, :-1])

    def boundary(self, points: int | str, sampling: str, seed: int) -> tuple[Array, Array]:
        *sides, times = boxes.per_side(points, self.dim)
        there, normals = self.place.boundary(self._of_space(points, sides), sampling, seed)
        count = len(there) * times
        if sampling == "equispaced":
            unit = np.tile((np.arange(times) + 0.5) / times, len(there))
        else:
            unit = SAMPLINGS["lhs"]((1,), count, seed)[:, 0]
        when = self.time.start + (self.time.stop - self.time.start) * unit
        z = np.column_stack([np.repeat(there, times, axis=0), when])
        return z, np.column_stack([np.repeat(normals, times, axis=0), np.zeros(count)])

    def initial(self, points: int | str, sampling: str, seed: int) -> Array:
        *sides, _ = boxes.per_side(points, self.dim)
        there = self.place.interior(self._of_space(points, sides, sampling == "equispaced"), sampling, seed)
        return np.column_stack([there, np.full(len(there), self.time.start)])

    def drawn(self, count: int, sampling: str, seed: int) -> Array:
        there = self.place.drawn(count, sampling, seed)
        unit = SAMPLINGS["lhs"]((1,), count, seed)[:, 0]
        return np.column_stack([there, self.time.start + (self.time.stop - self.time.start) * unit])

    @staticmethod
    def _of_space(points: int | str, sides: Sequence[int], grid: bool = True) -> int | str:
        """How many points of space there are at a time: per side where that was asked for, else in all."""
        return "x".join(map(str, sides)) if grid and isinstance(points, str) and len(sides) > 1 else prod(sides)

    def pairs(self, name: str, points: int | str, sampling: str, seed: int) -> tuple[Array, Array, Array]:
        if not isinstance(self.place, Box) or name == self.time.name:
            return super().pairs(name, points, sampling, seed)
        return Box(self.bounds, self.names).pairs(name, points, sampling, seed)
