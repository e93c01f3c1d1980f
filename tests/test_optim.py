"""The torch optimizer front end."""

import copy
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from multilevel_opt import (
    AR2,
    LM,
    TR2,
    Cycle,
    Hierarchy,
    InputError,
    Multilevel,
    ShapeError,
    TrustRegion,
    build,
    optim,
)

X = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
Y = torch.sin(3 * X) + 0.1


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def loss(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: nn.functional.mse_loss(model(X), Y)


def residual(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: (model(X) - Y)[:, 0] / len(X) ** 0.5


def levels(model: nn.Module) -> Hierarchy:
    x = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    return build.random_subspace(x, 2, fraction=3, seed=0)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("solver", [AR2, TR2], ids=["AR2", "TR2"])
def test_the_loss_decreases_monotonically(solver: Multilevel, several: bool) -> None:
    model = network()
    opt = optim.Multilevel(model, solver, levels(model) if several else None)
    losses = [loss(model)().item()] + [opt.step(loss(model)) for _ in range(20)]
    assert all(b <= a for a, b in pairwise(losses))
    assert losses[-1] < 0.2 * losses[0]
    assert losses[-1] == pytest.approx(loss(model)().item())
    assert opt.last is not None
    assert opt.last.loss == losses[-1]


def test_levenberg_marquardt_converges_fast() -> None:
    model = network()
    opt = optim.Multilevel(model, LM)
    for _ in range(30):
        value = opt.step(residual(model))
    assert isinstance(value, float)
    assert value < 1e-4
    assert value == pytest.approx(0.5 * residual(model)().square().sum().item())


@pytest.mark.parametrize("solver", [AR2, TR2, LM], ids=["AR2", "TR2", "LM"])
@pytest.mark.parametrize("several", [False, True])
def test_a_state_dict_continues_identically(solver: Multilevel, several: bool) -> None:
    make = residual if solver is LM else loss
    radius = TrustRegion(radius=0.05)
    solver = solver.replace(cycle=Cycle(kappa=0.0, longest_wait=4, coarse_iterations=2))
    solver = solver.replace(globalization=radius) if solver.globalization == TrustRegion() else solver
    model = network()
    opt = optim.Multilevel(model, solver, levels(model) if several else None)
    for _ in range(4):
        opt.step(make(model))
    weights, memory = copy.deepcopy(model.state_dict()), copy.deepcopy(opt.state_dict())
    onward = [opt.step(make(model)) for _ in range(5)]

    other = network(seed=1)
    other.load_state_dict(weights)
    again = optim.Multilevel(other, solver, levels(other) if several else None)
    again.load_state_dict(memory)
    assert [again.step(make(other)) for _ in range(5)] == onward

    fresh = network(seed=1)
    fresh.load_state_dict(weights)
    forgetful = optim.Multilevel(fresh, solver, levels(fresh) if several else None)
    assert [forgetful.step(make(fresh)) for _ in range(5)] != onward  # the memory matters


def test_frozen_parameters_and_buffers_are_untouched() -> None:
    model = nn.Sequential(network(), nn.BatchNorm1d(1).double().eval())
    for p in model[0][0].parameters():
        p.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    opt = optim.Multilevel(model, AR2)
    for _ in range(3):
        opt.step(loss(model))
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0.2.weight", "0.2.bias", "1.weight", "1.bias"}
    assert all(p.grad is None for p in model.parameters())


def test_closures_may_use_another_batch_every_time() -> None:
    model = network()
    opt = optim.Multilevel(model, LM)
    for k in range(20):
        batch = slice(k % 4, None, 4)
        opt.step(lambda batch=batch: (model(X[batch]) - Y[batch])[:, 0])
    assert loss(model)().item() < 0.1


def test_bad_closures_are_refused_in_one_sentence() -> None:
    model = network()
    opt = optim.Multilevel(model, AR2)
    before = copy.deepcopy(model.state_dict())
    cases: list[tuple[type[InputError], Callable[[], object] | None, str]] = [
        (InputError, None, "needs a closure"),
        (ShapeError, lambda: model(X), r"residual of shape \(m,\), got \(40, 1\)"),
        (ShapeError, lambda: 3.0, "got float"),
        (InputError, lambda: model(X).sum() * float("nan"), "start where both are finite"),
    ]
    for error, closure, words in cases:
        with pytest.raises(error, match=words) as caught:
            opt.step(closure)
        assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modules_that_cannot_be_optimized_are_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameter"):
        optim.Multilevel(nn.Tanh(), AR2)
    with pytest.raises(InputError, match="several dtypes or devices"):
        optim.Multilevel(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double()), AR2)


def test_the_order_of_parameters_in_the_vector_is_that_of_the_module() -> None:
    model = network()
    opt = optim.Multilevel(model, AR2)
    assert [p.shape for p in opt.param_groups[0]["params"]] == [p.shape for p in model.parameters()]
    opt.step(loss(model))
    opt.zero_grad()


def test_single_precision_works() -> None:
    model = network().float()
    opt = optim.Multilevel(model, LM, build.galerkin([torch.eye(25, dtype=torch.float64)[:, :5]]))
    first = opt.step(lambda: (model(X.float()) - Y.float())[:, 0])
    for _ in range(5):
        last = opt.step(lambda: (model(X.float()) - Y.float())[:, 0])
    assert last < first
    assert next(model.parameters()).dtype == torch.float32


def test_a_shared_parameter_is_one_unknown() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(1, 1, bias=False).double()
            self.two = nn.Linear(1, 1, bias=False).double()
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(x))
            return out

    model = Tied()
    with torch.no_grad():
        model.one.weight.fill_(0.5)
    opt = optim.Multilevel(model, TR2)
    for _ in range(15):
        value = opt.step(lambda: ((model(X) - 4 * X) ** 2).mean())
    assert abs(model.one.weight.item()) == pytest.approx(2.0, abs=1e-5)
    assert value < 1e-9


def test_a_stall_on_one_batch_does_not_end_the_training() -> None:
    """A batch that cannot be improved must not leave a weight at which the next one cannot move either."""
    model = network()
    opt = optim.Multilevel(model, LM)
    for _ in range(3):
        opt.step(residual(model))
    calls: list[int] = []

    def rising() -> Tensor:
        calls.append(1)
        return (model(X) - Y)[:, 0] * 2.0 ** len(calls)

    weights = copy.deepcopy(model.state_dict())
    opt.step(rising)
    assert len(calls) > 30
    assert opt.last is not None
    assert not opt.last.accepted
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    before = loss(model)().item()
    for _ in range(5):
        opt.step(residual(model))
    assert loss(model)().item() < 0.5 * before
