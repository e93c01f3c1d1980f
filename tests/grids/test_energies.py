"""Energies on grids: derivatives, matrices, known solutions, scaling."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

import multilevel_opt as mlo
import problems
from multilevel_opt.errors import InputError, ShapeError
from problems.grid import GridProblem
from tests.references.newton import newton

GALLERY: dict[str, type[GridProblem]] = {
    name: kind
    for name, kind in ((name, getattr(problems, name)) for name in problems.__all__)
    if issubclass(kind, GridProblem) and kind is not GridProblem
}
QUADRATIC = {"Dirichlet", "Dirichlet1D", "Dirichlet3D", "Torsion", "JournalBearing", "Membrane"}


def small(name: str, **options: object) -> GridProblem:
    kind = GALLERY[name]
    return kind(n={1: 9, 2: 6, 3: 4}[kind.dim], start="random", seed=5, **options)  # type: ignore[arg-type]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", GALLERY)
def test_derivatives_equal_those_of_autograd(name: str) -> None:
    problem = small(name)
    f, x = problem.objective, problem.x0
    v, w = torch.randn(2, x.numel(), dtype=torch.float64)
    model = f.expand(x, 3)
    gradient = torch.func.grad(lambda z: f(z))

    def product(z: Tensor) -> Tensor:
        return torch.func.jvp(gradient, (z,), (v,))[1]

    assert float(model.value) == pytest.approx(float(f(x)), rel=1e-14)
    assert relative(model.gradient, gradient(x)) < 1e-12
    assert relative(model.forms[1](v), product(x)) < 1e-12
    third = torch.func.jvp(product, (x,), (w,))[1]
    if name in QUADRATIC:
        assert float(third.norm()) == float(model.forms[2](v, w).norm()) == 0.0
    elif name != "OptimalDesign":  # whose third form has jumps
        assert relative(model.forms[2](v, w), third) < 1e-12


@pytest.mark.parametrize("name", GALLERY)
def test_the_second_form_is_a_matrix(name: str) -> None:
    problem = small(name)
    model = problem.objective.expand(problem.x0, 2)
    assert model.second is not None
    matrix, v = model.second.matrix(), torch.randn(problem.x0.numel(), dtype=torch.float64)
    assert relative(matrix @ v, model.forms[1](v)) < 1e-12
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.diagonal(), model.second.diagonal())
    spread = model.second.spread()
    if spread < float("inf"):
        largest = torch.linalg.eigvals(matrix / matrix.diagonal()[:, None]).real.max()
        assert float(largest) <= spread * (1 + 1e-12)


def test_stencils_equal_their_scipy_matrix() -> None:
    g = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    stencil = mlo.Stencil((4, 5), draw(4, 5), [((1, 0), draw(3, 5)), ((0, 1), -0.5), ((1, -1), draw(3, 4))])
    matrix = stencil.to_scipy(draw(20))
    v = draw(3, 20)
    np.testing.assert_allclose(stencil(v).numpy(), (matrix @ v.numpy().T).T, rtol=1e-14)
    np.testing.assert_allclose(stencil.matrix(v).numpy(), matrix.toarray(), rtol=1e-14)
    line = scipy.sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(7, 7))
    square = scipy.sparse.kron(line, scipy.sparse.eye_array(7)) + scipy.sparse.kron(scipy.sparse.eye_array(7), line)
    np.testing.assert_allclose(mlo.laplacian(7, 2, 0.125).matrix(v).numpy(), square.toarray())
    np.testing.assert_allclose(mlo.laplacian(7, 1, 0.125).matrix(v).numpy(), 8 * line.toarray())


def test_stencils_refuse_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="coupling"):
        mlo.Stencil((4, 5), 1.0, [((1, 0), torch.ones(4, 5))])
    with pytest.raises(ShapeError, match="diagonal"):
        mlo.Stencil((4, 5), torch.ones(5, 4), [])


@pytest.mark.parametrize("name", ["ConvexExponential", "Dirichlet", "Dirichlet1D", "Dirichlet3D"])
def test_the_error_falls_with_the_square_of_the_spacing(name: str) -> None:
    errors = []
    for n in (7, 15):
        problem = GALLERY[name](n=n)
        truth = newton(problem.objective, problem.x0)
        errors.append(problem.metrics["rmse"](truth))
        assert problem.residual(truth) < 1e-8
    assert 3.5 < errors[0] / errors[1] < 4.6


@pytest.mark.parametrize("name", ["Bratu", "MinimalSurface", "ConvexExponential", "OptimalControl", "Torsion"])
def test_values_and_residuals_do_not_depend_on_the_grid(name: str) -> None:
    values, residuals = [], []
    for n in (31, 63):
        problem = GALLERY[name](n=n, start="smooth", amplitude=0.1)
        values.append(float(problem.objective(problem.x0)))
        residuals.append(
            float(problem.objective.expand(problem.x0, 1).gradient.norm()) * problem.h ** (-problem.dim / 2)
        )
    assert values[0] == pytest.approx(values[1], rel=0.05)
    assert residuals[0] == pytest.approx(residuals[1], rel=0.25)


def test_bounds_are_offered_where_there_are_some() -> None:
    assert problems.Bratu().x_bounds is None
    for name in ("Torsion", "JournalBearing", "Membrane"):
        bounds = small(name).x_bounds
        assert bounds is not None
        assert any(side is not None and side.shape == small(name).x0.shape for side in bounds)
    problem = problems.Torsion(n=15)
    result = mlo.minimize(
        problem.objective, problem.x0, mlo.TR2, bounds=problem.x_bounds, hierarchy=problem.hierarchy(2)
    )
    assert result.success
    assert problem.residual(result.x) < 1e-4
    free = mlo.minimize(problem.objective, problem.x0, mlo.TR2)
    assert float(free.x.max()) > float(result.x.max()) + 0.01


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Bratu", {"lam": 7.0}, "no solution"),
        ("Bratu", {"n": 2}, "too small"),
        ("Bratu", {"start": "nowhere"}, "'nowhere'"),
        ("MinimalSurface", {"boundary": "flat"}, "'flat'"),
        ("Torsion", {"dtype": "float8"}, "float8"),
    ],
)
def test_bad_parameters_are_refused(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        GALLERY[name](**options)


def test_start_points_are_drawn_anew_for_every_seed() -> None:
    first, again, other = (problems.Bratu(n=5, start="random", seed=seed).x0 for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(problems.Bratu(n=5, start="positive", amplitude=6.0).x0.min()) >= 0.0
