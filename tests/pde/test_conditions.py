"""Conditions, weights, unknown scalars, held-out points and refinement, as a user's own problem meets them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.errors import InputError, NonFiniteError
from multilevel_opt.pde import (
    MLP,
    Boundary,
    Condition,
    Data,
    Dirichlet,
    Disc,
    Domain,
    Field,
    Initial,
    Interval,
    Neumann,
    PDEProblem,
    Periodic,
    Rectangle,
    Robin,
    Time,
    refined,
)
from multilevel_opt.pde.balance import row_sizes
from multilevel_opt.pde.sampling import SAMPLINGS


@dataclass(frozen=True, kw_only=True)
class Wave(PDEProblem):
    """u_tt = u_xx with u = sin(x - t) + 2, for conditions of every kind on (0, 2π)."""

    width: int | None = 8
    points: int | str | None = 60

    def domain(self) -> Domain:
        return Interval(0.0, 2 * torch.pi) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.tt - u.xx

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(z[:, 0] - z[:, 1]) + 2.0

    def conditions(self) -> Sequence[Condition]:
        left = lambda z: z[:, 0] == 0.0  # noqa: E731
        right = lambda z: z[:, 0] > 6.0  # noqa: E731
        slope = lambda z: torch.cos(z[:, 0] - z[:, 1])  # noqa: E731
        z = torch.tensor([[1.0, 0.5], [4.0, 0.2], [5.0, 0.9]], dtype=torch.float64, device="cpu")
        return [
            Dirichlet(self.exact, on=left),
            Neumann(slope, on=right),
            Neumann(lambda z: -slope(z), on=left),
            Robin(2.0, 3.0, lambda z: 2 * self.exact(z) + 3 * slope(z), on=right),
            Initial(self.exact, rate=lambda z: -slope(z)),
            Periodic("x"),
            Data(z, self.exact(z)),
            Data(z, self.exact(z), on=lambda z: z[:, 0] > 3.0),
            Boundary(law=lambda u, z: u.normal[:, 1] + 0 * u.value),
        ]


def test_the_truth_satisfies_conditions_of_every_kind() -> None:
    problem = Wave()
    found = problem.defects()
    assert len(found) == 8
    assert max(found.values()) < 1e-12
    assert all(not name or "condition" in name or name == "the equation" for name in found)


def test_a_wrong_condition_shows() -> None:
    class Wrong(Wave):
        def conditions(self) -> Sequence[Condition]:
            return [Neumann(lambda z: torch.cos(z[:, 0] - z[:, 1]), on=lambda z: z[:, 0] == 0.0)]

    assert Wrong().defects()["the Neumann condition"] > 0.5


def test_blocks_pull_equally_hard_at_the_start() -> None:
    problem = Wave(seed=3, sampling="equispaced", points="8x8")
    residual = problem.residual
    sizes = row_sizes(residual, problem.x0)
    for block, size in zip(residual.blocks, sizes, strict=True):
        for factor, one in zip(block.weights, size, strict=True):
            if one > 0:
                assert len(block.points) * factor**2 * one == pytest.approx(sizes[0][0], rel=1e-9)
    assert residual.blocks[0].weights[0] == pytest.approx(64**-0.5)


def test_weights_can_be_given() -> None:
    class Given(Wave):
        def equation_weight(self) -> float:
            return 4.0

        def conditions(self) -> Sequence[Condition]:
            return [Dirichlet(self.exact, weight=9.0), Initial(self.exact, factor=0.5)]

    weights = [block.weights for block in Given(points=64).residual.blocks]
    counts = [len(block.points) for block in Given(points=64).residual.blocks]
    assert weights == [(2 * counts[0] ** -0.5,), (3 * counts[1] ** -0.5,), (0.5,)]


def test_weights_do_not_depend_on_units() -> None:
    @dataclass(frozen=True, kw_only=True)
    class InUnits(Wave):
        unit: float = 1.0

        def conditions(self) -> Sequence[Condition]:
            return [Boundary(law=lambda u, z: self.unit * (u.value - self.exact(z)))]

    one, million = (InUnits(unit=unit) for unit in (1.0, 1e6))
    torch.testing.assert_close(one.residual(one.x0), million.residual(million.x0))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sampling_makes_every_condition(sampling: str) -> None:
    problem = Wave(sampling=sampling)
    assert torch.isfinite(problem.residual(problem.x0)).all()
    assert torch.isfinite(problem.held_out_residual(problem.x0)).all()


@dataclass(frozen=True, kw_only=True)
class Inverse(PDEProblem):
    """u_t = ν u_xx with unknown ν = 0.05 from values inside."""

    width: int | None = 12
    points: int | str | None = 120

    def domain(self) -> Domain:
        return Interval(0, 1) * Time(1.0)

    def unknowns(self) -> dict[str, float]:
        return {"nu": 0.2}

    def true_unknowns(self) -> dict[str, float]:
        return {"nu": 0.05}

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - u.unknown("nu") * u.xx

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        x, t = z[:, :1], z[:, 1:]
        return torch.sin(torch.pi * x) + t * x * (1 - x) * n

    def conditions(self) -> Sequence[Condition]:
        z = self.cloud.interior[:10]
        return [Data(z, self.exact(z))]

    def exact(self, z: Tensor) -> Tensor:
        return torch.exp(-0.05 * torch.pi**2 * z[:, 1]) * torch.sin(torch.pi * z[:, 0])


def test_an_unknown_scalar_is_found() -> None:
    problem = Inverse(seed=1)
    assert problem.estimates(problem.x0) == {"nu": pytest.approx(0.2)}
    assert max(problem.defects().values()) < 1e-12
    x = mlo.solve(problem, "lm", until={"relative_l2": 1e-4}, max_iterations=100).result.x
    assert problem.estimates(x)["nu"] == pytest.approx(0.05, rel=1e-2)


@dataclass(frozen=True, kw_only=True)
class Steep(PDEProblem):
    """u'' = f with a solution that few points do not see."""

    width: int | None = 40

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian + 400 * torch.sin(20 * z[:, 0])

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(20 * z[:, 0])

    def frequency(self) -> float:
        return 20.0


def test_overfitting_is_remarked_on() -> None:
    few, many = Steep(points=8), Steep(points=200)
    runs = [mlo.solve(p, "lm", max_iterations=60, options={"refine": 0}) for p in (few, many)]
    assert few.held_out(runs[0].result.x) > 10 * few.training(runs[0].result.x)
    (remark,) = few.remarks(runs[0].result.x)
    assert remark.startswith("overfit: the residual is")
    assert remark in runs[0].record["notes"]
    assert many.remarks(runs[1].result.x) == []
    assert few.relative_l2(runs[0].result.x) > 1e-2


def test_held_out_points_are_others_with_the_same_weights() -> None:
    problem = Wave()
    trained, held = problem.residual, problem.held_out_residual
    assert trained.n_rows == held.n_rows
    mine = {tuple(point) for point in trained.blocks[0].points.tolist()}
    assert not any(tuple(point) in mine for point in held.blocks[0].points.tolist())
    assert [b.weights for b in trained.blocks] == [pytest.approx(b.weights) for b in held.blocks]
    assert problem.held_out(problem.x0) == pytest.approx(problem.training(problem.x0), rel=0.3)


@pytest.mark.parametrize(("method", "count"), [("rad", 60), ("rar", 66)])
def test_refinement_puts_points_where_the_residual_is_large(method: str, count: int) -> None:
    class Peak(PDEProblem):
        def equation(self, u: Field, z: Tensor) -> Tensor:
            return 0 * u.value + torch.exp(-200 * (z[:, 0] - 0.3) ** 2)

        def boundary(self, u: Field, z: Tensor) -> Tensor:
            return u.value

    problem = Peak(points=60, sampling="uniform", width=4)
    x = problem.x0 + 0.1
    new = refined(problem, x, method)
    assert torch.equal(new.x0, x)
    assert len(new.interior_points) == count == new.points
    assert new.n_residuals == count + 2
    near = lambda p: float(((p.interior_points - 0.3).abs() < 0.15).double().mean())  # noqa: E731
    assert near(new) > near(problem) + 0.05
    added = new.interior_points[-6:]
    assert bool(((added - 0.3).abs() < 0.05).all()) == (method == "rar")
    assert problem.points == 60


def test_refined_problems_are_solved_on() -> None:
    problem = Steep(points=30)
    x = mlo.solve(problem, "lm", max_iterations=5).result.x
    again = mlo.solve(refined(problem, x, points=100), "lm", max_iterations=40, options={"refine": 0}).result
    assert again.metrics["relative_l2"] < 1e-2
    with pytest.raises(InputError, match="refinement 'best' is unknown: choose one of rad, rar"):
        refined(problem, x, "best")
    with pytest.raises(InputError, match="not finite at the point given"):
        refined(problem, x * torch.nan)


def test_an_initial_condition_is_taken_from_an_earlier_slab() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Slab(PDEProblem):
        start: float = 0.0
        earlier: Any = None
        width: int | None = 6
        points: int | str | None = 30

        def domain(self) -> Domain:
            return Interval(0, 1) * Time(self.start + 0.5, start=self.start)

        def equation(self, u: Field, z: Tensor) -> Tensor:
            return u.t + u.x

        def conditions(self) -> Sequence[Condition]:
            return [Initial(self.earlier or (lambda z: torch.sin(z[:, 0])))]

    first = Slab()
    second = Slab(start=0.5, earlier=lambda z: first.solution(first.x0, z))
    z = second.residual.blocks[1].points
    assert bool((z[:, 1] == 0.5).all())
    found = second.residual(second.x0)[-len(z) :] / second.residual.blocks[1].weights[0]
    torch.testing.assert_close(found, second.solution(second.x0, z) - first.solution(first.x0, z))
    curve = second.function(second.x0)
    assert torch.func.grad(lambda p: curve(p[None])[0])(z[0]).shape == (2,)


def replaced(**methods: Callable[..., Any]) -> type[PDEProblem]:
    return type("Bad", (Wave,), methods)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (replaced(equation=lambda self, u, z: u.y), "derivative with respect to 'y'"),
        (replaced(equation=lambda self, u, z: u.value / (z[:, 0] - z[:, 0])), "the equation is NaN or infinite at 60"),
        (replaced(equation=lambda self, u, z: u.gradient), "one number per point"),
        (replaced(conditions=lambda self: [Dirichlet(0.0, on=lambda z: z[:, 0] > 9)]), "holds at no point"),
        (replaced(conditions=lambda self: [Dirichlet(0.0, on=lambda z: z)]), "must return .* truth values"),
        (
            replaced(conditions=lambda self: [Data(torch.ones(2, 2) * 9, torch.ones(2))]),
            "2 of 2 data points lie outside the domain",
        ),
        (replaced(conditions=lambda self: [Data(torch.ones(2, 3), torch.ones(2))]), "have 3 coordinates"),
        (replaced(conditions=lambda self: [Data(torch.ones(2, 2), torch.ones(3))]), r"points \(m, d\) and values"),
        (replaced(conditions=lambda self: [Periodic("y")]), "the coordinates are x, t"),
        (replaced(functions=lambda self: ("u", "v"), equation=lambda self, w, z: w.u.x), "must say which function"),
        (replaced(make_network=lambda self: MLP(3, (4,))), "has 3 inputs, but the points have 2 coordinates"),
        (replaced(domain=lambda self: Disc((0, 0), 1.0) - Rectangle(-2, 2, -2, 2)), "the domain is empty"),
        (replaced(domain=lambda self: Interval(0, 1), conditions=lambda self: [Initial(0.0)]), "has no time"),
        (
            replaced(conditions=lambda self: [Dirichlet(0.0, on=lambda z: z[:, 0] > 9)]),
            r"none of them, though they fill the box from \(0, 0\) to \(6.28319, 1\)",
        ),
        (
            replaced(conditions=lambda self: [Dirichlet(lambda z: z[:, :1])]),
            r"must return one number per point, \(\d+,\), but returned a Tensor of shape \(\d+, 1\): write z\[:, 0\]",
        ),
        (
            replaced(conditions=lambda self: [Neumann(lambda z: 1.0)]),
            "must return one number per point.*returned float",
        ),
        (replaced(conditions=lambda self: [Dirichlet("1")]), "a number or a function of z, got str"),
        (replaced(conditions=lambda self: [Dirichlet(torch.ones(3))]), "a number or a function of z, got a Tensor"),
        (replaced(conditions=lambda self: [Dirichlet(on=lambda z, edge: edge)]), "takes all points at once"),
        (
            replaced(conditions=lambda self: [Dirichlet(on=lambda z: z[:, 0] > 1 and z[:, 1] > 0)]),
            "join comparisons by &",
        ),
        (
            replaced(conditions=lambda self: Dirichlet()),
            r"must return a list of conditions, got Dirichlet: put it in \[",
        ),
        (replaced(conditions=lambda self: [Dirichlet]), "one of them is type"),
        (replaced(domain=lambda self: [(0, 1), (0, 1)]), "must return a domain such as .*, got list"),
        (
            replaced(conditions=lambda self: [Data(torch.ones(2, 2), torch.tensor([1.0, torch.nan]))]),
            "1 of 2 data points or values are NaN or infinite",
        ),
    ],
)
def test_bad_problems_are_refused_before_training(problem: type[PDEProblem], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        mlo.solve(problem(), "lm")
    assert "\n" not in str(caught.value)


def test_predicates_of_numpy_and_tensors_without_shape_are_taken() -> None:
    class Loose(Wave):
        def conditions(self) -> Sequence[Condition]:
            on: Any = lambda z: np.isclose(z[:, 0].numpy(), 0.0)  # noqa: E731
            return [Dirichlet(torch.tensor(2.0), on=on), Neumann(lambda z: z.new_tensor(3.0))]  # type: ignore[arg-type]

    blocks = Loose().residual.blocks
    assert bool((blocks[1].points[:, 0] == 0).all())


def test_a_non_finite_start_has_its_own_error() -> None:
    with pytest.raises(NonFiniteError, match="first at z = "):
        replaced(equation=lambda self, u, z: u.value + torch.nan)().residual  # noqa: B018


def test_dim_is_that_of_the_domain() -> None:
    assert Wave().dim == 2
    assert Wave(dim=2).dim == 2
    with pytest.raises(InputError, match="dim=3 does not fit the domain of 2 coordinates"):
        Wave(dim=3)


@pytest.mark.parametrize("architecture", ["mlp", "residual", "fourier"])
def test_architectures_solve(architecture: str) -> None:
    problem = Steep(points=200, width=16, depth=2, architecture=architecture)
    assert mlo.solve(problem, "lm", until={"relative_l2": 1e-3}, max_iterations=100).result.success


def test_an_unknown_architecture_lists_the_choices() -> None:
    with pytest.raises(InputError, match="architecture 'cnn' is unknown: choose one of mlp, residual, fourier"):
        Wave(architecture="cnn")


def test_nothing_depends_on_the_default_dtype_and_device() -> None:
    def run() -> tuple[Tensor, ...]:
        made = Wave(seed=2), Inverse(seed=2), Steep(points=9, architecture="fourier")
        return tuple(a for p in made for a in (*p.residual.linearize(p.x0), p.held_out_residual(p.x0)))

    expected = run()
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    try:
        found = run()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
