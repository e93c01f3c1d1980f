import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.layout import mlp_layout
from multilevel_opt.pde.activations import ACTIVATIONS, activation
from multilevel_opt.pde.adjoints import row_jacobian
from multilevel_opt.pde.embeddings import Chain, Columns, Embedding, Fourier, Periodic, Scaled
from multilevel_opt.pde.networks import MLP
from multilevel_opt.pde.operators import hidden_layers, parameters, propagate
from multilevel_opt.pde.terms import VALUE, Needs, laplacian, partial

# torch compiles its own decompositions when forward differentiation is first used.
WIDTHS = [(5,), (5, 4), (4, 5, 3)]
ROWS = 4
TERMS = [VALUE, partial(0), partial(1), laplacian((0, 1)), partial(1, 0), partial(1, 1)]
SUBSETS = [s for k in (0, 1, 2, 6) for s in itertools.combinations(TERMS, k)]


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activations_follow_each_other(name: str) -> None:
    a = torch.tensor([-40.0, -3.0, -0.4, 0.0, 1.0, 5.0, 40.0], dtype=torch.float64)
    for order in range(4):
        assert len(activation(name).derivatives(a, order)) == order + 1
    for k in range(3):
        slope = torch.func.jvp(lambda b, k=k: activation(name).derivatives(b, 3)[k], (a,), (a * 0 + 1,))[1]
        torch.testing.assert_close(slope, activation(name).derivatives(a, 3)[k + 1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("widths", [*WIDTHS, (4, 4, 4)])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("features", [None, 3])
def test_row_jacobian_is_that_of_the_forward_pass(widths: tuple[int, ...], outputs: int, features: int | None) -> None:
    skip = len(set(widths)) == 1 and len(widths) > 1
    layout, sigma = mlp_layout(features or 2, widths, outputs), activation("tanh")
    x = randn(layout.size)
    for terms in SUBSETS:
        needs = Needs(terms)
        inputs = randn(needs.channels, ROWS, 3, seed=1) if features else randn(ROWS, 2, seed=1)
        seeds = randn(len(terms), ROWS, outputs, seed=2)
        layers = parameters(x, layout)
        hidden = hidden_layers(layers, inputs, sigma, needs, more=1, skip=skip)
        out = torch.full((ROWS, layout.size), torch.nan, dtype=torch.float64)
        row_jacobian(hidden, layers[-1], seeds, needs, layout, out)
        leaf = x.clone().requires_grad_()
        rows = (propagate(leaf, layout, sigma, inputs, needs, skip) * seeds).sum((0, 2))
        expected = torch.zeros_like(out)
        if terms:
            expected = torch.stack([torch.autograd.grad(row, leaf, retain_graph=True)[0] for row in rows])
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("d", [1, 3])
def test_every_activation_has_the_right_rows(name: str, d: int) -> None:
    net = MLP(d, (4, 3), name)
    x, z, needs = randn(net.size), randn(ROWS, d, seed=1), Needs((VALUE, partial(0), laplacian(range(d))))
    channels, pull = net.traced(x, z, needs, (None,))
    out = torch.empty(ROWS, net.size, dtype=torch.float64)
    seeds = randn(*channels.shape, seed=4)
    pull(seeds, out)
    expected = torch.func.jacrev(lambda y: (net.channels(y, z, needs) * seeds).sum((0, 2)))(x)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


EMBEDDINGS: list[Embedding | None] = [
    None,
    Scaled(((-3.0, 2.0), (1.0, 5.0))),
    Columns((1,)),
    Periodic(2, 0, 1.5, 2),
    Fourier.random(2, 3, 2.0, seed=0),
    Chain((Scaled(((-3.0, 2.0), (1.0, 5.0))), Fourier.random(2, 2, 1.0, seed=1))),
]


@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=lambda e: type(e).__name__)
@given(seed=st.integers(0, 99), depth=st.integers(1, 3), skip=st.booleans())
@settings(max_examples=3)
def test_propagation_is_differentiation(embedding: Embedding | None, seed: int, depth: int, skip: bool) -> None:
    net = MLP(2, (4,) * depth, "tanh", 2, embedding, skip)
    x, z = randn(net.size, seed=seed), randn(ROWS, 2, seed=seed + 100)
    needs = Needs(tuple(TERMS))
    channels = net.channels(x, z, needs)
    u = lambda point: net.value(x, point[None])[0]  # noqa: E731
    for i in range(ROWS):
        slope, bend = torch.func.jacrev(u)(z[i]), torch.func.jacfwd(torch.func.jacrev(u))(z[i])
        expected = {
            VALUE: u(z[i]),
            partial(0): slope[:, 0],
            partial(1): slope[:, 1],
            partial(0, 1): bend[:, 0, 1],
            partial(1, 1): bend[:, 1, 1],
            laplacian((0, 1)): bend[:, 0, 0] + bend[:, 1, 1],
        }
        for term, value in expected.items():
            torch.testing.assert_close(channels[needs.index(term), i], value)


def test_the_value_is_the_network() -> None:
    net = MLP(2, (4, 4), "sin", 2, skip=True)
    x, z = randn(net.size), randn(ROWS, 2)
    (w1, b1), (w2, b2), (v, c) = parameters(x, net.layout)
    h = torch.sin(z @ w1.T + b1)
    h = h + torch.sin(h @ w2.T + b2)
    torch.testing.assert_close(net.value(x, z), h @ v.T + c)


def test_a_laplacian_alone_needs_no_derivative_of_a_first_layer_at_every_point() -> None:
    net, needs = MLP(2, (7,)), Needs((laplacian((0, 1)),))
    layer = hidden_layers(parameters(randn(net.size), net.layout), randn(ROWS, 2), net.sigma, needs, more=1)[0]
    assert layer.second is None
    assert layer.first is not None
    assert layer.first.shape == (2, 1, 7)
    assert needs.channels == 4


def test_only_the_directions_that_are_read_travel() -> None:
    assert Needs((VALUE, partial(2), partial(0, 0))).directions == (0, 2)
    assert Needs((VALUE, partial(2), partial(0, 0))).channels == 4


def test_propagation_takes_a_batch_of_parameters() -> None:
    net, needs = MLP(2, (4, 3)), Needs(tuple(TERMS))
    x, z = randn(5, net.size), randn(ROWS, 2)
    batched = torch.func.vmap(lambda y: net.channels(y, z, needs))(x)
    for i in range(5):
        torch.testing.assert_close(batched[i], net.channels(x[i], z, needs))


def test_a_vector_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="takes a vector of 13 parameters, got shape"):
        MLP(1, (4,)).channels(randn(12), randn(ROWS, 1), Needs())


def test_impossible_networks_are_refused() -> None:
    with pytest.raises(InputError, match="skips need hidden layers of one width"):
        MLP(1, (4, 3), skip=True)
    with pytest.raises(InputError, match="is empty: use sizes >= 1"):
        MLP(1, (4,), outputs=0)
