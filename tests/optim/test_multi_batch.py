"""Overlapping batches, and pairs of the samples that two batches share."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from multilevel_opt import InputError, optim
from multilevel_opt.objective.samples import Samples
from multilevel_opt.optim.flat import flat
from multilevel_opt.optim.progressive import NormTest

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).sin()[:, None]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def test_batches_overlap_and_cover_every_sample() -> None:
    sampler = optim.OverlapSampler(60, 10, 0.2, seed=1)
    batches = [ids for _ in range(5) for ids in sampler]
    assert len(batches) == 5 * len(sampler) == 30
    assert all(len(ids) == 10 for ids in batches)
    assert all(a[-2:] == b[:2] for a, b in pairwise(batches))
    new = [i for ids in batches for i in ids[2:]]
    assert sorted(batches[0][:2] + new[:58]) == list(range(60))
    again = optim.OverlapSampler(60, 10, 0.2, seed=1)
    assert batches == [ids for _ in range(5) for ids in again]
    other = optim.OverlapSampler(60, 10, 0.2, seed=2)
    assert batches != [ids for _ in range(5) for ids in other]


def test_a_sampler_continues_from_its_state() -> None:
    sampler, again = optim.OverlapSampler(60, 7, 0.3), optim.OverlapSampler(60, 20)
    for _ in range(11):
        sampler.draw()
    again.overlap = sampler.overlap
    again.load_state_dict(copy.deepcopy(sampler.state_dict()))
    assert [again.draw().tolist() for _ in range(20)] == [sampler.draw().tolist() for _ in range(20)]
    with pytest.raises(InputError, match="to below"):
        optim.OverlapSampler(60, 10, 0.5)


def test_both_gradients_of_a_pair_are_of_the_shared_samples() -> None:
    model = network()
    f, sampler = Samples(model, F.mse_loss, X, Y), optim.OverlapSampler(60, 12, 0.25)
    opt = optim.MultiBatchLBFGS(model, 0.05)
    for _ in range(6):
        before = f.x
        ids = sampler.draw()
        opt.step(f.batch(ids, sampler.carried, sampler.shared))
        s, shared = f.x - before, ids[-sampler.shared :]
    y = f.loss_grad(shared)[1] - f.loss_grad(shared, before)[1]
    opt.step(f.batch(sampler.draw(), sampler.carried, sampler.shared))
    assert opt.counts["pairs_accepted"] + opt.counts["pairs_rejected"] == 6
    assert opt.counts["gradients"] == 7  # pairs cost nothing
    if float(s @ y) > 0:
        torch.testing.assert_close(opt.inverse.product(y), s, rtol=1e-8, atol=1e-12)


def test_the_gradient_of_a_split_batch_is_that_of_the_batch() -> None:
    model = network()
    f = Samples(model, F.mse_loss, X, Y)
    opt = optim.MultiBatchLBFGS(model)
    split, whole = opt.evaluate(f.batch(range(20), 4, 3)), opt.evaluate(f.batch(range(20)))
    assert split.loss == pytest.approx(whole.loss, rel=1e-14)
    torch.testing.assert_close(flat(split.gradient), flat(whole.gradient), rtol=1e-12, atol=1e-15)
    assert split.norm == pytest.approx(whole.norm, rel=1e-12)


def test_batches_of_a_loader_overlap_too_and_other_batches_are_not_taken_for_neighbours() -> None:
    model = network()
    sampler = optim.OverlapSampler(60, 12, 0.25)
    opt = optim.MultiBatchLBFGS(model, 0.05)
    for a, b in DataLoader(TensorDataset(X, Y), batch_sampler=sampler):
        opt.step(optim.Batch(model, F.mse_loss, a, b, carried=sampler.shared, shared=sampler.shared))
    assert opt.counts["pairs_accepted"] + opt.counts["pairs_rejected"] == 4
    assert opt.counts["gradients"] == 5
    rejected = opt.counts["pairs_rejected"]
    opt.step(optim.Batch(model, F.mse_loss, X[:12], Y[:12], carried=3, shared=3))
    assert opt.counts["pairs_rejected"] == rejected + 1


def test_a_full_batch_with_full_overlap_is_deterministic_lbfgs() -> None:
    """A quadratic in 6 unknowns: L-BFGS with enough memory and steps of length one reaches its minimum."""
    w = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    scales = torch.tensor([1.0, 2.0, 3.0, 5.0, 8.0, 13.0], dtype=torch.float64)
    opt = optim.MultiBatchLBFGS([w], 1.0, memory=20, smoothing=0.0)
    for _ in range(40):
        value = opt.step(lambda: 0.5 * (scales * (w - 1.0) ** 2).sum())
    assert value < 1e-16
    assert opt.last is not None
    assert opt.counts["gradients"] == 80
    torch.testing.assert_close(w.detach(), torch.ones(6, dtype=torch.float64), rtol=1e-8, atol=1e-8)


def test_a_damped_pair_of_negative_curvature_keeps_directions_downhill() -> None:
    w = nn.Parameter(torch.tensor([1.5, 0.4], dtype=torch.float64))
    opt = optim.MultiBatchLBFGS([w], 0.2, pairs="damped", smoothing=0.0)
    for _ in range(30):
        opt.step(lambda: (w[0].square() - 1).square() + torch.cos(3 * w[1]))
        assert opt.last is not None
    g = torch.randn(2, dtype=torch.float64)
    assert float(g @ opt.inverse.product(g)) > 0
    with pytest.raises(InputError, match="choose one of cautious, damped"):
        optim.MultiBatchLBFGS([w], pairs="none")


def test_the_variance_of_single_samples_is_estimated_from_the_parts_of_batches() -> None:
    rows, test = torch.tensor([25.0, 50.0, 25.0]), NormTest(0.9)
    noise = torch.randn(4000, 3, 2, generator=torch.Generator().manual_seed(0)) * 3.0
    means = 0.5 + noise / rows.sqrt()[:, None]  # gradients of two entries of three parts
    whole = (means * rows[:, None] / 100).sum(1).square().sum(1)
    steps = list(zip(means.square().sum(2).tolist(), whole.tolist(), strict=True))
    found = []
    for squares, square in steps:
        test.see([25, 50, 25], squares, square)
        found.append((test.variance, test.square))
    variance, squared = torch.tensor(found).mean(0).tolist()
    assert variance == pytest.approx(2 * 9.0, rel=0.05)
    assert squared == pytest.approx(2 * (0.25 + 9.0 / 100), rel=0.05)
    wanted = test.variance / (0.81 * test.square)
    assert test.size(int(wanted) + 1) == int(wanted) + 1
    assert test.size(int(0.7 * wanted)) == pytest.approx(wanted, abs=1)
    assert test.count == 0  # the means begin anew
    assert test.size(2) == 2  # nothing is known yet
    for squares, square in steps[:8]:
        test.see([25, 50, 25], squares, square)
    assert test.size(2) == 4  # at most doubled
    with pytest.raises(InputError, match="progressive=-1"):
        NormTest(-1)


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((3,), 4.0, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - self.w


def mean_of_points(theta: float, spread: float) -> tuple[float, int]:
    """(distance to the mean of the points, rows of the last batch)."""
    model, points = Point(), spread * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double()
    f = Samples(model, lambda u, _: 0.5 * u.square().sum(1).mean(), points, points)
    opt, sampler = optim.MultiBatchLBFGS(model, 0.3, progressive=theta), optim.OverlapSampler(1000, 8, 0.25)
    for _ in range(90):
        opt.step(f.batch(sampler.draw(), sampler.carried, sampler.shared))
        size = opt.batch_size(sampler.size)
        assert sampler.size <= size <= 2 * sampler.size
        sampler.size = min(size, 1000)
    return float((model.w.detach() - points.mean(0)).norm()), sampler.size


def test_batches_grow_where_noise_would_end_the_progress_and_only_there() -> None:
    (fixed, constant), (grown, size) = mean_of_points(0.0, 1.0), mean_of_points(0.5, 1.0)
    assert constant == 8
    assert size > 60
    assert grown < 0.5 * fixed
    assert mean_of_points(0.5, 0.0)[1] == 8  # samples that agree need no more of them
