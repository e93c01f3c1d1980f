"""Quadratic problems −Δu = g with zero boundary values and a known solution, in one, two and three dimensions.

P2D and P3D of Gratton, Mouffe, Sartenaer, Toint & Tomanos (2010); with these the solvers are linear multigrid.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any, ClassVar

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.grid import GridProblem
from problems.semilinear import Semilinear


@dataclass(frozen=True, kw_only=True)
class Dirichlet(GridProblem):
    """−Δu = g on the unit square, u a product of sines; quadratic."""

    def exact(self, *z: Tensor) -> Tensor:
        product = torch.ones_like(z[0])
        for coordinate in z:
            product = product * torch.sin(pi * coordinate)
        return product

    def energy(self, n: int) -> mlo.Objective:
        load = self.dim * pi**2 * self.exact(*self.points(n))

        def reaction(u: Tensor, order: int) -> tuple[Any, ...]:
            return (-load * u, -load, 0.0, 0.0)[: order + 1]

        spacing = 1 / (n + 1)
        return Semilinear(mlo.laplacian(n, self.dim, spacing), reaction, spacing**self.dim, 1.0)


@dataclass(frozen=True, kw_only=True)
class Dirichlet1D(Dirichlet):
    """−u'' = g on the unit interval, u a sine; quadratic."""

    dim: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Dirichlet3D(Dirichlet):
    """−Δu = g on the unit cube, u a product of sines; quadratic."""

    n: int = 15
    dim: ClassVar[int] = 3
