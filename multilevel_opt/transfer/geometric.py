"""Linear interpolation between nested uniform grids with homogeneous Dirichlet ends, in 1-D and 2-D.

Unknowns are the interior points. With n (odd) points per side, coarse point j >= 0 is fine point 2j+1, and

    (P c)_{2j+1} = c_j,   (P c)_{2j} = (c_{j-1} + c_j)/2,   c_{-1} = c_{n_c} = 0,   n_c = (n-1)/2.

In 2-D the rows of points follow each other and P ⊗ P is bilinear. R = Pᵀ/2 or Pᵀ/4 is full weighting (Briggs,
Henson, McCormick, A Multigrid Tutorial, 2000, chapter 3), which serves for points as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.transfer.operator import TransferOperator


def linear_1d(n: int, like: Tensor | None = None) -> TransferOperator:
    """Linear interpolation from (n-1)/2 to n interior points, R = Pᵀ/2.

    Args:
        n: fine points, odd and at least 3 (2^k - 1 to coarsen down to one point).
        like: dtype and device; default float64 on the CPU.

    Raises:
        InputError: n is even or below 3.
    """
    return TransferOperator(_interpolation(n), scale=0.5, like=like)


def bilinear_2d(n: int, like: Tensor | None = None) -> TransferOperator:
    """Bilinear interpolation from ((n-1)/2)² to n² interior points of a square, R = Pᵀ/4.

    Args:
        n: fine points per side, odd and at least 3.
        like: dtype and device; default float64 on the CPU.

    Raises:
        InputError: n is even or below 3.
    """
    line = _interpolation(n)
    return TransferOperator(scipy.sparse.kron(line, line, format="csr"), scale=0.25, like=like)


def _interpolation(n: int) -> Any:
    if n < 3 or n % 2 == 0:
        raise InputError(f"{n} interior points per side have no nested coarse grid: use an odd number >= 3")
    coarse = np.arange((n - 1) // 2)
    rows = np.concatenate([2 * coarse, 2 * coarse + 1, 2 * coarse + 2])
    weights = np.repeat([0.5, 1.0, 0.5], coarse.size)
    return scipy.sparse.csr_array((weights, (rows, np.tile(coarse, 3))), shape=(n, coarse.size))
