"""Random features: the least-squares problem beside numpy's, the search for a factor, and rows held out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.output_layer import output_parameters
from multilevel_opt.pde import Field, PDEProblem
from multilevel_opt.pde.resolution import ridges_for, slabs_for
from multilevel_opt.random_features import random_features
from problems.convection import Convection
from problems.helmholtz import Helmholtz
from problems.poisson import Poisson
from problems.poisson_holes import PoissonHoles
from problems.wave import Wave


def small() -> Poisson:
    return Poisson(dim=2, k=1, width=60, points="15x15")


def places(problem: Poisson) -> torch.Tensor:
    found = output_parameters(problem.residual.layout)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_output_layer_is_the_least_squares_solution() -> None:
    problem = small()
    own = places(problem)
    found = random_features(problem.objective, problem.x0, own, problem.held_out, enough=10.0)
    assert found.factor == 1.0
    zero = problem.x0.index_fill(0, own, 0.0)
    r, jacobian = problem.objective.jacobian(zero)
    exact = np.linalg.lstsq(jacobian[:, own].numpy(), -r.numpy(), rcond=None)[0]
    least = np.linalg.norm(jacobian[:, own].numpy() @ exact + r.numpy())
    assert float(problem.objective.residuals(found.x).norm()) <= 1.01 * least
    assert found.share == pytest.approx(problem.held_out(found.x) / problem.held_out(zero))


@pytest.mark.parametrize("flat", [8.0, 0.125])
def test_ridges_that_are_drawn_too_flat_or_too_steep_are_corrected(flat: float) -> None:
    problem = small()
    own = places(problem)
    start = problem.x0.clone()
    start[: 3 * 60] /= flat
    kept = random_features(problem.objective, start, own, problem.held_out, enough=10.0)
    found = random_features(problem.objective, start, own, problem.held_out)
    assert found.share < 0.1 * kept.share
    assert (found.factor > 1.0) == (flat > 1.0)
    assert random_features(problem.objective, start, own, problem.held_out, enough=2 * kept.share).factor == 1.0


def test_without_other_points_rows_are_held_out() -> None:
    problem = small()
    found = random_features(problem.objective, problem.x0, places(problem))
    assert found.share < 1e-2
    assert problem.relative_l2(found.x) < 10 * found.share


def test_columns_are_those_of_the_jacobian() -> None:
    for problem in (small(), PoissonHoles(width=9, points=70), Convection(width=8, points=50, slabs=1)):
        own = torch.tensor([0, 5, 3])
        r, jacobian = problem.residual.linearize(problem.x0)
        again, columns = problem.residual.columns(problem.x0, own)
        assert torch.equal(r, again)
        assert torch.equal(jacobian[:, own], columns)


def test_width_follows_the_wave_number() -> None:
    assert ridges_for([(0.0, 2.0)], [10.0]) == 25
    widths = [
        Helmholtz(dim=2, a1=a, a2=b).width for a, b in ((1.0, 1.0), (1.0, 4.0), (2.0, 5.0), (6.0, 6.0), (40.0, 1.0))
    ]
    assert widths == sorted(widths)  # type: ignore[type-var]
    assert widths[-1] == 2000
    assert Helmholtz(dim=2, wavenumber=18.0).width > Helmholtz(dim=2).width  # type: ignore[operator]
    assert Helmholtz(dim=2, depth=2).width == 26
    assert slabs_for([(0.0, 1.0)], [15.0], 16.0) == 1
    assert (Wave(beta=5).slabs, Wave(beta=20).slabs) == (1, 3)
    assert Wave(beta=5, slabs=4).width < Wave(beta=5).width  # type: ignore[operator]


@pytest.mark.parametrize(
    "problem",
    [
        Helmholtz(dim=2, a1=2.0, a2=1.5, seed=8),
        Poisson(dim=2, k=2, seed=8),
        Convection(beta=12.0, seed=8),
        Wave(beta=2, seed=8),
    ],
)
def test_one_least_squares_problem_solves_linear_equations(problem: Poisson) -> None:
    found = random_features(problem.objective, problem.x0, places(problem), problem.held_out, enough=1e-6)
    assert problem.relative_l2(found.x) < 1e-6


@dataclass(frozen=True, kw_only=True)
class Mine(PDEProblem):
    """-Δu + u = f on the unit cube: a problem of which nothing is said but its wave number, and that it is linear."""

    smooth = True

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(5.0 * z).sum(1)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return -u.laplacian + u.value - 26.0 * self.exact(z)

    def frequency(self) -> float:
        return 5.0


@dataclass(frozen=True, kw_only=True)
class Unsaid(Mine):
    smooth = False


@pytest.mark.parametrize("dim", [1, 2])
def test_one_word_gives_a_linear_problem_of_its_own_a_wide_layer(dim: int) -> None:
    problem = Mine(dim=dim)
    assert (problem.width, problem.activation) == (ridges_for([(0.0, 1.0)] * dim, [5.0] * dim), "sin")
    assert len(problem.interior_points) >= 2 * ridges_for([(0.0, 1.0)] * dim, [5.0] * dim)
    run = mlo.solve(problem, until={"relative_l2": 1e-6}, max_iterations=0)
    assert run.record["chosen"]["method"] == "lm"
    assert run.result.success


@pytest.mark.parametrize("problem", [Unsaid(dim=2), Mine(dim=2, depth=2), Mine(dim=2, init="normal"), Mine(dim=3)])
def test_no_wide_layer_where_something_else_is_asked_for(problem: Mine) -> None:
    assert not problem.wide()
    assert problem.activation != "sin"
    assert problem.width == (26 if problem.depth == 2 else 200)
