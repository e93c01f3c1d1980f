"""Fronts: even points in the stretched coordinate, an input and weights for it, and a layer that needs them."""

from dataclasses import dataclass, replace
from math import exp

import numpy as np
import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.errors import InputError
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import Disc, Domain, Evolution, Field, Front, Interval, PDEProblem, Rectangle, Time, refined

SIDE = (-1.0, 3.0)
FRONT = Front(axis=0, at=0.5, thickness=0.02)


@dataclass(frozen=True, kw_only=True)
class Layer(PDEProblem):
    """ε u'' + u' = 0, u(0) = 0, u(1) = 1: a boundary layer of thickness ε at 0."""

    epsilon: float = 0.01
    stated: bool = True

    def domain(self) -> Domain:
        return Interval(0.0, 1.0)

    def front(self) -> Front | None:
        return Front(axis=0, at=0.0, thickness=5 * self.epsilon) if self.stated else None

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return self.epsilon * u.xx + u.x

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return z + z * (1 - z) * n

    def exact(self, z: Tensor) -> Tensor:
        return (1 - torch.exp(-z[:, 0] / self.epsilon)) / (1 - exp(-1 / self.epsilon))


def test_the_stretched_coordinate_is_even_where_the_length_is_large() -> None:
    c = torch.linspace(*SIDE, 2001, dtype=torch.float64, requires_grad=True)
    s = FRONT.stretched(c, SIDE)
    (slope,) = torch.autograd.grad(s.sum(), c)
    length = ((c.detach() - FRONT.at) ** 2 + FRONT.thickness**2).sqrt()
    assert (float(s[0].detach()), float(s[-1].detach())) == pytest.approx((-1.0, 1.0))
    torch.testing.assert_close(slope * length, torch.full_like(length, float(slope[0] * length[0])))


@pytest.mark.parametrize("at", [-1.0, 0.5, 3.0])
def test_gathered_points_are_even_in_the_stretched_coordinate(at: float) -> None:
    front = replace(FRONT, axis=1, at=at)
    bounds = [(0.0, 1.0), SIDE]
    unit = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    even = torch.stack([unit, SIDE[0] + (SIDE[1] - SIDE[0]) * unit], dim=1)
    found = front.gathered(even, bounds)
    assert torch.equal(found[:, 0], even[:, 0])
    torch.testing.assert_close(front.stretched(found[:, 1], SIDE), 2 * unit - 1)
    assert SIDE[0] <= float(found[:, 1].min())
    assert float(found[:, 1].max()) <= SIDE[1]


def test_a_thick_front_changes_nothing() -> None:
    even = torch.rand(50, 1, dtype=torch.float64)
    thick = Front(axis=0, at=0.5, thickness=1e4)
    torch.testing.assert_close(thick.gathered(even, [(0.0, 1.0)]), even)
    torch.testing.assert_close(thick.stretched(even[:, 0], (0.0, 1.0)), 2 * even[:, 0] - 1)


@pytest.mark.parametrize("stated", [True, False])
def test_points_of_training_and_held_out_ones_honour_the_front(stated: bool) -> None:
    problem = Layer(stated=stated, points=400, width=4, sampling="sobol")
    share = np.arcsinh(1.0) / np.arcsinh(20.0) if stated else 0.05
    sets = [problem.interior_points, problem.held_out_residual.blocks[0].points]
    for z in [*sets, refined(problem, problem.x0, points=400, k=0.0).interior_points]:
        assert float((z[:, 0] < 0.05).double().mean()) == pytest.approx(share, abs=0.06)


def test_weights_and_inputs_are_those_of_the_front() -> None:
    stated, plain = (Layer(stated=stated, points=40, width=4) for stated in (True, False))
    assert stated.x0.numel() == plain.x0.numel() + 4
    z = stated.interior_points
    length = (z[:, 0] ** 2 + 0.05**2).sqrt() / (1 + 0.05**2) ** 0.5
    u = stated.function(stated.x0)
    row = lambda p: torch.func.grad(lambda q: u(q[None])[0])(p)[0]  # noqa: E731
    slope = torch.func.vmap(row)(z)
    bend = torch.func.vmap(torch.func.grad(row))(z)[:, 0]
    expected = length * (0.01 * bend + slope) / len(z) ** 0.5
    torch.testing.assert_close(stated.residual(stated.x0), expected)
    r, jacobian = stated.residual.linearize(stated.x0)
    torch.testing.assert_close(jacobian, dense_jacobian(stated.residual, stated.x0, len(r)))
    assert max(stated.defects().values()) < 1e-10


def test_a_front_brings_a_boundary_layer_within_reach() -> None:
    errors = []
    for stated in (True, False):
        problem = Layer(stated=stated, width=10, points=60)
        errors.append(mlo.solve(problem, "lm", max_iterations=100).result.metrics["relative_l2"])
    assert errors[0] < 0.1 * errors[1]


def test_slabs_keep_the_front() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Flow(Evolution):
        def domain(self) -> Domain:
            return Interval(-1.0, 1.0) * Time(1.0)

        def equation(self, u: Field, z: Tensor) -> Tensor:
            return u.t - u.xx

        def start(self, z: Tensor) -> Tensor:
            return z[:, 0]

        def front(self) -> Front:
            return Front(axis=0, at=0.0, thickness=0.01)

    whole = Flow(width=4, points=200, slabs=2)
    slab = whole.during(0.5, 1.0, None, None)
    assert slab.network.size == whole.network.size
    assert float((slab.interior_points[:, 0].abs() < 0.01).double().mean()) > 0.1
    assert float(slab.interior_points[:, 1].min()) >= 0.5


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: Front(0, 0.0, 0.0), "thickness of a front must be positive, got 0"),
        (lambda: Front(-1, 0.0, 1.0), "axis of a front must be 0, 1, ..., got -1"),
        (lambda: Front(1, 0.0, 1.0).check(Interval(0, 1)), "front on axis 1 needs more than the 1 coordinates"),
        (
            lambda: Front(0, 2.0, 1.0).check(Interval(0, 1)),
            "front at 2.0 lies outside of the domain, which reaches from 0.0 to 1.0",
        ),
    ],
)
def test_bad_fronts_are_refused(made: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        made()  # type: ignore[operator]


@pytest.mark.parametrize("domain", [Disc((0.0, 0.0), 1.0), Rectangle(-1, 1, -1, 1) - Disc((0, 0), 0.5)])
def test_a_front_needs_a_box(domain: Domain) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Round(PDEProblem):
        def domain(self) -> Domain:
            return domain

        def equation(self, u: Field, z: Tensor) -> Tensor:
            return u.laplacian

        def front(self) -> Front:
            return Front(axis=0, at=0.0, thickness=0.1)

    with pytest.raises(InputError, match="a front needs a domain that is a box"):
        Round(points=20)
