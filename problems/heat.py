"""The heat equation u_t = a u_xx on (0, 1), cold at both ends, from two modes.

u = e^(-aπ²t) sin(πx) + ½ e^(-a(kπ)²t) sin(kπx)

The network enters as u = u₀(x) + t x (1 - x) N, so that initial and boundary values hold exactly; it is
one layer of sines, as wide as the wave number asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Interval, Time


@dataclass(frozen=True, kw_only=True)
class Heat(Evolution):
    """u_t = a u_xx with two decaying modes.

    Attributes:
        a: diffusivity > 0.
        k: half waves k >= 1 of the second mode.
        until: last time > 0.
    """

    a: float = 0.1
    k: int = 3
    until: float = 1.0
    smooth = True

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.k >= 1 and self.until > 0):
            raise InputError(f"a, k and until must be positive, got {self.a}, {self.k}, {self.until}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(0.0, 1.0) * Time(self.until)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - self.a * u.xx

    def start(self, z: Tensor) -> Tensor:
        return torch.sin(pi * z[:, 0]) + 0.5 * torch.sin(self.k * pi * z[:, 0])

    def fading(self, z: Tensor) -> Tensor:
        return z[:, 0] * (1.0 - z[:, 0])

    def exact(self, z: Tensor) -> Tensor:
        x, t = z[:, 0], z[:, 1]
        modes = ((1.0, 1), (0.5, self.k))
        return sum((c * torch.exp(-self.a * (k * pi) ** 2 * t) * torch.sin(k * pi * x) for c, k in modes), 0.0 * x)

    def frequency(self) -> float:
        return self.k * pi
