"""Areas, lengths, normals and densities against closed forms; points against membership."""

from math import pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, Disc, Domain, Implicit, Interval, Polygon, Rectangle, Region, Time
from multilevel_opt.pde.sampling import SAMPLINGS

SQUARE = Rectangle(-1.0, 1.0, -1.0, 1.0)
RING = SQUARE - Disc((0.2, -0.1), 0.5)
ELLIPSE = Implicit(lambda z: z[:, 0] ** 2 / 4 + z[:, 1] ** 2 - 1.0, [(-2.5, 2.5), (-1.5, 1.5)])
TRIANGLE = Polygon([(0, 0), (2, 0), (0, 1)], holes=[[(0.2, 0.2), (0.6, 0.2), (0.2, 0.5)]])
LENS = Disc((0.0, 0.0), 1.0) & Disc((1.0, 0.0), 1.0)
TWO = Rectangle(0, 1, 0, 1) | Rectangle(1, 2, 0, 1)
DOMAINS: dict[str, Domain] = {
    "interval": Interval(-1, 3),
    "box": Box([(0, 1), (2, 5), (-1, 1)]),
    "ring": RING,
    "ellipse": ELLIPSE,
    "triangle": TRIANGLE,
    "lens": LENS,
    "two": TWO,
    "ring in time": RING * Time(2.0),
    "interval in time": Interval(0, 1) * Time(3.0, start=1.0),
}


@pytest.mark.parametrize(
    ("region", "area"),
    [
        (RING, 4 - pi / 4),
        (ELLIPSE, 2 * pi),
        (TRIANGLE, 1 - 0.06),
        (LENS, 2 * pi / 3 - sqrt(3) / 2),
        (TWO, 2.0),
    ],
)
def test_areas(region: Region, area: float) -> None:
    assert region.measure == pytest.approx(area, rel=2e-4)


def test_lengths() -> None:
    assert RING.perimeter == pytest.approx(8 + pi, rel=1e-4)
    assert TWO.perimeter == pytest.approx(6.0)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_points_lie_where_they_should(name: str, sampling: str) -> None:
    domain = DOMAINS[name]
    z = domain.interior(300, sampling, 1)
    assert z.shape[1] == domain.dim
    assert 200 <= len(z) <= 420
    assert domain.contains(z).all()
    edge, normals = domain.boundary(300, sampling, 1)
    assert edge.shape == normals.shape
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, rtol=1e-12)
    assert domain.contains(edge).all()
    small = 1e-5
    inner, outer = domain.contains(edge - small * normals), domain.contains(edge + 1e2 * small * normals)
    corners = 0.03 if domain.dim > 1 else 0.0
    assert inner.mean() >= 1 - corners
    assert outer.mean() <= corners


@pytest.mark.parametrize("region", [RING, ELLIPSE, LENS, SQUARE | Disc((1, 1), 0.5)])
def test_the_divergence_theorem_holds_on_curved_boundaries(region: Region) -> None:
    """∮ F·n = ∫ div F tests points, normals and densities at once."""
    z, n = region.boundary(60_000, "equispaced", 0)
    flux = (np.stack([z[:, 0] ** 3 + z[:, 1], z[:, 0] * z[:, 1]], 1) * n).sum(1).mean() * region.perimeter
    inner = region.interior(2**14, "sobol", 0)
    inside = (3 * inner[:, 0] ** 2 + inner[:, 0]).mean() * region.measure
    assert flux == pytest.approx(inside, rel=5e-3, abs=5e-3)


def test_points_on_arcs_lie_on_them_to_rounding() -> None:
    z, n = RING.boundary(3000, "uniform", 3)
    away = z - np.array([0.2, -0.1])
    hole = np.linalg.norm(away, axis=1) < 0.6
    np.testing.assert_allclose(np.linalg.norm(away[hole], axis=1), 0.5, rtol=1e-12)
    np.testing.assert_allclose(n[hole], -away[hole] / 0.5, rtol=1e-9, atol=1e-12)
    z, n = ELLIPSE.boundary(3000, "uniform", 3)
    np.testing.assert_allclose(z[:, 0] ** 2 / 4 + z[:, 1] ** 2, 1.0, rtol=1e-12)


def test_a_signed_distance() -> None:
    z = np.array([[0.9, 0.9], [0.2, -0.1], [2.0, 0.0]])
    np.testing.assert_allclose(RING.distance(z), [-0.1, 0.5, 1.0], atol=1e-4)


@pytest.mark.parametrize("sampling", ["uniform", "sobol", "lhs"])
def test_interior_points_are_uniform(sampling: str) -> None:
    """The share of a part is its share of the area, within four standard errors of independent points."""
    z = RING.interior(4000, sampling, 5)
    part = (RING & Rectangle(-1, 0, -1, 0)).measure / RING.measure
    share = ((z[:, 0] < 0) & (z[:, 1] < 0)).mean()
    assert abs(share - part) < 4 * sqrt(part * (1 - part) / 4000)


@pytest.mark.parametrize("sampling", ["uniform", "sobol", "equispaced"])
def test_boundary_points_are_uniform_in_length(sampling: str) -> None:
    z, _ = RING.boundary(20_000, sampling, 5)
    hole = (np.linalg.norm(z - np.array([0.2, -0.1]), axis=1) < 0.6).mean()
    assert hole == pytest.approx(pi / (8 + pi), abs=0.01)


@given(seed=st.integers(0, 999))
@settings(max_examples=10)
def test_no_boundary_point_crashes_a_normal(seed: int) -> None:
    touching = (SQUARE - Disc((1.0, 0.0), 0.5)) | Disc((-1.0, -1.0), 0.25) | Rectangle(1.0, 1.5, 0.5, 1.0)
    z, n = touching.boundary(500, "uniform", seed)
    assert np.isfinite(z).all()
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SQUARE - SQUARE,
        lambda: Disc((0, 0), 1.0) - Disc((0, 0), 1.0),
        lambda: Disc((0, 0), 1.0) & Disc((2, 0), 1.0),
        lambda: Disc((5, 5), 1.0) & SQUARE,
        lambda: Implicit(lambda z: 1 + z[:, 0] ** 2, [(0, 1), (0, 1)]),
        lambda: Interval(1.0, 1.0),
        lambda: Interval(0, 1) * Time(0.0),
        lambda: Rectangle(1, 0, 0, 1),
    ],
)
def test_an_empty_domain_is_one_sentence(make: object) -> None:
    with pytest.raises(InputError, match="empty") as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Polygon([(0, 0), (1, 1)]), "at least 3 corners, got 2"),
        (lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "the polygon is not simple"),
        (lambda: Disc((0, 0), -1.0), "a disc needs a positive radius, got -1.0"),
        (lambda: Box([(0, 1)], ("x", "y")), "a box of 1 sides needs as many names"),
        (lambda: Interval(0, 1).initial(10, "sobol", 0), "has no time"),
        (lambda: RING.pairs("x", 10, "sobol", 0), "periodic conditions need a box"),
        (lambda: Interval(0, 1).pairs("y", 10, "sobol", 0), "the coordinates are x"),
        (lambda: Interval(0, 1) * 2.0, r"multiplied by Time\(\.\.\.\), got float"),
    ],
)
def test_bad_domains_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]


def test_space_and_time() -> None:
    domain = RING * Time(2.0)
    assert domain.names == ("x", "y", "t")
    assert domain.space == (0, 1)
    assert domain.measure == pytest.approx(2 * RING.measure)
    start = domain.initial(1000, "sobol", 0)
    assert (start[:, 2] == 0.0).all()
    assert len(start) == 100
    edge, normals = domain.boundary(1000, "sobol", 0)
    assert (normals[:, 2] == 0.0).all()
    assert edge[:, 2].mean() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("domain", [Box([(0, 1), (0, 2)]), Interval(-1, 1) * Time(1.0)])
def test_pairs_are_opposite(domain: Domain) -> None:
    first, second, normals = domain.pairs("x", 100, "sobol", 0)
    low, high = domain.bounds[0]
    assert (first[:, 0] == low).all()
    assert (second[:, 0] == high).all()
    np.testing.assert_array_equal(first[:, 1:], second[:, 1:])
    np.testing.assert_array_equal(normals[:, 0], 1.0)


def test_one_seed_one_set_of_points() -> None:
    for domain in DOMAINS.values():
        for sampling in SAMPLINGS:
            assert np.array_equal(domain.interior(50, sampling, 1), domain.interior(50, sampling, 1))
            assert np.array_equal(domain.boundary(50, sampling, 1)[0], domain.boundary(50, sampling, 1)[0])
    assert not np.array_equal(RING.interior(50, "sobol", 1), RING.interior(50, "sobol", 2))


def test_levels_do_not_depend_on_torchs_defaults() -> None:
    torch.set_default_device("meta")
    try:
        z, _ = Implicit(lambda z: z.square().sum(1) - 1.0, [(-2, 2), (-2, 2)], cells=40).boundary(100, "sobol", 0)
    finally:
        torch.set_default_device(None)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-12)
