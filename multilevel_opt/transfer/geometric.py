"""Interpolation between uniform grids with homogeneous Dirichlet ends, in one, two or three dimensions.

Unknowns are the interior points. With n (odd) points per side, coarse point j >= 0 is fine point 2j+1, and

    (P c)_{2j+1} = c_j,   (P c)_{2j} = (c_{j-1} + c_j)/2,   c_{-1} = c_{n_c} = 0,   n_c = (n-1)/2.

An even n has no nested coarse grid; there P is linear interpolation between the positions of n and n/2 points.
In more dimensions P is the product of P along every axis, and R = Pᵀ/2^d is full weighting (Briggs, Henson,
McCormick, A Multigrid Tutorial, 2000, chapter 3). ``energy_transfer`` is the pair for energies ∫: there
gradients go by Pᵀ, points by full weighting, and points of the coarse grid up by cubic interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.linalg.operator import LinearOperator, Sparse
from multilevel_opt.transfer.operator import TransferOperator, spectral_norm


class Line:
    """Interpolation along one axis, from n_c to n points, applied along the first axis of a tensor.

    Attributes:
        first: for every fine point the first coarse point it uses, where the two ends count as points.
        weights: of that point and those that follow, shape (points, n).
        matrix: the same as a matrix of shape (n, n_c).
    """

    def __init__(self, n: int, n_coarse: int, points: int) -> None:
        self.n, self.n_coarse = n, n_coarse
        points = min(points, n_coarse + 2)
        fine = (np.arange(1, n + 1) * (n_coarse + 1)) / (n + 1)  # in coarse spacings
        self.first = np.clip(np.floor(fine + 1e-9).astype(int) - (points // 2 - 1), 0, n_coarse + 2 - points)
        place = fine - self.first
        others = [[k for k in range(points) if k != j] for j in range(points)]
        self.weights = np.array([np.prod([(place - k) / (j - k) for k in others[j]], axis=0) for j in range(points)])
        self.weights[np.abs(self.weights) < 1e-14] = 0.0
        padded = np.zeros((n, n_coarse + 2))
        for j in range(points):
            padded[np.arange(n), self.first + j] = self.weights[j]
        self.matrix = padded[:, 1:-1]
        self.nnz = int(np.count_nonzero(self.matrix))

    def up(self, c: Tensor, out: Tensor) -> None:
        """Write P c into ``out``."""
        end = c.new_zeros(1, *c.shape[1:])
        padded = torch.cat([end, c, end])
        out.zero_()
        for index, weights in self._terms(c):
            out.addcmul_(weights, padded[index])

    def down(self, g: Tensor, out: Tensor) -> None:
        """Write Pᵀ g into ``out``."""
        padded = g.new_zeros(self.n_coarse + 2, *g.shape[1:])
        for index, weights in self._terms(g):
            padded.index_add_(0, index, weights * g)
        out.copy_(padded[1:-1])

    def _terms(self, v: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for j, weights in enumerate(self.weights):
            index = torch.as_tensor(self.first + j, device=v.device)
            yield index, torch.as_tensor(weights, dtype=v.dtype, device=v.device).reshape(-1, *(1,) * (v.ndim - 1))


class Halved(Line):
    """Linear interpolation between nested grids, by slices."""

    def up(self, c: Tensor, out: Tensor) -> None:
        out[1::2] = c
        out[2:-1:2] = (c[:-1] + c[1:]).mul_(0.5)
        out[0] = 0.5 * c[0]
        out[-1] = 0.5 * c[-1]

    def down(self, g: Tensor, out: Tensor) -> None:
        even = g[0::2]
        out.copy_((even[:-1] + even[1:]).mul_(0.5).add_(g[1::2]))


class Separable(LinearOperator):
    """The same interpolation along every axis of a grid; matrix-free, for any dtype and device."""

    def __init__(self, line: Line, dim: int) -> None:
        self.line, self.dim = line, dim
        self.shape = (line.n**dim, line.n_coarse**dim)
        self.nnz = int(line.nnz) ** dim

    def matvec(self, v: Tensor) -> Tensor:
        line = self.line
        return self._along(v, line.n_coarse, line.n, line.up)

    def rmatvec(self, w: Tensor) -> Tensor:
        line = self.line
        return self._along(w, line.n, line.n_coarse, line.down)

    def after(self, dense: Tensor) -> Tensor:
        return self.rmatvec(dense)

    def transposed(self, scale: float) -> LinearOperator:
        """Pᵀ times a number."""
        return _Transposed(self, scale)

    def sparse(self, device: torch.device | str = "cpu") -> Sparse:
        """The same operator with its entries stored, in float64."""
        line = scipy.sparse.csr_array(self.line.matrix)
        whole = line
        for _ in range(self.dim - 1):
            whole = scipy.sparse.kron(whole, line, format="csr")
        return Sparse(whole, torch.empty(0, dtype=torch.float64, device=device))

    def _along(self, v: Tensor, before: int, after: int, apply: Callable[[Tensor, Tensor], None]) -> Tensor:
        field = v.reshape(-1, *(before,) * self.dim)
        for axis in range(self.dim, 0, -1):
            shape = list(field.shape)
            shape[axis] = after
            out = field.new_empty(shape)
            apply(field.movedim(axis, 0), out.movedim(axis, 0))
            field = out
        return field.reshape(*v.shape[:-1], after**self.dim)


@spectral_norm.register
def _(operator: Separable) -> float:
    """The power of that of one axis."""
    return float(np.linalg.norm(operator.line.matrix, 2)) ** operator.dim


class _Transposed(LinearOperator):
    def __init__(self, base: Separable, scale: float) -> None:
        self.base, self.factor = base, scale
        self.shape, self.nnz = (base.shape[1], base.shape[0]), base.nnz

    def matvec(self, v: Tensor) -> Tensor:
        return self.base.rmatvec(v) * self.factor

    def rmatvec(self, w: Tensor) -> Tensor:
        return self.base.matvec(w) * self.factor

    def after(self, dense: Tensor) -> Tensor:
        return self.base.matvec(dense) * self.factor


def linear_1d(n: int, like: Tensor | None = None) -> TransferOperator:
    """Linear interpolation from (n-1)/2 to n interior points, R = Pᵀ/2.

    Args:
        n: fine points, odd and at least 3 (2^k - 1 to coarsen down to one point).
        like: not needed: the operator takes dtype and device from its argument.

    Raises:
        InputError: n is even or below 3.
    """
    return _nested(n, 1)


def bilinear_2d(n: int, like: Tensor | None = None) -> TransferOperator:
    """Bilinear interpolation from ((n-1)/2)² to n² interior points of a square, R = Pᵀ/4.

    Args:
        n: fine points per side, odd and at least 3.
        like: not needed: the operator takes dtype and device from its argument.

    Raises:
        InputError: n is even or below 3.
    """
    return _nested(n, 2)


def energy_transfer(n: int, dim: int, degree: int = 1) -> TransferOperator:
    """The transfer between grids for energies, which approximate the same integral on both.

    R = Pᵀ, points are restricted by full weighting and lifted by cubic interpolation.

    Args:
        n: interior fine points per side, at least 4.
        dim: number of axes.
        degree: of P along every axis, 1 or 3. The orders of P and R must together exceed that of the equation
            (Trottenberg, Oosterlee & Schüller 2001, section 2.7): 1 serves second order, 3 fourth order.

    Raises:
        InputError: n is below 4, or another degree.
    """
    if n < 4:
        raise InputError(f"{n} interior points per side cannot be coarsened: use a finer grid, or fewer levels")
    if degree not in (1, 3):
        raise InputError(f"interpolation of degree {degree} is not there: use 1 or 3")
    linear, cubic = Separable(_line(n), dim), Separable(Line(n, coarse_side(n), 4), dim)
    return TransferOperator(linear if degree == 1 else cubic, points=linear.transposed(0.5**dim), lift=cubic)


def coarse_side(n: int) -> int:
    """Interior points per side of the next coarser grid: (n-1)/2 where that nests, else n/2."""
    return n // 2


def _nested(n: int, dim: int) -> TransferOperator:
    if n < 3 or n % 2 == 0:
        raise InputError(f"{n} interior points per side have no nested coarse grid: use an odd number >= 3")
    return TransferOperator(Separable(_line(n), dim), scale=0.5**dim)


def _line(n: int) -> Line:
    return (Halved if n % 2 else Line)(n, coarse_side(n), 2)
