"""Taylor models: error slopes, the homomorphism of ``expand``, and the normal form through the algebra."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from multilevel_opt.check import taylor_slope
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.linalg.operator import Dense, Product
from multilevel_opt.objective.algebra import Polynomial, PowerNorm, Pullback
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.transfer.operator import TransferOperator

N, M, C = 6, 4, 3


def vector(n: int = N) -> Tensor:
    return torch.randn(n, dtype=torch.float64)


def smooth(x: Tensor) -> Tensor:
    return torch.exp(0.3 * x).sum() + torch.sin(x).prod() + (x[:-1] * x[1:] ** 2).sum()


def bent(x: Tensor) -> Tensor:
    return torch.stack([torch.sin(x).sum(), x[0] * x[1] ** 2, torch.exp(0.2 * x[2]) - 1, torch.tanh(x[3:]).sum()])


def transfer() -> TransferOperator:
    return TransferOperator(torch.randn(N, C, dtype=torch.float64), scale=0.7)


def objectives() -> dict[str, Objective]:
    x = vector()
    return {
        "function": Function(smooth),
        "least squares": LeastSquares(bent).exact,
        "sum": Function(smooth) + LeastSquares(bent).exact,
        "shifted": Function(smooth).at(x),
        "quartic penalty": PowerNorm(0.7, 4, x),
        "cubic penalty": PowerNorm(0.7, 3, x),
        "pull-back": Pullback(Function(smooth), x, TransferOperator(torch.eye(N, dtype=torch.float64))),
    }


class Wrong(Function):
    """Forms of order two and above are off by one per cent."""

    def expand(self, x: Tensor, order: int) -> Taylor:
        model = super().expand(x, order)
        wrong = tuple(self._off(form) for form in model.forms[1:])
        return Taylor(model.value, (model.forms[0], *wrong))

    @staticmethod
    def _off(form: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *v: 1.01 * form(*v)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", list(objectives()))
def test_the_error_falls_with_one_power_more_than_the_order(name: str, order: int) -> None:
    f = objectives()[name]
    assert taylor_slope(f, vector() + 1, order) == pytest.approx(order + 1, abs=0.05)


@pytest.mark.parametrize("order", [2, 3])
def test_wrong_derivatives_show_in_the_slope(order: int) -> None:
    assert taylor_slope(Wrong(smooth), vector() + 1, order) == pytest.approx(2, abs=0.05)


def test_a_polynomial_of_higher_degree_has_the_slope_of_its_order() -> None:
    cubic = Polynomial(vector(), Function(smooth).expand(vector(), 3))
    for order in (1, 2):
        assert taylor_slope(cubic, vector(), order) == pytest.approx(order + 1, abs=0.05)
    with pytest.raises(InputError, match="below rounding"):
        taylor_slope(cubic, vector(), 3)


def assert_same(a: Taylor, b: Taylor, n: int) -> None:
    assert a.order == b.order
    torch.testing.assert_close(a.value, b.value)
    s, v = torch.randn(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
    torch.testing.assert_close(a(s), b(s))
    torch.testing.assert_close(a.grad(s), b.grad(s))
    torch.testing.assert_close(a.hvp(s, v), b.hvp(s, v))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_expand_is_a_homomorphism(order: int) -> None:
    f, g, x, a, t = Function(smooth), LeastSquares(bent).exact, vector(), vector(), transfer()
    y = vector(C)
    assert_same((f + g).expand(x, order), f.expand(x, order) + g.expand(x, order), N)
    assert_same(f.at(a).expand(x, order), f.expand(a + x, order), N)
    assert_same((f @ t).expand(y, order), f.expand(t.prolong(y), order) @ t, C)
    composed = Function(lambda z: smooth(t.prolong(z)))
    assert_same((f @ t).expand(y, order), composed.expand(y, order), C)
    assert_same(Function(lambda z: -2.5 * smooth(z)).expand(x, order), f.expand(x, order).scaled(-2.5), N)
    difference = f.expand(x, order) - g.expand(x, order)
    assert_same(Function(lambda z: smooth(z) - 0.5 * bent(z) @ bent(z)).expand(x, order), difference, N)


def test_the_homomorphism_test_can_fail() -> None:
    f, x = Function(smooth), vector()
    with pytest.raises(AssertionError):
        assert_same(f.expand(x, 2), f.expand(x + 1e-4, 2), N)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_polynomial_expanded_elsewhere_is_the_same_polynomial(order: int) -> None:
    center, elsewhere = vector(), vector()
    model = Function(smooth).expand(center, order)
    again = Polynomial(center, model).expand(elsewhere, order)
    for _ in range(3):
        y = vector()
        torch.testing.assert_close(again(y - elsewhere), model(y - center))
        torch.testing.assert_close(again.grad(y - elsewhere), model.grad(y - center))


@pytest.mark.parametrize("power", [2, 3, 4])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_penalty_derivatives_equal_automatic_ones(power: int, order: int) -> None:
    center, x = vector(), vector()
    penalty = PowerNorm(0.7, power, center)
    automatic = Function(lambda y: 0.7 / power * ((y - center) @ (y - center)) ** (power / 2))
    assert_same(penalty.expand(x, order), automatic.expand(x, order), N)
    torch.testing.assert_close(penalty(x), automatic(x))


@pytest.mark.parametrize("power", [2, 3, 4])
def test_penalty_at_its_center_has_finite_derivatives(power: int) -> None:
    center, u, v = vector(), vector(), vector()
    model = PowerNorm(0.7, power, center).expand(center, 3)
    torch.testing.assert_close(model.gradient, torch.zeros(N, dtype=torch.float64))
    torch.testing.assert_close(model.forms[1](u), (0.7 if power == 2 else 0.0) * u)
    torch.testing.assert_close(model.forms[2](u, v), torch.zeros(N, dtype=torch.float64))
    with pytest.raises(UnsupportedCombination, match="order 3"):
        PowerNorm(0.7, power, center).expand(center, 4)


def dense_normal(model: Taylor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the normal form, densely."""
    normal = model.normal
    assert normal is not None
    n = model.gradient.numel()
    J = torch.stack([normal.jacobian.matvec(e) for e in torch.eye(n, dtype=torch.float64)], dim=1)
    linear = torch.zeros(n, dtype=torch.float64) if normal.linear is None else normal.linear
    return J.T @ normal.residual + linear, J.T @ J + normal.shift * torch.eye(n, dtype=torch.float64)


def assert_normal_form_is_the_model(model: Taylor, n: int) -> None:
    gradient, hessian = dense_normal(model)
    torch.testing.assert_close(gradient, model.gradient)
    s, v = torch.randn(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
    torch.testing.assert_close(model.value + gradient @ s + 0.5 * s @ hessian @ s, model(s))
    torch.testing.assert_close(gradient + hessian @ s, model.grad(s))
    torch.testing.assert_close(hessian @ v, model.hvp(s, v))


@pytest.mark.parametrize("matrix_free", [False, True])
def test_normal_form_survives_linear_and_quadratic_terms_and_prolongation(matrix_free: bool) -> None:
    f, x, t = LeastSquares(bent, matrix_free=matrix_free), vector(), transfer()
    linear = Polynomial(vector(), Function(smooth).expand(vector(), 1))
    penalty = PowerNorm(0.3, 2, vector())
    for objective in (f, f + linear, linear + f, f + penalty, f + linear + penalty, penalty + penalty + f):
        model = objective.expand(x, 2)
        assert isinstance(model.normal.jacobian, Product if matrix_free else Dense)  # type: ignore[union-attr]
        assert_normal_form_is_the_model(model, N)
    for objective in (f, f + linear):
        assert_normal_form_is_the_model(objective.expand(x, 2) @ t, C)
    assert (f.expand(x, 2) + linear.expand(x, 1)).normal.second is not None  # type: ignore[union-attr]


def test_normal_form_is_given_up_where_it_would_be_wrong() -> None:
    f, x = LeastSquares(bent), vector()
    assert (f + f).expand(x, 2).normal is None  # two residuals
    assert (f + PowerNorm(0.3, 3, vector())).expand(x, 2).normal is None  # not quadratic
    quadratic = Polynomial(vector(), Function(smooth).expand(vector(), 2))
    assert (f + quadratic).expand(x, 2).normal is None  # an indefinite second form
    assert f.expand(x, 2).scaled(0.5).normal is None
    assert f.expand(x, 1).normal is None
    assert f.expand(x, 2).truncated(1).normal is None
    assert ((f + PowerNorm(0.3, 2, vector())).expand(x, 2) @ transfer()).normal is None  # the shift is not μ I there


@pytest.mark.parametrize("matrix_free", [False, True])
def test_gauss_newton_and_exact_models_share_the_gradient(matrix_free: bool) -> None:
    f, x, v = LeastSquares(bent, matrix_free=matrix_free), vector(), vector()
    J = torch.func.jacrev(bent)(x)
    model = f.expand(x, 2)
    torch.testing.assert_close(model.gradient, J.T @ bent(x))
    torch.testing.assert_close(model.gradient, f.exact.expand(x, 1).gradient)
    torch.testing.assert_close(model.forms[1](v), J.T @ (J @ v))
    exact = torch.func.hessian(lambda y: 0.5 * bent(y) @ bent(y))(x) @ v
    torch.testing.assert_close(f.exact.expand(x, 2).forms[1](v), exact)
    assert float((exact - model.forms[1](v)).norm()) > 1e-3
    with pytest.raises(UnsupportedCombination, match="order at most 2"):
        f.expand(x, 3)


def test_second_directional_derivative_of_the_residual() -> None:
    f, x, s = LeastSquares(bent), vector(), vector()
    second = f.expand(x, 2).normal.second(s)  # type: ignore[union-attr,misc]
    exact = torch.func.jvp(lambda y: torch.func.jvp(bent, (y,), (s,))[1], (x,), (s,))[1]
    torch.testing.assert_close(second, exact, rtol=1e-5, atol=1e-5)


def test_models_are_frozen() -> None:
    x = vector()
    model = Function(smooth).expand(x, 2)
    gradient, curvature = model.gradient.clone(), model.forms[1](torch.ones_like(x))
    x += 1.0
    torch.testing.assert_close(model.gradient, gradient)
    torch.testing.assert_close(model.forms[1](torch.ones_like(x)), curvature)


def test_a_term_that_was_not_expanded_is_refused() -> None:
    with pytest.raises(UnsupportedCombination, match="expand it further"):
        Function(smooth).expand(vector(), 1).truncated(2)


def test_a_linear_or_constant_function_has_zero_higher_forms() -> None:
    x, v = vector(), vector()
    for f in (Function(lambda y: y.sum()), Function(lambda y: torch.ones((), dtype=y.dtype))):
        model = f.expand(x, 3)
        assert float(model.hvp(x, v).norm()) == 0.0
        assert float(model.forms[2](v, v).norm()) == 0.0
