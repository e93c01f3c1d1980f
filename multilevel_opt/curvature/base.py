"""The seam: a curvature turns an objective and a point into a local model of the order asked for.

``updated(s, y)`` returns the curvature after an accepted step s with gradient change y; curvatures that
learn nothing from pairs return themselves.
"""

from __future__ import annotations

from typing import Protocol, Self

from torch import Tensor

from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


class Curvature(Protocol):
    """Supplies the second form of the model."""

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        """The model of f at x of shape (n,), of degree ``order``."""
        ...

    def updated(self, s: Tensor, y: Tensor) -> Self:
        """The curvature after the pair (s, y), both of shape (n,)."""
        ...
