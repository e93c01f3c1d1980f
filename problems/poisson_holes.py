"""Laplace's equation on a square without discs: harmonic functions with their poles in the holes.

    u = Σᵢ cᵢ log |z - zᵢ| + Re (x + i y)³

on (-1, 1)² minus the discs of centres (±0.4, ±0.4) and radius ``radius``; u is given on the outer
boundary, and its normal derivative on the holes.

Outside of a round hole a harmonic function is a smooth function of the coordinates mirrored at its circle (Kelvin), in
which the outside is the disc, and the poles are far away. So the network gets these for every hole beside the plain
coordinates; it is one wide layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import (
    MLP,
    Boundary,
    Condition,
    Dirichlet,
    Disc,
    Domain,
    Field,
    Network,
    PDEProblem,
    Rectangle,
)

CENTRES = ((0.4, 0.4), (-0.4, 0.4), (-0.4, -0.4), (0.4, -0.4))
STRENGTHS = (1.0, -0.5, 0.75, -1.0)
SMOOTH = 1.5  # wave number in plain and mirrored coordinates, which are all of order one


@dataclass(frozen=True)
class WithMirrored:
    """What the network gets: the coordinates, and those mirrored at every hole, R (z - c) / |z - c|².

    Attributes:
        radius: R.
    """

    radius: float

    @property
    def features(self) -> int:
        return 2 + 2 * len(CENTRES)

    def __call__(self, z: Tensor) -> Tensor:
        away = [z - z.new_tensor(centre) for centre in CENTRES]
        return torch.cat([z, *(self.radius * a / a.square().sum(1, keepdim=True) for a in away)], dim=1)

    def frequency(self, omega: float) -> float:
        return omega


@dataclass(frozen=True, kw_only=True)
class PoissonHoles(PDEProblem):
    """Δu = 0 on a square with four round holes; Dirichlet outside, Neumann on the holes.

    Attributes:
        radius: of the holes, below 0.4.
    """

    radius: float = 0.2
    depth: int = 1

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
        return [
            Dirichlet(self.exact, on=outside, weight=2000.0),  # without a source all is in the boundary values
            Boundary(self.flux, on=lambda z: ~outside(z), weight=100.0),
        ]

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

    def make_network(self) -> Network:
        if self.architecture != "mlp":
            return super().make_network()
        widths = (cast(int, self.width),) * self.depth
        return MLP(self.dim, widths, cast(str, self.activation), embedding=WithMirrored(self.radius))

    def frequency(self) -> float:
        return SMOOTH

    def default_width(self) -> int:
        return 1500 if self.depth == 1 else 26

    def default_points(self) -> int:
        return 6000 if self.depth == 1 else 1500
