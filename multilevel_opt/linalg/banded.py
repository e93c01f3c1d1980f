"""Symmetric sparse matrices of narrow band, solved by Cholesky factors within the band (LAPACK's ``pbsv``, ``ptsv``).

Chains of elements have such matrices, if not in the order of their variables, then after renumbering them (Cuthill &
McKee 1969). A solve costs O(n k²) operations with k entries beside the diagonal, and tells whether the matrix is
positive definite.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """The pattern of a matrix whose entries are given as those of a sparse matrix (CSR).

    Attributes:
        n: size.
        width: k, the largest distance from the diagonal.
        order: variables in the order of the rows of the band, int64 of shape (n,); None for their own.
        source: where the columns of the band, (n, k + 1) in the order of LAPACK, find their numbers, int64: an entry,
            or how many there are for a zero.
    """

    n: int
    width: int
    order: Numbers | None
    source: Tensor

    @classmethod
    def of(cls, pattern: Any) -> Band | None:
        """The band of a symmetric ``scipy.sparse.csr_array``; None where it is wider than ``WIDEST``."""
        n = pattern.shape[0]
        rows, columns = np.repeat(np.arange(n), np.diff(pattern.indptr)), pattern.indices.astype(np.int64)
        order = None
        if len(rows) and int(abs(rows - columns).max()) > WIDEST:
            order = reverse_cuthill_mckee(scipy.sparse.csr_matrix(pattern), symmetric_mode=True).astype(np.int64)
            place = np.empty_like(order)
            place[order] = np.arange(n)
            rows, columns = place[rows], place[columns]
        below = rows - columns
        width = int(below.max(initial=0))
        if width > WIDEST:
            return None
        source = np.full((n, width + 1), len(rows))
        kept = np.flatnonzero(below >= 0)
        source[columns[kept], below[kept]] = kept
        return cls(n, width, order, torch.from_numpy(source.reshape(-1)))

    @property
    def flops(self) -> float:
        """Floating-point operations of one solve."""
        return float(self.n * (self.width * (self.width + 7) + 2))

    def solve(self, values: Tensor, v: Tensor, shift: float = 0.0) -> Tensor | None:
        """(A + σI)⁻¹v, shape (n,), for the entries of A; None where A + σI is not positive definite, or not finite."""
        whole = torch.nn.functional.pad(values, (0, 1)).index_select(0, self.source)
        diagonals = whole.numpy().reshape(self.n, self.width + 1).T
        if shift:
            diagonals[0] += shift
        right = v.numpy() if self.order is None else v.numpy()[self.order]
        try:
            found = scipy.linalg.solveh_banded(diagonals, right, overwrite_ab=True, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        x = torch.from_numpy(found)
        if self.order is not None:
            x = torch.empty_like(x).index_copy_(0, torch.from_numpy(self.order), x)
        return x if bool(torch.isfinite(x.sum())) else None
