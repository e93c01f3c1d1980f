"""Damped least squares by one Cholesky factorization in the smaller of two spaces.

The step minimizes ``½‖r + J s‖² + cᵀs + ½Λ‖s‖²`` with Λ > 0, J of shape (m, n), that is

    (JᵀJ + ΛI) s = −(Jᵀr + c)                                     primal, n × n
    s = −[Jᵀ(JJᵀ + ΛI)⁻¹(r − Jc/Λ) + c/Λ]                          dual, m × m

The Gram matrix is formed once for an expansion; every further Λ costs one factorization only.
Flops: Gram of k vectors of length l counts k²l, a Cholesky factorization k³/3, a product with J 2mn.

On a CPU both are those of scipy: torch has no product that leaves out the symmetric half, and its factorization takes
1.4 times as long (docs/design.md, "Damped steps on a CPU"). Their matrices are stored by columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from multilevel_opt.ledger import Ledger

PANELS = 4
SMALL = 512
PRODUCT: Mapping[torch.dtype, Any] = {torch.float64: blas.dsyrk, torch.float32: blas.ssyrk}
FACTORIZATION: Mapping[torch.dtype, Any] = {torch.float64: lapack.dpotrf, torch.float32: lapack.spotrf}


def gram(a: Tensor) -> Tensor:
    """The lower triangle of ``A Aᵀ`` for A of shape (k, l); what lies above it is arbitrary.

    Where scipy does not serve, large matrices are multiplied in panels, so that most of the symmetric half is never
    computed.
    """
    k = a.shape[0]
    if _on_cpu(a) and a.numel():
        matrix = a.detach().numpy()
        by_columns = matrix.flags.f_contiguous
        return torch.from_numpy(
            PRODUCT[a.dtype](1.0, matrix if by_columns else matrix.T, trans=not by_columns, lower=1)
        )
    if k < SMALL:
        return a @ a.T
    g = a.new_empty(k, k)
    edges = [k * i // PANELS for i in range(PANELS + 1)]
    for lo, hi in pairwise(edges):
        torch.mm(a[lo:], a[lo:hi].T, out=g[lo:, lo:hi])
    return g


def factor(matrix: Tensor) -> Tensor | None:
    """L with L Lᵀ = ``matrix`` (k, k), of which only the lower triangle is read, as of L; ``matrix`` is overwritten.

    None when the matrix is not numerically positive definite, or has NaN there, or overflows.
    """
    if not (_on_cpu(matrix) and matrix.numel()):
        found, info = torch.linalg.cholesky_ex(matrix)
        return found if int(info) == 0 else None
    array = matrix.numpy()
    by_columns = array.flags.f_contiguous
    made, info = FACTORIZATION[matrix.dtype](
        array if by_columns else array.T, lower=by_columns, clean=False, overwrite_a=True
    )
    found = torch.from_numpy(made if by_columns else made.T)
    return found if info == 0 and bool(found[-1, -1].isfinite()) else None  # the last pivot has met every entry


def _on_cpu(a: Tensor) -> bool:
    return a.device.type == "cpu" and a.dtype in PRODUCT


class DampedSystem:
    """The family of systems above for one (r, J, c) and any Λ.

    Args:
        residual: r of shape (m,).
        jacobian: J of shape (m, n).
        linear: c of shape (n,), or None for zero.
        gradient: Jᵀr + c of shape (n,).
        dual: factorize in R^m (cheaper when m < n) instead of R^n.
        ledger: where flops are recorded.

    Attributes:
        trace: of JᵀJ, the sum of the squares of J.
    """

    def __init__(
        self,
        residual: Tensor,
        jacobian: Tensor,
        linear: Tensor | None,
        gradient: Tensor,
        dual: bool,
        ledger: Ledger,
    ) -> None:
        m, n = jacobian.shape
        self._r, self._j, self._c, self._g = residual, jacobian, linear, gradient
        self.dual = dual
        self._ledger = ledger
        self._size = m if dual else n
        self._gram = gram(jacobian if dual else jacobian.T)
        self.trace = float(self._gram.diagonal().sum())
        ledger.work(float(m) * n * self._size)
        ledger.holds((m * n + 2 * self._size**2) * jacobian.element_size())
        self._jc: Tensor | None = None
        if dual and linear is not None:
            self._jc = jacobian @ linear
            ledger.work(2.0 * m * n)
        self._factor: Tensor | None = None
        self._damping = 0.0

    def factorize(self, damping: float) -> bool:
        """Factorize for Λ = damping; False when the matrix is not numerically positive definite."""
        shifted = self._gram.clone()
        shifted.diagonal().add_(damping)
        self._ledger.work(self._size**3 / 3)
        self._damping = damping
        self._factor = factor(shifted)
        return self._factor is not None

    def solve(self) -> Tensor:
        """The step s of shape (n,) for the last Λ."""
        if not self.dual:
            return -self._back(self._g)
        if self._c is None or self._jc is None:
            return -self._transposed(self._back(self._r))
        y = self._back(self._r - self._jc / self._damping)
        return -(self._transposed(y) + self._c / self._damping)

    def correct(self, second: Tensor) -> Tensor:
        """−½(JᵀJ + ΛI)⁻¹Jᵀ r'' for r'' of shape (m,): the geodesic acceleration (Transtrum & Sethna 2012)."""
        if self.dual:
            return -0.5 * self._transposed(self._back(second))
        return -0.5 * self._back(self._transposed(second))

    def _transposed(self, w: Tensor) -> Tensor:
        self._ledger.work(2.0 * self._j.numel())
        return self._j.T @ w

    def _back(self, rhs: Tensor) -> Tensor:
        assert self._factor is not None, "factorize before solving"
        self._ledger.work(2.0 * self._size**2)
        return torch.cholesky_solve(rhs[:, None], self._factor)[:, 0]
