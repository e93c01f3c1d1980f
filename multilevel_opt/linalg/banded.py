"""Symmetric sparse matrices of narrow band, solved by Cholesky factors within the band (LAPACK's ``pbsv``, ``ptsv``).

Chains of elements have such matrices, if not in the order of their variables, then after renumbering them (Cuthill &
McKee 1969). A solve costs O(n k²) operations with k entries beside the diagonal, and tells whether the matrix is
positive definite.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
import torch
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

WIDEST = 8  # beyond, conjugate gradients are cheaper

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Band:
    """The pattern of a symmetric matrix, given by the columns of its lower half, (n, k + 1), as LAPACK is.

    Attributes:
        n: size.
        width: k, the largest distance from the diagonal.
        order: variables in the order of the rows of the band, int64 of shape (n,); None for their own.
    """

    n: int
    width: int
    order: Numbers | None

    @classmethod
    def of(cls, pattern: Any) -> Band | None:
        """The band of a symmetric ``scipy.sparse.csr_array``; None where it is wider than ``WIDEST``."""
        n, degrees = pattern.shape[0], np.diff(pattern.indptr)
        if degrees.max(initial=0) > 2 * WIDEST + 1:
            return None
        rows, columns = np.repeat(np.arange(n), degrees), pattern.indices.astype(np.int64)
        order = None
        if len(rows) and int(abs(rows - columns).max()) > WIDEST:
            order = reverse_cuthill_mckee(scipy.sparse.csr_matrix(pattern), symmetric_mode=True).astype(np.int64)
            place = np.empty_like(order)
            place[order] = np.arange(n)
            rows, columns = place[rows], place[columns]
        width = int((rows - columns).max(initial=0))
        return None if width > WIDEST else cls(n, width, order)

    def slots(self, a: Numbers, b: Numbers) -> Numbers:
        """Where the entries of variables a and b lie among the numbers; one behind the last for a variable n."""
        if self.order is not None:
            place = np.arange(self.n + 1)
            place[self.order] = np.arange(self.n)
            a, b = place[a], place[b]
        first, last = np.minimum(a, b), np.maximum(a, b)
        found: Numbers = np.where(last == self.n, self.size, first * self.width + last)  # first (k + 1) + last − first
        return found

    @property
    def size(self) -> int:
        """Numbers of the band."""
        return self.n * (self.width + 1)

    @property
    def nnz(self) -> int:
        """Entries of the matrix, both halves."""
        return self.n * (2 * self.width + 1)

    @property
    def flops(self) -> float:
        """Floating-point operations of one solve."""
        return float(self.n * (self.width * (self.width + 7) + 2))

    def matvec(self, numbers: Tensor, v: Tensor) -> Tensor:
        """A v, shape (n,), for the numbers of A, shape (n(k + 1),)."""
        diagonals = numbers.view(self.n, self.width + 1)
        u = v if self.order is None else v.index_select(0, torch.from_numpy(self.order))
        total = diagonals[:, 0] * u
        for k in range(1, min(self.width, self.n - 1) + 1):
            entries = diagonals[: self.n - k, k]
            total[k:].addcmul_(entries, u[: self.n - k])
            total[: self.n - k].addcmul_(entries, u[k:])
        return total if self.order is None else self._restored(total)

    def solve(self, numbers: Tensor, v: Tensor, shift: float = 0.0) -> Tensor | None:
        """(A + σI)⁻¹v, shape (n,); None where A + σI is not positive definite, or not finite.

        Args:
            numbers: of A, in the places that ``slots`` gives, shape (n(k + 1),); they are overwritten.
            v: shape (n,).
            shift: σ.
        """
        diagonals = numbers.numpy().reshape(self.n, self.width + 1).T
        if shift:
            diagonals[0] += shift
        right = v.numpy() if self.order is None else v.numpy()[self.order]
        if self.width == 1:
            (solve,) = scipy.linalg.get_lapack_funcs(("ptsv",), (diagonals, right))
            *_, found, failed = solve(diagonals[0], diagonals[1, :-1], right)
        else:
            (solve,) = scipy.linalg.get_lapack_funcs(("pbsv",), (diagonals, right))
            _, found, failed = solve(diagonals, right, lower=True, overwrite_ab=True)
        if failed or not isfinite(float(found.sum())):
            return None
        x = torch.from_numpy(found)
        return x if self.order is None else self._restored(x)

    def _restored(self, x: Tensor) -> Tensor:
        """A vector in the order of the variables."""
        return torch.empty_like(x).index_copy_(0, torch.from_numpy(self.order), x)
