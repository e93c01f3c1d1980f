"""Dense secant curvature: one n×n matrix for each element, updated by every pair.

The first pair sets B = γI before it is absorbed (Nocedal & Wright 2006, section 6.1), so that no result depends
on the scale of f.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import DenseForm
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Store
from multilevel_opt.curvature.updates import BFGSUpdate, SR1Update, Update, norm
from multilevel_opt.errors import InputError


@dataclass(frozen=True, eq=False)
class Matrices(Store):
    """Dense matrices.

    Attributes:
        matrix: B, shape (E, n, n).
    """

    matrix: Tensor


@dataclass(frozen=True, kw_only=True)
class DenseSecant(QuasiNewton):
    """Dense B; O(n²) numbers and flops for a pair.

    Attributes:
        largest: refuse more unknowns than this.
    """

    largest: int = 10_000

    def form(self, gradient: Tensor) -> DenseForm:
        self._fits(gradient.shape[-1])
        known: Matrices = self.store if self.store is not None else self._empty(gradient)
        return DenseForm(self._started(known, norm(gradient)).matrix)

    def _fits(self, n: int) -> None:
        if n > self.largest:
            raise InputError(
                f"{self.name} curvature would hold a matrix of {n} x {n} numbers: use l{self.name}, "
                f"or {type(self).__name__}(largest={n})"
            )

    def _empty(self, like: Tensor) -> Matrices:
        elements, n = like.shape
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        return Matrices(count, count, like.new_zeros(elements, n, n))

    def _started(self, store: Matrices, scale: Tensor) -> Matrices:
        first = (store.count == 0)[:, None, None]
        if not bool(first.any()):
            return store
        n = store.matrix.shape[-1]
        identity = torch.eye(n, dtype=store.matrix.dtype, device=store.matrix.device)
        return replace(store, matrix=torch.where(first, scale[:, None, None] * identity, store.matrix))

    def _product(self, store: Matrices, s: Tensor) -> Tensor:
        return DenseForm(store.matrix).matvec(s)

    def _absorbed(self, store: Matrices, s: Tensor, y: Tensor, c: Tensor, sy: Tensor, sc: Tensor) -> Matrices:
        return replace(store, matrix=self.update.applied(store.matrix, c, y, sc, sy))


@dataclass(frozen=True, kw_only=True)
class BFGS(DenseSecant):
    """Broyden–Fletcher–Goldfarb–Shanno: positive definite."""

    name: ClassVar[str] = "bfgs"
    update: ClassVar[Update] = BFGSUpdate()


@dataclass(frozen=True, kw_only=True)
class SR1(DenseSecant):
    """Symmetric rank one: indefinite where f is, and exact on quadratics after n independent steps."""

    name: ClassVar[str] = "sr1"
    update: ClassVar[Update] = SR1Update()
