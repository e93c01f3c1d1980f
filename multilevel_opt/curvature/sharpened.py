"""Sharpened BFGS: a pair for the direction, a Hessian column for the matrix (Jin, Koppel, Rajawat & Mokhtari 2022).

After every step with its pair, B is updated a second time, by a direction u and the Hessian there:

    B̄ = BFGS(B; s, y),     B⁺ = BFGS(B̄; u, ∇²f(x⁺) u)

Classic BFGS finds good Newton directions, the second update finds the Hessian itself (Rodomanov & Nesterov 2021). As
they do, the greedy u is the unit vector e_i with the largest B̄_ii / ∂²f/∂x_i², where B dominates the Hessian, for
which the first matrix is γI with γ no less than its largest eigenvalue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.pairs import norm
from multilevel_opt.curvature.quasi_newton import Scale
from multilevel_opt.curvature.secant import BFGS, Matrices
from multilevel_opt.curvature.updates import bfgs
from multilevel_opt.errors import InputError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Form, Taylor, matrix_of


@dataclass(frozen=True, eq=False)
class _Beside:
    """Products with B, and the form of the Hessian at the same point."""

    products: Form
    hessian: Form

    def __call__(self, *v: Tensor) -> Tensor:
        return self.products(*v)


@dataclass(frozen=True, eq=False)
class Columns(Matrices):
    """Dense matrices, with a count of their second updates.

    Attributes:
        probes: int64 of shape (E,).
    """

    probes: Tensor


def _greedy(matrix: Tensor, form: Form, count: int) -> tuple[Tensor, Tensor]:
    hessian = matrix_of(form, matrix[0])
    column = int(torch.argmax(matrix.diagonal() / hessian.diagonal().clamp_min(torch.finfo(matrix.dtype).tiny)))
    return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)[column], hessian[column]


def _random(matrix: Tensor, form: Form, count: int) -> tuple[Tensor, Tensor]:
    drawn = torch.randn(len(matrix), generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    u = drawn.to(matrix)
    return u, form(u)


PROBES: Mapping[str, Callable[[Tensor, Form, int], tuple[Tensor, Tensor]]] = {"greedy": _greedy, "random": _random}


@dataclass(frozen=True, kw_only=True)
class SharpenedBFGS(BFGS):
    """BFGS with a second update by a Hessian column at the new point.

    Attributes:
        probe: a key of ``PROBES``: "greedy" costs as many Hessian products as there are unknowns, unless the objective
            has its Hessian as a matrix; "random" costs one.
        classic: whether pairs are absorbed; otherwise the method is greedy or randomized BFGS.
        first: γ of the first matrix; None as for ``BFGS``.
    """

    probe: str = "random"
    classic: bool = True
    first: float | None = None

    name: ClassVar[str] = "sharpened-bfgs"
    evaluates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probe not in PROBES:
            raise InputError(f"unknown probe {self.probe!r}: choose one of {', '.join(PROBES)}")
        if self.first is not None and not 0 < self.first < float("inf"):
            raise InputError(f"first={self.first} is out of range: give a positive number, or None")

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.exact.expand(x, order)
        return model if order == 1 else self.completed(model, f.ledger)

    def completed(self, model: Taylor, ledger: Ledger) -> Taylor:
        exact = model.forms[1]
        hessian = exact.hessian if isinstance(exact, _Beside) else exact
        learned = super().completed(model, ledger)
        return replace(learned, forms=(learned.forms[0], _Beside(learned.forms[1], hessian)))

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        learned = super().taught(s, before, after) if self.classic else self
        return learned._probed(after)

    def _probed(self, model: Taylor) -> Self:
        form = model.forms[1] if model.order == 2 else None
        if not isinstance(form, _Beside):
            return self
        g = model.gradient[None]
        known: Columns = self._started(self._empty(g) if self.store is None else self.store, lambda: norm(g))
        if not bool((known.matrix != 0).any()):  # at a point without gradient
            return self
        u, v = PROBES[self.probe](known.matrix[0], form.hessian, int(known.probes))
        matrix, good = bfgs(known.matrix, u[None], v[None])
        store = replace(known, matrix=matrix, count=known.count + good.to(known.count.dtype), probes=known.probes + 1)
        return replace(self, store=store)

    def _empty(self, like: Tensor) -> Columns:
        empty = super()._empty(like)
        return Columns(empty.count, empty.refused, empty.matrix, empty.count.clone())

    def _started(self, store: Any, scale: Scale) -> Any:
        first = self.first
        return super()._started(store, scale if first is None else lambda: torch.full_like(scale(), first))
