"""What every stochastic optimizer promises, whatever its method."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multilevel_opt import InputError, ShapeError, optim, separable
from multilevel_opt.objective.samples import Samples

Make = Callable[..., optim.Safe]


OPTIMIZERS: dict[str, Make] = {
    "sgd-bb": lambda model, lr=0.1, of=None, **options: optim.SGDBB(model, lr, epoch=5, **options),
    "sgd-bb-stabilized": lambda model, lr=0.1, of=None, **options: optim.SGDBB(
        model, lr, epoch=3, stabilization=0.1, **options
    ),
    "svrg-bb": lambda model, lr=0.1, of=None, **options: optim.SVRGBB(
        model, samples(of or model), lr, inner=10, **options
    ),
    "lbfgs": lambda model, lr=0.1, of=None, **options: optim.MultiBatchLBFGS(model, lr, memory=4, **options),
    "lbfgs-damped": lambda model, lr=0.1, of=None, **options: optim.MultiBatchLBFGS(
        model, lr, pairs="damped", **options
    ),
    "kbfgs": lambda model, lr=0.1, of=None, **options: optim.KBFGS(model, lr, module=of, **options),
    "kbfgsl": lambda model, lr=0.1, of=None, **options: optim.KBFGSL(model, lr, module=of, memory_size=4, **options),
    "kfac": lambda model, lr=0.1, of=None, **options: optim.KFAC(model, lr, module=of, every=3, **options),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, 3)).to(dtype)


def samples(model: nn.Module, m: int = 120) -> Samples:
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(m, 4, generator=generator, dtype=torch.float64)
    targets = (inputs @ torch.randn(4, 3, generator=generator, dtype=torch.float64)).argmax(1)
    return Samples(model, F.cross_entropy, inputs.to(dtype), targets)


def batches(data: Samples, size: int = 24, overlap: float = 0.25) -> Iterator[optim.Batch]:
    sampler = optim.OverlapSampler(len(data), size, overlap)
    while True:
        yield data.batch(sampler.draw(), sampler.carried, sampler.shared)


def full_loss(data: Samples) -> float:
    data.module.eval()
    with torch.no_grad():
        value = float(data.batch(slice(None))())
    data.module.train()
    return value


def finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in [*model.parameters(), *model.buffers()])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_lowers_the_loss(make: Make, dtype: torch.dtype) -> None:
    model = network(dtype=dtype)
    data = samples(model)
    opt, before = make(model), full_loss(data)
    for batch, _ in zip(batches(data), range(60), strict=False):
        opt.step(batch)
    assert full_loss(data) < 0.7 * before
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert opt.last is not None
    assert opt.last.accepted
    assert opt.last.step == 60
    assert opt.last.bytes > 0


HOSTILE: dict[str, Callable[[int, Tensor], Tensor]] = {
    "plain": lambda k, loss: loss,
    "nan": lambda k, loss: loss * nan if k % 3 == 1 else loss,
    "inf": lambda k, loss: loss + inf if k % 4 == 2 else loss,
    "nan gradient": lambda k, loss: loss + (0.0 * loss - 0.0 * loss.detach()).sqrt() if k % 5 == 3 else loss,
    "zero gradient": lambda k, loss: loss.detach() + 0.0 * loss if k % 2 else loss,
    "huge": lambda k, loss: loss * 1e30 if k % 7 == 3 else loss,
}
RUNS = [(lr, size, kind) for lr, size in ((100.0, 24), (100.0, 1), (3.0, 5)) for kind in HOSTILE]
RUNS += [(1e30, 24, "plain"), (1e-30, 24, "plain")]


@every
def test_twenty_hostile_runs_end_finite_and_no_worse_than_they_began(make: Make) -> None:
    assert len(RUNS) == 20
    for lr, size, kind in RUNS:
        model = network()
        model[1].eval()  # a batch of one has no variance
        data = samples(model)
        opt, before = make(model, lr), full_loss(data)
        model[1].eval()
        for k, batch in zip(range(30), batches(data, size), strict=False):
            opt.step(lambda batch=batch, k=k, kind=kind: HOSTILE[kind](k, batch()))
            assert finite(model), (lr, size, kind, k)
        opt.restore_best()
        assert full_loss(data) <= before, (lr, size, kind)


@every
def test_hostile_runs_in_single_precision_too(make: Make) -> None:
    for lr, size, kind in RUNS[::4]:
        model = network(dtype=torch.float32)
        model[1].eval()
        data = samples(model)
        opt, before = make(model, lr), full_loss(data)
        model[1].eval()
        for k, batch in zip(range(15), batches(data, size), strict=False):
            opt.step(lambda batch=batch, k=k, kind=kind: HOSTILE[kind](k, batch()))
            assert finite(model), (lr, size, kind, k)
        opt.restore_best()
        assert full_loss(data) <= before * (1 + 1e-6), (lr, size, kind)


@every
def test_pictures_with_nan_leave_no_trace_in_running_means(make: Make) -> None:
    model = network()
    opt = make(model, of=None)
    for k, batch in zip(range(6), batches(samples(model)), strict=False):
        if k in (0, 3):
            batch.inputs = batch.inputs * nan
        opt.step(batch)
        assert finite(model), k
        assert opt.last is not None
        assert opt.last.accepted == (k not in (0, 3))


def test_a_compiled_module_is_trained_or_refused_in_a_sentence() -> None:
    plain = network()
    compiled = torch.compile(plain, backend="eager")
    x, y = samples(plain).inputs[:30], samples(plain).targets[:30]
    start = copy.deepcopy(plain.state_dict())
    for name, make in OPTIMIZERS.items():
        plain.load_state_dict(start)
        opt = make(compiled)
        if name in ("kbfgs", "kbfgsl", "kfac"):
            with pytest.raises(InputError, match=r"without torch\.compile"):
                opt.step(lambda: F.cross_entropy(compiled(x), y))
        else:
            losses = [opt.step(lambda: F.cross_entropy(compiled(x), y)) for _ in range(8)]
            assert min(losses[1:]) < losses[0], name


@dataclass(frozen=True)
class Altered(separable.ScoreLoss):
    """Softplus of pairs of scores with a factor and an offset, and another factor of its derivatives."""

    factor: float = 1.0
    offset: float = 0.0
    slope: float = 1.0
    parts = 2

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.factor * PAIRS.values(scores, labels) + self.offset

    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.slope * PAIRS.slopes(scores, labels)

    def hessians(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.slope * PAIRS.hessians(scores, labels)

    def coefficients(self, scores: Tensor, labels: Tensor, members: Tensor, merged: bool = True) -> Tensor:
        return self.slope * PAIRS.coefficients(scores, labels, members, merged)


PAIRS = separable.LOSSES["softplus"]
ALTERED: dict[str, Callable[[int], Altered]] = {  # as HOSTILE, for methods that ask for elements
    "plain": lambda k: Altered(),
    "nan": lambda k: Altered(nan, 0.0, nan) if k % 3 == 1 else Altered(),
    "inf": lambda k: Altered(offset=inf) if k % 4 == 2 else Altered(),
    "nan gradient": lambda k: Altered(slope=nan) if k % 5 == 3 else Altered(),
    "zero gradient": lambda k: Altered(slope=0.0) if k % 2 else Altered(),
    "huge": lambda k: Altered(1e30, 0.0, 1e30) if k % 7 == 3 else Altered(),
}
PARTITIONED: dict[str, dict[str, Any]] = {
    "pggn": {},
    "plsr1-line-search": {"curvature": "plsr1", "steps": "line-search", "momentum": "adaptive"},
    "plbfgs": {"curvature": "plbfgs", "average": 0.2},
    "plse-momentum": {"curvature": "plse", "momentum": "constant", "doubt": 1.0},
}


def separated() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), separable.SeparableLinear(12, 3, 3)).double()


@pytest.mark.parametrize("options", PARTITIONED.values(), ids=PARTITIONED)
def test_hostile_runs_by_elements_end_finite_and_no_worse_than_they_began(options: dict[str, Any]) -> None:
    for lr, size, kind in RUNS:
        model = separated()
        data = samples(model)
        opt, before = optim.Partitioned(model, lr, **options), full_loss(data)
        for k, batch in zip(range(6), batches(data, size), strict=False):
            opt.step(optim.Batch(model, ALTERED[kind](k), batch.inputs, batch.targets))
            assert finite(model), (lr, size, kind, k)
        opt.restore_best()
        assert full_loss(data) <= before, (lr, size, kind)


@pytest.mark.parametrize("options", PARTITIONED.values(), ids=PARTITIONED)
def test_schedules_and_clipping_act_by_elements(options: dict[str, Any]) -> None:
    model = separated()
    data = samples(model)
    opt = optim.Partitioned(model, 0.5, clip=lambda p: nn.utils.clip_grad_value_(p, 1e-9), **options)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.1)
    before = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    opt.step(optim.Batch(model, PAIRS, data.inputs[:40], data.targets[:40]))
    schedule.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(0.05)
    moved = (torch.cat([p.detach().reshape(-1) for p in model.parameters()]) - before).abs().max()
    assert float(moved) < 1e-4


def test_without_the_base_the_same_runs_end_in_nan() -> None:
    model = network()
    data = samples(model)
    opt = torch.optim.SGD(model.parameters(), 100.0)
    for k, batch in zip(range(10), batches(data), strict=False):
        opt.zero_grad()
        HOSTILE["nan"](k, batch()).backward()
        opt.step()
    assert not finite(model)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_dict_continues_bit_for_bit(make: Make, dtype: torch.dtype, tmp_path: object) -> None:
    def started() -> tuple[nn.Module, optim.Safe]:
        model = network(dtype=dtype)
        return model, make(model, 0.3, clip=lambda p: nn.utils.clip_grad_norm_(p, 5.0))

    model, opt = started()
    stream = list(zip(batches(samples(model)), range(30), strict=False))
    for batch, k in stream[:17]:
        opt.step(lambda batch=batch, k=k: HOSTILE["inf" if k == 2 else "plain"](k, batch()))
    kept = copy.deepcopy((model.state_dict(), opt.state_dict(), torch.get_rng_state()))
    path = f"{tmp_path}/state.pt"
    torch.save(kept, path)
    onward = [opt.step(batch) for batch, _ in stream[17:]]

    again, other = started()
    weights, memory, random = torch.load(path, weights_only=True)
    again.load_state_dict(weights)
    other.load_state_dict(memory)
    torch.set_rng_state(random)
    stream_again = list(zip(batches(samples(again)), range(30), strict=False))
    assert [other.step(batch) for batch, _ in stream_again[17:]] == onward
    assert other.counts == opt.counts
    with pytest.raises(InputError, match="no state_dict of"):
        other.load_state_dict(torch.optim.SGD(again.parameters(), 0.1).state_dict())


@every
def test_groups_have_their_own_rates_and_frozen_parameters_stay(make: Make) -> None:
    model = network()
    model[1].weight.requires_grad_(False)
    data = samples(model)
    before = copy.deepcopy(model.state_dict())
    groups = [
        {"params": model[0].parameters(), "lr": 1e-12},
        {"params": [*model[1].parameters(), *model[4].parameters()]},
    ]
    opt = make(groups, 0.2, of=model)
    for batch, k in zip(batches(data), range(12), strict=False):
        if k == 6:
            model[4].bias.requires_grad_(False)
            bias = model[4].bias.detach().clone()
        opt.step(batch)
    after = model.state_dict()
    assert torch.equal(before["1.weight"], after["1.weight"])
    assert torch.equal(bias, model[4].bias)
    assert 0 < float((before["0.weight"] - after["0.weight"]).abs().max()) < 1e-8
    assert float((before["4.weight"] - after["4.weight"]).abs().max()) > 1e-3


@every
def test_schedules_and_clipping_of_torch_act(make: Make) -> None:
    model = network()
    opt = make(model, 0.5, clip=lambda p: nn.utils.clip_grad_value_(p, 1e-9))
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.1)
    before = copy.deepcopy(model.state_dict())
    opt.step(next(batches(samples(model))))
    schedule.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(0.05)
    moved = max(float((before[n] - p.detach()).abs().max()) for n, p in model.named_parameters())
    assert 0 < moved <= 0.5e-9 * (1 + 1e-6)


@every
def test_a_plain_closure_is_the_same_call(make: Make) -> None:
    model, twin = network(), network()
    data = samples(model)
    mine, his = make(model), make(twin)
    ids = torch.arange(30)
    torch.manual_seed(3)
    a = [mine.step(data.batch(ids)) for _ in range(5)]
    torch.manual_seed(3)
    b = [his.step(lambda: F.cross_entropy(twin(data.inputs[:30]), data.targets[:30])) for _ in range(5)]
    assert a == b


def test_an_outlier_does_not_send_the_weights_back_but_a_blow_up_does() -> None:
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    opt = optim.SGDBB([w], 0.01, epoch=10**6)
    for _ in range(20):
        opt.step(lambda: w.square().sum())
    here = w.detach().clone()
    opt.step(lambda: 1e-6 * w.square().sum() + 1e3)  # as high at the best weights: the samples are to blame
    assert opt.pace == 1.0
    assert float(w.detach()) == pytest.approx(float(here), rel=1e-3)
    with torch.no_grad():
        w.fill_(1e6)
    opt.step(lambda: w.square().sum())
    assert opt.pace == 0.25
    assert float(w.detach()) == pytest.approx(float(here), rel=0.2)
    assert opt.last is not None
    assert "went back to the weights of step" in opt.last.reason


def test_bad_input_is_one_sentence() -> None:
    model = network()
    x = torch.randn(5, 4, dtype=torch.float64)
    opt = optim.SGDBB(model, epoch=5)

    def backward() -> Tensor:
        loss = model(x).square().mean()
        loss.backward()
        return loss

    cases: list[tuple[type[InputError], Callable[[], object] | None, str]] = [
        (InputError, None, "needs a closure"),
        (ShapeError, lambda: model(x), "one number, got"),
        (ShapeError, lambda: 3.0, "got float"),
        (InputError, lambda: model(x).mean().detach(), "no trainable parameter"),
        (InputError, backward, "leave loss.backward"),
    ]
    for error, closure, words in cases:
        with pytest.raises(error, match=words) as caught:
            opt.step(closure)
        assert "\n" not in str(caught.value)
    for options in ({"lr": 0.0}, {"lr": nan}, {"smoothing": 1.0}, {"epoch": 0}):
        with pytest.raises(InputError, match="give"):
            optim.SGDBB(model, **{"epoch": 5, **options})
    with pytest.raises(InputError, match="requires_grad"):
        optim.SGDBB([torch.ones(2)], epoch=5)
