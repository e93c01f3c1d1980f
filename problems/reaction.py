"""Reaction u_t = ρ u (1 - u) on (0, 2π), from a bump: logistic growth at every point.

u = h / (h + (1 - h) e^(-ρt))        h = exp(-8 (x - π)² / π²)

With ρ = 5 it is one of the failure modes of Krishnapriyan, Gholami, Zhe, Kirby & Mahoney (NeurIPS 2021); the zero
solution has a small residual as well. Nothing moves in x, so it needs no conditions on the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Interval, Time


@dataclass(frozen=True, kw_only=True)
class Reaction(Evolution):
    """u_t = ρ u (1 - u) from a bump.

    Attributes:
        rho: rate ρ > 0.
    """

    rho: float = 5.0
    depth: int = 3

    def __post_init__(self) -> None:
        if not self.rho > 0:
            raise InputError(f"rho must be positive, got {self.rho}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(0.0, 2 * pi) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - self.rho * u.value * (1.0 - u.value)

    def start(self, z: Tensor) -> Tensor:
        return torch.exp(-8.0 * (z[:, 0] / pi - 1.0) ** 2)

    def exact(self, z: Tensor) -> Tensor:
        h = self.start(z)
        return h / (h + (1.0 - h) * torch.exp(-self.rho * z[:, 1]))

    def frequency(self) -> float:
        return 1.0

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1000
