"""Coupling, splitting and interpolation: references by loops, invariants, guards, collapse."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyamg.gallery import poisson
from torch import Tensor

from multilevel_opt.errors import (
    InputError,
    MultilevelError,
    NonFiniteError,
    ShapeError,
    UnsupportedCombination,
)
from multilevel_opt.objective.layout import Layout, mlp_layout
from multilevel_opt.transfer import coupling as coupling_module
from multilevel_opt.transfer.coupling import coupling, couplings
from multilevel_opt.transfer.interpolation import KINDS, averaging, injection, interpolate
from multilevel_opt.transfer.splitting import CFSplitting, as_csr, split


def jacobian(layout: Layout | int, rows: int = 7, seed: int = 0) -> Tensor:
    n = layout if isinstance(layout, int) else layout.size
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network_like(r: int, seed: int) -> np.ndarray:
    """A coupling of a random tanh network with one input, at 31 points: dense, low rank, badly scaled."""
    g = np.random.default_rng(seed)
    v, w, b = g.standard_normal((3, r))
    s = np.tanh(np.linspace(-1, 1, 31)[:, None] * w + b)
    stack = np.concatenate([s, v * (1 - s * s) * np.linspace(-1, 1, 31)[:, None], v * (1 - s * s)], axis=1)
    return coupling(torch.as_tensor(stack), three(r)).matrix.numpy()


def three(r: int) -> Layout:
    """Three kinds of one parameter per neuron: a layout of 1 input and 1 output without output bias."""
    layout = mlp_layout(1, (r,))
    return Layout(layout.blocks[:3], layout.widths)


def loop_reference(J: Tensor, layout: Layout, layer: int) -> Tensor:
    r = layout.widths[layer]
    total = torch.zeros(r, r, dtype=J.dtype)
    for block in layout.blocks:
        index = (torch.arange(block.size) + block.start).reshape(block.shape)
        if len(block.shape) == 1 and block.neurons[0] == layer:
            picks = [[int(index[i]) for i in range(r)]]
        elif block.neurons[0] == layer:
            picks = [[int(index[i, k]) for i in range(r)] for k in range(block.shape[1])]
        elif len(block.shape) == 2 and block.neurons[1] == layer:
            picks = [[int(index[k, i]) for i in range(r)] for k in range(block.shape[0])]
        else:
            picks = []
        for pick in picks:
            gram = J[:, pick].T @ J[:, pick]
            total += gram / gram.abs().sum(1).max()
    return total


@pytest.mark.parametrize("layout", [mlp_layout(1, (5,)), mlp_layout(3, (4, 6), 2), mlp_layout(2, (3, 4, 5))])
@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_coupling_equals_the_loop(layout: Layout, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling_module, "CHUNK_ENTRIES", chunk)
    J = jacobian(layout)
    for layer, found in enumerate(couplings(J, layout)):
        torch.testing.assert_close(found.matrix, loop_reference(J, layout, layer))
        assert torch.equal(found.matrix, found.matrix.T)
        assert float(torch.linalg.eigvalsh(found.matrix)[0]) > -1e-12
        assert found.flops == 2 * 7 * layout.widths[layer] ** 2 * found.kinds


def test_coupling_of_a_plain_vector_and_of_dead_kinds() -> None:
    J = jacobian(4)
    gram = J.T @ J
    torch.testing.assert_close(coupling(J).matrix, gram / gram.abs().sum(1).max())
    layout = mlp_layout(1, (4,))
    J = jacobian(layout)
    J[:, :4] = 0.0
    torch.testing.assert_close(coupling(J, layout).matrix.trace(), loop_trace(J[:, 4:8]) + loop_trace(J[:, 8:12]))


def loop_trace(J: Tensor) -> Tensor:
    gram = J.T @ J
    return gram.trace() / gram.abs().sum(1).max()


@pytest.mark.parametrize("rule", ["negative", "absolute"])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), theta=st.floats(0.05, 1.0))
def test_every_fine_neuron_has_a_strong_coarse_neighbour(rule: str, seed: int, theta: float) -> None:
    found = split(network_like(24, seed), theta, rule, min_coarse=1, max_fraction=1.0)
    depends = np.diff(found.strength.indptr) > 0
    reached = (found.strength > 0).astype(float) @ found.mask.astype(float) > 0
    assert (reached | found.mask | ~depends).all()
    assert int((~depends & ~found.mask).sum()) == found.isolated
    assert (found.strength.diagonal() == 0).all()


def test_splitting_of_a_line_takes_every_other_point() -> None:
    found = split(poisson((9,), format="csr"))
    assert found.coarse.tolist() in ([1, 3, 5, 7], [0, 2, 4, 6, 8])
    assert (found.note, found.rule, found.theta) == ("", "negative", 0.25)


def collapsing() -> np.ndarray:
    """All couplings positive: the negative rule finds no strong neighbour at any threshold."""
    return np.asarray(np.eye(12) * 3 + np.abs(poisson((12,), format="csr").toarray()))


def test_collapse_is_reported_or_refused() -> None:
    found = split(collapsing())
    assert found.rule == "absolute"
    assert "0 at θ=0.25 negative" in found.note
    assert 2 <= found.n_coarse <= 10
    with pytest.raises(UnsupportedCombination, match="collapsed"):
        split(collapsing(), fallback=False)
    with pytest.raises(UnsupportedCombination, match="wanted 2 to 11"):
        split(np.eye(12))


def test_too_few_climbs_the_ladder() -> None:
    rank_one = network_like(60, 1)
    first = split(rank_one, 0.25, "absolute", min_coarse=1)
    found = split(rank_one, 0.25, "absolute", min_coarse=first.n_coarse + 1)
    assert found.n_coarse > first.n_coarse
    assert found.theta > 0.25 or found.rule == "negative"
    assert f"{first.n_coarse} at θ=0.25 absolute" in found.note


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("norm", ["2", "inf"])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), rule=st.sampled_from(["negative", "absolute"]))
def test_guarded_interpolation(kind: str, constants: bool, norm: str, seed: int, rule: str) -> None:
    matrix = network_like(24, seed)
    splitting = split(matrix, rule=rule, min_coarse=1, max_fraction=1.0)
    P, report = interpolate(matrix, splitting, kind, constants=constants, norm=norm)
    weights = P.toarray() * report.sigma
    assert P.shape == (24, splitting.n_coarse)
    assert np.isfinite(weights).all()
    assert np.abs(weights).max() <= 4 + 1e-12
    assert (np.abs(weights).sum(1) > 0).all()
    np.testing.assert_allclose(weights[splitting.coarse], np.eye(splitting.n_coarse), atol=1e-14)
    assert np.linalg.norm(P.toarray(), 2 if norm == "2" else np.inf) <= 1 + 1e-12
    if constants:
        np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-12)
    again, _ = interpolate(matrix, splitting, kind, constants=constants, norm=norm)
    assert np.array_equal(again.toarray(), P.toarray())


@pytest.mark.parametrize("kind", KINDS)
def test_laplacian_weights_are_the_textbook_ones(kind: str) -> None:
    matrix = poisson((9,), format="csr")
    mask = np.arange(9) % 2 == 1
    splitting = CFSplitting(mask, split(matrix).strength, 0.25, "negative", 0, 0)
    P, report = interpolate(matrix, splitting, kind, norm=None)
    weights = P.toarray()
    np.testing.assert_allclose(weights[2], [0.5, 0.5, 0.0, 0.0], atol=1e-14)
    np.testing.assert_allclose(weights[1:-1].sum(1), 1.0)
    assert (report.filled, report.clipped, report.rescaled, report.injected, report.sigma) == (
        0,
        0,
        0,
        0,
        1.0,
    )


def test_standard_interpolation_equals_a_dense_elimination() -> None:
    matrix = poisson((5, 5), format="csr").toarray()
    splitting = split(matrix, theta=0.25)
    mask = splitting.mask.copy()
    mask[splitting.coarse[1]] = False
    fewer = CFSplitting(mask, splitting.strength, 0.25, "negative", 0, 0)
    P, _ = interpolate(matrix, fewer, "standard", norm=None)
    i = int(splitting.coarse[1])
    row = matrix[i].copy()
    for j in np.flatnonzero(splitting.strength.toarray()[i]):
        if not mask[j]:
            row -= matrix[i, j] / matrix[j, j] * matrix[j]
    others = row.copy()
    others[i] = 0.0
    kept = np.where(mask, others, 0.0)
    np.testing.assert_allclose(P.toarray()[i], -(others.sum() / kept.sum() * kept / row[i])[mask], atol=1e-13)


def test_a_few_of_many_neurons_are_a_collapse_too() -> None:
    matrix = network_like(320, 0)
    few = split(matrix, 0.25, "absolute", min_coarse=1)
    assert few.n_coarse < 5
    found = split(matrix, 0.25, "absolute")
    assert found.n_coarse >= 5
    assert "collapsed" in found.note


def test_guards_are_counted() -> None:
    matrix = np.array([[4.0, 1, 0, 0], [1, 4, 0, 0], [0, -9, 1, 0], [0, 0, 0, 0]])
    splitting = CFSplitting(np.array([True, True, False, False]), as_csr((matrix == -9) * 1.0), 0.25, "negative", 0, 1)
    P, report = interpolate(matrix, splitting, norm=None)
    np.testing.assert_allclose(P.toarray(), [[1, 0], [0, 1], [0, 4], [1, 0]])
    assert (report.filled, report.clipped, report.rescaled, report.injected) == (1, 1, 0, 0)
    assert report.raw_norm > report.guarded_norm
    P, report = interpolate(matrix, splitting, norm=None, constants=True)
    np.testing.assert_allclose(P.toarray(), [[1, 0], [0, 1], [0, 1], [1, 0]])
    assert (report.rescaled, report.injected) == (1, 0)
    assert "1 filled, 1 clipped, 1 rescaled" in str(report)


def test_maps_of_points_keep_constants() -> None:
    matrix = network_like(24, 3)
    splitting = split(matrix)
    P, _ = interpolate(matrix, splitting)
    np.testing.assert_allclose(injection(splitting).T @ np.ones(24), 1.0)
    np.testing.assert_allclose(averaging(P).T @ np.ones(24), 1.0)
    np.testing.assert_allclose(injection(splitting).T @ np.arange(24.0), splitting.coarse)


def test_bad_input_is_refused_in_one_sentence() -> None:
    layout, line = mlp_layout(1, (4,)), poisson((9,), format="csr")
    nothing = CFSplitting(np.zeros(9, dtype=bool), line, 0.25, "negative", 0, 0)
    nan = np.full((3, 3), np.nan)
    calls: list[tuple[type[MultilevelError], object]] = [
        (ShapeError, lambda: coupling(torch.ones(3, 5), layout)),
        (ShapeError, lambda: coupling(torch.ones(3))),
        (NonFiniteError, lambda: coupling(torch.full((2, 2), float("nan")))),
        (InputError, lambda: coupling(torch.ones(3, layout.size), layout, 1)),
        (InputError, lambda: coupling(torch.zeros(3, layout.size), layout)),
        (ShapeError, lambda: split(np.ones((2, 3)))),
        (NonFiniteError, lambda: split(nan)),
        (InputError, lambda: split(line, theta=0.0)),
        (UnsupportedCombination, lambda: split(line, rule="positive")),
        (UnsupportedCombination, lambda: interpolate(line, split(line), "cubic")),
        (UnsupportedCombination, lambda: interpolate(line, split(line), norm="1")),
        (InputError, lambda: interpolate(line, split(line), bound=0.5)),
        (InputError, lambda: interpolate(line, nothing)),
        (ShapeError, lambda: interpolate(scipy.sparse.eye_array(3), split(line))),
    ]
    for error, call in calls:
        with pytest.raises(error) as caught:
            call()  # type: ignore[operator]
        assert "\n" not in str(caught.value)
