"""The Helmholtz problem of the published tables."""

import pytest
import torch

import multilevel_opt as mlo
from problems import Helmholtz


def test_the_solution_solves_the_equation() -> None:
    problem = Helmholtz(nu=3.7)
    z = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    second = torch.func.vmap(torch.func.hessian(lambda p: problem.exact(p[None])[0]))(z)[:, 0, 0]
    assert torch.allclose(second + problem.nu**2 * problem.exact(z), torch.zeros(11, dtype=torch.float64), atol=1e-12)
    assert float(problem.exact(z).abs().max()) > 1


def test_it_is_set_up_as_published() -> None:
    problem = Helmholtz(init="normal")
    assert (problem.width, problem.n_residuals, problem.x0.numel()) == (1024, 16 + 2, 3 * 1024 + 1)
    assert problem.boundary_weight == pytest.approx(0.1 * 16)
    assert problem.activation == "half-tanh"


def test_it_is_solved_and_its_laws_hold() -> None:
    run = mlo.solve(Helmholtz(nu=5.0, width=64, seed=1), "lm", until={"rmse": 1e-4})
    assert run.result.success
    assert all(finding.passed for finding in mlo.check.report(Helmholtz(nu=5.0, width=16)))
