"""Poisson's equation with a solution of several scales, −Δu = f on the unit square with u given on the boundary.

    u = (1/K) Σₖ sin(ωₖπx) sin(ωₖπy),   ω = 4, 8

Plain networks follow the slow wave and miss the fast one, whose share of f is the largest (Wang, Wang & Perdikaris,
Comput. Methods Appl. Mech. Eng. 384, 2021). Here the network is one layer of sines, whose weights start as large as
the wave numbers of the solution and whose width follows from them; the boundary values hold by an output transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Field, PDEProblem, with_boundary


@dataclass(frozen=True, kw_only=True)
class MultiscalePoisson(PDEProblem):
    """−Δu = f on the unit square for a sum of waves of several lengths.

    Attributes:
        frequencies: half waves ωₖ > 0 along a side, joined by commas.
    """

    dim: int = 2
    frequencies: str = "4,8"
    smooth = True

    def __post_init__(self) -> None:
        if self.dim != 2:
            raise InputError(f"multiscale-poisson has two dimensions, got dim={self.dim}: leave dim out")
        if not self.modes or not all(isfinite(wave) and wave > 0 for wave in self.modes):
            raise InputError(f"frequencies={self.frequencies!r} must be positive numbers joined by commas, as 4,8")
        super().__post_init__()

    @property
    def modes(self) -> tuple[float, ...]:
        """The ωₖ; none where ``frequencies`` is not readable."""
        try:
            return tuple(float(word) for word in str(self.frequencies).split(","))
        except ValueError:
            return ()

    def exact(self, z: Tensor) -> Tensor:
        return self._summed(z, 0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return -u.laplacian - self._summed(z, 1)

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return with_boundary(z, n, self.bounds, self.exact)

    def frequency(self) -> float:
        return max(self.modes) * pi

    def _summed(self, z: Tensor, times: int) -> Tensor:
        """(−Δ)^times u at the points z (m, 2), (m,)."""
        parts = [(2 * (wave * pi) ** 2) ** times * torch.sin(wave * pi * z).prod(1) for wave in self.modes]
        return torch.stack(parts).mean(0)
