"""Poisson's equation −Δu = f on the L-shape (-1, 1)² without [0, 1] x [-1, 0], with the singularity of its corner.

    u = singular · r^(2/3) cos(2φ/3) + smooth · sin(πx) sin(πy)

with the distance r from the corner at the origin and the angle φ from its bisector. The first part is harmonic, zero
on both edges of the corner, and the leading term of every solution there; its gradient is infinite at the corner
(Grisvard, Elliptic Problems in Nonsmooth Domains, 1985, section 2.3). u is given on the boundary.

A network is smooth, so it rounds the corner off, and the error that this makes there reaches far into the domain.
Near a corner of angle 3π/2 every solution with smooth data is a smooth function of the coordinates in which the
corner is straight, the real and imaginary part of (x + i y)^(2/3). So the network gets these, too, which
makes the first part easy; ``straight=false`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import (
    MLP,
    Condition,
    Dirichlet,
    Domain,
    Field,
    Network,
    PDEProblem,
    Polygon,
)

CORNERS = ((-1.0, -1.0), (0.0, -1.0), (0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (-1.0, 1.0))


def straightened(z: Tensor) -> Tensor:
    """The corner's two edges on one line: r^(2/3) (cos(2φ/3), sin(2φ/3)) of points (m, 2), (m, 2)."""
    x, y = z[:, 0], z[:, 1]
    angle = 2 / 3 * torch.atan2(-x - y, y - x)
    radius = (x**2 + y**2) ** (1 / 3)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


class WithStraightened:
    """What the network gets: the coordinates, and those in which the corner is straight."""

    features = 4

    def __call__(self, z: Tensor) -> Tensor:
        return torch.cat([z, straightened(z)], dim=1)

    def frequency(self, omega: float) -> float:
        return omega


@dataclass(frozen=True, kw_only=True)
class PoissonLShape(PDEProblem):
    """−Δu = f on the L-shape, whose solution has an infinite gradient at the corner.

    Attributes:
        singular: factor of the singular part.
        smooth: factor of the smooth part.
        straight: whether the network gets the coordinates in which the corner is straight, too.
    """

    singular: float = 1.0
    smooth: float = 1.0
    straight: bool = True
    smooth = True

    def __post_init__(self) -> None:
        if self.singular == 0 and self.smooth == 0:
            raise InputError("singular and smooth are both 0, and so is the solution: give one another value")
        if self.straight and self.architecture != "mlp":
            raise InputError(
                f"architecture {self.architecture!r} does not take the straight coordinates: give straight=false, too"
            )
        super().__post_init__()

    def domain(self) -> Domain:
        return Polygon(CORNERS)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        """−Δu − f times r, so that it stays bounded at the corner."""
        force = 2 * pi**2 * self.smooth * torch.sin(pi * z).prod(1)
        return -z.square().sum(1).sqrt() * (u.laplacian + force)

    def conditions(self) -> Sequence[Condition]:
        return [Dirichlet(self.exact, weight=100.0)]

    def make_network(self) -> Network:
        if not self.straight:
            return super().make_network()
        widths = (cast(int, self.width),) * cast(int, self.depth)
        return MLP(self.dim, widths, cast(str, self.activation), embedding=WithStraightened())

    def exact(self, z: Tensor) -> Tensor:
        return self.singular * straightened(z)[:, 0] + self.smooth * torch.sin(pi * z).prod(1)
