"""The Gauss–Newton form B = JᵀJ of a least-squares objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


@dataclass(frozen=True)
class GaussNewton:
    """B = JᵀJ; needs a least-squares objective (plus linear and quadratic terms)."""

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.expand(x, order)
        if model.normal is None and order >= 2:
            raise UnsupportedCombination(
                f"{type(f).__name__} has no residual for Gauss-Newton curvature: use AR2 or TR2, "
                "or give a residual to least_squares"
            )
        return model

    def updated(self, s: Tensor, y: Tensor) -> Self:
        return self
