"""Quadratic energies with bounds (MINPACK-2).

torsion           ½∫|∇u|² − c∫u,   |u| ≤ distance to the boundary          (elastic-plastic torsion, DEPT)
journal-bearing   ½∫w|∇u|² − ∫l u, u ≥ 0, w = (1 + ε cos ξ)³, l = ε sin ξ  (pressure in a bearing, DPJB)
membrane          ½∫|∇u|² + c∫u,   u ≥ ψ                                   (membrane over an obstacle, MEMBR)

Each has its bounds in ``x_bounds``; without them it has the minimizer of a linear equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.grid import Bounds, GridProblem
from problems.semilinear import Reaction, Semilinear


def _load(load: Tensor | float) -> Reaction:
    def reaction(u: Tensor, order: int) -> tuple[Any, ...]:
        return (-load * u, torch.zeros_like(u) - load, 0.0, 0.0)[: order + 1]

    return reaction


@dataclass(frozen=True, kw_only=True)
class Torsion(GridProblem):
    """Elastic-plastic torsion of a square bar.

    Attributes:
        c: angle of twist per unit length.
    """

    c: float = 5.0

    def energy(self, n: int) -> mlo.Objective:
        return Semilinear(mlo.laplacian(n, 2, 1 / (n + 1)), _load(self.c), (n + 1) ** -2.0, 1.0)

    def bounds_at(self, *z: Tensor) -> Bounds:
        x, y = z
        distance = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y))
        return -distance, distance


@dataclass(frozen=True, kw_only=True)
class JournalBearing(GridProblem):
    """Pressure of the film in a journal bearing on (0, 2π) x (0, 2b), scaled to the unit square.

    Attributes:
        eccentricity: ε between 0 and 1.
        b: half width.
    """

    eccentricity: float = 0.1
    b: float = 10.0

    def energy(self, n: int) -> mlo.Objective:
        h = 1 / (n + 1)
        z = self.line(n, ends=True)
        edges = (1 + self.eccentricity * torch.cos(2 * pi * 0.5 * (z[1:] + z[:-1]))) ** 3  # between two points
        at = (1 + self.eccentricity * torch.cos(2 * pi * z[1:-1])) ** 3
        along, across = self.b / pi * edges, pi / self.b * at
        diagonal = (along[:-1] + along[1:])[:, None] + 2 * across[:, None].expand(n, n)
        couplings = [
            ((1, 0), -along[1:-1, None].expand(n - 1, n).contiguous()),
            ((0, 1), -across[:, None].expand(n, n - 1).contiguous()),
        ]
        load = 4 * pi * self.b * self.eccentricity * torch.sin(2 * pi * z[1:-1])[:, None].expand(n, n)
        return Semilinear(mlo.Stencil((n, n), diagonal, couplings), _load(load), h**2, 1.0)

    def bounds_at(self, *z: Tensor) -> Bounds:
        return torch.zeros_like(z[0]), None


@dataclass(frozen=True, kw_only=True)
class Membrane(GridProblem):
    """A membrane under a load over an obstacle.

    Attributes:
        c: load, downwards.
        height: of the obstacle, a paraboloid with its top in the middle, below zero at the boundary.
    """

    c: float = 5.0
    height: float = -0.1

    def energy(self, n: int) -> mlo.Objective:
        return Semilinear(mlo.laplacian(n, 2, 1 / (n + 1)), _load(-self.c), (n + 1) ** -2.0, 1.0)

    def bounds_at(self, *z: Tensor) -> Bounds:
        x, y = z
        return self.height - (x - 0.5) ** 2 - (y - 0.5) ** 2, None
