"""Helmholtz' equation Δu + κ² u = f, with u given on the boundary.

d = 1    κ = ν, f = 0, u = sin(νz) + cos(νz) on the unit interval, on 3ν + 16 points with λ_p = 0.1 t:
         the third test problem of Calandra, Gratton, Riccietti & Vasseur (2020), whose tables start from
         N(0, 1) on 3ν + 1 points (h = 1/(3ν)): ``init=normal``
d = 2    κ = ω/c, u = sin(a₁πx) sin(a₂πy) on (-1, 1)² with f made to fit (Wang, Teng & Perdikaris, SIAM J. Sci.
         Comput. 43, 2021, for ω = c = 1), and the velocity of a lens

             c(z) = 1 + contrast · exp(−4 |z − (0.2, −0.3)|²)

         The boundary values hold by an output transform. The network is one layer of sines, as wide as the wave
         number asks for, on twice as many points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Field, PDEProblem, with_boundary

LENS = (0.2, -0.3)


@dataclass(frozen=True, kw_only=True)
class Helmholtz(PDEProblem):
    """Δu + κ² u = f in one or two dimensions, with u known on the boundary.

    Where κ² is constant and near (π/2)² (j² + k²), j, k >= 1, the problem of two dimensions has no unique solution.

    Attributes:
        nu: wave number ν > 0 in one dimension.
        a1: half waves per unit length of the solution along x, in two dimensions.
        a2: the same along y.
        wavenumber: ω > 0 in two dimensions.
        contrast: of the velocity of the lens, above -1; 0: the velocity is constant.
        hard: boundary values by an output transform; None: in two dimensions.
    """

    nu: float = 5.0
    a1: float = 1.0
    a2: float = 4.0
    wavenumber: float = 1.0
    contrast: float = 0.0
    hard: bool | None = None
    smooth = True

    def __post_init__(self) -> None:
        if self.dim not in (1, 2):
            raise InputError(f"helmholtz has one dimension or two, got dim={self.dim}: give dim=1 or dim=2")
        if not (self.nu > 0 and self.wavenumber > 0):
            raise InputError(f"nu and wavenumber must be positive, got {self.nu} and {self.wavenumber}")
        if not (self.a1 > 0 and self.a2 > 0):
            raise InputError(f"a1 and a2 must be positive, got {self.a1} and {self.a2}")
        if not self.contrast > -1:
            raise InputError(f"contrast must lie above -1, so that the velocity is positive, got {self.contrast}")
        self._fill("hard", lambda: self.dim == 2)
        super().__post_init__()

    @property
    def bounds(self) -> Sequence[tuple[float, float]]:
        return [(0.0, 1.0)] if self.dim == 1 else [(-1.0, 1.0)] * 2

    def exact(self, z: Tensor) -> Tensor:
        if self.dim == 1:
            phase = self.nu * z[:, 0]
            return torch.sin(phase) + torch.cos(phase)
        return torch.sin(self.a1 * pi * z[:, 0]) * torch.sin(self.a2 * pi * z[:, 1])

    def kappa(self, z: Tensor) -> Tensor:
        """κ at the points z (m, d), (m,)."""
        if self.dim == 1:
            return torch.full_like(z[:, 0], self.nu)
        away = (z - z.new_tensor(LENS)).square().sum(1)
        return self.wavenumber / (1.0 + self.contrast * torch.exp(-4.0 * away))

    def equation(self, u: Field, z: Tensor) -> Tensor:
        squared = self.kappa(z) ** 2
        if self.dim == 1:
            return u.laplacian + squared * u.value
        bent = (self.a1**2 + self.a2**2) * pi**2
        return u.laplacian + squared * u.value - (squared - bent) * self.exact(z)

    def constrained(self) -> bool:
        return bool(self.hard)

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return with_boundary(z, n, self.bounds, self.exact)

    def frequency(self) -> float:
        """That of the source, or κ where it is largest."""
        if self.dim == 1:
            return float(self.nu)
        return max(max(self.a1, self.a2) * pi, self.wavenumber / min(1.0, 1.0 + self.contrast))

    def wide(self) -> bool:
        return self.dim == 2 and super().wide()

    def default_width(self) -> int:
        return 1024 if self.dim == 1 else super().default_width()

    def default_points(self) -> int:
        if self.dim == 1:
            return ceil(3 * self.nu) + (1 if self.init == "normal" else 16)
        return super().default_points()

    def default_sampling(self) -> str:
        return "equispaced" if self.dim == 1 else "sobol"

    def default_boundary_weight(self, t: int, t_b: int) -> float:
        return 0.1 * t if self.dim == 1 else super().default_boundary_weight(t, t_b)
