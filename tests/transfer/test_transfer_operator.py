"""The pair (P, R): adjointness for every kind of P, refusals in one sentence, norms, dtype and device."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError, ShapeError
from multilevel_opt.linalg.operator import Dense, Product, Selection, Sparse
from multilevel_opt.objective.layout import mlp_layout
from multilevel_opt.transfer.blocks import network_transfer, random_orthonormal, selection
from multilevel_opt.transfer.geometric import bilinear_2d, linear_1d
from multilevel_opt.transfer.operator import TransferOperator

LIKE = torch.zeros(0, dtype=torch.float64)


def full(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def product(g: torch.Generator) -> Product:
    matrix = full(g, 9, 4)
    return Product((9, 4), lambda v: matrix @ v, lambda w: matrix.T @ w)


def sparse(g: torch.Generator) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(np.tril(full(g, 9, 4).numpy()))


KINDS: dict[str, Callable[[torch.Generator], TransferOperator]] = {
    "dense": lambda g: TransferOperator(full(g, 9, 4), scale=0.3),
    "numpy": lambda g: TransferOperator(full(g, 9, 4).numpy()),
    "sparse": lambda g: TransferOperator(sparse(g), scale=2.0),
    "selection": lambda g: TransferOperator(Selection(torch.tensor([7, 1, 4]), 9)),
    "functions": lambda g: TransferOperator(product(g)),
    "line": lambda g: linear_1d(9),
    "square": lambda g: bilinear_2d(5),
    "neurons": lambda g: selection(mlp_layout(2, (6,), 1), torch.tensor([0, 3, 5])),
    "random": lambda g: random_orthonormal(10, 3, g, LIKE),
    "network": lambda g: network_transfer(mlp_layout(2, (5, 4)), [full(g, 5, 2).numpy(), None], LIKE),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_restriction_is_the_scaled_adjoint(kind: str, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    transfer = KINDS[kind](g)
    s, y, jacobian = full(g, transfer.n_coarse), full(g, transfer.n_fine), full(g, 3, transfer.n_fine)
    assert transfer.prolong(s) @ y * transfer.scale == pytest.approx(float(s @ transfer.restrict(y)), abs=1e-11)
    torch.testing.assert_close(transfer.pull_jacobian(jacobian) @ s, jacobian @ transfer.prolong(s))
    torch.testing.assert_close(transfer.restrict_point(y), transfer.restrict(y))


@pytest.mark.parametrize("kind", KINDS)
def test_norm_equals_largest_singular_value(kind: str) -> None:
    transfer = KINDS[kind](torch.Generator().manual_seed(0))
    dense = transfer.P.dense(device="cpu")
    assert transfer.norm() == pytest.approx(float(torch.linalg.matrix_norm(dense, 2)), rel=1e-6)
    assert transfer.norm() is transfer.norm()


def test_norm_of_large_operators_is_a_close_lower_estimate() -> None:
    g = torch.Generator().manual_seed(0)
    matrix = full(g, 530, 520) + 5.0
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    for transfer in (TransferOperator(matrix), TransferOperator(scipy.sparse.csr_array(matrix.numpy()))):
        assert 0.999 * exact <= transfer.norm() <= exact * (1 + 1e-12)


def test_points_have_a_map_of_their_own() -> None:
    matrix = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    mean = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    transfer = TransferOperator(matrix, points=mean)
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(transfer.restrict_point(x), mean @ x)
    torch.testing.assert_close(transfer.restrict(x), matrix.T @ x)
    assert "own map for points" in repr(transfer)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"P": torch.ones(2, 3)}, ShapeError),
        ({"P": torch.ones(3)}, ShapeError),
        ({"P": torch.ones(3, 0)}, ShapeError),
        ({"P": torch.tensor([[1.0, 0.0], [2.0, 0.0]])}, InputError),
        ({"P": scipy.sparse.csr_array(np.array([[1.0, 0.0], [2.0, 0.0]]))}, InputError),
        ({"P": torch.tensor([[1.0], [float("nan")]])}, NonFiniteError),
        ({"P": np.array([[1.0], [np.inf]])}, NonFiniteError),
        ({"P": Selection(torch.tensor([1, 1]), 3)}, InputError),
        ({"P": Selection(torch.tensor([3]), 3)}, InputError),
        ({"P": [[1.0], [2.0]]}, InputError),
        ({"P": torch.ones(3, 2), "scale": 0.0}, InputError),
        ({"P": torch.ones(3, 2), "points": torch.ones(3, 2)}, ShapeError),
        ({"P": torch.ones(3, 1), "points": torch.full((1, 3), float("nan"))}, NonFiniteError),
    ],
)
def test_bad_operators_are_refused_in_one_sentence(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        TransferOperator(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_bad_arguments_are_refused() -> None:
    transfer = linear_1d(5)
    for call in (transfer.prolong, transfer.restrict, transfer.restrict_point, transfer.pull_jacobian):
        with pytest.raises(ShapeError, match="must have"):
            call(torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_moves_to_another_dtype(kind: str) -> None:
    transfer = KINDS[kind](torch.Generator().manual_seed(0))
    if isinstance(transfer.P, Dense | Sparse | Selection):
        like = torch.zeros(0, dtype=torch.float32)
        moved = transfer.to(like)
        s = torch.ones(moved.n_coarse, dtype=torch.float32)
        assert moved.prolong(s).dtype == moved.restrict(moved.prolong(s)).dtype == torch.float32
        assert (moved.scale, moved.nnz) == (transfer.scale, transfer.nnz)


def test_ignores_default_device_and_dtype() -> None:
    like = torch.ones(5, dtype=torch.float64)
    jacobian = torch.ones(2, 5, dtype=torch.float64)
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float16)
        neurons = torch.zeros(1, dtype=torch.int64, device="cpu")
        kinds = (
            linear_1d(5, like),
            TransferOperator(np.eye(5)[:, :2]),
            selection(mlp_layout(1, (1,)), neurons),
            random_orthonormal(5, 2, torch.Generator(device="cpu"), like),
            network_transfer(mlp_layout(1, (1,)), [None], like),
        )
        for transfer in kinds:
            assert transfer.norm() > 0
            assert transfer.prolong(transfer.restrict(like[: transfer.n_fine])).dtype == torch.float64
            transfer.pull_jacobian(jacobian[:, : transfer.n_fine])
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(dtype)
