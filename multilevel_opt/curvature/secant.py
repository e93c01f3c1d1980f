"""Dense secant curvature: one n×n matrix for each element, updated by every pair.

The first pair sets B = γI before it is absorbed (Nocedal & Wright 2006, section 6.1), so that no result depends
on the scale of f.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import DenseForm, begun, squares
from multilevel_opt.curvature.pairs import Pair
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Scale, Store
from multilevel_opt.curvature.updates import BFGSUpdate, SEUpdate, SR1Update, Update
from multilevel_opt.errors import InputError


@dataclass(frozen=True, eq=False)
class Matrices(Store):
    """Dense matrices.

    Attributes:
        matrix: B, shape (E, n, n).
    """

    matrix: Tensor

    @property
    def form(self) -> DenseForm:
        return DenseForm(self.matrix)

    @property
    def changed(self) -> tuple[Tensor, ...]:
        return (self.matrix,)


@dataclass(frozen=True, kw_only=True)
class DenseSecant(QuasiNewton):
    """Dense B; O(n²) numbers and flops for a pair.

    Attributes:
        largest: refuse more unknowns than this.
    """

    largest: int = 10_000

    def _fits(self, n: int) -> None:
        if n > self.largest:
            raise InputError(
                f"{self.name} curvature would hold a matrix of {n} x {n} numbers: use l{self.name}, "
                f"or {type(self).__name__}(largest={n})"
            )

    def _empty(self, like: Tensor) -> Matrices:
        elements, n = like.shape
        self._fits(n)
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        return Matrices(count, count, squares(like, n))

    def _started(self, store: Matrices, scale: Scale) -> Matrices:
        return store if store.begun else replace(store, matrix=begun(store.matrix, scale(), store.count == 0))

    def _absorbed(self, store: Matrices, s: Tensor, pair: Pair, admitted: Tensor | None) -> Matrices:
        matrix = store.matrix.clone()
        self.update.apply(matrix, pair, self.threshold(s), admitted)
        return replace(store, matrix=matrix)


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


@dataclass(frozen=True, kw_only=True)
class SE(DenseSecant):
    """BFGS where the pair has positive curvature, SR1 elsewhere, chosen anew for every pair."""

    name: ClassVar[str] = "se"
    update: ClassVar[Update] = SEUpdate()
