"""Rows that a problem has in reserve: those at held-out points, and new ones where the residual is large.

As many points of the equation again are drawn with density |e| / mean |e| + 1 (Wu, Zhu, Tan, Kartha & Lu, Comput.
Methods Appl. Mech. Eng. 403, 2023, equation 2 with k = c = 1), half of them uniformly. All rows of the equation
get the factor that keeps its weight, a mean of squares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multilevel_opt.pde.residual import PDEResidual

if TYPE_CHECKING:
    from multilevel_opt.pde.problem import PDEProblem

CANDIDATES = 10  # times the points


class Reserve:
    """The reserve of one problem."""

    def __init__(self, problem: PDEProblem) -> None:
        self._problem = problem

    def held_out(self) -> PDEResidual:
        """At the held-out points of the problem, with the weights of training."""
        return self._problem.held_out_residual

    def refined(self, residual: PDEResidual, x: Tensor, seed: int) -> PDEResidual | None:
        """The residual with twice as many points of the equation, or None where it is not finite at x."""
        first = residual.blocks[0]
        z, size = candidates(self._problem, x, len(first.points), seed)
        if not bool(torch.isfinite(size).all()):
            return None
        points = torch.cat([first.points, z[drawn(size, len(first.points), 1.0, 1.0, seed)]])
        share = (len(first.points) / len(points)) ** 0.5
        block = self._problem.rows_of(points, self._problem.cloud, []).blocks[0]
        made = residual.with_blocks([block.weighted([share * w for w in first.weights]), *residual.blocks[1:]])
        made.supply = self
        return made


def candidates(problem: PDEProblem, x: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """New points (k, d), ten for each of ``count``, and the size (k,) of the weighted residual there."""
    found = problem._cloud_of(max(1000, CANDIDATES * count), "uniform", problem.seed + seed + 1)
    rows = problem.rows_of(found.interior, found, [])
    first = rows.blocks[0].weighted(problem.residual.blocks[0].weights)
    with torch.no_grad():
        return found.interior, rows.with_blocks([first])(x).view(first.count, -1).square().sum(0).sqrt()


def drawn(size: Tensor, count: int, k: float, c: float, seed: int) -> Tensor:
    """Numbers (count,) of candidates, drawn with density |e|^k / mean |e|^k + c."""
    tiny = torch.finfo(size.dtype).tiny
    powers = (size / size.max().clamp_min(tiny)) ** k
    density = powers / powers.mean().clamp_min(tiny) + c
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.multinomial(density.cpu(), count, generator=generator).to(size.device)
