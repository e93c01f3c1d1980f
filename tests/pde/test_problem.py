import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, MultilevelError, NonFiniteError, ShapeError
from multilevel_opt.pde import MLP, Field, PDEProblem
from problems import Poisson

# torch compiles its own decompositions when forward differentiation is first used.


@dataclass(frozen=True, kw_only=True)
class Cubic(PDEProblem):
    """-u'' + u³ = f with u = sin(πz)."""

    width: int | None = 10

    def equation(self, u: Field, z: Tensor) -> Tensor:
        truth = self.exact(z)
        return -u.laplacian + u.value**3 - torch.pi**2 * truth - truth**3

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(torch.pi * z[:, 0])


@pytest.mark.parametrize(
    "problem", [Poisson(nu=7), Poisson(dim=2, k=3, points=25), Poisson(dim=3, points=20), Cubic(points=20)]
)
def test_the_truth_satisfies_the_equations(problem: PDEProblem) -> None:
    assert max(problem.defects().values()) < 1e-8


def test_a_wrong_truth_shows() -> None:
    class Wrong(Poisson):
        def exact(self, z: Tensor) -> Tensor:
            return 1.001 * super().exact(z) + 1e-3

    assert Wrong(nu=7).defects()["the equation"] > 0.01


def test_defaults_of_poisson() -> None:
    line, square, cube = Poisson(), Poisson(dim=2), Poisson(dim=3)
    assert (line.width, line.n_residuals, line.x0.numel()) == (512, 76 + 2, 3 * 512 + 1)
    published = Poisson(init="normal")
    assert published.n_residuals == 61 + 2
    assert published.boundary_weight == pytest.approx(6.1)
    assert float(published.interior_points.diff(dim=0).max()) == pytest.approx(1 / 60)
    assert (square.width, square.n_residuals, square.boundary_weight) == (330, 900 + 120, 750.0)
    assert cube.sampling == "sobol"


def test_the_loss_is_that_of_the_formula() -> None:
    problem = Poisson(dim=2, width=5, points=16)
    t, weight = 16, float(problem.boundary_weight or 0)
    z, zb = problem.interior_points, problem.boundary_points
    u = problem.function(problem.x0)
    lap = torch.stack([torch.func.hessian(lambda y: u(y[None])[0])(point).trace() for point in z])
    inner = (-lap - 2 * (2 * torch.pi) ** 2 * problem.exact(z)).square()
    outer = (u(zb) - problem.exact(zb)).square()
    loss = (inner.sum() + weight * outer.sum()) / (2 * t)
    torch.testing.assert_close(problem.objective(problem.x0), loss)
    torch.testing.assert_close(loss, 0.5 * (inner.mean() + 100 * outer.mean()))


def test_metrics_are_the_errors_of_the_solution() -> None:
    problem = Poisson(nu=5, width=8)
    z = torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None]
    error = problem.solution(problem.x0, z) - problem.exact(z)
    rmse = float(error.square().mean().sqrt())
    assert problem.metrics["rmse"](problem.x0) == pytest.approx(rmse)
    size = float(problem.exact(z).square().mean().sqrt())
    assert problem.metrics["relative_l2"](problem.x0) == pytest.approx(rmse / size)


@pytest.mark.parametrize(("dim", "rows"), [(1, 500), (2, 10201), (3, 10201)])
def test_pictures_lie_in_the_box(dim: int, rows: int) -> None:
    grid = Poisson(dim=dim, width=3, points=8).picture_grid()
    assert grid.shape == (rows, dim)
    assert (float(grid.min()), float(grid.max())) == (0.0, 1.0)


@pytest.mark.parametrize("init", ["normal", "scaled"])
@pytest.mark.parametrize("depth", [1, 3])
def test_one_seed_one_start(init: str, depth: int) -> None:
    make = lambda seed: Poisson(dim=2, width=6, depth=depth, init=init, seed=seed).x0  # noqa: E731
    assert torch.equal(make(1), make(1))
    assert not torch.equal(make(1), make(2))
    assert make(1).shape == (MLP(2, (6,) * depth).size,)
    single = Poisson(dim=2, width=6, depth=depth, init=init, seed=1, dtype=torch.float32)
    assert torch.equal(single.x0, make(1).to(torch.float32))


def test_steeper_activations_start_with_smaller_weights() -> None:
    steep, flat = (Poisson(width=9, activation=name) for name in ("tanh", "half-tanh"))
    assert torch.equal(2 * steep.x0[:18], flat.x0[:18])
    z = steep.interior_points
    torch.testing.assert_close(steep.solution(steep.x0, z), flat.solution(flat.x0, z))


def test_parameters_are_json() -> None:
    problem = Poisson(dim=2, device=torch.device("cpu"), dtype=torch.float64, points="8x9")
    again = Poisson(**json.loads(json.dumps(problem.parameters)))
    assert again == problem
    assert torch.equal(again.x0, problem.x0)


def test_a_problem_without_exact_solution_has_no_metrics() -> None:
    class Unknown(PDEProblem):
        def equation(self, u: Field, z: Tensor) -> Tensor:
            return u.laplacian + 1.0

        def boundary(self, u: Field, z: Tensor) -> Tensor:
            return u.value

    problem = Unknown(points=5)
    assert set(problem.metrics) == {"residual", "held_out"}
    assert problem.n_residuals == 7


def test_missing_hooks_are_named() -> None:
    class Empty(PDEProblem):
        pass

    with pytest.raises(InputError, match="Empty has no equation"):
        Empty().residual  # noqa: B018
    with pytest.raises(InputError, match="Empty has no exact solution"):
        Empty().exact(torch.zeros(1, 1))


def test_nothing_depends_on_the_default_dtype_and_device() -> None:
    problem = Cubic(points=9)
    expected = problem.residual.linearize(problem.x0)
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    try:
        again = Cubic(points=9)
        found = again.residual.linearize(again.x0)
        error = again.metrics["rmse"](again.x0)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert error == problem.metrics["rmse"](problem.x0)


def test_levenberg_marquardt_solves_a_nonlinear_problem() -> None:
    problem = Cubic(width=20, points=40)
    x, damping = problem.x0, 1e-3
    for _ in range(60):
        r, jacobian = problem.residual.linearize(x)
        gram = jacobian @ jacobian.T + damping * torch.eye(len(r), dtype=x.dtype)
        trial = x - jacobian.T @ torch.linalg.solve(gram, r)
        better = bool(problem.residual(trial).norm() < r.norm())
        x, damping = (trial, damping / 10) if better else (x, damping * 4)
    assert problem.metrics["rmse"](x) < 1e-3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"depth": 0}, "depth must be a whole number >= 1, got 0"),
        ({"dim": 0}, "dim must be a whole number >= 1, got 0"),
        ({"points": 0}, "points=0 must be a number >= 1"),
        ({"points": "3x3"}, "points='3x3' must be a number >= 1"),
        ({"activation": "relu"}, "activation 'relu' is unknown: choose one of tanh, half-tanh"),
        ({"init": "zeros"}, "init 'zeros' is unknown: choose one of normal, scaled"),
        ({"sampling": "grid"}, "sampling 'grid' is unknown: choose one of equispaced"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown: choose one of float64, float32"),
        ({"device": "abacus"}, "device 'abacus' is not available here"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available here"),
        ({"boundary_weight": 0.0}, "boundary_weight must be positive, got 0.0"),
        ({"boundary_weight": float("nan")}, "boundary_weight must be positive, got nan"),
        ({"nu": -1.0}, "nu must be positive, got -1.0"),
        ({"k": 0}, "k must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Poisson(**options)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


class Wrong(Cubic):
    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian + torch.log(z[:, 0] - 0.5)


class Columns(Cubic):
    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian[:, None] + z


class Unnamed(Cubic):
    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian + u.d("t")


class Wide(Cubic):
    def make_network(self) -> MLP:
        return MLP(2, (5,))


@pytest.mark.parametrize(
    ("problem", "kind", "sentence"),
    [
        (Wrong, NonFiniteError, r"the equation is NaN or infinite at \d+ of 20 points at the start, first at z = "),
        (Columns, ShapeError, "must return one number per point"),
        (Unnamed, InputError, "derivative with respect to 't', but the coordinates are x"),
        (Wide, ShapeError, "the network has 2 inputs, but the points have 1 coordinates"),
    ],
)
def test_wrong_problems_are_refused_before_training(
    problem: type[Cubic], kind: type[MultilevelError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        problem(points=20).residual  # noqa: B018
    assert "\n" not in str(caught.value)
