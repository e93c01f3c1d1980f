"""Limited-memory secant curvature: the last m pairs of each element, and B in compact form.

Every pair is stored once, as the unit vectors s/‖s‖ and y/‖y‖ with the ratio ‖y‖/‖s‖: rows 2i and 2i + 1 of Z. The
core C of B = γI + ZᵀCZ is the scaled inverse of the middle matrix of Byrd, Nocedal & Schnabel (1994, theorems 2.3 and
5.1). For SR1 it is computed by running the update on coordinates in the span of Z, where the vector Bs has the
coordinates γe + CZs: O(m³) flops, no inverse, and a pair that has become unsafe, because an older one was dropped or
γ has changed, is passed over, element by element.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import CompactForm
from multilevel_opt.curvature.pairs import Change, Pair, dot
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Scale, Store
from multilevel_opt.curvature.renewed import Renewed
from multilevel_opt.curvature.updates import BFGSUpdate, SEUpdate, SR1Update, Update
from multilevel_opt.curvature.window import Window
from multilevel_opt.errors import InputError


@dataclass(frozen=True, eq=False)
class Pairs(Store):
    """The last m pairs and the compact form made of them; empty slots are zero and come first.

    Attributes:
        scale: γ, shape (E,).
        basis: Z, shape (E, 2m, n).
        ratio: ‖y‖/‖s‖, shape (E, m).
        gram: ZZᵀ, shape (E, 2m, 2m).
        core: C, shape (E, 2m, 2m).
    """

    scale: Tensor
    basis: Tensor
    ratio: Tensor
    gram: Tensor
    core: Tensor

    def started(self, scale: Scale) -> Pairs:
        """With B = γI in the elements that have no pair yet."""
        return self if self.begun else replace(self, scale=torch.where(self.count == 0, scale(), self.scale))

    @property
    def form(self) -> CompactForm:
        """B as an operator."""
        return CompactForm(self.scale, self.basis, self.core, self.gram)

    @property
    def changed(self) -> tuple[Tensor, ...]:
        return self.core, self.basis[:, -2:], self.scale

    def learned(self, s: Tensor, pair: Pair, admitted: Tensor | None, by: LimitedMemory) -> Pairs:
        """The newest m pairs, ‖s‖ = 1, another γ, and the core from γ and all pairs."""
        change, length = pair.change, pair.change.length
        scale = by.update.scale(change.sy, length)
        basis = torch.cat([self.basis[:, 2:], torch.stack([s, change.y / length[:, None]], 1)], 1)
        border = torch.bmm(basis, basis[:, -2:].mT)
        gram = torch.cat([torch.cat([self.gram[:, 2:, 2:], border[:, :-2].mT], 1), border], 2)
        ratio = torch.cat([self.ratio[:, 1:], length[:, None]], 1)
        return replace(self, scale=scale, basis=basis, ratio=ratio, gram=gram, core=by._core(scale, ratio, gram))


@dataclass(frozen=True, kw_only=True)
class LimitedMemory(QuasiNewton):
    """The last m pairs; O(mn) numbers and flops. Up to 2m unknowns the same matrices are written out (``window.py``).

    Attributes:
        memory: m.
        renewal: matrices that are written out are built from their pairs after so many, and updated by those between;
            1: by every pair.
    """

    memory: int = 10
    renewal: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.memory, self.renewal) < 1:
            raise InputError(
                f"{self.name} curvature with memory {self.memory} and renewal {self.renewal}: give 1 or more for both"
            )

    def _empty(self, like: Tensor) -> Pairs | Window | Renewed:
        (elements, n), m = like.shape, self.memory
        if n <= 2 * m:
            return Window.empty(like, m) if self.renewal == 1 else Renewed.empty(like, m, self.renewal)
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        square = like.new_zeros(elements, 2 * m, 2 * m)
        return Pairs(
            count,
            count,
            like.new_zeros(elements),
            like.new_zeros(elements, 2 * m, n),
            like.new_zeros(elements, m),
            square,
            square,
        )

    def _started(self, store: Any, scale: Scale) -> Any:
        return store.started(scale)

    def _absorbed(self, store: Any, s: Tensor, pair: Pair, admitted: Tensor | None) -> Any:
        return store.learned(s, pair, admitted, self)

    def _core(self, scale: Tensor, ratio: Tensor, gram: Tensor) -> Tensor:
        """C, from γ, the ratios and the Gram matrix, by one update for each pair, oldest first."""
        core, tolerance = torch.zeros_like(gram), self.threshold(gram)
        filled = ratio > 0
        for i in range(int((~filled).all(0).sum()), ratio.shape[1]):
            along = gram[:, :, 2 * i]
            c = torch.bmm(core, along[..., None])[..., 0]
            c[:, 2 * i] += scale
            y = torch.zeros_like(c)
            y[:, 2 * i + 1] = ratio[:, i]
            change = Change(y, along[:, 2 * i + 1] * ratio[:, i], ratio[:, i])
            pair = Pair(change, c, dot(along, c), partial(_size, gram))
            good = self.update.admits(pair, tolerance) & filled[:, i]
            self.update.apply(core, pair, tolerance, good)
        return core


def _size(gram: Tensor, v: Tensor) -> Tensor:
    """The norms, (E,), of the vectors with coordinates (E, k)."""
    return dot(v, torch.bmm(gram, v[..., None])[..., 0]).clamp_min(0.0).sqrt()


@dataclass(frozen=True, kw_only=True)
class LBFGS(LimitedMemory):
    """Limited-memory BFGS (Liu & Nocedal 1989): positive definite."""

    name: ClassVar[str] = "lbfgs"
    update: ClassVar[Update] = BFGSUpdate()

    def _core(self, scale: Tensor, ratio: Tensor, gram: Tensor) -> Tensor:
        """C by theorem 2.3: no pair of a BFGS memory is ever passed over, so the middle matrix can be inverted.

        −[[γSᵀS, L], [Lᵀ, −D]]⁻¹ by its Schur complement K = γSᵀS + LD⁻¹Lᵀ, positive definite but for rounding.
        """
        filled = ratio > 0
        products = gram[:, 0::2, 1::2] * ratio[:, None, :]
        diagonal = torch.where(filled, products.diagonal(dim1=1, dim2=2), torch.ones_like(ratio))
        lower = products.tril(-1)
        weighted = lower / diagonal[:, None, :]
        square = scale[:, None, None] * gram[:, 0::2, 0::2] + weighted @ lower.mT
        factor, info = torch.linalg.cholesky_ex(square + torch.diag_embed((~filled).to(ratio)))
        if bool(info.any()):
            return super()._core(scale, ratio, gram)
        identity = torch.eye(ratio.shape[1], dtype=ratio.dtype, device=ratio.device).expand_as(square)
        inverse, mixed = torch.cholesky_solve(torch.cat([identity, weighted], 2), factor).chunk(2, 2)
        left, right = filled * scale[:, None], ratio
        core = torch.empty_like(gram)
        core[:, 0::2, 0::2] = -inverse * left[:, :, None] * left[:, None, :]
        core[:, 0::2, 1::2] = -mixed * left[:, :, None] * right[:, None, :]
        core[:, 1::2, 0::2] = core[:, 0::2, 1::2].mT
        corner = torch.diag_embed(1 / diagonal) - weighted.mT @ mixed
        core[:, 1::2, 1::2] = corner * right[:, :, None] * right[:, None, :]
        return core


@dataclass(frozen=True, kw_only=True)
class LSR1(LimitedMemory):
    """Limited-memory SR1: indefinite where f is."""

    name: ClassVar[str] = "lsr1"
    update: ClassVar[Update] = SR1Update()


@dataclass(frozen=True, kw_only=True)
class LSE(LimitedMemory):
    """Limited-memory SE: BFGS where a pair has positive curvature, SR1 elsewhere."""

    name: ClassVar[str] = "lse"
    update: ClassVar[Update] = SEUpdate()
