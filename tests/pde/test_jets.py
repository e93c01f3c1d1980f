"""Derivatives of order three and more: against nested torch.func, through every kind of network and transform."""

import mpmath
import pytest
import torch
from torch import Tensor

from multilevel_opt.pde import MLP, Block, Columns, Field, Fourier, Frame, Network, PDEResidual, Several
from multilevel_opt.pde.activations import ACTIVATIONS, activation
from multilevel_opt.pde.derivatives import channels_at, channels_of
from multilevel_opt.pde.jets import partitions, rules_of
from multilevel_opt.pde.sites import Transformed
from multilevel_opt.pde.terms import VALUE, Needs, laplacian, partial

# torch compiles its own decompositions when forward differentiation is first used.
M = 4
KDV = Needs((partial(0), partial(1), partial(0, 0, 0)))
MIXED = Needs((VALUE, laplacian((0, 1)), partial(0, 0, 1), partial(0, 1, 1), partial(1, 1, 1, 1)))
FIFTH = Needs((partial(0, 0, 1, 1, 1), laplacian((0, 1))))
NETWORKS: dict[str, Network] = {
    "one layer": MLP(2, (5,)),
    "deep": MLP(2, (5, 4, 3), "sigmoid"),
    "two outputs": MLP(2, (4, 3), "softplus", 2),
    "skip": MLP(2, (4, 4, 4), skip=True),
    "fourier": MLP(2, (4, 3), "sin", embedding=Fourier.random(2, 2, 1.0, 0)),
    "several": Several((MLP(2, (4,), "half-tanh"), MLP(2, (3, 3), embedding=Columns((0,))))),
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("needs", [KDV, MIXED, FIFTH], ids=["kdv", "mixed", "fifth"])
@pytest.mark.parametrize("name", NETWORKS)
def test_propagation_is_nested_differentiation(name: str, needs: Needs) -> None:
    net = NETWORKS[name]
    x, z = 0.5 * numbers(net.size), numbers(M, 2, seed=1)
    expected = channels_of(lambda y: net.value(x, y), z, needs)
    torch.testing.assert_close(net.channels(x, z, needs), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("needs", [KDV, MIXED], ids=["kdv", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_those_of_differentiation(name: str, needs: Needs) -> None:
    net = NETWORKS[name]
    x, z = 0.5 * numbers(net.size), numbers(M, 2, seed=1)
    channels, pull = net.traced(x, z, needs, net.jets(z, needs))
    seeds, out = numbers(*channels.shape, seed=2), torch.full((M, net.size), torch.nan, dtype=torch.float64)
    pull(seeds, out)
    leaf = x.clone().requires_grad_()
    rows = (channels_of(lambda y: net.value(leaf, y), z, needs) * seeds).sum((0, 2))
    expected = torch.stack([torch.autograd.grad(row, leaf, retain_graph=True)[0] for row in rows])
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


def test_an_affine_transform_keeps_the_fast_path() -> None:
    net, z = NETWORKS["deep"], numbers(M, 2, seed=1)
    x = numbers(net.size)

    def bent(z: Tensor, n: Tensor) -> Tensor:
        return torch.sin(z[:, :1]) + z[:, :1] ** 2 * torch.exp(z[:, 1:]) * n

    def law(u: Field, z: Tensor) -> Tensor:
        return u.xxx * u.value + u.d("x", "t", "t") - u.laplacian + u.d("x", "x", "x", "t")

    frame = Frame(("x", "t"), space=(0, 1))
    fast = PDEResidual(net, [Block(z, law)], frame=frame, transform=bent)
    slow = PDEResidual(Transformed(net, bent), [Block(z, law)], frame=frame)
    assert fast.blocks[0].sites[0].linear is not None
    for a, b in zip(fast.linearize(x), slow.linearize(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_it_takes_a_batch_of_parameters() -> None:
    net, z = NETWORKS["deep"], numbers(M, 2)
    x = numbers(3, net.size)
    batched = torch.func.vmap(lambda y: net.channels(y, z, MIXED))(x)
    for one, found in zip(x, batched, strict=True):
        torch.testing.assert_close(found, net.channels(one, z, MIXED))


def test_only_parts_of_what_is_read_travel() -> None:
    assert KDV.carried.terms == (VALUE, partial(0), partial(1), partial(0, 0), partial(0, 0, 0))
    assert Needs((partial(0, 0, 1),)).channels == 6


@pytest.mark.parametrize(("n", "bell"), [(0, 1), (1, 1), (3, 5), (5, 52)])
def test_partitions_are_counted_by_bell(n: int, bell: int) -> None:
    found = {frozenset(map(frozenset, blocks)) for blocks in partitions(range(n))}
    assert len(found) == bell


def test_the_rules_of_a_third_derivative() -> None:
    value, x, xx, xxx = range(4)
    assert value not in {k for products in rules_of(Needs((partial(0, 0, 0),))) for _, ks in products for k in ks}
    assert set(rules_of(Needs((partial(0, 0, 0),)))[-1]) == {(1, (xxx,)), (3, (x, xx)), (1, (x, x, x))}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_high_derivatives_of_activations(name: str) -> None:
    a = torch.tensor([-20.0, -1.3, 0.2, 4.0], dtype=torch.float64)
    found = activation(name).derivatives(a, 6)
    assert len(found) == 7
    for k in range(6):
        slope = torch.func.jvp(lambda b, k=k: activation(name).derivatives(b, 6)[k], (a,), (a * 0 + 1,))[1]
        torch.testing.assert_close(slope, found[k + 1], rtol=1e-11, atol=1e-13)


def test_the_sixth_derivative_of_tanh_is_that_of_mpmath() -> None:
    expected = float(mpmath.diff(mpmath.tanh, mpmath.mpf("0.37"), 6))
    found = activation("tanh").derivatives(torch.tensor(0.37, dtype=torch.float64), 6)[6]
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_reverse_sweeps_give_the_same_channels_as_forward_ones() -> None:
    needs = Needs((((),), ((0,),), ((0, 0), (1, 1)), ((0, 1),), ((1, 0, 0),)))
    z = torch.rand(7, 2, dtype=torch.float64) + 0.1

    def f(y: torch.Tensor) -> torch.Tensor:
        return torch.stack([y[:, 0] * y[:, 1] ** 3, torch.sin(y[:, 0]) * y[:, 1], torch.ones_like(y[:, 0])], dim=1)

    assert torch.allclose(channels_at(f, z, needs), channels_of(f, z, needs), atol=1e-13)
    constant = channels_at(lambda y: y.new_ones(len(y), 1), z, needs)
    assert torch.equal(constant[1:], torch.zeros_like(constant[1:]))
