"""The secant updates, as pure functions of tensors with a leading axis of E elements.

With c = Bs (so that B⁺s = y)

    BFGS   B⁺ = B − ccᵀ/(sᵀc) + yyᵀ/(sᵀy)                Nocedal & Wright 2006, (6.19)
    SR1    B⁺ = B + rrᵀ/(sᵀr),   r = y − c               Nocedal & Wright 2006, (6.24)

SE chooses between the two in each element. They need B, c, y and the two numbers sᵀc and sᵀy alone, so the same lines
serve a dense B, with vectors of length n, and the core of a compact form, with coordinates in the span of the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from multilevel_opt.curvature.pairs import Pair, dot, unit_pairs


class Update(Protocol):
    """A secant update with its test of acceptance and its choice of the first matrix."""

    def scale(self, sy: Tensor, y: Tensor) -> Tensor:
        """γ > 0 of the first matrix γI, from sᵀy and ‖y‖ of a pair with ‖s‖ = 1; all of shape (E,)."""
        ...

    def admits(self, pair: Pair, tolerance: float) -> Tensor:
        """Whether the update is safe, shape (E,). False where any number is NaN."""
        ...

    def satisfied(self, pair: Pair, tolerance: float) -> Tensor:
        """Whether the pair is refused only because B satisfies its secant equation already, shape (E,)."""
        ...

    def surely(self, pair: Pair, tolerance: float) -> bool:
        """Whether all pairs are admitted, and none satisfied, as far as a few numbers tell; False may mean unknown."""
        ...

    def apply(self, B: Tensor, pair: Pair, tolerance: float, where: Tensor | None) -> None:
        """Change B of shape (E, k, k) to B⁺ in place where ``where`` of shape (E,) holds, as ``admits`` would.

        None stands for all elements, where ``surely`` holds.
        """
        ...


@dataclass(frozen=True)
class BFGSUpdate:
    """Positive definite where sᵀy > ε‖s‖‖y‖."""

    def scale(self, sy: Tensor, y: Tensor) -> Tensor:
        """γ = yᵀy/sᵀy (Nocedal & Wright 2006, (6.20)); ‖y‖/‖s‖ for a pair that only damping can use."""
        return y * torch.where(sy > 0, y / sy, torch.ones_like(y))

    def admits(self, pair: Pair, tolerance: float) -> Tensor:
        return pair.convex(tolerance)

    def satisfied(self, pair: Pair, tolerance: float) -> Tensor:
        return torch.zeros_like(pair.sy, dtype=torch.bool)

    def surely(self, pair: Pair, tolerance: float) -> bool:
        return pair.change.convex(tolerance) and float(pair.sc.min()) > 0

    def apply(self, B: Tensor, pair: Pair, tolerance: float, where: Tensor | None) -> None:
        if where is None or bool(where.all()):
            B.addcmul_(pair.c[:, :, None], (pair.c / pair.sc[:, None])[:, None, :], value=-1)
            B.addcmul_(pair.y[:, :, None], pair.change.weighted[:, None, :])
            return
        _add(B, pair.c, _inverse(pair.sc, where).neg_())
        _add(B, pair.y, _inverse(pair.sy, where))


@dataclass(frozen=True)
class SR1Update:
    """Indefinite in general; safe where |sᵀr| ≥ ε‖s‖‖r‖ (Conn, Gould & Toint 1991)."""

    def scale(self, sy: Tensor, y: Tensor) -> Tensor:
        """γ = |sᵀy|/2sᵀs: below the curvature along s, so that a pair with sᵀy > 0 leaves B positive definite."""
        return 0.5 * sy.abs()

    def admits(self, pair: Pair, tolerance: float) -> Tensor:
        rs = pair.gap.abs()
        rounding = (pair.sy.abs() + pair.sc.abs()).mul_(100 * torch.finfo(rs.dtype).eps)
        return (rs >= tolerance * pair.defect) & (rs > rounding) & pair.change.telling  # not where ‖r‖ overflows

    def satisfied(self, pair: Pair, tolerance: float) -> Tensor:
        y, r = pair.change.length, pair.defect
        return (r <= 1000 * torch.finfo(y.dtype).eps * y) & (y > 0) & (y < inf)

    def surely(self, pair: Pair, tolerance: float) -> bool:
        if not pair.change.plain:
            return False
        rs, rounding = pair.gap.abs(), 2000 * torch.finfo(pair.sy.dtype).eps  # |sᵀr| <= ‖r‖, so both tests follow
        clear = float(rs.sub(pair.change.length, alpha=rounding).min()) > 0
        return clear and float(rs.sub(pair.defect, alpha=tolerance).min()) >= 0

    def apply(self, B: Tensor, pair: Pair, tolerance: float, where: Tensor | None) -> None:
        _add(B, pair.rest, pair.gap.reciprocal() if where is None else _inverse(pair.gap, where))


@dataclass(frozen=True)
class SEUpdate:
    """BFGS where its curvature condition holds and sᵀBs > 0, SR1 elsewhere; the choice is made anew for every pair.

    The test of the partitioned methods named SE (Raynaud & Orban; docs/theory.md, 153), which there is made once.
    """

    def scale(self, sy: Tensor, y: Tensor) -> Tensor:
        """γ = ‖y‖/‖s‖, between the choices of BFGS and of SR1."""
        return y

    def admits(self, pair: Pair, tolerance: float) -> Tensor:
        convex = pair.convex(tolerance)
        return convex if bool(convex.all()) else convex | SR1Update().admits(pair, tolerance)

    def satisfied(self, pair: Pair, tolerance: float) -> Tensor:
        return SR1Update().satisfied(pair, tolerance) & ~pair.convex(tolerance)

    def surely(self, pair: Pair, tolerance: float) -> bool:
        return BFGSUpdate().surely(pair, tolerance)

    def apply(self, B: Tensor, pair: Pair, tolerance: float, where: Tensor | None) -> None:
        if where is None:
            BFGSUpdate().apply(B, pair, tolerance, None)
            return
        convex = pair.convex(tolerance)
        BFGSUpdate().apply(B, pair, tolerance, convex & where)
        if where is not convex:
            SR1Update().apply(B, pair, tolerance, where & ~convex)


def damped(y: Tensor, c: Tensor, sy: Tensor, sc: Tensor, fraction: float) -> Tensor:
    """Powell's y' = θy + (1 − θ)c, for which sᵀy' ≥ φ sᵀc (Powell 1978; Nocedal & Wright 2006, Procedure 18.2).

    Args:
        y: shape (E, n).
        c: B s, shape (E, n).
        sy: sᵀy, shape (E,).
        sc: sᵀBs > 0, shape (E,).
        fraction: φ in [0, 1).
    """
    theta = torch.where(sy >= fraction * sc, torch.ones_like(sy), (1 - fraction) * sc / (sc - sy))[:, None]
    return theta * y + (1 - theta) * c


def bfgs(B: Tensor, s: Tensor, y: Tensor, tolerance: float = 1e-8) -> tuple[Tensor, Tensor]:
    """The BFGS update of E matrices; where the pair fails the curvature test B stays.

    Args:
        B: symmetric positive definite, shape (E, n, n).
        s: steps, shape (E, n).
        y: gradient changes, shape (E, n).
        tolerance: ε of sᵀy > ε‖s‖‖y‖.

    Returns:
        B⁺ of shape (E, n, n) and whether the update was made, of shape (E,).
    """
    return _updated(BFGSUpdate(), B, s, y, tolerance)


def sr1(B: Tensor, s: Tensor, y: Tensor, tolerance: float = 1e-8) -> tuple[Tensor, Tensor]:
    """The symmetric rank-one update of E matrices; arguments and values as for ``bfgs``.

    The test is |sᵀr| ≥ ε‖s‖‖r‖ with r = y − Bs.
    """
    return _updated(SR1Update(), B, s, y, tolerance)


def bfgs_inverse(H: Tensor, s: Tensor, y: Tensor, tolerance: float = 1e-8) -> tuple[Tensor, Tensor]:
    """The inverse of the BFGS update of H⁻¹ (Nocedal & Wright 2006, (6.17)); arguments and values as for ``bfgs``.

    H⁺ = (I − ρsyᵀ) H (I − ρysᵀ) + ρssᵀ,   ρ = 1/sᵀy
    """
    s, change = unit_pairs(s, y)
    y, sy = change.y, change.sy
    image = torch.bmm(H, y[..., None])[..., 0]
    cross = outer(s, image) / sy[:, None, None]
    changed = H - cross - cross.mT + ((1 + dot(y, image) / sy) / sy)[:, None, None] * outer(s, s)
    good = change.curved(tolerance) & torch.isfinite(changed).all(-1).all(-1)
    return torch.where(good[:, None, None], changed, H), good


def sr1_inverse(H: Tensor, s: Tensor, y: Tensor, tolerance: float = 1e-8) -> tuple[Tensor, Tensor]:
    """The inverse of the SR1 update of H⁻¹, the same update with s and y exchanged."""
    return sr1(H, y, s, tolerance)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """abᵀ, (E, k) and (E, k) -> (E, k, k)."""
    return a[:, :, None] * b[:, None, :]


def _inverse(weight: Tensor, where: Tensor) -> Tensor:
    """1/w where that is asked for, else zero."""
    return torch.where(where, weight, inf).reciprocal_()


def _add(B: Tensor, v: Tensor, weight: Tensor) -> None:
    """B += w vvᵀ in place."""
    B.addcmul_(v[:, :, None], (v * weight[:, None])[:, None, :])


def _updated(update: Update, B: Tensor, s: Tensor, y: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    s, change = unit_pairs(s, y)
    pair = Pair.of(s, change, torch.bmm(B, s[..., None])[..., 0])
    good, changed = update.admits(pair, tolerance), B.clone()
    update.apply(changed, pair, tolerance, good)
    good = good & torch.isfinite(changed).all(-1).all(-1)
    return torch.where(good[:, None, None], changed, B), good
