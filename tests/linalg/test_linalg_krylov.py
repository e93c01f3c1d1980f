"""Truncated conjugate gradients and Lanczos against dense linear algebra."""

import pytest
import torch
from torch import Tensor

from multilevel_opt.linalg.krylov import lanczos, steihaug, to_boundary

N = 8


def symmetric(eigenvalues: Tensor) -> Tensor:
    q, _ = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64))
    return q @ torch.diag(eigenvalues) @ q.T


def positive() -> Tensor:
    return symmetric(torch.linspace(0.5, 20, N, dtype=torch.float64))


def vector() -> Tensor:
    return torch.randn(N, dtype=torch.float64)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_without_a_boundary_it_solves_the_system(shift: float) -> None:
    H, g = positive(), vector()
    out = steihaug(lambda v: H @ v, g, shift, tol=1e-13, max_products=50)
    expected = torch.linalg.solve(H + shift * torch.eye(N, dtype=torch.float64), -g)
    torch.testing.assert_close(out.step, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out.product, H @ out.step)
    assert not out.on_boundary
    assert out.products <= N + 2


def test_the_residual_test_stops_early() -> None:
    H, g = positive(), vector()
    out = steihaug(lambda v: H @ v, g, tol=0.3)
    residual = float((H @ out.step + g).norm() / g.norm())
    assert residual <= 0.3
    assert 1 <= out.products < N


def test_a_step_that_leaves_the_ball_ends_on_its_boundary() -> None:
    H, g = positive(), vector()
    newton = float(torch.linalg.solve(H, g).norm())
    for radius in (0.9 * newton, 0.3 * newton, 1e-3 * newton):
        out = steihaug(lambda v: H @ v, g, radius=radius, tol=1e-13)
        assert out.on_boundary
        assert float(out.step.norm()) == pytest.approx(radius)
        torch.testing.assert_close(out.product, H @ out.step)
        cauchy = model(H, g, -min(radius, float(g.norm() ** 3 / (g @ H @ g))) * g / g.norm())
        assert model(H, g, out.step) <= cauchy + 1e-12
    inside = steihaug(lambda v: H @ v, g, radius=2 * newton, tol=1e-13)
    assert not inside.on_boundary


def model(H: Tensor, g: Tensor, s: Tensor) -> float:
    return float(g @ s + 0.5 * s @ H @ s)


@pytest.mark.parametrize("radius", [0.1, 3.0, 100.0])
def test_negative_curvature_is_followed_to_the_boundary(radius: float) -> None:
    H, g = symmetric(torch.linspace(-2, 5, N, dtype=torch.float64)), vector()
    out = steihaug(lambda v: H @ v, g, radius=radius, tol=1e-13)
    assert out.on_boundary
    assert float(out.step.norm()) == pytest.approx(radius)
    assert model(H, g, out.step) < 0
    torch.testing.assert_close(out.product, H @ out.step)


def test_negative_curvature_without_a_boundary_returns_a_descent_step() -> None:
    H, g = symmetric(-torch.ones(N, dtype=torch.float64)), vector()
    out = steihaug(lambda v: H @ v, g)
    torch.testing.assert_close(out.step, -g)
    torch.testing.assert_close(out.product, H @ out.step)
    mixed = symmetric(torch.tensor([-1.0, 2, 3, 4, 5, 6, 7, 8], dtype=torch.float64))
    out = steihaug(lambda v: mixed @ v, g, tol=1e-13)
    assert float(g @ out.step) < 0
    torch.testing.assert_close(out.product, mixed @ out.step)


def test_a_zero_gradient_costs_nothing() -> None:
    out = steihaug(lambda v: v, torch.zeros(N, dtype=torch.float64))
    assert out.products == 0
    assert float(out.step.norm()) == 0.0


def test_the_limit_of_products_is_kept() -> None:
    H, g = positive(), vector()
    assert steihaug(lambda v: H @ v, g, tol=1e-15, max_products=3).products == 3


def test_to_boundary_without_cancellation() -> None:
    for s, d in ((vector(), vector()), (1e-9 * vector(), vector()), (vector(), 1e-9 * vector())):
        s = 0.9 * s / s.norm()
        tau = to_boundary(s, d, 1.0)
        assert tau > 0
        assert float((s + tau * d).norm()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 3, N, 2 * N])
def test_lanczos_is_a_projection(steps: int) -> None:
    H, g = symmetric(torch.linspace(-2, 5, N, dtype=torch.float64)), vector()
    out = lanczos(lambda v: H @ v, g, steps)
    k = min(steps, N)
    assert out.basis.shape == (N, k)
    torch.testing.assert_close(out.basis.T @ out.basis, torch.eye(k, dtype=torch.float64))
    torch.testing.assert_close(out.basis[:, 0], g / g.norm())
    torch.testing.assert_close(out.matrix(), out.basis.T @ H @ out.basis, rtol=1e-9, atol=1e-9)
    u = torch.randn(k, dtype=torch.float64)
    error = float((H @ (out.basis @ u) - out.basis @ (out.matrix() @ u)).norm())
    assert error == pytest.approx(out.remainder * abs(float(u[-1])), abs=1e-9)
    assert (out.remainder == 0.0) == (k == N)


def test_lanczos_stops_in_an_invariant_space() -> None:
    H = torch.diag(torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8], dtype=torch.float64))
    g = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    out = lanczos(lambda v: H @ v, g, 6)
    assert out.diagonal.numel() == 2
    assert out.remainder == 0.0
    torch.testing.assert_close(torch.linalg.eigvalsh(out.matrix()), torch.tensor([1.0, 3.0], dtype=torch.float64))


def test_lanczos_in_one_dimension() -> None:
    out = lanczos(lambda v: 3 * v, torch.tensor([-2.0], dtype=torch.float64), 10)
    assert out.matrix().tolist() == [[3.0]]
    assert out.basis.tolist() == [[-1.0]]


def test_lanczos_continues_where_it_stopped() -> None:
    H, g = symmetric(torch.linspace(-2, 5, N, dtype=torch.float64)), vector()
    calls: list[Tensor] = []

    def product(v: Tensor) -> Tensor:
        calls.append(v)
        return H @ v

    at_once = lanczos(product, g, 7)
    first = lanczos(product, g, 3)
    calls.clear()
    continued = lanczos(product, g, 7, first)
    assert len(calls) == 4
    torch.testing.assert_close(continued.basis, at_once.basis)
    torch.testing.assert_close(continued.matrix(), at_once.matrix())
    assert continued.remainder == pytest.approx(at_once.remainder)
