"""The pendulum with a force, u'' + ω² sin u = f on (0, 1), u = a sin(kπx) manufactured."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Domain, Field, Interval, PDEProblem


@dataclass(frozen=True, kw_only=True)
class Pendulum(PDEProblem):
    """u'' + ω² sin u = f with u = a sin(kπx).

    Attributes:
        omega: ω >= 0; the equation is linear for 0.
        k: half waves k >= 1 of the solution.
        a: its amplitude.
    """

    omega: float = 4.0
    k: int = 4
    a: float = 2.0

    def __post_init__(self) -> None:
        if not (self.omega >= 0 and self.k >= 1):
            raise InputError(f"omega must be >= 0 and k >= 1, got {self.omega} and {self.k}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(0.0, 1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        truth = self.exact(z)
        force = -((self.k * pi) ** 2) * truth + self.omega**2 * torch.sin(truth)
        return u.xx + self.omega**2 * torch.sin(u.value) - force

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return z * (1.0 - z) * n

    def exact(self, z: Tensor) -> Tensor:
        return self.a * torch.sin(self.k * pi * z[:, 0])

    def frequency(self) -> float:
        return self.k * pi
