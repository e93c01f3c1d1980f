"""Any domain made of discs, rectangles and polygons: areas, members, densities and normals, against closed forms."""

from collections.abc import Callable
from dataclasses import dataclass
from math import acos, pi, sqrt

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, Disc, Implicit, Interval, Polygon, Rectangle, Region, Time
from multilevel_opt.pde.sampling import SAMPLINGS

Array = NDArray[np.float64]
Told = Callable[[Array], NDArray[np.bool_]]
BOUND = st.floats(-1.5, 1.5).map(lambda x: round(x, 3))
SIZE = st.floats(0.2, 1.2).map(lambda x: round(x, 3))


@dataclass(frozen=True)
class Shape:
    """A region of ours, its members by formulas, and the same for shapely."""

    region: Region
    told: Told
    truth: shapely.Geometry


def disc(x: float, y: float, r: float) -> Shape:
    told = lambda z: (z[:, 0] - x) ** 2 + (z[:, 1] - y) ** 2 < r * r  # noqa: E731
    return Shape(Disc((x, y), r), told, shapely.Point(x, y).buffer(r, quad_segs=400))


def rectangle(x: float, y: float, a: float, b: float) -> Shape:
    told = lambda z: (z[:, 0] > x) & (z[:, 0] < x + a) & (z[:, 1] > y) & (z[:, 1] < y + b)  # noqa: E731
    return Shape(Rectangle(x, x + a, y, y + b), told, shapely.box(x, y, x + a, y + b))


def triangle(x: float, y: float, a: float, b: float) -> Shape:
    def told(z: Array) -> NDArray[np.bool_]:
        s, t = (z[:, 0] - x) / a, (z[:, 1] - y) / b
        return (s > 0) & (t > 0) & (s + t < 1)

    corners = [(x, y), (x + a, y), (x, y + b)]
    return Shape(Polygon(corners), told, shapely.Polygon(corners))


SHAPES = st.one_of(
    st.builds(disc, BOUND, BOUND, SIZE),
    st.builds(rectangle, BOUND, BOUND, SIZE, SIZE),
    st.builds(triangle, BOUND, BOUND, SIZE, SIZE),
)
JOINED = {
    "|": (lambda a, b: a | b, np.logical_or, shapely.union),
    "-": (lambda a, b: a - b, lambda s, t: s & ~t, shapely.difference),
    "&": (lambda a, b: a & b, np.logical_and, shapely.intersection),
}


@st.composite
def joined(draw: st.DrawFn) -> Shape:
    """Two or three shapes joined by any operations; at least a hundredth of a square."""
    found = draw(SHAPES)
    for _ in range(draw(st.integers(1, 2))):
        other, (ours, formula, theirs) = draw(SHAPES), JOINED[draw(st.sampled_from(sorted(JOINED)))]
        truth = theirs(found.truth, other.truth)
        assume(truth.area > 0.05)
        told = lambda z, f=formula, a=found.told, b=other.told: f(a(z), b(z))  # noqa: E731
        found = Shape(ours(found.region, other.region), told, truth)
    return found


def likely(share: float, expected: float, count: int) -> bool:
    """Whether a share of independent points may be that of the measure: five standard errors, and rounding."""
    return abs(share - expected) < 5 * sqrt(expected * (1 - expected) / count) + 2 / count + 1e-3


def half(truth: shapely.Geometry) -> shapely.Geometry:
    left, bottom, right, top = truth.bounds
    return shapely.box(left - 1, bottom - 1, left + 0.4 * (right - left), top + 1)


@given(shape=joined())
@settings(max_examples=25, deadline=None)
def test_areas_and_lengths_are_those_of_shapely(shape: Shape) -> None:
    assert shape.region.measure == pytest.approx(shape.truth.area, rel=3e-3)
    assert shape.region.perimeter == pytest.approx(shape.truth.length, rel=3e-3)


@given(shape=joined(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_members_are_those_of_the_formulas(shape: Shape, seed: int) -> None:
    z = np.random.default_rng(seed).uniform(-3, 3, (2000, 2))
    away = np.asarray(shapely.distance(shapely.points(z), shape.truth.boundary)) > 1e-4
    assert np.array_equal(shape.region.contains(z)[away], shape.told(z)[away])


@given(shape=joined(), seed=st.integers(0, 99), sampling=st.sampled_from(["uniform", "sobol", "lhs"]))
@settings(max_examples=25, deadline=None)
def test_interior_points_are_uniform(shape: Shape, seed: int, sampling: str) -> None:
    z = shape.region.interior(2000, sampling, seed)
    part = half(shape.truth)
    expected = shapely.intersection(shape.truth, part).area / shape.truth.area
    assert likely(float((z[:, 0] < part.bounds[2]).mean()), expected, len(z))
    assert shape.region.contains(z).all()


@given(shape=joined(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_boundary_points_are_uniform_and_their_normals_point_outwards(shape: Shape, seed: int) -> None:
    z, n = shape.region.boundary(20_000, "uniform", seed)
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1.0, rtol=1e-9)
    part = half(shape.truth)
    expected = shapely.intersection(shape.truth.boundary, part).length / shape.truth.length
    assert likely(float((z[:, 0] < part.bounds[2]).mean()), expected, len(z))
    step = 1e-4
    wrong = ~shape.told(z - step * n) | shape.told(z + step * n)
    assert wrong.mean() < 0.02  # but for corners


def test_a_wrong_density_is_seen() -> None:
    """Polar coordinates drawn uniformly crowd in the middle of a disc."""
    generator = np.random.default_rng(0)
    radius = generator.random(2000)
    share = float((radius * np.cos(2 * pi * generator.random(2000)) < -0.2).mean())
    expected = (acos(0.2) - 0.2 * sqrt(1 - 0.04)) / pi
    assert not likely(share, expected, 2000)


@given(sides=st.lists(st.tuples(BOUND, SIZE), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_boxes_are_as_dense_on_every_face(sides: list[tuple[float, float]], seed: int) -> None:
    box = Box([(low, low + size) for low, size in sides])
    z, n = box.boundary(4000, "sobol", seed)
    lengths = np.array([size for _, size in sides])
    areas = np.prod(lengths) / lengths if len(sides) > 1 else np.ones(1)
    shares = np.abs(n).mean(axis=0)
    np.testing.assert_allclose(shares, areas / areas.sum(), atol=0.03)
    total = 2 * float(areas.sum())
    assert (z * n).sum(1).mean() * total == pytest.approx(len(sides) * box.measure, rel=0.1)  # ∮ z·n = d |box|
    inner = box.interior(3000, "uniform", seed)
    low, high = np.array(box.bounds).T
    assert likely(float((inner[:, 0] < low[0] + 0.3 * (high - low)[0]).mean()), 0.3, 3000)


def test_numbers_per_side_are_kept() -> None:
    box = Box([(0, 1), (0, 10)])
    assert [int((np.abs(box.boundary("4x5", "equispaced", 0)[1][:, k]) > 0).sum()) for k in (0, 1)] == [10, 8]
    assert [int((np.abs(box.boundary(20, "equispaced", 0)[1][:, k]) > 0).sum()) for k in (0, 1)] == [14, 2]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("width", [1e-3, 1e-6])
def test_thin_domains_have_points(width: float, sampling: str) -> None:
    """A diagonal sliver fills a millionth of its box, where trial and error would draw billions of points."""
    sliver = Polygon([(0, 0), (1, 1), (1, 1 + width)])
    z = sliver.interior(500, sampling, 0)
    assert z.shape == (500, 2)
    assert sliver.contains(z).all()
    assert likely(float((z[:, 0] < 0.5).mean()), 0.25, 500)
    assert (sliver * Time(2.0)).interior(50, sampling, 0).shape == (50, 3)


def test_a_thin_ring_is_drawn_by_triangles() -> None:
    ring = Disc((0, 0), 1.0) - Disc((0, 0), 0.999)
    z = ring.interior(4000, "sobol", 0)
    assert ring.contains(z).all()
    angle = np.arctan2(z[:, 1], z[:, 0])
    assert np.abs(np.histogram(angle, 8, (-pi, pi))[0] / 4000 - 1 / 8).max() < 0.01


@pytest.mark.parametrize(
    "region",
    [
        Rectangle(0, 1, 0, 1) | Rectangle(1, 2, 0, 1),  # a side in common
        Rectangle(0, 1, 0, 1) | Rectangle(1, 2, 1, 2),  # a corner in common
        Rectangle(-1, 1, -1, 1) - Rectangle(0, 1, 0, 1),  # re-entrant
        Rectangle(-1, 1, -1, 1) - Disc((0, 0), 1.0),  # touched from within: four pieces
        Disc((0, 0), 1.0) | Disc((2, 0), 1.0),  # touching
        Disc((0, 0), 1.0) - Disc((0.5, 0), 0.5),
        Polygon([(0, 0), (1, 0), (1, 0), (1, 1), (0, 1)]),  # a corner twice
        Region(shapely.GeometryCollection([shapely.box(0, 0, 1, 1), shapely.LineString([(1, 1), (2, 2)])])),
        Implicit(lambda z: z.abs().amax(1) - 1.0, [(-1.5, 1.5), (-1.6, 1.5)]),  # kinks
        Implicit(lambda z: (z.square().sum(1) - 1.0) ** 3, [(-1.5, 1.5), (-1.6, 1.5)]),  # no slope on the boundary
    ],
)
@pytest.mark.parametrize("sampling", ["equispaced", "uniform"])
def test_no_point_of_measure_zero_crashes_a_normal(region: Region, sampling: str) -> None:
    for points in (1, 100, 5000):
        z, n = region.boundary(points, sampling, 1)
        assert np.isfinite(z).all()
        np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1.0, rtol=1e-9)
        assert region.contains(z).mean() > 0.99


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Implicit(lambda z: z[:, :1], [(-1, 1), (-1, 1)]), r"returned \(40401, 1\)"),
        (lambda: Implicit(lambda z: z[:, 0] / 0, [(-1, 1), (-1, 1)]), "is NaN or infinite in the bounds"),
        (lambda: Implicit(lambda z: 0 * z[:, 0].detach() - 1, [(-1, 1), (-1, 1)]), "does not depend on its points"),
        (lambda: Implicit(lambda z: z[:, 0], [(1, -1), (-1, 1)]), "give low < high for x and y"),
        (lambda: Region(shapely.LineString([(0, 0), (1, 1)])), "the domain is empty"),
    ],
)
def test_bad_regions_are_one_sentence(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_interval_has_two_ends() -> None:
    z, n = Interval(2, 5).boundary(100, "sobol", 0)
    assert z[:, 0].tolist() == [2.0, 5.0]
    assert n[:, 0].tolist() == [-1.0, 1.0]
