"""Domains of the plane: polygons with holes, discs, level sets, and unions, differences, intersections of them.

    Rectangle(-1, 1, -1, 1) - Disc((0.4, 0), 0.2)          Polygon([(0, 0), (2, 0), (0, 1)]) | Disc((0, 0), 0.5)

Shapely does the geometry on polygons, which is robust where boundaries touch. Curved pieces are polygons of
many sides whose vertices lie on a level set {f = 0}; a point drawn on such a side is moved onto the level set,
and its normal is that of f, so that boundary data are exact to rounding although the polygon is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import pi

import numpy as np
import shapely

from multilevel_opt.errors import InputError
from multilevel_opt.pde import sampling as boxes
from multilevel_opt.pde.domains import Domain
from multilevel_opt.pde.sampling import SAMPLINGS, Array

SIDES = 512  # of a polygon in place of a disc
NEWTON = 40  # steps at most; few are needed unless f is flat at its zeros
SMALL = 1e-30  # |∇f|² at least, so that no step of Newton's method overflows
ALONG = 0.5  # cosine of the normals of a side and of the level set there, at least
ON = 1e-9  # a vertex is on a level set when it is as near, relative to the size of the region

Level = Callable[[Array], tuple[Array, Array]]  # points (m, 2) -> f (m,) and its gradient (m, 2)


@dataclass(frozen=True, eq=False)
class Region(Domain):
    """A set of the plane with coordinates x and y; made by the functions below and by ``|``, ``-`` and ``&``.

    Attributes:
        shape: the polygon or polygons.
        levels: the level sets of its curved pieces.
        axes: names of the coordinates.

    Raises:
        InputError: it is empty.
    """

    shape: shapely.Geometry
    levels: tuple[Level, ...] = ()
    axes: tuple[str, str] = field(default=("x", "y"))

    def __post_init__(self) -> None:
        solid = [part for part in shapely.get_parts(self.shape) if part.area > 0]  # no isolated lines and points
        if not solid:
            raise InputError("the domain is empty: no points are left of the sets that were joined or subtracted")
        object.__setattr__(self, "shape", solid[0] if len(solid) == 1 else shapely.MultiPolygon(solid))

    @property
    def names(self) -> tuple[str, ...]:
        return self.axes

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        left, bottom, right, top = self.shape.bounds
        return (left, right), (bottom, top)

    @property
    def measure(self) -> float:
        return float(self.shape.area)

    @property
    def perimeter(self) -> float:
        """Length of the boundary, holes included."""
        return float(self.shape.length)

    def contains(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(shapely.intersects_xy(self._widened, z[:, 0], z[:, 1]))

    def inside(self, z: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(shapely.intersects_xy(self._prepared, z[:, 0], z[:, 1]))

    def distance(self, z: Array) -> Array:
        """Signed distance of the points (m, 2) to the boundary, (m,): negative inside."""
        there = shapely.points(z)
        away = np.asarray(shapely.distance(there, self.shape.boundary))
        return np.where(shapely.intersects(self._prepared, there), -away, away)

    def boundary(self, points: int | str, sampling: str, seed: int) -> tuple[Array, Array]:
        t = int(np.prod(boxes.per_side(points, 2)))
        count = max(8, round(self.perimeter * (t / self.measure) ** 0.5))
        shift = 0.5 if sampling == "equispaced" else np.random.default_rng(seed).random(count)
        return self._along(self.perimeter * (np.arange(count) + shift) / count)

    def _along(self, arc: Array) -> tuple[Array, Array]:
        """Points and outward normals at the arc lengths (k,), the rings one after the other."""
        starts, ends, left = self._edges
        lengths = np.linalg.norm(ends - starts, axis=1)
        after = np.cumsum(lengths)
        edge = np.minimum(np.searchsorted(after, arc, side="right"), len(lengths) - 1)
        share = np.clip((arc - after[edge] + lengths[edge]) / lengths[edge], 0.0, 1.0)
        z = starts[edge] + share[:, None] * (ends[edge] - starts[edge])
        along = (ends - starts)[edge] / lengths[edge, None]
        normals = np.stack([along[:, 1], -along[:, 0]], axis=1) * left[edge, None]
        for level, curved in zip(self.levels, self._curved, strict=True):
            mine = np.flatnonzero(curved[edge])
            if len(mine):
                moved, slope = onto(level, z[mine])
                cosine = (slope * normals[mine]).sum(1)
                near = np.linalg.norm(moved - z[mine], axis=1) <= lengths[edge[mine]]
                good = mine[near & (np.abs(cosine) > ALONG)]  # else the side itself serves: f has a kink there
                kept = np.isin(mine, good)
                z[good], normals[good] = moved[kept], np.sign(cosine[kept])[:, None] * slope[kept]
        return z, normals

    def drawn(self, count: int, sampling: str, seed: int) -> Array:
        """By triangles: the first number of a pair chooses one by its area and is used again within it."""
        corners = np.stack(
            [
                shapely.get_coordinates(triangle)[:3]
                for part in shapely.get_parts(self.shape)
                for triangle in shapely.get_parts(shapely.constrained_delaunay_triangles(part))
            ]
        )
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        ends = np.cumsum(areas) / areas.sum()
        unit = SAMPLINGS[sampling]((1, 1), count, seed)
        k = np.minimum(np.searchsorted(ends, unit[:, 0], side="right"), len(ends) - 1)
        s = np.clip((unit[:, 0] - ends[k] + areas[k] / areas.sum()) / (areas[k] / areas.sum()), 0.0, 1.0)
        root = np.sqrt(s)
        weights = np.stack([1 - root, root * (1 - unit[:, 1]), root * unit[:, 1]], axis=1)
        z: Array = (weights[:, :, None] * corners[k]).sum(1)
        return z

    @cached_property
    def _edges(self) -> tuple[Array, Array, Array]:
        """Ends of all sides of the polygons, (e, 2) each, and 1 where the inside lies to the left, else -1."""
        starts, ends, left = [], [], []
        for polygon in shapely.get_parts(self.shape):
            for number, ring in enumerate([polygon.exterior, *polygon.interiors]):
                vertices = shapely.get_coordinates(ring)
                vertices = vertices[np.append(True, np.any(np.diff(vertices, axis=0) != 0, axis=1))]
                starts.append(vertices[:-1])
                ends.append(vertices[1:])
                inside = shapely.is_ccw(ring) == (number == 0)
                left.append(np.full(len(vertices) - 1, 1.0 if inside else -1.0))
        return np.concatenate(starts), np.concatenate(ends), np.concatenate(left)

    @cached_property
    def _curved(self) -> list[np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        """For every level set which sides have both ends on it."""
        starts, ends, _ = self._edges
        near = ON * self._size
        return [(np.abs(f(starts)[0]) <= near) & (np.abs(f(ends)[0]) <= near) for f in self.levels]

    @property
    def _size(self) -> float:
        return max(high - low for low, high in self.bounds)

    @cached_property
    def _prepared(self) -> shapely.Geometry:
        shapely.prepare(self.shape)
        return self.shape

    @cached_property
    def _widened(self) -> shapely.Geometry:
        """A little larger, so that points drawn on the boundary count as inside: a chord lies within its arc."""
        sag = self._size * (pi / SIDES) ** 2 if self.levels else 0.0
        wide = self.shape.buffer(sag + 1e-12 * self._size)
        shapely.prepare(wide)
        return wide

    def __or__(self, other: Region) -> Region:
        return self._joined(shapely.union(self.shape, other.shape), other)

    def __sub__(self, other: Region) -> Region:
        return self._joined(shapely.difference(self.shape, other.shape), other)

    def __and__(self, other: Region) -> Region:
        return self._joined(shapely.intersection(self.shape, other.shape), other)

    def _joined(self, shape: shapely.Geometry, other: Region) -> Region:
        flat = [part for part in shapely.get_parts(shape) if part.area > 1e-12 * max(self.measure, other.measure)]
        return Region(shapely.MultiPolygon(flat), (*self.levels, *other.levels), self.axes)


def Polygon(  # noqa: N802 - reads as the class it makes
    corners: Sequence[tuple[float, float]], holes: Sequence[Sequence[tuple[float, float]]] = ()
) -> Region:
    """The polygon of these corners, without the holes.

    Raises:
        InputError: fewer than three corners, or sides that cross.
    """
    if len(corners) < 3:
        raise InputError(f"a polygon needs at least 3 corners, got {len(corners)}")
    shape = shapely.Polygon(corners, holes)
    if not shape.is_valid:
        raise InputError(f"the polygon is not simple ({shapely.is_valid_reason(shape)}): give corners in order")
    return Region(shape)


def Rectangle(left: float, right: float, bottom: float, top: float) -> Region:  # noqa: N802 - as above
    """The rectangle (left, right) x (bottom, top), for set operations."""
    if not (left < right and bottom < top):
        raise InputError(f"the rectangle ({left}, {right}) x ({bottom}, {top}) is empty: give low < high")
    return Region(shapely.box(left, bottom, right, top))


def Disc(centre: tuple[float, float], radius: float) -> Region:  # noqa: N802 - as above
    """The disc of a centre and a radius.

    Raises:
        InputError: the radius is not positive.
    """
    if not radius > 0:
        raise InputError(f"a disc needs a positive radius, got {radius}")
    middle = np.asarray(centre, dtype=np.float64)
    angle = 2 * pi * np.arange(SIDES) / SIDES
    corners = middle + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def level(z: Array) -> tuple[Array, Array]:
        away = z - middle
        norm = np.linalg.norm(away, axis=1)
        return norm - radius, away / np.maximum(norm, 1e-300)[:, None]

    return Region(shapely.Polygon(corners), (level,))


def onto(level: Level, z: Array) -> tuple[Array, Array]:
    """Points moved onto {f = 0} by Newton's method along the gradient, and the unit gradients there."""
    for _ in range(NEWTON):
        f, slope = level(z)
        step = (f / np.maximum((slope**2).sum(1), SMALL))[:, None] * slope
        z = z - step
        if np.abs(step).max(initial=0.0) <= 1e-15 * (1.0 + np.abs(z).max(initial=0.0)):
            break
    slope = level(z)[1]
    return z, slope / np.maximum(np.linalg.norm(slope, axis=1), 1e-300)[:, None]
