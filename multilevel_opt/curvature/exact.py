"""The exact second (and higher) derivatives, as matrix-free products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multilevel_opt.curvature.base import Derived
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


@dataclass(frozen=True)
class Exact(Derived):
    """B = ∇²f."""

    name: ClassVar[str] = "exact"

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        return f.exact.expand(x, order)
