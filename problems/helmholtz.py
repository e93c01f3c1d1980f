"""Helmholtz' equation u″ + ν² u = 0 on the unit interval with u = sin(νz) + cos(νz), values given at both ends.

On 3ν + 1 points (h = 1/(3ν)) with λ_p = 0.1 t: the third test problem of Calandra, Gratton, Riccietti & Vasseur
(2020), whose tables start from N(0, 1): ``init=normal``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Field, PDEProblem


@dataclass(frozen=True, kw_only=True)
class Helmholtz(PDEProblem):
    """Δu + ν² u = 0 in one dimension, with u known at both ends.

    Attributes:
        nu: wave number ν > 0.
    """

    nu: float = 5.0

    def __post_init__(self) -> None:
        if self.dim != 1:
            raise InputError(f"helmholtz has one dimension, got dim={self.dim}: give dim=1")
        if not self.nu > 0:
            raise InputError(f"nu must be positive, got {self.nu}")
        super().__post_init__()

    def exact(self, z: Tensor) -> Tensor:
        phase = self.nu * z[:, 0]
        return torch.sin(phase) + torch.cos(phase)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian + self.nu**2 * u.value

    def frequency(self) -> float:
        return float(self.nu)

    def default_width(self) -> int:
        return 1024

    def default_points(self) -> int:
        return ceil(3 * self.nu) + 1

    def default_boundary_weight(self, t: int, t_b: int) -> float:
        return 0.1 * t
