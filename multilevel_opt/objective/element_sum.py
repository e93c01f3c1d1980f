"""Symmetric matrices given by elements, B = Σ Uᵢᵀ Bᵢ Uᵢ: one sparse matrix where elements are small, else products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from multilevel_opt.objective.incidence import Incidence


class ElementSum:
    """B = Σ Uᵢᵀ Bᵢ Uᵢ, where nothing is computed before the first product.

    Args:
        incidence: which variables the elements have.
        blocks: for each small batch a function that gives Bᵢ, shape (E, nᵢ, nᵢ).
        products: for each other batch the map of vectors (E, nᵢ) to Bᵢ times them.
    """

    def __init__(
        self,
        incidence: Incidence,
        blocks: Sequence[Callable[[], Tensor]],
        products: Sequence[Callable[[Tensor], Tensor]],
    ) -> None:
        self.incidence, self._blocks, self._products = incidence, blocks, products

    @cached_property
    def matrix(self) -> Tensor:
        """The sum over the small batches, a sparse matrix (CSR) of shape (n, n)."""
        return self.incidence.assembled([block() for block in self._blocks])

    @cached_property
    def numbers(self) -> Tensor:
        """Those of the band, where B has one."""
        return self.incidence.banded([block() for block in self._blocks])

    def matvec(self, v: Tensor) -> Tensor:
        """B v, shapes (n,) -> (n,)."""
        if self.incidence.band is not None:
            return self.incidence.band.matvec(self.numbers, v)
        total = torch.mv(self.matrix, v) if self._blocks else torch.zeros_like(v)
        if self._products:
            wide = self.incidence.wide
            parts = zip(self._products, wide.gathered(v), strict=True)
            total = total + wide.scattered([product(u) for product, u in parts])
        return total

    def solve(self, v: Tensor, shift: float = 0.0) -> Tensor | None:
        """(B + σI)⁻¹v, shape (n,); None where B has no narrow band, or B + σI is not positive definite."""
        band = self.incidence.band
        return None if band is None else band.solve(self.numbers.clone(), v, shift)

    def dense(self, like: Tensor) -> Tensor:
        """The matrix, shape (n, n), in the dtype and on the device of ``like``; elements not small give n products."""
        if not self._products:
            return self.matrix.to_dense()
        unit = torch.eye(self.incidence.n, dtype=like.dtype, device=like.device)
        return torch.stack([self.matvec(e) for e in unit])
