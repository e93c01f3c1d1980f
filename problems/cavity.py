"""The flow in a square cavity driven by its lid: the stationary Navier-Stokes equations in the unit square.

With the stream function ψ, u = ψ_y and v = -ψ_x, incompressibility holds by construction, and without the pressure

    Δ²ψ = Re (ψ_y Δψ_x - ψ_x Δψ_y)

The walls are at rest and the lid y = 1 moves to the right; the network enters as ψ = lift + 256 (x(1-x)y(1-y))² N
with a lift (``cavity_lids``) that satisfies the boundary conditions and has the singular part of the flow in the
corners. Rows are weighted by the squares of the distances to the upper corners, where convection grows without bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, Domain, Field, PDEProblem
from problems.cavity_lids import LIDS, weight
from problems.cavity_reference import Flow, flow


@dataclass(frozen=True, kw_only=True)
class Cavity(PDEProblem):
    """The driven cavity; errors are those of the velocity, the root of the mean of |(u, v) - (u*, v*)|².

    Attributes:
        reynolds: Re > 0.
        lid: ``constant``, speed 1; or ``smooth``, speed 16 x² (1 - x)².
    """

    reynolds: float = 100.0
    lid: str = "constant"
    depth: int = 3

    def __post_init__(self) -> None:
        if not self.reynolds > 0:
            raise InputError(f"reynolds must be positive, got {self.reynolds}")
        if self.lid not in LIDS:
            raise InputError(f"lid {self.lid!r} is unknown: choose one of {', '.join(LIDS)}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Box([(0.0, 1.0), (0.0, 1.0)])

    def functions(self) -> tuple[str, ...]:
        return ("psi",)

    def equation(self, psi: Field, z: Tensor) -> Tensor:
        convection = psi.y * (psi.xxx + psi.xyy) - psi.x * (psi.xxy + psi.yyy)
        rows = psi.xxxx + 2.0 * psi.xxyy + psi.yyyy - self.reynolds * convection
        return weight(z) * rows

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        bubble = (4.0 * z * (1.0 - z)).prod(1, keepdim=True) ** 2
        return LIDS[self.lid](z, self.reynolds)[:, None] + bubble * n

    def exact(self, z: Tensor) -> Tensor:
        """ψ by finite differences (``cavity_reference``)."""
        return self.reference.stream(z)

    @cached_property
    def reference(self) -> Flow:
        """The flow by finite differences."""
        return flow(self.reynolds, self.lid)

    def velocity(self, x: Tensor, z: Tensor) -> Tensor:
        """(u, v) of the network at z (m, 2)."""
        return curl(self.function(x), z)

    def rmse(self, x: Tensor) -> float:
        """√mean |(u, v) - (u*, v*)|² on the test set."""
        return float((self.velocity(x, self._test_points) - self._velocity).square().sum(1).mean().sqrt())

    def relative_l2(self, x: Tensor) -> float:
        """Rmse / √mean |(u*, v*)|² on the test set."""
        return self.rmse(x) / float(self._velocity.square().sum(1).mean().sqrt())

    @cached_property
    def _velocity(self) -> Tensor:
        return self.reference.velocity(self._test_points)

    def frequency(self) -> float:
        return 2.0

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1500

    def default_sampling(self) -> str:
        return "sobol"


def curl(psi: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """(ψ_y, -ψ_x) at z (m, 2)."""
    units = torch.eye(2, dtype=z.dtype, device=z.device)[:, None].expand(2, *z.shape)
    slope_x, slope_y = (torch.func.jvp(psi, (z,), (unit,))[1] for unit in units)
    return torch.stack([slope_y, -slope_x], dim=1).detach()
