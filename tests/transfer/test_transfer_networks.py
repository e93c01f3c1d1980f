"""Neurons to parameters, the choice of neurons, and nested grids."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multilevel_opt.errors import (
    InputError,
    MultilevelError,
    NonFiniteError,
    ShapeError,
    UnsupportedCombination,
)
from multilevel_opt.objective.layout import Layout, mlp_layout
from multilevel_opt.transfer.blocks import (
    coarse_layout,
    network_transfer,
    parameter_prolongation,
    random_orthonormal,
    selection,
)
from multilevel_opt.transfer.geometric import bilinear_2d, linear_1d
from multilevel_opt.transfer.rules import RULES, choose

LIKE = torch.zeros(0, dtype=torch.float64)


def by_loops(layout: Layout, coarse: Layout, neuron: list[np.ndarray]) -> np.ndarray:
    def entry(layer: int | None, i: int, k: int) -> float:
        return float(i == k) if layer is None else float(neuron[layer][i, k])

    dense = np.zeros((layout.size, coarse.size))
    for fine, small in zip(layout.blocks, coarse.blocks, strict=True):
        for i, to in enumerate(np.ndindex(fine.shape)):
            for k, source in enumerate(np.ndindex(small.shape)):
                factors = [entry(*triple) for triple in zip(fine.neurons, to, source, strict=True)]
                dense[fine.start + i, small.start + k] = np.prod(factors)
    return dense


def test_kronecker_blocks_equal_the_loops() -> None:
    layout = mlp_layout(2, (4, 3), 2)
    g = np.random.default_rng(0)
    neuron = [g.standard_normal((4, 2)), g.standard_normal((3, 2))]
    coarse = coarse_layout(layout, [2, 2])
    assert coarse == mlp_layout(2, (2, 2), 2)
    found = parameter_prolongation(layout, neuron)
    np.testing.assert_allclose(found.toarray(), by_loops(layout, coarse, neuron))
    np.testing.assert_allclose(
        parameter_prolongation(layout, [None, neuron[1]]).toarray(),
        by_loops(layout, coarse_layout(layout, [4, 2]), [np.eye(4), neuron[1]]),
    )


def test_network_transfer_restricts_points_by_their_own_map() -> None:
    layout = mlp_layout(1, (4,))
    P, Q = np.full((4, 1), 0.5), np.array([[0.0], [1.0], [0.0], [0.0]])
    x = torch.arange(13, dtype=torch.float64)
    transfer = network_transfer(layout, [P], LIKE, points=[Q])
    assert transfer.restrict_point(x).tolist() == [1.0, 5.0, 9.0, 12.0]
    assert transfer.restrict(x).tolist() == [3.0, 11.0, 19.0, 12.0]
    assert transfer.norm() == pytest.approx(1.0)


def test_selection_equals_index_selection() -> None:
    layout = mlp_layout(2, (5,), 2)
    neurons = torch.tensor([1, 4])
    transfer = selection(layout, neurons)
    x = torch.arange(layout.size, dtype=torch.float64)
    weight, bias, out, last = x[:10].reshape(5, 2), x[10:15], x[15:25].reshape(2, 5), x[25:]
    expected = torch.cat([weight[neurons].ravel(), bias[neurons], out[:, neurons].ravel(), last])
    assert torch.equal(transfer.restrict(x), expected)
    assert torch.equal(transfer.prolong(expected)[transfer.prolong(torch.ones_like(expected)) > 0], expected.sort()[0])
    assert transfer.neurons is neurons
    assert transfer.n_coarse == coarse_layout(layout, [2]).size
    picked = np.eye(5)[:, neurons.numpy()]
    np.testing.assert_array_equal(parameter_prolongation(layout, [picked]).toarray(), transfer.P.dense().numpy())


def test_random_columns_are_orthonormal_and_repeatable() -> None:
    layout = mlp_layout(1, (6,))
    first, again = (random_orthonormal(layout, 4, torch.Generator().manual_seed(3), LIKE) for _ in range(2))
    matrix = first.P.dense()
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(4, dtype=torch.float64))
    assert torch.equal(matrix, again.P.dense())


def point(layout: Layout, seed: int = 0) -> Tensor:
    return torch.randn(layout.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None, max_examples=10)
@given(count=st.integers(1, 9), seed=st.integers(0, 2**31), cycle=st.integers(0, 99))
def test_rules_give_ascending_different_neurons(name: str, count: int, seed: int, cycle: int) -> None:
    layout = mlp_layout(2, (9,))
    found = choose(name, point(layout), layout, count, (seed, cycle))
    assert found.dtype == torch.int64
    assert found.shape == (count,)
    assert bool((found.diff() > 0).all())
    assert 0 <= int(found[0]) <= int(found[-1]) < 9
    assert torch.equal(found, choose(name, point(layout), layout, count, (seed, cycle)))


def test_rules_by_size_take_the_largest() -> None:
    layout = mlp_layout(2, (3,))
    x = torch.tensor([3.0, 4, 0, 1, 2, 2, 100.0, 0, 0, 0.1, 50, -2, 7.0], dtype=torch.float64)
    assert choose("largest", x, layout, 2, 0).tolist() == [0, 2]
    assert choose("largest-output", x, layout, 2, 0).tolist() == [1, 2]


def test_random_rules_change_with_the_cycle_and_follow_the_weights() -> None:
    layout = mlp_layout(1, (40,))
    x = torch.zeros(layout.size, dtype=torch.float64)
    x[:10] = 1.0
    picks = [choose("random", x, layout, 5, (1, cycle)).tolist() for cycle in range(4)]
    assert len({tuple(pick) for pick in picks}) == 4
    assert all(int(choose("weighted", x, layout, 5, (1, cycle)).max()) < 10 for cycle in range(20))
    x[:40], x[0] = 1.0, 39.0
    hits = sum(0 in choose("weighted", x, layout, 1, (2, cycle)).tolist() for cycle in range(400))
    assert 160 <= hits <= 240


@pytest.mark.parametrize("n", [3, 7, 31])
def test_line_is_exact_for_linear_functions_away_from_the_ends(n: int) -> None:
    transfer = linear_1d(n)
    fine = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    prolonged = transfer.prolong(3 * fine[1::2] + 1)
    torch.testing.assert_close(prolonged[1:-1], (3 * fine + 1)[1:-1])
    torch.testing.assert_close(prolonged[[0, -1]], (3 * fine[[1, -2]] + 1) / 2)
    torch.testing.assert_close(transfer.restrict(torch.ones_like(fine)), torch.ones_like(fine[1::2]))


def test_square_is_exact_for_bilinear_functions_away_from_the_boundary() -> None:
    n = 7
    line = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    fine = (1 + line)[:, None] * (2 - line)[None, :]
    transfer = bilinear_2d(n)
    prolonged = transfer.prolong(fine[1::2, 1::2].reshape(-1)).reshape(n, n)
    torch.testing.assert_close(prolonged[1:-1, 1:-1], fine[1:-1, 1:-1])
    torch.testing.assert_close(
        transfer.restrict(torch.ones(n * n, dtype=torch.float64)), torch.ones(9, dtype=torch.float64)
    )
    assert transfer.scale == 0.25


def test_bad_input_is_refused_in_one_sentence() -> None:
    shallow, deep = mlp_layout(1, (4,)), mlp_layout(1, (4, 4))
    x = point(shallow)
    calls: list[tuple[type[MultilevelError], object]] = [
        (InputError, lambda: linear_1d(4)),
        (InputError, lambda: bilinear_2d(1)),
        (ShapeError, lambda: coarse_layout(shallow, [2, 2])),
        (ShapeError, lambda: coarse_layout(shallow, [0])),
        (ShapeError, lambda: parameter_prolongation(deep, [None])),
        (ShapeError, lambda: parameter_prolongation(shallow, [np.ones((3, 2))])),
        (UnsupportedCombination, lambda: selection(deep, torch.tensor([0]))),
        (InputError, lambda: selection(shallow, torch.tensor([4]))),
        (InputError, lambda: selection(shallow, torch.tensor([1, 1]))),
        (InputError, lambda: selection(shallow, torch.tensor([], dtype=torch.int64))),
        (ShapeError, lambda: random_orthonormal(3, 4, torch.Generator(), LIKE)),
        (UnsupportedCombination, lambda: choose("smallest", x, shallow, 2, 0)),
        (UnsupportedCombination, lambda: choose("largest", point(deep), deep, 2, 0)),
        (InputError, lambda: choose("largest", x, shallow, 5, 0)),
        (ShapeError, lambda: choose("largest", x[:5], shallow, 2, 0)),
        (NonFiniteError, lambda: choose("largest", x * float("nan"), shallow, 2, 0)),
    ]
    for error, call in calls:
        with pytest.raises(error) as caught:
            call()  # type: ignore[operator]
        assert "\n" not in str(caught.value)
