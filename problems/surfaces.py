"""Problems whose energy is a function of the gradient.

minimal-surface   φ(t) = √(1 + t): the surface of least area with given boundary values
optimal-design    φ of two materials, with load 1 (MINPACK-2: optimal design with composite materials)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.gradients import GradientEnergy
from problems.grid import GridProblem


@dataclass(frozen=True, kw_only=True)
class MinimalSurface(GridProblem):
    """The surface of least area over the unit square with given boundary values.

    The unknown is the difference to a fixed surface with these values.

    Attributes:
        height: of the boundary.
        boundary: ``waves``: height · sin(2πx)(1 − 2y) on the sides y = 0 and 1, zero on the others; ``saddle``:
            height · (x² − y²); ``hump``: height · x(1 − x) on the side y = 0, zero on the others.
    """

    height: float = 0.5
    boundary: str = "saddle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.boundary not in BOUNDARIES:
            raise mlo.InputError(f"unknown boundary {self.boundary!r}: use one of {', '.join(BOUNDARIES)}")

    def energy(self, n: int) -> mlo.Objective:
        z = self.line(n, ends=True)
        x, y = torch.meshgrid(z, z, indexing="ij")
        return GradientEnergy(self.height * BOUNDARIES[self.boundary](x, y), _area)


@dataclass(frozen=True, kw_only=True)
class OptimalDesign(GridProblem):
    """The best mixture of two materials of equal volume under torsion; φ has a continuous slope and kinks in φ'.

    Attributes:
        lam: Lagrange multiplier λ of the volume.
    """

    lam: float = 0.008

    def energy(self, n: int) -> mlo.Objective:
        return GradientEnergy(self.line(n, ends=True).new_zeros(n + 2, n + 2), self._density, load=1.0)

    def _density(self, t: Tensor, order: int) -> tuple[Tensor, ...]:
        """ψ(√t): stiff material below √t = t₁, the other beyond t₂ = 2t₁, a mixture between (μ₁ = 1, μ₂ = 2)."""
        first = (self.lam) ** 0.5  # √(2λμ₁/μ₂)
        second = 2 * first
        root = t.clamp_min(first**2).sqrt()
        low, high = t <= first**2, t > second**2
        middle = 2 * first * (root - 0.5 * first)
        top = 0.5 * (t - second**2) + 2 * first * (second - 0.5 * first)
        value = torch.where(low, t, torch.where(high, top, middle))
        slopes = [torch.where(low, torch.ones_like(t), torch.where(high, 0.5 * torch.ones_like(t), first / root))]
        between = ~(low | high)
        for factor, power in ((-0.5, 3), (0.75, 5)):
            slopes.append(torch.where(between, factor * first / root**power, torch.zeros_like(t)))
        return (value, *slopes)[: order + 1]


def _area(t: Tensor, order: int) -> tuple[Tensor, ...]:
    root = torch.sqrt(1 + t)
    if order == 0:
        return (root,)
    inverse = 1 / root
    rates = [root, 0.5 * inverse]
    cube = inverse * inverse * inverse
    rates += [-0.25 * cube, 0.375 * cube * inverse * inverse]
    return tuple(rates[: order + 1])


BOUNDARIES = {
    "waves": lambda x, y: torch.sin(2 * pi * x) * (1 - 2 * y),
    "saddle": lambda x, y: torch.sin(pi * x) * (1 - y) + torch.sin(pi * y) * x,
    "hump": lambda x, y: 4 * x * (1 - x) * (1 - y),
}
