"""Linear operators A: R^n -> R^m that know ``A v``, ``Aᵀ w`` and the product ``J A`` with a dense J.

Prolongations, Jacobians and their products are all of this kind, so that the solver never asks how a
matrix is stored: dense, sparse, a selection of coordinates, or a pair of functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError


class LinearOperator(ABC):
    """A linear map of shape (m, n).

    Attributes:
        shape: (m, n).
        nnz: stored entries; a product costs 2 nnz flops.
        isometric: known to keep the norm of every vector.
        identity: known to change nothing.
    """

    shape: tuple[int, int]
    nnz: int
    isometric: bool = False
    identity: bool = False

    @abstractmethod
    def matvec(self, v: Tensor) -> Tensor:
        """A v, shapes (n,) -> (m,)."""

    @abstractmethod
    def rmatvec(self, w: Tensor) -> Tensor:
        """Aᵀ w, shapes (m,) -> (n,)."""

    @abstractmethod
    def after(self, dense: Tensor) -> Tensor:
        """The product ``dense @ A`` of a dense (k, m) matrix with this operator, shape (k, n)."""

    def dense(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """The matrix itself, shape (m, n)."""
        return self.after(torch.eye(self.shape[0], dtype=dtype, device=device))

    def to_scipy(self, like: Tensor | None = None) -> scipy.sparse.linalg.LinearOperator:
        """The same operator for scipy; products run on the dtype and device of ``like``."""
        target = torch.empty(0, dtype=torch.float64, device="cpu") if like is None else like
        options: dict[str, Any] = {"dtype": target.dtype, "device": target.device}

        def wrapped(product: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
            return lambda v: product(torch.as_tensor(np.ravel(v).copy(), **options)).cpu().numpy()

        return scipy.sparse.linalg.LinearOperator(
            self.shape, matvec=wrapped(self.matvec), rmatvec=wrapped(self.rmatvec), dtype=np.float64
        )


class Dense(LinearOperator):
    """An explicit (m, n) matrix."""

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2:
            raise ShapeError(f"a matrix must have two dimensions, got shape {tuple(matrix.shape)}")
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.nnz = matrix.numel()

    def matvec(self, v: Tensor) -> Tensor:
        return self.matrix @ v

    def rmatvec(self, w: Tensor) -> Tensor:
        return self.matrix.T @ w

    def after(self, dense: Tensor) -> Tensor:
        return dense @ self.matrix


class Deferred(Dense):
    """An (m, n) matrix that is computed when it is first used."""

    def __init__(self, shape: tuple[int, int], make: Callable[[], Tensor]) -> None:
        self.shape = shape
        self.nnz = shape[0] * shape[1]
        self._make = make

    @cached_property
    def matrix(self) -> Tensor:  # type: ignore[override]
        """The entries."""
        return self._make()

    @property
    def formed(self) -> bool:
        """Whether the entries have been computed."""
        return "matrix" in vars(self)


class Sparse(LinearOperator):
    """A sparse matrix, given as anything that ``scipy.sparse.coo_array`` takes."""

    def __init__(self, matrix: Any, like: Tensor) -> None:
        coo = scipy.sparse.coo_array(matrix)
        index = torch.as_tensor(np.stack([coo.row, coo.col]).astype(np.int64), device=like.device)
        values = torch.as_tensor(coo.data, dtype=like.dtype, device=like.device)
        self._forward = torch.sparse_coo_tensor(
            index, values, coo.shape, device=like.device, check_invariants=True
        ).coalesce()
        self._adjoint = self._forward.t().coalesce()
        self.shape = (int(coo.shape[0]), int(coo.shape[1]))
        self.nnz = int(coo.nnz)

    def matvec(self, v: Tensor) -> Tensor:
        return torch.mv(self._forward, v)

    def rmatvec(self, w: Tensor) -> Tensor:
        return torch.mv(self._adjoint, w)

    def after(self, dense: Tensor) -> Tensor:
        product: Tensor = torch.sparse.mm(self._adjoint, dense.T)
        return product.T

    @property
    def values(self) -> Tensor:
        """The stored entries, shape (nnz,)."""
        values: Tensor = self._forward.values()
        return values

    @property
    def rows(self) -> Tensor:
        """The row of every stored entry, int64 of shape (nnz,)."""
        return self._forward.indices()[0]

    @property
    def columns(self) -> Tensor:
        """The column of every stored entry, int64 of shape (nnz,)."""
        return self._forward.indices()[1]

    def scipy_matrix(self) -> Any:
        """The matrix as ``scipy.sparse.csr_array``."""
        t = self._forward.cpu()
        return scipy.sparse.csr_array((t.values().numpy(), t.indices().numpy()), shape=self.shape)


class Selection(LinearOperator):
    """The (m, n) injection that puts n numbers at the places ``indices`` of a vector of length m."""

    isometric = True

    def __init__(self, indices: Tensor, size: int) -> None:
        self.indices = indices
        self.shape = (size, indices.numel())
        self.nnz = indices.numel()

    def matvec(self, v: Tensor) -> Tensor:
        return v.new_zeros(self.shape[0]).index_copy(0, self.indices, v)

    def rmatvec(self, w: Tensor) -> Tensor:
        return w[self.indices]

    def after(self, dense: Tensor) -> Tensor:
        return dense[:, self.indices]


class Identity(LinearOperator):
    """The identity of R^n; it costs nothing."""

    isometric = True
    identity = True
    nnz = 0

    def __init__(self, size: int) -> None:
        self.shape = (size, size)

    def matvec(self, v: Tensor) -> Tensor:
        return v

    def rmatvec(self, w: Tensor) -> Tensor:
        return w

    def after(self, dense: Tensor) -> Tensor:
        return dense


class Product(LinearOperator):
    """Given by two functions; ``after`` falls back to one transposed product per row."""

    def __init__(
        self,
        shape: tuple[int, int],
        matvec: Callable[[Tensor], Tensor],
        rmatvec: Callable[[Tensor], Tensor],
    ) -> None:
        self.shape = shape
        self.nnz = shape[0] * shape[1]
        self._matvec, self._rmatvec = matvec, rmatvec

    def matvec(self, v: Tensor) -> Tensor:
        return self._matvec(v)

    def rmatvec(self, w: Tensor) -> Tensor:
        return self._rmatvec(w)

    def after(self, dense: Tensor) -> Tensor:
        return torch.stack([self._rmatvec(row) for row in dense])


class ByRows(Product):
    """A product of which single rows can be had as a matrix, without the others."""

    def __init__(
        self,
        shape: tuple[int, int],
        matvec: Callable[[Tensor], Tensor],
        rmatvec: Callable[[Tensor], Tensor],
        some: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(shape, matvec, rmatvec)
        self.some = some  # row numbers (k,) -> (k, n)


def composed(outer: LinearOperator, inner: LinearOperator) -> Product:
    """The operator ``outer @ inner``."""
    return Product(
        (outer.shape[0], inner.shape[1]),
        lambda v: outer.matvec(inner.matvec(v)),
        lambda w: inner.rmatvec(outer.rmatvec(w)),
    )
