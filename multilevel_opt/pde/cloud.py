"""The points of a problem: where its equation and its conditions are imposed, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.pde.domains import Domain
from multilevel_opt.pde.fronts import Front
from multilevel_opt.pde.sampling import Array


@dataclass(frozen=True)
class Places:
    """Points of a condition.

    Attributes:
        points: (m, d).
        normals: outward unit normals (m, d), or None.
        partners: a second point (m, d) for each, or None.
    """

    points: Tensor
    normals: Tensor | None = None
    partners: Tensor | None = None

    def take(self, kept: Tensor) -> Places:
        """Those for which ``kept`` (m,) is true."""
        return Places(*(None if a is None else a[kept] for a in (self.points, self.normals, self.partners)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cloud:
    """Points of a domain, made when they are first asked for.

    Attributes:
        domain: where.
        points: number of interior points, or per side; boundary and initial points are about as dense.
        sampling: a key of ``SAMPLINGS``.
        seed: of random points.
        dtype: of the points.
        device: of the points.
        front: near which the interior points are denser, or None.
    """

    domain: Domain
    points: int | str
    sampling: str
    seed: int
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    front: Front | None = None

    @cached_property
    def interior(self) -> Tensor:
        """(t, d)."""
        z = self.tensor(self.domain.interior(self.points, self.sampling, self.seed))
        return z if self.front is None else self.front.gathered(z, self.domain.bounds)

    @cached_property
    def boundary(self) -> Places:
        """Boundary points with normals."""
        z, normals = self.domain.boundary(self.points, self.sampling, self.seed)
        return Places(self.tensor(z), self.tensor(normals))

    @cached_property
    def initial(self) -> Places:
        """Points at the start of the time."""
        return Places(self.tensor(self.domain.initial(self.points, self.sampling, self.seed)))

    def pairs(self, name: str) -> Places:
        """Opposite points on the two faces of a coordinate, with the normals of the second."""
        first, second, normals = self.domain.pairs(name, self.points, self.sampling, self.seed)
        return Places(self.tensor(first), self.tensor(normals), self.tensor(second))

    def contains(self, z: Tensor) -> Tensor:
        """Whether points (m, d) lie in the domain, (m,)."""
        told = self.domain.contains(z.detach().cpu().to(torch.float64).numpy())
        return torch.as_tensor(np.asarray(told), device=z.device)

    def tensor(self, z: Array) -> Tensor:
        """An array as a tensor of the problem."""
        return torch.as_tensor(z, device="cpu").to(device=self.device, dtype=self.dtype)
