"""A thin layer of the solution at a known place: a shock that stands, or a boundary layer.

Across a layer of thickness δ at c = at the solution varies over lengths of about ℓ, and elsewhere over lengths of order
one. In the coordinate s it varies evenly:

    ℓ(c)² = (c - at)² + δ²        ds/dc ∝ 1/ℓ        s ∝ asinh((c - at) / δ)

So points are drawn evenly in s, the network is given s beside the coordinates, and the rows of the equation are
multiplied by ℓ, as if it had been written in s: derivatives that are large in the layer alone do not outweigh the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import asinh
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.embeddings import Embedding

if TYPE_CHECKING:
    from multilevel_opt.pde.domains import Domain
    from multilevel_opt.pde.equations import Equation

Bounds = Sequence[tuple[float, float]]
ROUNDING = 1e-9  # to which the measure of a box is that of its sides


@dataclass(frozen=True)
class Front:
    """A thin layer, which ``PDEProblem.front`` states.

    Attributes:
        axis: the coordinate across it.
        at: where it lies on that coordinate.
        thickness: δ > 0, in units of the coordinate; a few times the true one will do.

    Raises:
        InputError: the thickness is not positive, or the axis negative.
    """

    axis: int
    at: float
    thickness: float

    def __post_init__(self) -> None:
        if not self.thickness > 0:
            raise InputError(f"the thickness of a front must be positive, got {self.thickness}")
        if self.axis < 0:
            raise InputError(f"the axis of a front must be 0, 1, ..., got {self.axis}")

    def stretched(self, c: Tensor, side: tuple[float, float]) -> Tensor:
        """The coordinate s in [-1, 1] of c between the ends of a side."""
        low, high = self._ends(side)
        return (2.0 * torch.asinh((c - self.at) / self.thickness) - low - high) / (high - low)

    def gathered(self, z: Tensor, bounds: Bounds) -> Tensor:
        """Points z (m, d) that are even in the box, moved along the axis to be even in s."""
        side = bounds[self.axis]
        low, high = self._ends(side)
        share = (z[:, self.axis] - side[0]) / (side[1] - side[0])
        moved = z.clone()
        moved[:, self.axis] = self.at + self.thickness * torch.sinh(low + (high - low) * share)
        moved[:, self.axis].clamp_(*side)  # rounding
        return moved

    def weighted(self, equation: Equation, bounds: Bounds) -> Equation:
        """The equation times ℓ, relative to the largest ℓ in the box."""
        largest = max(((end - self.at) ** 2 + self.thickness**2) ** 0.5 for end in bounds[self.axis])

        def times_length(u: Any, z: Tensor) -> Tensor | list[Tensor]:
            factor = ((z[:, self.axis] - self.at).square() + self.thickness**2).sqrt() / largest
            found = equation(u, z)
            return factor * found if isinstance(found, Tensor) else [factor * row for row in found]

        return times_length

    def check(self, domain: Domain) -> None:
        """Raises InputError for a domain without that coordinate, which does not reach the front, or is no box."""
        if self.axis >= domain.dim:
            raise InputError(f"a front on axis {self.axis} needs more than the {domain.dim} coordinates of the domain")
        low, high = domain.bounds[self.axis]
        if not low <= self.at <= high:
            raise InputError(f"the front at {self.at} lies outside of the domain, which reaches from {low} to {high}")
        if abs(domain.measure / domain.volume_of_box - 1.0) > ROUNDING:
            raise InputError("a front needs a domain that is a box, perhaps times Time(...): leave the front out")

    def _ends(self, side: tuple[float, float]) -> tuple[float, float]:
        low, high = side
        return asinh((low - self.at) / self.thickness), asinh((high - self.at) / self.thickness)


@dataclass(frozen=True)
class Beside:
    """An embedding, or the coordinates as they are, and beside them the stretched coordinate of a front.

    Attributes:
        dim: number of coordinates.
        front: whose coordinate s joins.
        side: (low, high) of its axis.
        inner: the embedding, or None.
    """

    dim: int
    front: Front
    side: tuple[float, float]
    inner: Embedding | None = None

    @property
    def features(self) -> int:
        return 1 + (self.dim if self.inner is None else self.inner.features)

    def __call__(self, z: Tensor) -> Tensor:
        others = z if self.inner is None else self.inner(z)
        return torch.cat([others, self.front.stretched(z[:, self.front.axis], self.side)[:, None]], dim=1)

    def frequency(self, omega: float) -> float:
        return omega if self.inner is None else self.inner.frequency(omega)
