"""Energies of squared residuals of a semilinear equation, of fourth order.

    f(u) = ½∫ α (−Δu + w(u))² + β (u − u_d)²

With F = Lu + w(u), J = L + diag w' and everything times h^d, the forms are

    D[a] = α F·Ja + β (u − u_d)·a,   D²[a, b] = α (Ja·Jb + F·w''ab) + β a·b,
    D³[a, b, c] = α (w''ab·Jc + w''ac·Jb + w''bc·Ja + F·w'''abc).

morebv-1d          −u'' + ½(u + t + 1)³ = 0 in one dimension (Moré, Garbow & Hillstrom 1981, no. 28)
morebv-2d          the same on the unit square with u + x + y + 1 (Gratton et al. 2010)
optimal-control    state u near u_d with control −Δu + u³ of small norm; the control is eliminated
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.grid import GridProblem
from problems.semilinear import Reaction


class NormalStencil:
    """scale (J² + diag c) for a symmetric stencil J; see ``mlo.SecondForm`` for what is asked of it."""

    def __init__(self, stencil: mlo.Stencil, scale: float, extra: Tensor) -> None:
        self.stencil, self.scale, self.extra = stencil, scale, extra

    @property
    def flops(self) -> float:
        """Of one product."""
        return 2 * self.stencil.flops + 2.0 * self.extra.numel()

    def __call__(self, v: Tensor) -> Tensor:
        return self.scale * (self.stencil(self.stencil(v)) + self.extra * v)

    def diagonal(self, like: Tensor) -> Tensor:
        """Shape (n,)."""
        return self.scale * (self._mapped(lambda c: c * c)(torch.ones_like(self.extra)) + self.extra)

    def matrix(self, like: Tensor) -> Tensor:
        """Shape (n, n)."""
        dense = self.stencil.matrix(like)
        return self.scale * (dense @ dense + torch.diag(self.extra))

    def spread(self, like: Tensor) -> float:
        """Gershgorin's bound for D⁻¹A; infinite where D is not positive."""
        diagonal = self.diagonal(like)
        sizes = self._mapped(abs)
        sums = self.scale * (sizes(sizes(torch.ones_like(self.extra))) + self.extra.abs())
        return float((sums / diagonal).max()) if bool((diagonal > 0).all()) else float("inf")

    def _mapped(self, function: Callable[[Any], Any]) -> mlo.Stencil:
        couplings = [(offset, function(c)) for offset, c in self.stencil.couplings]
        return mlo.Stencil(self.stencil.grid, function(self.stencil.center), couplings)


class SquaredResidual(mlo.Objective):
    """The energy above.

    Args:
        laplacian: L.
        reaction: (u, k) -> (w, w', …, w^(k)) at every point, vectors or numbers.
        cell: h^d.
        alpha, beta: weights α and β.
        desired: u_d, shape (n,), or a number.
        ledger: where evaluations are recorded.
    """

    joint = True

    def __init__(
        self,
        laplacian: mlo.Stencil,
        reaction: Reaction,
        cell: float,
        alpha: float = 1.0,
        beta: float = 0.0,
        desired: Tensor | float = 0.0,
        ledger: mlo.Ledger | None = None,
    ) -> None:
        super().__init__(ledger)
        self.laplacian, self.reaction, self.cell = laplacian, reaction, cell
        self.alpha, self.beta, self.desired = alpha, beta, desired

    def __call__(self, x: Tensor) -> Tensor:
        self.ledger.count("function", self.laplacian.flops + 8.0 * x.numel())
        residual = self.laplacian(x) + self.reaction(x, 0)[0]
        return self._value(residual, x)

    def expand(self, x: Tensor, order: int) -> mlo.Taylor:
        self.ledger.count("gradient", 2 * self.laplacian.flops + 14.0 * x.numel())
        rates = self.reaction(x, max(order, 1))
        residual = self.laplacian(x) + rates[0]
        grid, a, b = self.laplacian.grid, self.alpha * self.cell, self.beta * self.cell
        jacobian = self.laplacian.shifted(rates[1].reshape(grid))
        gradient = a * jacobian(residual) + b * (x - self.desired)
        forms: list[Callable[..., Tensor]] = [lambda: gradient]
        second = None
        if order >= 2:
            extra = residual * rates[2] + self.beta / self.alpha
            second = mlo.SecondForm(NormalStencil(jacobian, a, extra), self.ledger, x)
            forms.append(second)
        if order >= 3:

            def third(v: Tensor, w: Tensor) -> Tensor:
                self.ledger.count("hvp", 3 * jacobian.flops + 12.0 * x.numel(), times=2)
                mixed = rates[2] * (v * jacobian(w) + w * jacobian(v)) + jacobian(rates[2] * v * w)
                total: Tensor = a * (mixed + residual * rates[3] * v * w)
                return total

            forms.append(third)
        return mlo.Taylor(self._value(residual, x), tuple(forms), second=second)

    def _value(self, residual: Tensor, x: Tensor) -> Tensor:
        away = x - self.desired
        return 0.5 * self.cell * (self.alpha * (residual @ residual) + self.beta * (away @ away))


@dataclass(frozen=True, kw_only=True)
class MoreBV(GridProblem):
    """The boundary value problem −u'' + ½(u + t + 1)³ = 0 as a sum of squares."""

    dim: ClassVar[int] = 1
    degree: ClassVar[int] = 3

    def energy(self, n: int) -> mlo.Objective:
        shift = sum(self.points(n)).reshape(-1) + 1  # type: ignore[union-attr]

        def reaction(u: Tensor, order: int) -> tuple[Any, ...]:
            s = u + shift
            return (0.5 * s**3, 1.5 * s**2, 3 * s, 3.0)[: order + 1]

        h = 1 / (n + 1)
        return SquaredResidual(_minus_laplacian(n, self.dim), reaction, h**self.dim)


@dataclass(frozen=True, kw_only=True)
class MoreBV2D(MoreBV):
    """The boundary value problem −Δu + ½(u + x + y + 1)³ = 0 on the unit square as a sum of squares."""

    dim: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class OptimalControl(GridProblem):
    """Distributed control of −Δu + u³ on the unit square: u near a desired state, the control eliminated.

    Attributes:
        alpha: weight of the control, positive.
    """

    alpha: float = 1e-3
    degree: ClassVar[int] = 3

    def energy(self, n: int) -> mlo.Objective:
        x, y = self.points(n)
        desired = (16 * x * (1 - x) * y * (1 - y) * torch.exp(x - y)).reshape(-1)

        def reaction(u: Tensor, order: int) -> tuple[Any, ...]:
            return (u**3, 3 * u**2, 6 * u, 6.0)[: order + 1]

        return SquaredResidual(_minus_laplacian(n, 2), reaction, (n + 1) ** -2.0, self.alpha, 1.0, desired)


def _minus_laplacian(n: int, dim: int) -> mlo.Stencil:
    """−Δ by second differences in the scaling of the equation, h⁻² (2d, −1, …)."""
    weight = float((n + 1) ** 2)
    energy = mlo.laplacian(n, dim, 1.0)
    return mlo.Stencil(energy.grid, 2 * dim * weight, [(offset, -weight) for offset, _ in energy.couplings])
