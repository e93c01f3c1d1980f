"""Laplace's equation on a square without discs: harmonic functions with their poles in the holes.

    u = Σᵢ cᵢ log |z - zᵢ| + Re (x + i y)³

on (-1, 1)² minus the discs of centres (±0.4, ±0.4) and radius ``radius``; u is given on the outer
boundary, and its normal derivative on the holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Boundary, Condition, Dirichlet, Disc, Domain, Field, PDEProblem, Rectangle

CENTRES = ((0.4, 0.4), (-0.4, 0.4), (-0.4, -0.4), (0.4, -0.4))
STRENGTHS = (1.0, -0.5, 0.75, -1.0)


@dataclass(frozen=True, kw_only=True)
class PoissonHoles(PDEProblem):
    """Δu = 0 on a square with four round holes; Dirichlet outside, Neumann on the holes.

    Attributes:
        radius: of the holes, below 0.4.
    """

    radius: float = 0.2
    depth: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.radius < 0.4:
            raise InputError(f"radius must lie between 0 and 0.4, got {self.radius}")
        super().__post_init__()

    def domain(self) -> Domain:
        square = Rectangle(-1.0, 1.0, -1.0, 1.0)
        for centre in CENTRES:
            square = square - Disc(centre, self.radius)
        return square

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian

    def conditions(self) -> Sequence[Condition]:
        outside = lambda z: z.abs().amax(1) > 1 - 1e-9  # noqa: E731
        return [Dirichlet(self.exact, on=outside), Boundary(self.flux, on=lambda z: ~outside(z))]

    def flux(self, u: Field, z: Tensor) -> Tensor:
        """∂u/∂n − n·∇u of the exact solution."""
        x, y = z[:, 0], z[:, 1]
        slope = torch.stack([3.0 * (x**2 - y**2), -6.0 * x * y], dim=1)
        for centre, c in zip(CENTRES, STRENGTHS, strict=True):
            away = z - z.new_tensor(centre)
            slope = slope + c * away / away.square().sum(1, keepdim=True)
        return u.normal_derivative - (u.normal * slope).sum(1)

    def exact(self, z: Tensor) -> Tensor:
        x, y = z[:, 0], z[:, 1]
        u = x**3 - 3.0 * x * y**2
        for (a, b), c in zip(CENTRES, STRENGTHS, strict=True):
            u = u + 0.5 * c * torch.log((x - a) ** 2 + (y - b) ** 2)
        return u

    def frequency(self) -> float:
        return 2 * pi

    def default_width(self) -> int:
        return 26

    def default_points(self) -> int:
        return 1500
