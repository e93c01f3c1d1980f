"""The surface of least area as a sum of elements, one for each cell of the grid: two triangles, up to four unknowns.

The same function as ``minimal-surface``, but given to solvers by its elements, of which each is convex.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import multilevel_opt as mlo
from problems.surfaces import BOUNDARIES, MinimalSurface

CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass(frozen=True, kw_only=True)
class MinimalSurfaceElements(MinimalSurface):
    """The surface of least area over the unit square, by elements: for partitioned curvature.

    Source: ``minimal-surface``, whose values it has.
    """

    n: int = 31

    def energy(self, n: int) -> mlo.PartiallySeparable:
        return mlo.PartiallySeparable(self.elements(n), n * n)

    def elements(self, n: int | None = None) -> list[mlo.Elements]:
        """The cells of a grid with n unknowns per side, those with four, two and one unknown in a group each."""
        n = self.n if n is None else n
        z = self.line(n, ends=True)
        height = self.height * BOUNDARIES[self.boundary](*torch.meshgrid(z, z, indexing="ij"))
        number = torch.full((n + 2, n + 2), -1, dtype=torch.int64, device=z.device)
        number[1:-1, 1:-1] = torch.arange(n * n, device=z.device).reshape(n, n)
        heights, vertices = (
            torch.stack([t[i : i + n + 1, j : j + n + 1].reshape(-1) for i, j in CORNERS], 1) for t in (height, number)
        )
        free = (vertices >= 0).sum(1)
        return [_group(heights[free == k], vertices[free == k], 1 / (n + 1)) for k in (4, 2, 1)]


def _group(heights: Tensor, vertices: Tensor, h: float) -> mlo.Elements:
    """Cells with the same number of unknowns, from the heights (E, 4) and numbers (E, 4) of their corners."""
    inside = vertices >= 0
    places = inside.nonzero()[:, 1].reshape(len(vertices), -1)

    def area(u: Tensor, fixed: Tensor, at: Tensor) -> Tensor:
        a, b, c, d = fixed.scatter_add(1, at, u).unbind(1)
        lower = 1 + ((b - a) ** 2 + (c - a) ** 2) / h**2
        upper = 1 + ((d - c) ** 2 + (d - b) ** 2) / h**2
        return 0.5 * h**2 * (lower.sqrt() + upper.sqrt())

    table = vertices.gather(1, places)
    return mlo.Elements(table, area, (heights, places), flops=30.0, convex=True)
