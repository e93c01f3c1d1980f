"""Cubic, trust-region and first-order steps against dense minimizers."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.objective.taylor import Form, Taylor
from multilevel_opt.subproblem import GradientStep, Lanczos, Steihaug
from multilevel_opt.variants import SUBPROBLEM, method

N = 12


class Products:
    """A dense symmetric H that counts its products."""

    def __init__(self, eigenvalues: Tensor) -> None:
        q, _ = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64))
        self.H = q @ torch.diag(eigenvalues) @ q.T
        self.calls = 0

    def __call__(self, v: Tensor) -> Tensor:
        self.calls += 1
        return self.H @ v


def constant_forms(value: Tensor, gradient: Tensor, hvp: Form | None = None) -> Taylor:
    """A model of order 1 (or 2 with ``hvp``) from tensors."""
    return Taylor(value, (lambda: gradient,) if hvp is None else (lambda: gradient, hvp))


def quadratic(lowest: float, highest: float = 5.0) -> tuple[Taylor, Products, Tensor]:
    products = Products(torch.linspace(lowest, highest, N, dtype=torch.float64))
    g = torch.randn(N, dtype=torch.float64)
    return constant_forms(torch.tensor(1.5, dtype=torch.float64), g, products), products, g


def regularized(model: Taylor, weight: float, power: int, s: Tensor) -> float:
    return float(model(s) + weight / power * s.norm() ** power)


@pytest.mark.parametrize("power", [3, 4])
@pytest.mark.parametrize("weight", [1e-6, 0.5, 10.0])
@pytest.mark.parametrize("lowest", [-3.0, 0.1])
def test_cubic_step_is_the_global_minimizer(lowest: float, weight: float, power: int) -> None:
    model, products, g = quadratic(lowest)
    step = Lanczos(theta=1e-12).prepare(model).solve(Regularization(power=power, weight=weight))
    assert step is not None
    nu = weight * float(step.s.norm()) ** (power - 2)
    shifted = products.H + nu * torch.eye(N, dtype=torch.float64)
    scale = float(torch.linalg.matrix_norm(shifted, 2) * step.s.norm())
    assert float((shifted @ step.s + g).norm()) <= 1e-7 * scale
    assert float(torch.linalg.eigvalsh(shifted)[0]) >= -1e-7 * nu
    assert step.predicted == pytest.approx(float(model.value - model(step.s)), rel=1e-8)


def test_no_descent_from_many_starts_beats_the_cubic_step() -> None:
    model, _, _ = quadratic(-3.0)
    step = Lanczos(theta=1e-12).prepare(model).solve(Regularization(power=3, weight=0.5))
    assert step is not None
    rng = np.random.default_rng(0)

    def f(s: np.ndarray) -> float:
        return regularized(model, 0.5, 3, torch.from_numpy(s))

    best = min(scipy.optimize.minimize(f, 5 * rng.standard_normal(N), method="BFGS").fun for _ in range(5))
    assert f(step.s.numpy()) <= best + 1e-8


def test_a_loose_test_takes_fewer_products_and_still_descends() -> None:
    model, products, _ = quadratic(0.1, 5.0)
    for theta, fewest, most in ((0.9, 1, N // 2), (1e-14, N, N)):
        products.calls = 0
        step = Lanczos(theta=theta, steps=2).prepare(model).solve(Regularization(power=3, weight=0.01))
        assert step is not None
        assert fewest <= products.calls <= most  # a basis that grows repeats no product
        assert regularized(model, 0.01, 3, step.s) < float(model.value)


def test_a_rejected_cubic_step_needs_no_new_product() -> None:
    model, products, _ = quadratic(-3.0)
    prepared = Lanczos(steps=N).prepare(model)
    prepared.solve(Regularization(power=3, weight=0.5))
    paid = products.calls
    prepared.solve(Regularization(power=3, weight=5.0))
    assert products.calls == paid


def test_a_hessian_that_is_not_finite_gives_no_step() -> None:
    model = constant_forms(torch.tensor(0.0), torch.ones(3, dtype=torch.float64), lambda v: v * float("nan"))
    assert Lanczos().prepare(model).solve(Regularization(power=3, weight=1.0)) is None


def test_a_zero_gradient_gives_a_zero_step() -> None:
    zero = constant_forms(torch.tensor(0.0), torch.zeros(3, dtype=torch.float64), lambda v: v)
    for step in (
        Lanczos().prepare(zero).solve(Regularization(power=3, weight=1.0)),
        Steihaug().prepare(zero).solve(TrustRegion(radius=1.0)),
        GradientStep().prepare(zero).solve(Regularization(power=2, weight=1.0)),
        GradientStep().prepare(zero).solve(TrustRegion(radius=1.0)),
    ):
        assert step is not None
        assert float(step.s.norm()) == step.predicted == 0.0


@pytest.mark.parametrize("lowest", [-3.0, 0.1])
@pytest.mark.parametrize("radius", [1e-3, 0.5, 1e3])
def test_trust_region_step_stays_inside_and_predicts(lowest: float, radius: float) -> None:
    model, products, g = quadratic(lowest)
    step = Steihaug().prepare(model).solve(TrustRegion(radius=radius))
    assert step is not None
    length = float(step.s.norm())
    assert length <= radius * (1 + 1e-12)
    assert step.on_boundary == (abs(length - radius) <= 1e-9 * radius)
    assert step.predicted == pytest.approx(float(model.value - model(step.s)), rel=1e-8)
    curvature = float(g @ products.H @ g)
    t = min(radius / float(g.norm()), float(g @ g) / curvature if curvature > 0 else np.inf)
    assert step.predicted >= float(model.value - model(-t * g)) - 1e-12  # at least the Cauchy decrease


@pytest.mark.parametrize("power", [2, 3, 4])
def test_gradient_step_minimizes_the_regularized_linear_model(power: int) -> None:
    g = torch.randn(5, dtype=torch.float64)
    model = constant_forms(torch.tensor(0.0, dtype=torch.float64), g)
    step = GradientStep().prepare(model).solve(Regularization(power=power, weight=0.7))
    assert step is not None
    torch.testing.assert_close(g + 0.7 * step.s.norm() ** (power - 2) * step.s, torch.zeros_like(g))
    assert step.predicted == pytest.approx(-float(g @ step.s))
    assert not step.on_boundary


def test_boundary_step_has_the_radius() -> None:
    g = torch.randn(5, dtype=torch.float64)
    step = GradientStep().prepare(constant_forms(torch.tensor(0.0), g)).solve(TrustRegion(radius=0.3))
    assert step is not None
    torch.testing.assert_close(step.s, -0.3 * g / g.norm())
    assert step.predicted == pytest.approx(0.3 * float(g.norm()))
    assert step.on_boundary


def test_the_table_refuses_what_it_does_not_have() -> None:
    for (order, kind), solver in SUBPROBLEM.items():
        assert method(order, kind()).subproblem is solver
    with pytest.raises(UnsupportedCombination, match=r"order 7 with TrustRegion.*\(2, Regularization\)"):
        method(7, TrustRegion())
