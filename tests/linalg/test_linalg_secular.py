"""The regularized quadratic problem: optimality conditions and brute force, the hard case, tiny gradients."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt.linalg.secular import regularized_minimizer


def problem(eigenvalues: list[float], coefficients: list[float]) -> tuple[Tensor, Tensor]:
    """(H, g) with the given eigenvalues and coordinates of g in a random orthonormal basis."""
    n = len(eigenvalues)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    H = q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T
    return 0.5 * (H + H.T), q @ torch.tensor(coefficients, dtype=torch.float64)


def value(H: Tensor, g: Tensor, sigma: float, p: int, u: Tensor) -> float:
    return float(g @ u + 0.5 * u @ H @ u + sigma / p * u.norm() ** p)


def assert_global_minimizer(H: Tensor, g: Tensor, sigma: float, p: int, u: Tensor) -> None:
    """(H + νI)u = −g and H + νI ⪰ 0 with ν = σ‖u‖^{p−2} (necessary and sufficient)."""
    nu = sigma * float(u.norm()) ** (p - 2)
    scale = float(H.norm()) + nu
    assert float((H @ u + nu * u + g).norm()) <= 1e-8 * (float(g.norm()) + scale * float(u.norm()))
    assert float(torch.linalg.eigvalsh(H)[0]) + nu >= -1e-8 * scale


CASES = {
    "convex": ([1.0, 2.0, 30.0], [1.0, -2.0, 0.5]),
    "indefinite": ([-3.0, 0.1, 4.0], [0.3, 1.0, -1.0]),
    "concave": ([-3.0, -2.0, -1.0], [1.0, 1.0, 1.0]),
    "semidefinite": ([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]),
    "stiff": ([1e-4, 1.0, 1e6], [1.0, 1.0, 1.0]),
    "tiny": ([1e-12, 2e-12, -3e-12], [1e-12, 1e-13, 2e-12]),
    "one": ([-2.0], [1.0]),
    "zero": ([0.0, 0.0], [1.0, 0.0]),
}


@pytest.mark.parametrize("p", [3, 4])
@pytest.mark.parametrize("sigma", [1e-8, 0.1, 1.0, 1e4])
@pytest.mark.parametrize("case", CASES)
def test_the_minimizer_is_global(case: str, sigma: float, p: int) -> None:
    H, g = problem(*CASES[case])
    assert_global_minimizer(H, g, sigma, p, regularized_minimizer(H, g, sigma, p))


@pytest.mark.parametrize("p", [3, 4])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
@pytest.mark.parametrize(
    ("eigenvalues", "coefficients"),
    [([-3.0, 1.0, 4.0], [0.0, 1.0, -1.0]), ([-3.0, -3.0, 4.0], [0.0, 0.0, 0.1]), ([-2.0, 1.0], [1e-14, 0.2])],
)
def test_the_hard_case(eigenvalues: list[float], coefficients: list[float], sigma: float, p: int) -> None:
    H, g = problem(eigenvalues, coefficients)
    assert_global_minimizer(H, g, sigma, p, regularized_minimizer(H, g, sigma, p))


@pytest.mark.parametrize("p", [3, 4])
@pytest.mark.parametrize("case", ["convex", "indefinite", "concave"])
def test_no_start_of_a_descent_method_finds_a_lower_value(case: str, p: int) -> None:
    H, g = problem(*CASES[case])
    found = value(H, g, 0.7, p, regularized_minimizer(H, g, 0.7, p))
    rng = np.random.default_rng(0)

    def f(u: np.ndarray) -> float:
        return value(H, g, 0.7, p, torch.from_numpy(u))

    best = min(scipy.optimize.minimize(f, 3 * rng.standard_normal(3), method="BFGS").fun for _ in range(8))
    assert found <= best + 1e-9
    assert found == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("sigma", [1e-12, 1e-9, 1.0])
@pytest.mark.parametrize("size", [1e-20, 1e-12, 1e-6])
def test_near_a_minimizer_the_step_is_the_newton_step(size: float, sigma: float) -> None:
    """The root lies below the rounding of the largest eigenvalue; this is not the hard case."""
    H, g = problem([1.0, 2.0, 1e6], [size, -size, size])
    u = regularized_minimizer(H, g, sigma, 3)
    torch.testing.assert_close(u, torch.linalg.solve(H, -g), rtol=1e-4, atol=0.0)


def test_quadratic_regularization_is_a_shifted_system() -> None:
    H, g = problem([1.0, 2.0, 30.0], [1.0, -2.0, 0.5])
    expected = torch.linalg.solve(H + 0.3 * torch.eye(3, dtype=torch.float64), -g)
    torch.testing.assert_close(regularized_minimizer(H, g, 0.3, 2), expected)
    H, g = problem([-2.0, 1.0], [1.0, 1.0])
    u = regularized_minimizer(H, g, 0.3, 2)
    assert bool(torch.isfinite(u).all())
    assert float(g @ u) < 0
