"""Factored layers and the hierarchy of ranks: the function stays as it is, and the solver uses the levels."""

import pytest
import torch
from torch import nn

import multilevel_opt as mlo
from multilevel_opt import rank
from multilevel_opt.errors import InputError
from multilevel_opt.objective.module import FlatModule

F64 = torch.float64


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 20, dtype=F64), nn.Tanh(), nn.Linear(20, 20, dtype=F64), nn.Tanh(), nn.Linear(20, 2, dtype=F64)
    )


def convolutions():
    torch.manual_seed(0)
    first = nn.Conv2d(2, 8, 3, stride=2, padding=1, dtype=F64)
    return nn.Sequential(first, nn.Tanh(), nn.Conv2d(8, 5, 3, padding="same", dilation=2, bias=False, dtype=F64))


@pytest.mark.parametrize(("make", "shape"), [(network, (7, 6)), (convolutions, (3, 2, 9, 9))])
def test_all_triples_are_the_layer_itself_and_fewer_the_best_approximation(make, shape):
    module, x = make(), torch.randn(*shape, dtype=F64)
    assert torch.allclose(rank.factored(module)(x), module(x), atol=1e-12)
    small = list(rank.layers(rank.factored(module, 2)))
    plain = [part for part in module.modules() if hasattr(part, "weight")]
    for part, layer in zip(plain, small, strict=True):
        weight = part.weight.detach().flatten(1)
        missing = torch.linalg.svdvals(weight)[2:].square().sum().sqrt()
        assert float((layer.matrix.detach() - weight).norm()) == pytest.approx(float(missing), abs=1e-12)


@pytest.mark.parametrize(("make", "shape"), [(network, (7, 6)), (convolutions, (3, 2, 9, 9))])
def test_prolongation_keeps_the_function_to_rounding(make, shape):
    x = torch.randn(*shape, dtype=F64)
    fine = rank.factored(make(), 5)
    coarse = rank.factored(fine, 2)
    other = FlatModule(coarse)
    other.set(other.get() + 0.3 * torch.randn_like(other.get()))  # any coarse iterate, not only the restricted one
    transfer, above = rank.transfer(fine, coarse), FlatModule(fine)
    start = above.get()
    assert torch.equal(transfer.restrict_point(start), FlatModule(rank.factored(fine, 2)).get())
    for lifted in (transfer.lifted(other.get(), start), transfer.prolong(other.get())):
        above.set(lifted)
        assert torch.allclose(fine(x), coarse(x), atol=1e-13, rtol=1e-13)
    above.set(start)
    assert float((fine(x) - coarse(x)).detach().abs().max()) > 1e-3


def test_the_levels_serve_the_solver():
    torch.manual_seed(1)
    x = torch.rand(30, 6, dtype=F64)
    y = torch.stack([torch.sin(x.sum(1)), x[:, 0] * x[:, 1]], 1)
    networks, levels = rank.hierarchy(network(), lambda m: lambda: (m(x) - y).square().mean(), (8, 3))
    assert levels.nested
    x0 = FlatModule(networks[0]).get()
    stop = mlo.GradientNorm(1e-9) | mlo.MaxIterations(8)
    found = mlo.minimize(levels.objective, x0, mlo.TR2, hierarchy=levels, stop=stop)
    assert found.fun < 0.1 * float(levels.objective(x0))
    assert mlo.check.coherence(levels, x0, order=1)


def test_penalty_and_pruning():
    module = rank.factored(network())
    assert float(rank.penalty(module).detach()) < 1e-20
    with torch.no_grad():
        for layer in rank.layers(module):
            layer.values.mul_(torch.tensor([1.0, 1e-6], dtype=F64).repeat(layer.rank)[: layer.rank])
    x = torch.randn(5, 6, dtype=F64)
    small = rank.pruned(module, 1e-8)
    assert [layer.rank for layer in rank.layers(small)] == [3, 10, 1]
    assert torch.allclose(small(x), module(x), atol=1e-4)
    assert float(rank.penalty(small, 0.0, 1.0).detach()) > 0
    with torch.no_grad():
        next(rank.layers(module)).left.mul_(2.0)
    assert float(rank.penalty(module).detach()) == pytest.approx(6 * 9 / 36)


def test_what_cannot_be_is_refused():
    module = network()
    with pytest.raises(InputError, match="do not fall"):
        rank.hierarchy(module, lambda m: lambda: m(torch.ones(1, 6, dtype=F64)).sum(), (3, 3))
    with pytest.raises(InputError, match="rank=0"):
        rank.factored(module, 0)
    with pytest.raises(InputError, match="energy"):
        rank.pruned(module, 1.0)
    with pytest.raises(InputError, match="no factored layer"):
        rank.penalty(module)
    with pytest.raises(InputError, match="groups"):
        rank.factored(nn.Conv2d(4, 4, 1, groups=2))
