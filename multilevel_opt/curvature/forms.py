"""Symmetric matrices B of E elements at once, as the secant updates leave them: dense, or in compact form.

The compact form (Byrd, Nocedal & Schnabel 1994) is

    B = γ I + Zᵀ C Z

with a thin Z of shape (k, n) and a small symmetric core C of shape (k, k). Products, the diagonal, the spectrum
and solves with B + σI then cost O(kn), whatever update made C. Every tensor has a leading axis of E elements; a
single vector is E = 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import scipy.sparse.linalg
import torch
from torch import Tensor

from multilevel_opt.curvature.pairs import norm
from multilevel_opt.errors import ShapeError
from multilevel_opt.linalg.operator import Product

PIVOT = 1e-8


class SymmetricForm(Protocol):
    """E symmetric matrices of size n."""

    @property
    def flops(self) -> float:
        """Floating-point operations of one product with all E matrices."""
        ...

    def matvec(self, v: Tensor) -> Tensor:
        """B v, shapes (E, n) -> (E, n)."""
        ...

    def solve(self, v: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        """(B + σI)⁻¹ v, shapes (E, n) -> (E, n); σ a number or of shape (E,). Not finite where singular."""
        ...

    def diagonal(self) -> Tensor:
        """The diagonals, shape (E, n)."""
        ...

    def norm_bound(self) -> Tensor:
        """An upper bound of the spectral norms, shape (E,)."""
        ...

    def dense(self) -> Tensor:
        """The matrices, shape (E, n, n)."""
        ...


@dataclass(frozen=True, eq=False)
class DenseForm:
    """Explicit matrices.

    Attributes:
        matrix: shape (E, n, n), symmetric.
    """

    matrix: Tensor

    @property
    def flops(self) -> float:
        return 2.0 * self.matrix.numel()

    def matvec(self, v: Tensor) -> Tensor:
        if elements_last(self.matrix):
            total = self.matrix[:, :, 0] * v[:, :1]
            for k in range(1, v.shape[1]):
                total.addcmul_(self.matrix[:, :, k], v[:, k : k + 1])
            return total
        return torch.bmm(self.matrix, v[..., None])[..., 0]

    def solve(self, v: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        sigma = _column(shift, v) * torch.ones_like(v)
        solution: Tensor = torch.linalg.solve_ex(self.matrix + torch.diag_embed(sigma), v[..., None])[0]
        return solution[..., 0]

    def diagonal(self) -> Tensor:
        return self.matrix.diagonal(dim1=1, dim2=2)

    def norm_bound(self) -> Tensor:
        """The Frobenius norms."""
        return norm(self.matrix.flatten(1))

    def dense(self) -> Tensor:
        return self.matrix


@dataclass(frozen=True, eq=False)
class CompactForm:
    """B = γ I + ZᵀCZ.

    Attributes:
        scale: γ, shape (E,).
        basis: Z, shape (E, k, n).
        core: C, shape (E, k, k), symmetric.
        gram: ZZᵀ, shape (E, k, k).
    """

    scale: Tensor
    basis: Tensor
    core: Tensor
    gram: Tensor

    @property
    def flops(self) -> float:
        return 4.0 * self.basis.numel() + 2.0 * self.core.numel()

    def matvec(self, v: Tensor) -> Tensor:
        return self.scale[:, None] * v + self._lifted(torch.bmm(self.core, self._coordinates(v)))

    def solve(self, v: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        """By Sherman, Morrison and Woodbury: α⁻¹[v − Zᵀ(αI + C ZZᵀ)⁻¹ C Z v] with α = γ + σ."""
        alpha = self.scale[:, None] + _column(shift, v)
        small = torch.diag_embed(alpha.expand(-1, self.core.shape[1])) + torch.bmm(self.core, self.gram)
        image = torch.bmm(self.core, self._coordinates(v))
        return (v - self._lifted(torch.linalg.solve_ex(small, image)[0])) / alpha

    def diagonal(self) -> Tensor:
        return self.scale[:, None] + (self.basis * torch.bmm(self.core, self.basis)).sum(1)

    def eigenvalues(self) -> Tensor:
        """The eigenvalues of ZᵀCZ + γI on the span of Z and γ for the rest, ascending, shape (E, k + 1)."""
        values, vectors = torch.linalg.eigh(self.gram)
        root = vectors * values.clamp_min(0.0).sqrt()[:, None, :]  # ZZᵀ = root rootᵀ, so C ZZᵀ ~ rootᵀ C root
        inside = torch.linalg.eigvalsh(root.mT @ self.core @ root)
        return torch.cat([torch.zeros_like(inside[:, :1]), inside], 1).sort(1).values + self.scale[:, None]

    def norm_bound(self) -> Tensor:
        """The spectral norm where k < n; never below it but for rounding."""
        return self.eigenvalues().abs().amax(1)

    def dense(self) -> Tensor:
        n = self.basis.shape[2]
        identity = torch.eye(n, dtype=self.basis.dtype, device=self.basis.device)
        return self.scale[:, None, None] * identity + self.basis.mT @ self.core @ self.basis

    def _coordinates(self, v: Tensor) -> Tensor:
        return torch.bmm(self.basis, v[..., None])

    def _lifted(self, coefficients: Tensor) -> Tensor:
        return torch.bmm(self.basis.mT, coefficients)[..., 0]


def to_scipy(form: SymmetricForm) -> scipy.sparse.linalg.LinearOperator:
    """The matrix of one element as a scipy operator.

    Raises:
        ShapeError: there are several elements.
    """
    diagonal = form.diagonal()
    if diagonal.shape[0] != 1:
        raise ShapeError(f"the form has {diagonal.shape[0]} elements, scipy takes one matrix: use dense() for each")

    def product(v: Tensor) -> Tensor:
        return form.matvec(v[None])[0]

    n = diagonal.shape[1]
    return Product((n, n), product, product).to_scipy(diagonal)


def squares(like: Tensor, n: int) -> Tensor:
    """Zero matrices (E, n, n) for the E rows of ``like``, with the elements where they lie in its memory."""
    if elements_last(like):
        return like.new_zeros(n, n, like.shape[0]).movedim(2, 0)
    return like.new_zeros(like.shape[0], n, n)


def elements_last(t: Tensor) -> bool:
    """Whether the elements, the leading axis, lie next to each other in memory: so are small elements kept.

    Operations on many small elements then run through long rows, which makes outer products ten times faster and more.
    """
    return t.shape[0] > 1 and t.stride(0) == 1


def finite(t: Tensor) -> Tensor:
    """Whether the sum of an element's numbers is finite, (E, ...) -> bool of shape (E,)."""
    flat = t.movedim(0, -1).reshape(-1, t.shape[0]) if elements_last(t) else t.reshape(t.shape[0], -1).T
    return torch.isfinite(flat.sum(0))


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether the sums of all numbers of the tensors are finite."""
    return isfinite(sum(float(t.sum()) for t in tensors))


def begun(matrix: Tensor, scale: Tensor, first: Tensor) -> Tensor:
    """The matrices (E, n, n), γI where ``first`` of shape (E,) holds, with γ = ``scale`` of shape (E,)."""
    if bool(first.all()):
        return multiples(matrix, scale)
    at, made = first.nonzero()[:, 0], matrix.clone()
    made[at] = torch.diag_embed(scale[at, None].expand(-1, matrix.shape[1]))
    return made


def multiples(like: Tensor, scale: Tensor) -> Tensor:
    """γI in the shape (E, n, n) and memory layout of ``like``, with γ = ``scale`` of shape (E,)."""
    made = torch.zeros_like(like)
    made.diagonal(dim1=1, dim2=2).copy_(scale[:, None])
    return made


def upright(matrix: Tensor) -> Tensor:
    """The matrices L|D|Lᵀ ≽ B of shape (E, n, n), for B = LDLᵀ: B itself where positive definite, but for rounding.

    A pivot below ``PIVOT`` times the largest entry is replaced by that, so that L stays bounded (Gill & Murray 1974).
    """
    left = squares(matrix[:, 0], matrix.shape[1]).copy_(matrix).movedim(0, 2)
    made, least = torch.zeros_like(left), PIVOT * left.abs().amax((0, 1)).clamp_min(torch.finfo(left.dtype).tiny)
    for k in range(len(left)):
        pivot = torch.maximum(left[k, k].abs(), least)
        column = left[k:, k] / pivot
        column[0] = torch.where(left[k, k] < 0, -1.0, 1.0)
        made[k:, k:].addcmul_(column[:, None] * pivot, column[None])
        signed = column * column[0]
        left[k:, k:].addcmul_(signed[:, None] * pivot, column[None], value=-1)
    return made.movedim(2, 0)


def _column(shift: Tensor | float, like: Tensor) -> Tensor:
    """σ as a tensor of shape (E, 1), or (1, 1) for one number."""
    return torch.as_tensor(shift, dtype=like.dtype, device=like.device).reshape(-1, 1)
