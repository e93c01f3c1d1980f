"""The seam between the loop and the solvers of the local model.

A rejected trial changes σ or Δ only, so what depends on the model alone (a Gram matrix, a Krylov basis) is
made once by ``prepare`` and reused by every ``solve``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from multilevel_opt.objective.taylor import Taylor


@dataclass(frozen=True, eq=False)
class Step:
    """A trial step.

    Attributes:
        s: shape (n,).
        predicted: T(0) − T(s), without the regularization term.
        on_boundary: ended on the trust-region boundary.
    """

    s: Tensor
    predicted: float
    on_boundary: bool = False


class Prepared(Protocol):
    """A model made ready for many values of σ or Δ."""

    def solve(self, globalization: Any) -> Step | None:
        """The step, or None when the system is singular at this σ or not finite (raise σ and ask again)."""
        ...


class Subproblem(Protocol):
    """A recipe for preparing models."""

    def prepare(self, model: Taylor) -> Prepared:
        """Do the work that depends on the model alone."""
        ...

    def describe(self, model: Taylor) -> str:
        """Which linear algebra such a model gets, in words."""
        ...
