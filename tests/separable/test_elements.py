"""Element gradients, Gauss-Newton products and losses against automatic differentiation."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import multilevel_opt as mlo
from multilevel_opt import separable as sep
from multilevel_opt.separable.elements import METHODS
from multilevel_opt.separable.losses import ELEMENTWISE, loss_of

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
SMALL = {"classes": 3, "shape": (2, 11, 10), "channels": (4, 6), "kernel": 3, "widths": (9, 6)}
Network = Callable[[torch.dtype], nn.Module]


class Skipping(nn.Module):
    """The shared part reaches the branches also past their first layer."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.stem, self.wide = nn.Linear(220, 4, dtype=dtype), nn.Linear(4, 12, dtype=dtype)
        self.inner = sep.SeparableLinear(12, 12, 3, dtype=dtype)
        self.last = sep.SeparableLinear(12, 3, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.flatten(1)).tanh()
        return self.last(h.repeat(1, 3) + self.inner(self.wide(h)).tanh())


class Interleaved(nn.Module):
    """Score j has the channels j, j + 3, ...: its weights are not side by side."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.stem = nn.Linear(220, 5, dtype=dtype)
        self.wide = nn.Linear(5, 12, dtype=dtype)
        self.last = sep.SeparableLinear(12, 3, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        h = self.wide(self.stem(x.flatten(1)).tanh()).tanh()
        return self.last(h.reshape(len(h), 4, 3).transpose(1, 2).flatten(1))


class Scaled(nn.Module):
    """A layer that no rule knows."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.net = sep.PSNet(**SMALL, dtype=dtype)
        self.scale = nn.Parameter(torch.ones(3, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.scale


def dense(dtype: torch.dtype) -> nn.Module:
    """Layers of every kind of rule, the first of them shared by two dense ones."""
    options = {"dtype": dtype}
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1, dilation=2, **options),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(3 * 5 * 4, 6, **options),
        nn.SiLU(),
        nn.Linear(6, 90, **options),
        nn.SiLU(),
        sep.SeparableLinear(90, 3, 3, bias=False, **options),
    )


NETWORKS: dict[str, Network] = {
    "psnet": lambda dtype: sep.PSNet(**SMALL, dtype=dtype),
    "max-pooling": lambda dtype: sep.PSNet(**SMALL, pooling="max", activation="tanh", dtype=dtype),
    "skipping": Skipping,
    "interleaved": Interleaved,
    "scaled": Scaled,
    "dense": dense,
}
CHOSEN = {
    "psnet": "branches",
    "max-pooling": "branches",
    "dense": "branches",
    "skipping": "whole",
    "interleaved": "whole",
}


def batch(dtype: torch.dtype = torch.float64, n: int = 7, classes: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 2, 11, 10, dtype=dtype), torch.arange(n) * 5 % classes


def structured(model: nn.Module, loss: str, method: str = "auto", merged: bool = True) -> sep.PartitionedLoss:
    return sep.PartitionedLoss(
        model, torch.zeros(1, 2, 11, 10, dtype=next(model.parameters()).dtype), loss, method, merged
    )


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks share most of their weights."""
    monkeypatch.setattr("multilevel_opt.separable.elements.trace", lambda m, x: sep.trace(m, x, limit=0.99))


def reference(model: nn.Module, loss: sep.PartitionedLoss, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of every element by one backward pass each, in the weights of the element."""
    part, found = loss.partition, []
    phi = loss.loss.phi
    for row in part.members.tolist():
        c = model(x)
        if len(row) == 1:
            value = phi.value(torch.where(y == row[0], -1.0, 1.0) * c[:, row[0]]).sum()
        else:
            a, b = row
            value = phi.value(c[y == a, b] - c[y == a, a]).sum()
            value = value + (phi.value(c[y == b, a] - c[y == b, b]).sum() if part.merged else 0)
        gradient = torch.autograd.grad(value / len(y), list(model.parameters()))
        found.append(torch.cat([*(g.reshape(-1) for g in gradient), gradient[0].new_zeros(1)]))
    return torch.stack(found).gather(1, part.indices)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("network", NETWORKS)
def test_element_gradients_equal_those_of_autograd(network: str, dtype: torch.dtype) -> None:
    model, (x, y) = NETWORKS[network](dtype), batch(dtype)
    loss = structured(model, "exp")
    found, exact = loss(x, y).element_gradients, reference(model, loss, x, y)
    assert float((found - exact).abs().max()) <= TOLERANCE[dtype] * float(exact.abs().max() + 1)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_cheapest_method_that_is_right_is_chosen(network: str) -> None:
    assert structured(NETWORKS[network](torch.float32), "exp").method == CHOSEN.get(network, "generic")


def test_the_method_for_other_networks_is_wrong_where_a_skip_passes_it() -> None:
    model, (x, y) = Skipping(torch.float64), batch()
    loss = structured(model, "exp", "branches")
    assert not torch.allclose(loss(x, y).element_gradients, reference(model, loss, x, y))


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "auto"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_all_methods_agree_for_all_losses(name: str, method: str, merged: bool) -> None:
    model, (x, y) = NETWORKS["psnet"](torch.float64), batch()
    loss = structured(model, name, method, merged)
    found = loss(x, y)
    assert torch.allclose(found.element_gradients, reference(model, loss, x, y), atol=1e-12)
    whole = loss.loss(model(x), y)
    exact = torch.cat([g.reshape(-1) for g in torch.autograd.grad(whole, list(model.parameters()))])
    assert torch.allclose(found.gradient, exact, atol=1e-12)
    assert torch.allclose(loss.partition.scattered(found.element_gradients), exact, atol=1e-12)
    assert torch.allclose(found.value, whole)


@pytest.mark.parametrize("name", sep.LOSSES)
def test_gauss_newton_products_and_diagonal_equal_the_assembled_matrix(name: str) -> None:
    model, (x, y) = NETWORKS["psnet"](torch.float64), batch()
    found = structured(model, name)(x, y)
    scores = model(x)
    J = torch.stack(
        [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(s, list(model.parameters()), retain_graph=True)])
            for s in scores.reshape(-1)
        ]
    )
    H = torch.func.vmap(torch.func.hessian(lambda c, k: loss_of(name).values(c[None], k[None])[0]))(scores.detach(), y)
    G = J.T @ torch.block_diag(*H) @ J / len(y)
    v = torch.randn(len(G), dtype=torch.float64)
    assert torch.allclose(found.gauss_newton(v), G @ v, atol=1e-12)
    assert torch.allclose(found.gauss_newton_diagonal(), G.diagonal(), atol=1e-12)


@pytest.mark.parametrize("name", sep.LOSSES)
def test_slopes_and_hessians_of_losses_equal_those_of_autograd(name: str) -> None:
    loss, y = sep.LOSSES[name], torch.tensor([2, 0, 2, 3])
    c = 3 * torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(loss.slopes(c, y), torch.func.grad(lambda c: loss.values(c, y).sum())(c))
    H = torch.func.hessian(lambda c: loss.values(c, y).sum())(c)
    assert torch.allclose(loss.hessians(c, y), H[torch.arange(4), :, torch.arange(4)])
    assert float(torch.linalg.eigvalsh(loss.hessians(c, y)).min()) > -1e-9 * float(H.abs().max())


def test_the_loss_of_the_poster_is_the_odds_against_the_class() -> None:
    c, y = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 1])
    p = c.softmax(1).gather(1, y[:, None])[:, 0]
    odds = sep.LOSSES["exp"].values(c, y)
    assert torch.allclose(odds, 1 / p - 1)
    assert torch.allclose(sep.LOSSES["nll"].values(c, y), torch.log1p(odds))
    assert bool((sep.LOSSES["softplus"].values(c, y) >= sep.LOSSES["nll"].values(c, y)).all())


@pytest.mark.parametrize("name", sep.LOSSES)
@pytest.mark.parametrize("margin", [60.0, 1e3, 1e6, -1e6])
def test_no_loss_overflows_in_float32(name: str, margin: float) -> None:
    c, y = torch.tensor([[0.0, margin, 0.0]]), torch.tensor([0])
    loss = sep.LOSSES[name]
    for found in (loss(c, y), loss.slopes(c, y), loss.hessians(c, y)):
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", ["exp", "exp-squared"])
def test_the_continuation_of_exp_is_twice_differentiable(name: str) -> None:
    phi = sep.LOSSES[name].phi
    t = torch.tensor([40.0, 20.0], dtype=torch.float64)[["exp", "exp-squared"].index(name)]
    for part in (phi.value, phi.slope, phi.curvature):
        assert torch.allclose(part(t - 1e-9), part(t + 1e-9), rtol=1e-7)
    assert torch.allclose(phi.value(t), torch.exp(torch.tensor(40.0, dtype=torch.float64)))


@pytest.mark.parametrize("method", [m for m in METHODS if m != "auto"])
@pytest.mark.parametrize("labels", [[1], [0, 0], [2, 0, 2]])
def test_one_sample_and_absent_classes_work(method: str, labels: list[int]) -> None:
    model, y = NETWORKS["psnet"](torch.float64), torch.tensor(labels)
    x, _ = batch(n=len(labels))
    loss = structured(model, "softplus", method)
    assert torch.allclose(loss(x, y).element_gradients, reference(model, loss, x, y), atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "label 3 is outside 0..2"),
        ([-1, 0], "label -1 is outside"),
        ([0.0, 1.0], "whole numbers"),
        ([0], "shape|one label"),
    ],
)
@pytest.mark.parametrize("method", ["branches", "classes"])
def test_wrong_labels_are_refused(labels: list[float], message: str, method: str) -> None:
    loss = structured(NETWORKS["psnet"](torch.float64), "exp", method)
    with pytest.raises(mlo.InputError, match=message):
        _ = loss(batch(n=2)[0], torch.tensor(labels)).value


def test_no_sample_is_refused() -> None:
    loss = structured(NETWORKS["psnet"](torch.float64), "exp")
    with pytest.raises(mlo.ShapeError, match="at least one sample"):
        loss(batch(n=0)[0], torch.tensor([], dtype=torch.int64))


def test_unknown_names_and_losses_without_elements_are_refused() -> None:
    model, (x, y) = NETWORKS["psnet"](torch.float64), batch()
    with pytest.raises(mlo.InputError, match="loss=hinge is unknown"):
        structured(model, "hinge")
    with pytest.raises(mlo.InputError, match="method=magic is unknown"):
        structured(model, "exp", "magic")
    with pytest.raises(mlo.InputError, match="couples all scores"):
        _ = structured(model, "nll")(x, y).element_gradients
    with pytest.raises(mlo.UnsupportedCombination, match="no rule"):
        structured(Scaled(torch.float64), "exp", "branches")


def test_frozen_layers_are_left_out() -> None:
    model, (x, y) = NETWORKS["psnet"](torch.float64), batch()
    model.layers[0].requires_grad_(False)
    model.layers[1].bias.requires_grad_(False)
    loss = structured(model, "exp")
    assert loss.method == "branches"
    assert len(loss.partition.structure.shared) == 0
    exact = torch.autograd.grad(loss.loss(model(x), y), [p for p in model.parameters() if p.requires_grad])
    assert torch.allclose(loss(x, y).gradient, torch.cat([g.reshape(-1) for g in exact]), atol=1e-12)


def test_a_weight_shared_by_two_evaluations_is_refused_by_branches() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = sep.SeparableLinear(220, 220, 2), sep.SeparableLinear(220, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(self.layer(x.flatten(1)).tanh()).tanh())

    assert structured(Twice(), "exp").method == "generic"


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_are_made_where_gradients_are_switched_off(method: str) -> None:
    model, (x, y) = NETWORKS["psnet"](torch.float64), batch()
    exact = structured(model, "exp", method)(x, y).element_gradients
    with torch.no_grad():
        assert torch.equal(structured(model, "exp", method)(x, y).element_gradients, exact)
