"""Poisson's equation −Δu = f on the unit cube with a known oscillating solution.

d = 1    u = cos(νz), f = ν² cos(νz), on 3ν + 16 points, with init=normal 3ν + 1 (h = 1/(3ν)), λ_p = 0.1 t
d >= 2   u = Πᵢ sin(kπzᵢ), f = d (kπ)² u; in 2-D on 30 x 30 interior and 120 boundary points with
         loss ½ [mean interior² + 100 mean boundary²]; the network is a sum of sines of ridges, in 2-D as many as
         the wave number asks for. With boundary values by an output transform (``hard``) the factor of the network
         is no sum of few ridges any more, and in five dimensions training is slow
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Field, PDEProblem, with_boundary

FLATTER = 0.7  # steepest ridges of the start in more than two dimensions: from 1.0 training was stuck on four seeds


@dataclass(frozen=True, kw_only=True)
class Poisson(PDEProblem):
    """−Δu = f with u known on the boundary.

    Attributes:
        nu: frequency ν > 0 of the solution in one dimension.
        k: half waves k >= 1 along every side in more dimensions.
        hard: boundary values by an output transform.
    """

    nu: float = 20.0
    k: int = 2
    hard: bool = False
    smooth = True

    def __post_init__(self) -> None:
        if not self.nu > 0:
            raise InputError(f"nu must be positive, got {self.nu}")
        if not self.k >= 1:
            raise InputError(f"k must be at least 1, got {self.k}")
        super().__post_init__()

    def exact(self, z: Tensor) -> Tensor:
        if self.dim == 1:
            return torch.cos(self.nu * z[:, 0])
        return torch.sin(self.k * pi * z).prod(1)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return -u.laplacian - self.dim * self.wave() ** 2 * self.exact(z)

    def constrained(self) -> bool:
        return self.hard

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return with_boundary(z, n, self.bounds, self.exact if self.dim == 1 else 0.0)

    def wave(self) -> float:
        """Wave number along a coordinate."""
        return float(self.nu) if self.dim == 1 else self.k * pi

    def frequency(self) -> float:
        """That of the solution; less in more than two dimensions, where ridges are few, trained, and better flat."""
        return self.wave() * (FLATTER if self.dim > 2 else 1.0)

    def default_activation(self) -> str:
        return "sin" if self.dim > 1 and self.init == "scaled" else super().default_activation()

    def wide(self) -> bool:
        return self.dim == 2 and super().wide()

    def default_width(self) -> int:
        if self.wide():
            return super().default_width()
        return 512 if self.dim == 1 else 100 if self.dim == 2 else 32 * self.dim

    def default_points(self) -> int:
        if self.dim == 1:
            return ceil(3 * self.nu) + (1 if self.init == "normal" else 16)
        return max(900, super().default_points()) if self.dim == 2 else 500 * self.dim

    def default_boundary_weight(self, t: int, t_b: int) -> float:
        return 0.1 * t if self.dim == 1 else super().default_boundary_weight(t, t_b)
