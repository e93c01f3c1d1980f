"""The Korteweg-de Vries equation u_t + 6 u u_x + u_xxx = 0: a fast soliton overtakes a slow one.

    u = 2 ∂²/∂x² log F    F = 1 + e₁ + e₂ + A e₁ e₂    eᵢ = exp(kᵢ (x - xᵢ) - kᵢ³ t)    A = ((k₁ - k₂) / (k₁ + k₂))²

with speeds kᵢ² (Hirota, Phys. Rev. Lett. 27, 1971). u is given at both ends, and u_x at the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Boundary, Condition, Dirichlet, Domain, Evolution, Field, Interval, Time

ENDS = (-6.0, 8.0)
STARTS = (-2.5, 0.5)  # about where the two are at t = 0


@dataclass(frozen=True, kw_only=True)
class KdV(Evolution):
    """Two solitons of the Korteweg-de Vries equation.

    Attributes:
        fast: speed of the fast soliton, twice its height.
        slow: speed of the slow one.
    """

    fast: float = 6.0
    slow: float = 2.0
    depth: int = 3

    def __post_init__(self) -> None:
        if not self.fast > self.slow > 0:
            raise InputError(f"speeds must satisfy fast > slow > 0, got {self.fast} and {self.slow}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(*ENDS) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t + 6.0 * u.value * u.x + u.d("x", "x", "x")

    def conditions(self) -> Sequence[Condition]:
        right = lambda z: z[:, 0] == ENDS[1]  # noqa: E731
        return [Dirichlet(self.exact), Boundary(self.slope, on=right)]

    def slope(self, u: Field, z: Tensor) -> Tensor:
        """u_x less that of the truth."""
        return u.x - self._moment(z, 3)

    def start(self, z: Tensor) -> Tensor:
        return self.exact(torch.cat([z[:, :1], torch.zeros_like(z[:, 1:])], dim=1))

    def exact(self, z: Tensor) -> Tensor:
        return self._moment(z, 2)

    def _moment(self, z: Tensor, order: int) -> Tensor:
        """Twice the derivative of log F of order 2 or 3, a central moment, since F is a sum of exponentials."""
        k, x0 = z.new_tensor([self.fast, self.slow]).sqrt(), z.new_tensor(STARTS)
        shift = 2.0 * log((self.fast**0.5 + self.slow**0.5) / (self.fast**0.5 - self.slow**0.5))
        each = k * (z[:, :1] - x0) - k**3 * z[:, 1:]
        both = each.sum(1, keepdim=True) - shift
        share = torch.softmax(torch.cat([torch.zeros_like(both), each, both], dim=1), dim=1)
        rates = torch.cat([k.new_zeros(1), k, k.sum(0, keepdim=True)])
        mean = (share * rates).sum(1, keepdim=True)
        return 2.0 * (share * (rates - mean) ** order).sum(1)

    def frequency(self) -> float:
        return self.fast**0.5

    def rate(self) -> float:
        return self.fast**1.5

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1200

    def default_slabs(self) -> int:
        return 4
