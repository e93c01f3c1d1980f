"""Burgers' equation u_t + u u_x = ν u_xx on (-1, 1), u(x, 0) = -sin(πx), u(±1, t) = 0.

The truth is that of Cole and Hopf, with φ = exp(-cos(πy) / (2πν)):

    u = - ∫ sin(π(x - s)) φ(x - s) e^(-s²/4νt) ds / ∫ φ(x - s) e^(-s²/4νt) ds

The integrands are analytic, periodic in part and Gaussian in s: the trapezoidal rule converges exponentially.
The network enters as u = (1 - x²) t N - sin(πx), so that initial and boundary values hold exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi, sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Interval, Time

SPACING = 0.03  # of the trapezoidal rule, in units of √(4νt)
SPARE = 40.0  # what lies beyond its range is smaller by e to this power
CHUNK = 2048  # points at a time
LAYER = 3  # one point in so many lies in the layer |x| < HALF where the shock forms
HALF = 0.15


@dataclass(frozen=True, kw_only=True)
class Burgers(Evolution):
    """Burgers' equation with a shock layer at x = 0.

    Attributes:
        viscosity: ν > 0.
    """

    viscosity: float = 0.01 / pi
    depth: int = 4

    def __post_init__(self) -> None:
        if not self.viscosity > 0:
            raise InputError(f"viscosity must be positive, got {self.viscosity}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(-1.0, 1.0) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t + u.value * u.x - self.viscosity * u.xx

    def start(self, z: Tensor) -> Tensor:
        return -torch.sin(pi * z[:, 0])

    def fading(self, z: Tensor) -> Tensor:
        return 1.0 - z[:, 0] ** 2

    @cached_property
    def interior_points(self) -> Tensor:
        """(t, 2); every third point is moved into the layer |x| < 0.15."""
        z = self.cloud.interior.clone()
        z[::LAYER, 0] *= HALF
        return z

    def exact(self, z: Tensor) -> Tensor:
        return torch.cat([cole_hopf(part, self.viscosity) for part in z.split(CHUNK)])

    def frequency(self) -> float:
        return 2 * pi

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1200


def cole_hopf(z: Tensor, viscosity: float) -> Tensor:
    """U at z (m, 2) with t >= 0, shape (m,), to about 1e-13."""
    x, t = z[:, :1], z[:, 1:]
    reach = sqrt(1.0 / (pi * viscosity) + SPARE)  # where the Gaussian has outweighed the largest φ
    line = torch.linspace(-reach, reach, 2 * ceil(reach / SPACING) + 1, dtype=z.dtype, device=z.device)
    away = x - 2.0 * (viscosity * t).clamp_min(1e-300).sqrt() * line
    exponent = -torch.cos(pi * away) / (2.0 * pi * viscosity) - line * line
    weight = torch.softmax(exponent, dim=1)
    return -(torch.sin(pi * away) * weight).sum(1)
