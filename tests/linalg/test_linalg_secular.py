"""The regularized quadratic problem: optimality conditions and brute force, the hard case, tiny gradients."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt.linalg import secular
from multilevel_opt.linalg.secular import Spectrum, ball_minimizer, spectrum


def decomposed(H: Tensor, g: Tensor) -> Spectrum:
    found = spectrum(H, g)
    assert found is not None
    return found


def regularized_minimizer(H: Tensor, g: Tensor, sigma: float, p: int) -> Tensor:
    return secular.regularized_minimizer(decomposed(H, g), sigma, p)


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


HARD = {
    "hard": ([-3.0, 1.0, 4.0], [0.0, 1.0, -1.0]),
    "hard, double": ([-3.0, -3.0, 4.0], [0.0, 0.0, 0.1]),
    "nearly hard": ([-2.0, 1.0], [1e-14, 0.2]),
    "no gradient": ([-1.0, 2.0], [0.0, 0.0]),
}


@pytest.mark.parametrize("radius", [1e-3, 0.4, 1.0, 1e3])
@pytest.mark.parametrize("case", [*CASES, *HARD])
def test_the_minimizer_in_a_ball_is_global(case: str, radius: float) -> None:
    """(H + νI)u = −g, H + νI ⪰ 0, ν ≥ 0 and ν(Δ − ‖u‖) = 0 are necessary and sufficient (Moré & Sorensen 1983)."""
    H, g = problem(*{**CASES, **HARD}[case])
    u, on_boundary = ball_minimizer(decomposed(H, g), radius)
    length = float(u.norm())
    assert length <= radius * (1 + 1e-12)
    assert on_boundary == (length >= radius * (1 - 1e-12))
    gradient = H @ u + g
    nu = -float(gradient @ u) / length**2 if on_boundary else 0.0
    scale = float(H.norm()) + nu
    assert float((gradient + nu * u).norm()) <= 1e-10 * (float(g.norm()) + scale * length)
    assert nu >= -1e-10 * scale
    assert float(torch.linalg.eigvalsh(H)[0]) + nu >= -1e-10 * scale


@pytest.mark.parametrize("seed", range(5))
def test_random_indefinite_problems_in_a_ball_agree_with_a_search_over_the_multiplier(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = 8
    A = torch.randn(n, n, generator=generator, dtype=torch.float64)
    H, g = A + A.T, torch.randn(n, generator=generator, dtype=torch.float64)
    u, on_boundary = ball_minimizer(decomposed(H, g), 0.7)
    lowest = float(torch.linalg.eigvalsh(H)[0])
    unit = torch.eye(n, dtype=torch.float64)

    def excess(nu: float) -> float:
        return float(torch.linalg.solve(H + nu * unit, -g).norm()) - 0.7

    nu = scipy.optimize.brentq(excess, -lowest + 1e-9, -lowest + 1e3, xtol=1e-14, rtol=1e-14)
    assert on_boundary
    torch.testing.assert_close(u, torch.linalg.solve(H + nu * unit, -g), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("radius", [1e-6, 1e-3, 0.1])
def test_badly_scaled_curvature_is_resolved_below_the_rounding_of_the_largest_eigenvalue(radius: float) -> None:
    """The multiplier is far below eps ‖H‖, where the eigen-decomposition alone knows nothing."""
    H = torch.diag(torch.tensor([1e-7, 1e13], dtype=torch.float64))
    g = torch.tensor([1e-7, 1.0], dtype=torch.float64)
    u, on_boundary = ball_minimizer(decomposed(H, g), radius)
    assert on_boundary
    torch.testing.assert_close(u, torch.tensor([-radius, 0.0], dtype=torch.float64), rtol=1e-9, atol=1e-12)
    sigma = 1e-7 / radius**2  # then ν = 1e-7/radius − 1e-7 nearly, of the order of the small eigenvalue
    v = regularized_minimizer(H, g, sigma, 3)
    nu = sigma * float(v.norm())
    torch.testing.assert_close(v, -g / (torch.diag(H) + nu), rtol=1e-9, atol=1e-15)


def test_a_matrix_that_is_not_finite_has_no_spectrum() -> None:
    assert spectrum(torch.full((2, 2), float("nan"), dtype=torch.float64), torch.ones(2, dtype=torch.float64)) is None
