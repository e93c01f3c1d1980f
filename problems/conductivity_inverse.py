"""A conductivity a(x, y) from measurements of u: -div(a grad u) = f on the unit square, u = 0 on its boundary.

    u = sin(πx) sin(πy)    a = 1 + c exp(-8 ((x - 0.6)² + (y - 0.4)²))    f = 2π² a u - grad a · grad u

The source f is known, a on the boundary, and u at measured points with errors. The unknown field is a second network,
small, beside that of u: as the equation determines u by a, the number of its parameters is that of the fit, and the
equation weighs much more than the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import MLP, Box, Condition, Data, Dirichlet, Domain, Fields, Network, PDEProblem, Several
from problems.burgers_inverse import check_data, measured

STEEPNESS = 8.0
CENTRE = (0.6, 0.4)
DATA_WEIGHT = 100.0  # of the mean square of the misfit, where that of the equation counts once


@dataclass(frozen=True, kw_only=True)
class ConductivityInverse(PDEProblem):
    """Unknown functions u and a; the metric ``conductivity_error`` is the relative L2 error of a.

    Attributes:
        contrast: c > -1, height of the bump of the conductivity.
        noise: standard deviation of the measurements relative to their root mean square, >= 0.
        measurements: how many there are.
        field_width: neurons of the network of the conductivity.
    """

    contrast: float = 1.0
    noise: float = 0.0
    measurements: int = 400
    field_width: int = 24
    depth: int = 2

    def __post_init__(self) -> None:
        if not self.contrast > -1:
            raise InputError(f"contrast must be above -1, where the conductivity vanishes, got {self.contrast}")
        check_data(self.noise, self.measurements)
        super().__post_init__()

    def domain(self) -> Domain:
        return Box([(0.0, 1.0), (0.0, 1.0)])

    def functions(self) -> tuple[str, ...]:
        return ("u", "a")

    def equation(self, w: Fields, z: Tensor) -> Tensor:
        u, a = w
        return a.value * u.laplacian + a.x * u.x + a.y * u.y + self.source(z)

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        bubble = 16.0 * (z * (1.0 - z)).prod(1, keepdim=True)
        return torch.cat([bubble * n[:, :1], 1.0 + n[:, 1:]], dim=1)

    def conditions(self) -> Sequence[Condition]:
        z = self.cloud.tensor(self.place.interior(self.measurements, "sobol", self.seed + 1))
        data = measured(self.exact(z)[:, 0], self.noise, self.seed)
        return [Data(z, data, output="u", weight=DATA_WEIGHT), Dirichlet(self.conductivity, output="a", weight=100.0)]

    def exact(self, z: Tensor) -> Tensor:
        return torch.stack([torch.sin(pi * z).prod(1), self.conductivity(z)], dim=1)

    def conductivity(self, z: Tensor) -> Tensor:
        """The true a at z (m, 2), shape (m,)."""
        return 1.0 + self.contrast * torch.exp(-STEEPNESS * (z - z.new_tensor(CENTRE)).square().sum(1))

    def source(self, z: Tensor) -> Tensor:
        """F at z (m, 2), shape (m,)."""
        sine, cosine = torch.sin(pi * z), torch.cos(pi * z)
        slope = pi * torch.stack([cosine[:, 0] * sine[:, 1], sine[:, 0] * cosine[:, 1]], dim=1)
        a = self.conductivity(z)
        bump = -2.0 * STEEPNESS * (a - 1.0)[:, None] * (z - z.new_tensor(CENTRE))
        return 2.0 * pi**2 * a * sine.prod(1) - (bump * slope).sum(1)

    def make_network(self) -> Network:
        widths = (int(self.width or 0),) * self.depth
        name = str(self.activation)
        return Several((MLP(2, widths, name), MLP(2, (self.field_width,), name)))

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """Those of every problem, and ``conductivity_error``."""
        return {**super().metrics, "conductivity_error": self.conductivity_error}

    def conductivity_error(self, x: Tensor) -> float:
        """‖a - a*‖ / ‖a*‖ on the test points."""
        truth = self._truth[:, 1]
        return float((self.solution(x, self._test_points)[:, 1] - truth).norm() / truth.norm())

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 400
