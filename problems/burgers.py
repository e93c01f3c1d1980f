"""Burgers' equation u_t + u u_x = ν u_xx on (-1, 1), u(x, 0) = -sin(πx), u(±1, t) = 0.

The truth is that of Cole and Hopf, with φ = exp(-cos(πy) / (2πν)):

    u = - ∫ sin(π(x - s)) φ(x - s) e^(-s²/4νt) ds / ∫ φ(x - s) e^(-s²/4νt) ds

The integrands are analytic, periodic in part and Gaussian in s: the trapezoidal rule converges exponentially.
The network enters as u = (1 - x²) t N - sin(πx), so that initial and boundary values hold exactly. By symmetry the
shock stands at x = 0; its front is stated, so that points, inputs and weights of the network fit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Evolution, Field, Front, Interval, Time

SPACING = 0.03  # of the trapezoidal rule, in units of √(4νt)
SPARE = 40.0  # what lies beyond its range is smaller by e to this power
CHUNK = 2048  # points at a time
FLAT = 1.0  # wave number of the start: with the stretched coordinate as an input nothing is steep
THICKNESS = 10.0  # of the shock, in units of ν: it ends as tanh(x / 2ν), and forms from a wider one


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

    def front(self) -> Front:
        return Front(axis=0, at=0.0, thickness=THICKNESS * self.viscosity)

    def exact(self, z: Tensor) -> Tensor:
        return torch.cat([cole_hopf(part, self.viscosity) for part in z.split(CHUNK)])

    def frequency(self) -> float:
        return FLAT

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1600


def cole_hopf(z: Tensor, viscosity: float) -> Tensor:
    """U at z (m, 2) with t >= 0, shape (m,), to about 1e-13."""
    x, t = z[:, :1], z[:, 1:]
    reach = sqrt(1.0 / (pi * viscosity) + SPARE)  # where the Gaussian has outweighed the largest φ
    line = torch.linspace(-reach, reach, 2 * ceil(reach / SPACING) + 1, dtype=z.dtype, device=z.device)
    away = x - 2.0 * (viscosity * t).clamp_min(1e-300).sqrt() * line
    exponent = -torch.cos(pi * away) / (2.0 * pi * viscosity) - line * line
    weight = torch.softmax(exponent, dim=1)
    return -(torch.sin(pi * away) * weight).sum(1)
