"""The Gauss–Newton form B = JᵀJ of a least-squares objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multilevel_opt.curvature.base import Derived
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


@dataclass(frozen=True)
class GaussNewton(Derived):
    """B = JᵀJ; needs a least-squares objective (plus linear and quadratic terms)."""

    name: ClassVar[str] = "gauss-newton"
    residual: ClassVar[bool] = True

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.expand(x, order)
        if model.normal is None and order >= 2:
            raise UnsupportedCombination(
                f"{type(f).__name__} has no residual for Gauss-Newton curvature: use AR2 or TR2, "
                "or give a residual to least_squares"
            )
        return model
