"""The wave equation u_tt = c² u_xx on (0, 1), c = 2, at rest in two modes, fixed at both ends.

u = sin(πx) cos(cπt) + ½ sin(βπx) cos(cβπt)

The problem of Wang, Yu & Perdikaris (J. Comput. Phys. 449, 2022) with their β = 4, or 5 as in Rathore, Lei, Frangella,
Lu & Udell (ICML 2024). The network enters as u = u₀(x) + t² x (1 - x) N; it
is one layer of sines, as wide as the wave numbers in space and time ask for, in so few slabs that this is affordable.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Interval, Time

SPEED = 2.0


@dataclass(frozen=True, kw_only=True)
class Wave(Evolution):
    """u_tt = 4 u_xx, from sin(πx) + ½ sin(βπx) at rest.

    Attributes:
        beta: half waves β >= 1 of the second mode.
    """

    beta: int = 5
    smooth = True

    def __post_init__(self) -> None:
        if not (isinstance(self.beta, int) and self.beta >= 1):
            raise InputError(f"beta must be a whole number >= 1, got {self.beta}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(0.0, 1.0) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.tt - SPEED**2 * u.xx

    def start(self, z: Tensor) -> Tensor:
        return torch.sin(pi * z[:, 0]) + 0.5 * torch.sin(self.beta * pi * z[:, 0])

    def velocity(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z[:, 0])

    def fading(self, z: Tensor) -> Tensor:
        return 4.0 * z[:, 0] * (1.0 - z[:, 0])

    def exact(self, z: Tensor) -> Tensor:
        x, t = z[:, 0], z[:, 1]
        modes = ((1.0, 1), (0.5, self.beta))
        return sum((c * torch.sin(k * pi * x) * torch.cos(SPEED * k * pi * t) for c, k in modes), 0.0 * x)

    def frequency(self) -> float:
        return self.beta * pi

    def rate(self) -> float:
        return SPEED * self.beta * pi

    def default_slabs(self) -> int:
        return super().default_slabs() if self.wide() else ceil(1.6 * self.beta)
