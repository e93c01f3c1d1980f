"""Symmetric matrices on a uniform grid, given by a diagonal and the couplings to a few neighbours.

With unknowns v on an n x … x n grid, a diagonal d and couplings c_e between every point i and i + e,

    (A v)_i = d_i v_i + Σ_e ( c_e[i] v_{i+e} + c_e[i−e] v_{i−e} ),

where neighbours outside of the grid count as zero. A product is one multiplication and a few in-place slice
operations; no index is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError

Coupling = tuple[tuple[int, ...], Tensor | float]


class Stencil:
    """A symmetric matrix of a few diagonals on a grid.

    Args:
        grid: sides of the grid, such as ``(n, n)``.
        diagonal: d, of shape ``grid``; or one number.
        couplings: pairs (offset e, c_e); c_e is one number, or has the shape of the points that have a
            neighbour at e, in the order of the grid.

    Raises:
        ShapeError: the diagonal or a coupling does not fit the grid.
    """

    def __init__(self, grid: tuple[int, ...], diagonal: Tensor | float, couplings: Sequence[Coupling]) -> None:
        self.grid, self.center, self.couplings = grid, diagonal, tuple(couplings)
        self._pairs = [(_slices(grid, e), _slices(grid, tuple(-k for k in e)), c) for e, c in couplings]
        for offset, c in self.couplings:
            shape = tuple(n - abs(k) for n, k in zip(grid, offset, strict=True))
            if isinstance(c, Tensor) and c.shape != shape:
                raise ShapeError(f"the coupling to {offset} must have shape {shape}, got {tuple(c.shape)}")
        if isinstance(diagonal, Tensor) and diagonal.shape != grid:
            raise ShapeError(f"the diagonal must have shape {grid}, got {tuple(diagonal.shape)}")

    @property
    def flops(self) -> float:
        """Of one product: two for every entry of a row, whether it is stored or one number."""
        return 2.0 * prod(self.grid) * (1 + 2 * len(self.couplings))

    def __call__(self, v: Tensor) -> Tensor:
        """A v for v of shape (..., n) or (..., *grid), in the same shape."""
        field = v.reshape(*v.shape[:-1], *self.grid) if v.shape[-len(self.grid) :] != self.grid else v
        out = field * self.center
        for here, there, c in self._pairs:
            if isinstance(c, Tensor):
                out[here].addcmul_(c, field[there])
                out[there].addcmul_(c, field[here])
            else:
                out[here].add_(field[there], alpha=c)
                out[there].add_(field[here], alpha=c)
        return out.reshape(v.shape)

    def diagonal(self, like: Tensor) -> Tensor:
        """D as a vector of shape (n,) in the dtype and on the device of ``like``."""
        if isinstance(self.center, Tensor):
            return self.center.reshape(-1)
        return torch.full((prod(self.grid),), self.center, dtype=like.dtype, device=like.device)

    def matrix(self, like: Tensor) -> Tensor:
        """The dense matrix of shape (n, n)."""
        return self(torch.eye(prod(self.grid), dtype=like.dtype, device=like.device))

    def to_scipy(self, like: Tensor) -> scipy.sparse.csr_array:
        """The matrix for scipy, shape (n, n); ``like`` gives the dtype where the diagonal is one number."""
        number = np.arange(prod(self.grid)).reshape(self.grid)
        rows, columns = [number.ravel()], [number.ravel()]
        values = [self.diagonal(like).cpu().numpy()]
        for here, there, c in self._pairs:
            i, j = number[here].ravel(), number[there].ravel()
            entries = c.reshape(-1).cpu().numpy() if isinstance(c, Tensor) else np.full(i.size, c)
            rows, columns, values = [*rows, i, j], [*columns, j, i], [*values, entries, entries]
        entries = np.concatenate(values)
        return scipy.sparse.csr_array((entries, (np.concatenate(rows), np.concatenate(columns))))

    def spread(self, like: Tensor) -> float:
        """Gershgorin's bound max_i Σ_j |a_ij| / a_ii of the eigenvalues of D⁻¹A; infinite where some a_ii ≤ 0."""
        center = (
            self.center if isinstance(self.center, Tensor) else torch.full_like(like, self.center).reshape(self.grid)
        )
        if not bool((center > 0).all()):
            return inf
        sizes = [(e, c.abs() if isinstance(c, Tensor) else abs(c)) for e, c in self.couplings]
        sums = Stencil(self.grid, center, sizes)(torch.ones_like(center))
        return float((sums / center).max())

    def shifted(self, diagonal: Tensor | float) -> Stencil:
        """The same couplings with ``diagonal`` (of shape ``grid``, or a number) added to d."""
        other = object.__new__(Stencil)
        other.grid, other.center, other.couplings = self.grid, self.center + diagonal, self.couplings
        other._pairs = self._pairs
        return other


def laplacian(n: int, dim: int, spacing: float) -> Stencil:
    """−Δ by second differences in the scaling of the energy ½∫|∇u|², zero values outside: h^{d−2} (2d, −1, …)."""
    weight = spacing ** (dim - 2)
    offsets = [tuple(int(axis == other) for other in range(dim)) for axis in range(dim)]
    return Stencil((n,) * dim, 2 * dim * weight, [(offset, -weight) for offset in offsets])


def _slices(grid: tuple[int, ...], offset: tuple[int, ...]) -> tuple[Any, ...]:
    """The points that have a neighbour at ``offset``."""
    cuts = (slice(max(0, -k), n - max(0, k)) for n, k in zip(grid, offset, strict=True))
    return (..., *cuts)
