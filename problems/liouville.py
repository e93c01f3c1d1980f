"""Liouville's equation Δu + c eᵘ = 0 on the unit square, with a closed solution.

    u = log(8 q / (c (1 + q |z - z₀|²)²)),   q > 0

(Liouville, J. Math. Pures Appl. 18, 1853; from f(w) = √q w in its general solution). The larger q, the steeper.
Like Gelfand's problem it has two solutions for the same boundary values. For small q this is the smaller one, which
solvers find; from about q = 3 on it is the larger one, and a small residual may belong to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, Condition, Dirichlet, Domain, Field, PDEProblem


@dataclass(frozen=True, kw_only=True)
class Liouville(PDEProblem):
    """Δu + c eᵘ = 0, u given on the boundary.

    Attributes:
        c: coefficient > 0.
        q: steepness > 0.
    """

    c: float = 1.0
    q: float = 1.0
    smooth = True

    def __post_init__(self) -> None:
        if not (self.c > 0 and self.q > 0):
            raise InputError(f"c and q must be positive, got {self.c} and {self.q}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Box([(0.0, 1.0), (0.0, 1.0)])

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.laplacian + self.c * torch.exp(u.value)

    def conditions(self) -> Sequence[Condition]:
        return [Dirichlet(self.exact)]

    def exact(self, z: Tensor) -> Tensor:
        away = (z[:, 0] - 0.4) ** 2 + (z[:, 1] - 0.55) ** 2
        return log(8.0 * self.q / self.c) - 2.0 * torch.log1p(self.q * away)
