"""Output layers of nonlinear equations: the least-squares problem beside scipy's, and what leads there."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.output_fit import gauss_newton
from multilevel_opt.output_layer import affine, output_parameters
from multilevel_opt.pde import Field
from multilevel_opt.random_features import random_features
from problems.kovasznay import Kovasznay
from problems.liouville import Liouville
from problems.nonlinear import Pendulum


@dataclass(frozen=True, kw_only=True)
class Steep(mlo.PDEProblem):
    """-u'' + u³ = f, u = sin(8z), with a network of which nothing is said."""

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(8.0 * z[:, 0])

    def equation(self, u: Field, z: Tensor) -> Tensor:
        truth = self.exact(z)
        return -u.laplacian + u.value**3 - 64.0 * truth - truth**3


def places(problem: mlo.PDEProblem) -> Tensor:
    assert problem.residual.layout is not None
    found = output_parameters(problem.residual.layout)
    assert found is not None
    return found


def test_gauss_newton_ends_near_the_least_loss() -> None:
    problem = Steep(width=12, points=40, seed=1)
    own = places(problem)
    zero = problem.x0.index_fill(0, own, 0.0)
    found = gauss_newton(problem.objective, zero, own)

    def r(v: np.ndarray) -> np.ndarray:
        return problem.objective.residuals(zero.index_copy(0, own, torch.from_numpy(v))).numpy()

    best = scipy.optimize.least_squares(r, np.zeros(len(own)), xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=100)
    assert float(problem.objective.residuals(found).norm()) <= 1.2 * float(np.linalg.norm(best.fun))
    kept = torch.ones_like(zero, dtype=torch.bool).index_fill(0, own, False)
    assert torch.equal(found[kept], zero[kept])


def test_steps_are_shortened_where_the_residual_ends() -> None:
    f = LeastSquares(lambda x: torch.log(x) - torch.log(torch.tensor([1e-3, 5.0], dtype=torch.float64)))
    found = gauss_newton(f, torch.tensor([4.0, 0.1], dtype=torch.float64), torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([1e-3, 5.0], rel=0.3)  # the full first step is negative


def test_without_a_step_that_helps_the_point_stays() -> None:
    f = LeastSquares(lambda x: x**2 + 1.0)
    x = torch.zeros(3, dtype=torch.float64)
    assert torch.equal(gauss_newton(f, x, torch.arange(3)), x)
    bad = LeastSquares(lambda x: torch.sqrt(x))  # its slope is infinite
    assert torch.equal(gauss_newton(bad, x, torch.arange(3)), x)


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (Liouville(c=0.9, seed=3), 1e-6),
        (Kovasznay(reynolds=30.0, width=180, points=360, seed=3), 1e-4),
        (Pendulum(omega=4.2, seed=3), 1e-6),
        (Steep(seed=3), 1e-6),
    ],
)
def test_random_features_solve_smooth_nonlinear_equations(problem: mlo.PDEProblem, error: float) -> None:
    own = places(problem)
    assert not affine(problem.objective, problem.x0, own)
    found = random_features(problem.objective, problem.x0, own, problem.held_out, 1e-9, linear=False)
    assert problem.relative_l2(found.x) < error
    once = random_features(problem.objective, problem.x0, own, problem.held_out, 1e-9)  # one linearization at zero
    assert problem.relative_l2(once.x) > 100 * problem.relative_l2(found.x)


def test_auto_starts_a_nonlinear_equation_there() -> None:
    run = mlo.solve(Steep(seed=5), until={"relative_l2": 1e-5})
    assert run.result.success
    assert len(run.result.history) == 0
    assert "random features" in run.record["chosen"]["why"]
    front = mlo.solve(Steep(seed=5, width=3), until={"relative_l2": 1e-5}, max_iterations=1)
    assert front.record["chosen"]["why"] == "it has a residual"
