"""Samples addressed by ids: means, products, and the layers that have no forward mode."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multilevel_opt import InputError, ShapeError
from multilevel_opt.objective.batch import Batch
from multilevel_opt.objective.samples import Samples

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(12) % 3
VALUES = torch.sin(X[:, :3])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.out = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.cells(x.reshape(-1, 3, 2))[0][:, -1])
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, None, :] * torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)[None, :, None]
        out: Tensor = self.out(self.layer(tokens)[:, 0])
        return out


MODULES: dict[str, Callable[[], nn.Module]] = {
    "normalized": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
    "plain": lambda: nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3)),
    "recurrent": Recurrent,
    "attention": Attention,
}


def made(name: str, squares: bool = False) -> Samples:
    torch.manual_seed(0)
    module = MODULES[name]().double()
    return Samples(module, F.mse_loss, X, VALUES) if squares else Samples(module, F.cross_entropy, X, LABELS)


@pytest.mark.parametrize("squares", [False, True], ids=["entropy", "mse"])
@pytest.mark.parametrize("name", MODULES)
def test_products_agree_with_differences_and_leave_the_module_alone(name: str, squares: bool) -> None:
    f = made(name, squares)
    before = {key: value.clone() for key, value in f.module.state_dict().items()}
    x, ids, h = f.x, [0, 3, 5, 7], 1e-5
    v = torch.randn(len(x), dtype=torch.float64)
    gradients = [f.loss_grad(ids, x + sign * h * v)[1] for sign in (1, -1)]
    losses = [f.loss_grad(ids, x + sign * h * v)[0] for sign in (1, -1)]
    outputs = [f.outputs(x + sign * h * v, X[ids]).detach() for sign in (1, -1)]
    assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(float(f.loss_grad(ids)[1] @ v), rel=1e-6)
    torch.testing.assert_close(f.hvp(v, ids), (gradients[0] - gradients[1]) / (2 * h), rtol=1e-5, atol=1e-6)
    pushed = f.jvp(v, ids)
    torch.testing.assert_close(pushed, (outputs[0] - outputs[1]) / (2 * h), rtol=1e-5, atol=1e-6)
    w = torch.randn_like(pushed)
    assert float((w * pushed).sum()) == pytest.approx(float(f.vjp(w, ids) @ v), rel=1e-10)
    assert all(torch.equal(before[key], value) for key, value in f.module.state_dict().items())


def test_the_mean_over_parts_is_the_mean_over_all() -> None:
    f = made("plain")
    whole, parts = f.batch([4, 1, 7, 2, 9, 0], carried=2, shared=1), f.batch([4, 1, 7, 2, 9, 0], 2, 1).parts
    assert [len(part) for part in parts if part is not None] == [2, 3, 1]
    assert [part.ids.tolist() for part in parts] == [[4, 1], [7, 2, 9], [0]]
    mean = sum(len(part) / 6 * float(part().detach()) for part in parts if part is not None)
    assert mean == pytest.approx(float(whole().detach()), rel=1e-14)
    assert f.loss_grad([4, 1, 7, 2, 9, 0])[0] == pytest.approx(mean, rel=1e-14)
    assert f.batch([4, 1]).parts[0] is None
    assert float(f.rows(slice(None))(f.x)) == pytest.approx(f.loss_grad(range(12))[0], rel=1e-14)


def test_a_batch_trains_the_running_means_and_an_objective_does_not() -> None:
    f = made("normalized")
    mean = f.module[1].running_mean.clone()
    f.rows([0, 1, 2])(f.x)
    assert torch.equal(mean, f.module[1].running_mean)
    f.batch([0, 1, 2])()
    assert not torch.equal(mean, f.module[1].running_mean)


def test_frozen_parameters_are_no_unknowns() -> None:
    f = made("plain")
    n = len(f.x)
    f.module[0].weight.requires_grad_(False)
    smaller = Samples(f.module, F.cross_entropy, X, LABELS)
    assert len(smaller.x) == n - 30
    assert smaller.hvp(torch.ones_like(smaller.x), [0, 1]).shape == smaller.x.shape


def test_a_compiled_module_is_refused_where_second_derivatives_are_asked_for() -> None:
    f = Samples(torch.compile(made("plain").module, backend="eager"), F.cross_entropy, X, LABELS)  # type: ignore[arg-type]
    for product in (f.hvp, f.jvp):
        with pytest.raises(InputError, match="before it"):
            product(f.x, [0, 1])


def test_bad_input_is_one_sentence() -> None:
    f = made("plain")
    cases: list[tuple[type[InputError], Callable[[], object], str]] = [
        (InputError, lambda: Samples(f.module, F.cross_entropy, X, LABELS[:3]), "12 inputs and 3 targets"),
        (ShapeError, lambda: f.rows([]), "ids must be"),
        (ShapeError, lambda: f.vjp(torch.ones(2), [0]), r"\(2,\), the outputs have \(1, 3\)"),
        (InputError, lambda: f.batch([0, 1], carried=2, shared=1), "carried=2 and shared=1"),
        (InputError, lambda: Batch(f.module, F.cross_entropy, X[:0], LABELS[:0]), "give one target each"),
    ]
    for error, call, words in cases:
        with pytest.raises(error, match=words):
            call()
