"""Kovasznay's flow behind a grid: the stationary Navier-Stokes equations with a closed solution.

    u = 1 - e^(λx) cos(2πy)    v = λ/(2π) e^(λx) sin(2πy)    p = ½ (1 - e^(2λx))    λ = Re/2 - √(Re²/4 + 4π²)

on (-½, 1) x (-½, 3/2) (Kovasznay, Math. Proc. Cambridge Philos. Soc. 44, 1948). Velocities are given on the boundary,
the pressure on the outlet x = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, Condition, Dirichlet, Domain, Fields, PDEProblem


@dataclass(frozen=True, kw_only=True)
class Kovasznay(PDEProblem):
    """Kovasznay's flow, unknown velocities u, v and pressure p.

    Attributes:
        reynolds: Re > 0.
    """

    reynolds: float = 40.0
    smooth = True

    def __post_init__(self) -> None:
        if not self.reynolds > 0:
            raise InputError(f"reynolds must be positive, got {self.reynolds}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Box([(-0.5, 1.0), (-0.5, 1.5)])

    def functions(self) -> tuple[str, ...]:
        return ("u", "v", "p")

    def equation(self, w: Fields, z: Tensor) -> tuple[Tensor, ...]:
        u, v, p = w
        nu = 1.0 / self.reynolds
        return (
            u.value * u.x + v.value * u.y + p.x - nu * u.laplacian,
            u.value * v.x + v.value * v.y + p.y - nu * v.laplacian,
            u.x + v.y,
        )

    def conditions(self) -> Sequence[Condition]:
        u, v, p = (lambda z, k=k: self.exact(z)[:, k] for k in range(3))
        outlet = lambda z: z[:, 0] == 1.0  # noqa: E731
        return [Dirichlet(u, output="u"), Dirichlet(v, output="v"), Dirichlet(p, output="p", on=outlet)]

    def exact(self, z: Tensor) -> Tensor:
        rate = self.reynolds / 2 - sqrt(self.reynolds**2 / 4 + 4 * pi**2)
        x, y = z[:, 0], z[:, 1]
        decay = torch.exp(rate * x)
        u = 1.0 - decay * torch.cos(2 * pi * y)
        v = rate / (2 * pi) * decay * torch.sin(2 * pi * y)
        return torch.stack([u, v, 0.5 * (1.0 - decay * decay)], dim=1)
