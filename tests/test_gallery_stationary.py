"""The stationary problems of the gallery: their truths, their boundary values, their rows, and what they refuse."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import PDEProblem
from problems import Helmholtz, Liouville, MultiscalePoisson, Pendulum, Poisson, PoissonHoles, PoissonLShape
from problems.poisson_lshape import straightened

DEFAULTS = [
    Poisson(width=4),
    Poisson(dim=2, width=4),
    Poisson(dim=3, width=4, points=60),
    Poisson(dim=5, width=4, points=60),
    Helmholtz(width=4),
    Helmholtz(dim=2, width=4, points=60),
    MultiscalePoisson(width=4, points=64),
    PoissonLShape(width=4, points=60),
]
CHANGED = [
    Poisson(nu=19.3, hard=True, width=4),
    Poisson(dim=2, k=3, hard=True, width=4, points=50),
    Poisson(dim=3, k=1, hard=False, width=4, points=50),
    Poisson(dim=5, k=3, width=4, points=50),
    Helmholtz(nu=6.7, hard=True, width=4),
    Helmholtz(dim=2, a1=1.3, a2=3.6, wavenumber=2.2, width=4, points=50, seed=3),
    Helmholtz(dim=2, a1=2, a2=3, wavenumber=5, contrast=-0.4, width=4, points=50),
    Helmholtz(dim=2, contrast=0.7, hard=False, width=4, points=50),
    MultiscalePoisson(frequencies="3.5,7,9", width=4, points=50),
    MultiscalePoisson(frequencies="2", width=4, points=50),
    PoissonLShape(singular=-0.7, smooth=1.3, width=4, points=50, seed=3),
    PoissonLShape(smooth=0, width=4, points=50),
    Liouville(c=1.1, q=0.9, width=4, points=50),
    Pendulum(omega=4.2, a=1.9, width=4, points=50),
    PoissonHoles(radius=0.22, width=4, points=50),
]


def named(problem: PDEProblem) -> str:
    return f"{type(problem).__name__}-{problem.dim}"


@pytest.mark.parametrize("problem", [*DEFAULTS, *CHANGED], ids=named)
def test_the_truth_satisfies_the_equation_and_the_conditions(problem: PDEProblem) -> None:
    assert max(problem.defects().values()) < 1e-8


@pytest.mark.parametrize("problem", [*DEFAULTS, *CHANGED], ids=named)
def test_an_output_transform_holds_the_truth_on_the_boundary(problem: PDEProblem) -> None:
    z = problem.boundary_points
    away = float((problem.solution(problem.x0, z) - problem.exact(z)).abs().max())
    assert (away < 1e-12, len(problem.residual.blocks) == 1) == (problem.constrained(),) * 2


@pytest.mark.parametrize("problem", [*DEFAULTS[2:], CHANGED[6]], ids=named)
def test_rows_are_derivatives(problem: PDEProblem) -> None:
    r, jacobian = problem.residual.linearize(problem.x0)
    expected = dense_jacobian(problem.residual, problem.x0, len(r))
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


def test_defaults_depend_on_the_dimension() -> None:
    line, square, cube = Helmholtz(), Helmholtz(dim=2), Poisson(dim=3)
    assert [(p.depth, p.hard, p.sampling) for p in (line, square)] == [(1, False, "equispaced"), (1, True, "sobol")]
    assert (cube.hard, cube.activation, Poisson(dim=3, init="normal").activation) == (False, "sin", "half-tanh")
    assert Helmholtz(dim=2, depth=3, width=5).x0.numel() == 3 * 5 + 2 * 30 + 6


def laplacian(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    second = torch.func.vmap(torch.func.hessian(lambda point: function(point[None])[0]))(z)
    return torch.einsum("mkk->m", second)


def test_a_wrong_velocity_shows() -> None:
    class Slower(Helmholtz):
        def exact(self, z: Tensor) -> Tensor:
            return super().exact(z) + 1e-4 * z[:, 0] ** 3

    assert Slower(dim=2, contrast=0.5, width=4, points=50).defects()["the equation"] > 1e-5


def test_the_lens_slows_waves_down_or_speeds_them_up() -> None:
    centre, corner = torch.tensor([[0.2, -0.3]]).double(), torch.tensor([[-1.0, 1.0]]).double()
    lens = Helmholtz(dim=2, wavenumber=3, contrast=0.5, width=4)
    assert float(lens.kappa(centre)) == pytest.approx(2.0)
    assert float(lens.kappa(corner)) == pytest.approx(3.0, rel=1e-4)
    u = torch.func.vmap(lambda p: lens.exact(p[None])[0])(centre)
    found = lens.equation(Read(lens, centre), centre)
    assert float(found.abs()) < 1e-12 * float(u.abs() + 100)


class Read:
    """Value and Laplacian of an exact solution, by another way than that of the library."""

    def __init__(self, problem: PDEProblem, z: Tensor) -> None:
        self.value, self.laplacian = problem.exact(z), laplacian(problem.exact, z)


def test_the_corner_of_the_l_shape_is_singular() -> None:
    corner = PoissonLShape(smooth=0, width=4)
    inside = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1.1
    assert float(laplacian(corner.exact, inside).abs().max()) < 1e-10
    edges = torch.tensor([[0.5, 0.0], [0.5, -1e-17], [0.0, -0.3], [-1e-17, -0.9], [0.0, 0.0]]).double()
    assert float(corner.exact(edges).abs().max()) < 1e-11
    along = torch.tensor([[-1e-3, 1e-3], [-1e-6, 1e-6]]).double()
    slopes = torch.func.vmap(torch.func.jacrev(lambda p: corner.exact(p[None])[0]))(along).norm(dim=1)
    assert float(slopes[1] / slopes[0]) == pytest.approx(10.0, rel=1e-6)  # r^(-1/3) for r 1000 times smaller


def test_the_corner_is_straightened_by_a_conformal_map() -> None:
    z = PoissonLShape(width=4, points=40).interior_points
    rows = torch.func.vmap(torch.func.jacrev(lambda p: straightened(p[None])[0]))(z)
    product = rows @ rows.transpose(1, 2)
    torch.testing.assert_close(product, product[:, :1, :1] * torch.eye(2, dtype=z.dtype), rtol=1e-12, atol=1e-12)
    edges = torch.tensor([[0.5, 0.0], [0.0, -0.3]]).double()
    assert float(straightened(edges)[:, 0].abs().max()) < 1e-15  # both edges lie on one line
    assert bool(straightened(edges)[:, 1].prod() < 0)


def test_without_those_coordinates_the_network_is_the_usual_one() -> None:
    plain, straight = (PoissonLShape(straight=s, width=4, points=40) for s in (False, True))
    assert straight.x0.numel() == plain.x0.numel() + 2 * 4
    assert max(plain.defects().values()) < 1e-8


@pytest.mark.parametrize(
    "problem",
    [
        Helmholtz(dim=2, a1=1, a2=1, width=12, points=150, contrast=0.2),
        MultiscalePoisson(frequencies="1,2", width=30, points=150),
        Poisson(dim=3, k=1, width=20, points=150),
        PoissonLShape(width=10, points=200),
    ],
    ids=named,
)
def test_a_short_run_reduces_the_error(problem: PDEProblem) -> None:
    assert mlo.solve(problem, "lm", until={"relative_l2": 3e-2}, max_iterations=100).result.success


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Helmholtz(dim=3), "dim=3: give dim=1 or dim=2"),
        (lambda: Helmholtz(nu=0.0), "nu and wavenumber must be positive"),
        (lambda: Helmholtz(dim=2, a2=0), "a1 and a2 must be positive, got 1.0 and 0"),
        (lambda: Helmholtz(dim=2, contrast=-1), "contrast must lie above -1"),
        (lambda: MultiscalePoisson(frequencies="4;8"), "frequencies='4;8' must be positive numbers joined by commas"),
        (lambda: MultiscalePoisson(frequencies="4,-8"), "must be positive numbers"),
        (lambda: MultiscalePoisson(dim=3), "two dimensions, got dim=3"),
        (lambda: PoissonLShape(singular=0, smooth=0), "singular and smooth are both 0"),
        (lambda: PoissonLShape(architecture="fourier"), "'fourier' does not take the straight coordinates"),
    ],
)
def test_what_they_do_not_take_is_refused(make: Callable[[], PDEProblem], told: str) -> None:
    with pytest.raises(mlo.InputError, match=told):
        make()
