import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.objective.layout import mlp_layout
from multilevel_opt.pde.activations import ACTIVATIONS, activation
from multilevel_opt.pde.networks import MLP
from multilevel_opt.pde.operators import Channels, Needs, hidden_layers, parameters, propagate, row_jacobian

# torch compiles its own decompositions when forward differentiation is first used.
WIDTHS = [(5,), (5, 4), (4, 5, 3)]
ROWS = 4


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def combination(channels: Channels, seeds: Channels, like: Tensor) -> Tensor:
    rows = torch.zeros(ROWS, dtype=like.dtype) + 0.0 * like[0]
    for channel, seed in zip(channels, seeds, strict=True):
        if seed is not None:
            assert channel is not None
            rows = rows + (channel * seed).reshape(ROWS, -1).sum(1)
    return rows


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activations_follow_each_other(name: str) -> None:
    a = torch.tensor([-40.0, -3.0, -0.4, 0.0, 1.0, 5.0, 40.0], dtype=torch.float64)
    for order in range(4):
        assert len(activation(name).derivatives(a, order)) == order + 1
    for k in range(3):
        slope = torch.func.jvp(lambda b, k=k: activation(name).derivatives(b, 3)[k], (a,), (a * 0 + 1,))[1]
        torch.testing.assert_close(slope, activation(name).derivatives(a, 3)[k + 1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("widths", WIDTHS)
def test_row_jacobian_is_that_of_the_forward_pass(name: str, d: int, widths: tuple[int, ...]) -> None:
    layout, sigma = mlp_layout(d, widths), activation(name)
    x, z = randn(layout.size), randn(ROWS, d, seed=1)
    every = Channels(randn(ROWS, seed=2), randn(ROWS, d, seed=3), randn(ROWS, seed=4))
    for keep in itertools.product((False, True), repeat=3):
        seeds = Channels(*(c if k else None for c, k in zip(every, keep, strict=True)))
        forward = lambda y, s=seeds, k=keep: combination(propagate(y, layout, sigma, z, Needs(*k)), s, y)  # noqa: E731
        layers = parameters(x, layout)
        out = torch.full((ROWS, layout.size), torch.nan, dtype=torch.float64)
        row_jacobian(hidden_layers(layers, z, sigma, seeds.order, more=1), layers[-1], seeds, layout, out)
        expected = torch.func.jacrev(forward)(x)
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("widths", WIDTHS)
@given(d=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=3)
def test_propagation_is_differentiation(name: str, widths: tuple[int, ...], d: int, seed: int) -> None:
    net = MLP(d, widths, name)
    x, z = randn(net.size, seed=seed), randn(ROWS, d, seed=seed + 100)

    def u(point: Tensor) -> Tensor:
        h = point
        layers = parameters(x, net.layout)
        for weight, bias in layers[:-1]:
            h = net.sigma.derivatives(weight @ h + bias, 0)[0]
        return layers[-1][0][0] @ h + layers[-1][1][0]

    channels = net.channels(x, z, Needs(True, True, True))
    assert channels.value is not None
    assert channels.gradient is not None
    assert channels.laplacian is not None
    for i in range(ROWS):
        torch.testing.assert_close(channels.value[i], u(z[i]))
        torch.testing.assert_close(channels.gradient[i], torch.func.grad(u)(z[i]))
        torch.testing.assert_close(channels.laplacian[i], torch.func.hessian(u)(z[i]).trace())


def test_a_laplacian_alone_needs_no_gradient_channel() -> None:
    net = MLP(2, (7,))
    layer = hidden_layers(parameters(randn(net.size), net.layout), randn(ROWS, 2), net.sigma, 2, more=1)[0]
    assert layer.laplacian is None
    assert layer.gradient is not None
    assert layer.gradient.shape == (2, 1, 7)


def test_propagation_takes_a_batch_of_parameters() -> None:
    net = MLP(2, (4, 3))
    x, z = randn(5, net.size), randn(ROWS, 2)
    batched = torch.func.vmap(lambda y: net.channels(y, z, Needs(True, True, True)))(x)
    for i in range(5):
        torch.testing.assert_close(batched[2][i], net.channels(x[i], z, Needs(True, True, True)).laplacian)


def test_a_vector_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="takes a vector of 13 parameters, got shape"):
        MLP(1, (4,)).channels(randn(12), randn(ROWS, 1))
