"""Semilinear problems −Δu + W'(u) = 0 whose energy is known in closed form.

convex-exponential   −Δu + e^u = g, u = sin(2πx(1−x)) sin(2πy(1−y))   (Calandra, Gratton, Riccietti & Vasseur 2021)
bratu                −Δu = λ e^u                                      (MINPACK-2: steady-state combustion, λ = 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.grid import GridProblem
from problems.semilinear import TRANSCENDENTAL, Semilinear

CRITICAL = 6.808124423  # the largest λ for which −Δu = λ e^u has a solution on the unit square


@dataclass(frozen=True, kw_only=True)
class ConvexExponential(GridProblem):
    """−Δu + e^u = g on the unit square with a known solution; a strictly convex energy."""

    def exact(self, *z: Tensor) -> Tensor:
        x, y = (torch.sin(2 * pi * t * (1 - t)) for t in z)
        return x * y

    def energy(self, n: int) -> mlo.Objective:
        z = self.points(n)
        u = self.exact(*z)
        load = torch.exp(u) - _second(z[0]) * _first(z[1]) - _first(z[0]) * _second(z[1])

        def reaction(v: Tensor, order: int) -> tuple[Any, ...]:
            e = torch.exp(v)
            return (e - load * v, e - load, e, e)[: order + 1]

        return Semilinear(mlo.laplacian(n, 2, 1 / (n + 1)), reaction, (n + 1) ** -2.0, TRANSCENDENTAL + 3)


@dataclass(frozen=True, kw_only=True)
class Bratu(GridProblem):
    """−Δu = λ e^u on the unit square: solid ignition, steady combustion; a local minimizer, f has no lower bound.

    Attributes:
        lam: λ below 6.808, beyond which there is no solution.
    """

    lam: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lam < CRITICAL:
            raise mlo.InputError(f"lam={self.lam} has no solution: give 0 <= lam < {CRITICAL:.3f}")

    def energy(self, n: int) -> mlo.Objective:
        def reaction(v: Tensor, order: int) -> tuple[Any, ...]:
            e = -self.lam * torch.exp(v)
            return (e,) * (order + 1)

        return Semilinear(mlo.laplacian(n, 2, 1 / (n + 1)), reaction, (n + 1) ** -2.0, TRANSCENDENTAL + 1)


def _first(t: Tensor) -> Tensor:
    return torch.sin(2 * pi * t * (1 - t))


def _second(t: Tensor) -> Tensor:
    """The second derivative of sin(2πt(1−t))."""
    slope = 2 * pi * (1 - 2 * t)
    inner = 2 * pi * t * (1 - t)
    return -torch.sin(inner) * slope.square() - 4 * pi * torch.cos(inner)
