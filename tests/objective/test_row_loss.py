"""The mean of a loss over rows: gradient, curvature, normal form and subnetworks."""

import pytest
import torch
from torch import Tensor

from multilevel_opt import LM, GradientNorm, LeastSquares, MaxIterations, RowLoss, ShapeError, check, minimize
from multilevel_opt.pde import MLP, Block, PDEResidual
from multilevel_opt.transfer import blocks

Z = torch.linspace(-1, 1, 17, dtype=torch.float64)[:, None]
Y = torch.sin(3 * Z[:, 0])
NET = MLP(1, (7,), "tanh")
OUTPUTS = PDEResidual(NET, [Block(Z, lambda u, z: u.value)])


def start(seed: int = 0) -> Tensor:
    return NET.start("normal", seed=seed)


def huber(u: Tensor, y: Tensor) -> Tensor:
    return ((u - y).square() + 0.01).sqrt()


LOSSES = {
    "square": RowLoss(OUTPUTS, Y, lambda u, y: 0.5 * (u - y) ** 2),
    "smoothed l1": RowLoss(OUTPUTS, Y, huber),
    "reweighted": RowLoss(OUTPUTS, Y, huber, lambda u, y: 1 / huber(u, y)),
    "logistic": RowLoss(OUTPUTS, Y.sign(), lambda u, y: torch.nn.functional.softplus(-y * u)),
    "not convex": RowLoss(OUTPUTS, Y, lambda u, y: torch.sigmoid(u - y)),
}


def plain(f: RowLoss, x: Tensor) -> Tensor:
    return f.loss(OUTPUTS(x), f.data).mean()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("matrix_free", [False, True])
def test_gradient_and_exact_hessian_are_those_of_the_mean(name: str, matrix_free: bool) -> None:
    f = LOSSES[name].without_matrix() if matrix_free else LOSSES[name]
    x, v = start(), start(1)
    gradient = torch.autograd.functional.jacobian(lambda z: plain(f, z), x)
    hessian = torch.autograd.functional.hessian(lambda z: plain(f, z), x)
    torch.testing.assert_close(f.expand(x, 2).gradient, gradient)
    torch.testing.assert_close(f.exact.expand(x, 2).forms[1](v), hessian @ v)
    assert float(f(x)) == pytest.approx(float(plain(f, x)), rel=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_the_normal_form_is_the_model(name: str) -> None:
    f, x, v = LOSSES[name], start(), start(1)
    model = f.expand(x, 2)
    assert model.normal is not None
    J, r = model.normal.jacobian, model.normal.residual
    torch.testing.assert_close(J.rmatvec(r), model.gradient)
    torch.testing.assert_close(J.rmatvec(J.matvec(v)), model.forms[1](v))
    assert float(v @ model.forms[1](v)) >= 0


def test_gauss_newton_of_a_square_is_that_of_least_squares() -> None:
    x, v = start(), start(1)
    squares = LeastSquares(PDEResidual(NET, [Block(Z, lambda u, z: u.value, len(Z) ** -0.5, source=Y)]))
    torch.testing.assert_close(LOSSES["square"].expand(x, 2).forms[1](v), squares.expand(x, 2).forms[1](v))
    assert float(LOSSES["square"](x)) == pytest.approx(float(squares(x)), rel=1e-13)


def test_gauss_newton_is_not_the_hessian() -> None:
    """Negative control."""
    f, x, v = LOSSES["logistic"], start(), start(1)
    exact, ours = f.exact.expand(x, 2).forms[1](v), f.expand(x, 2).forms[1](v)
    assert float((exact - ours).norm()) > 1e-3 * float(exact.norm())


@pytest.mark.parametrize("name", LOSSES)
def test_a_subnetwork_is_the_loss_itself(name: str) -> None:
    f, x = LOSSES[name], start()
    transfer = blocks.selection(NET.layout, torch.tensor([1, 4]))
    coarse, y0 = f.pullback(x, transfer)
    y = y0 + 0.1 * torch.randn(y0.shape, dtype=torch.float64)
    moved = x + transfer.prolong(y - y0)
    assert float(coarse(y)) == pytest.approx(float(f(moved)), rel=1e-12)
    fine = f.expand(moved, 1).gradient
    torch.testing.assert_close(coarse.expand(y, 1).gradient, transfer.P.rmatvec(fine))


@pytest.mark.parametrize("name", ["square", "smoothed l1", "reweighted", "logistic"])
def test_taylor_slopes(name: str) -> None:
    assert check.taylor_slope(LOSSES[name], start(), 2) == pytest.approx(3, abs=0.1)


def test_levenberg_marquardt_finds_a_median() -> None:
    data = torch.tensor([0.0, 1.0, 2.0, 10.0, 50.0], dtype=torch.float64)
    ones = torch.ones(5, dtype=torch.float64)
    f = RowLoss(
        lambda x: x[0] * ones,
        data,
        lambda u, y: ((u - y).square() + 1e-8).sqrt(),
        lambda u, y: 1 / ((u - y).square() + 1e-8).sqrt(),
    )
    found = minimize(f, [20.0], LM, stop=GradientNorm(1e-6) | MaxIterations(300))
    assert float(found.x[0]) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("f", "told"),
    [
        (RowLoss(OUTPUTS, Y[:3], lambda u, y: u), "both of shape"),
        (RowLoss(OUTPUTS, Y, lambda u, y: u.mean()), "one number per row"),
    ],
)
def test_wrong_shapes_are_told(f: RowLoss, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        f(start())
