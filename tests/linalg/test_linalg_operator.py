"""Every kind of operator against its dense matrix."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.linalg.operator import Dense, LinearOperator, Product, Selection, Sparse, composed

M, N = 6, 4
LIKE = torch.zeros(0, dtype=torch.float64)


def matrix() -> Tensor:
    A = torch.randn(M, N, dtype=torch.float64)
    return torch.where(A.abs() > 0.5, A, torch.zeros_like(A))


def selection(_: Tensor) -> tuple[LinearOperator, Tensor]:
    index = torch.tensor([5, 0, 3, 2])
    return Selection(index, M), torch.eye(M, dtype=torch.float64)[:, index]


def product(A: Tensor) -> LinearOperator:
    return Product((M, N), lambda v: A @ v, lambda w: A.T @ w)


KINDS: dict[str, Callable[[Tensor], tuple[LinearOperator, Tensor]]] = {
    "dense": lambda A: (Dense(A), A),
    "sparse": lambda A: (Sparse(scipy.sparse.csr_array(A.numpy()), LIKE), A),
    "coo": lambda A: (Sparse(scipy.sparse.coo_matrix(A.numpy()), LIKE), A),
    "selection": selection,
    "functions": lambda A: (product(A), A),
    "composed": lambda A: (composed(Dense(A), Dense(A.T)), A @ A.T),
    "composed functions": lambda A: (composed(product(A), Dense(A.T @ A)), A @ A.T @ A),
}


@pytest.mark.parametrize("kind", KINDS)
def test_products_equal_the_dense_ones(kind: str) -> None:
    operator, A = KINDS[kind](matrix())
    m, n = A.shape
    v, w, J = (torch.randn(*shape, dtype=torch.float64) for shape in ((n,), (m,), (3, m)))
    assert operator.shape == (m, n)
    torch.testing.assert_close(operator.matvec(v), A @ v)
    torch.testing.assert_close(operator.rmatvec(w), A.T @ w)
    torch.testing.assert_close(operator.after(J), J @ A)
    torch.testing.assert_close(operator.dense(device="cpu"), A)


@pytest.mark.parametrize("kind", KINDS)
def test_scipy_sees_the_same_operator(kind: str) -> None:
    operator, A = KINDS[kind](matrix())
    other = operator.to_scipy()
    rng = np.random.default_rng(0)
    v, w = rng.standard_normal(A.shape[1]), rng.standard_normal(A.shape[0])
    np.testing.assert_allclose(other.matvec(v), A.numpy() @ v)
    np.testing.assert_allclose(other.rmatvec(w), A.numpy().T @ w)
    np.testing.assert_allclose(other @ np.eye(A.shape[1]), A.numpy())


def test_stored_entries() -> None:
    A = matrix()
    nonzero = int((A != 0).sum())
    assert Dense(A).nnz == M * N
    assert Sparse(scipy.sparse.csr_array(A.numpy()), LIKE).nnz == nonzero
    assert selection(A)[0].nnz == N


def test_sparse_sums_duplicates_as_scipy_does() -> None:
    coo = scipy.sparse.coo_array((np.array([1.0, 2.0]), (np.array([0, 0]), np.array([1, 1]))), shape=(2, 2))
    operator = Sparse(coo, LIKE)
    assert operator.dense(device="cpu").tolist() == [[0.0, 3.0], [0.0, 0.0]]
    assert operator.scipy_matrix().toarray().tolist() == [[0.0, 3.0], [0.0, 0.0]]


def test_a_tensor_of_another_rank_is_no_matrix() -> None:
    with pytest.raises(ShapeError, match="two dimensions"):
        Dense(torch.ones(3))
