"""The element gradients that a model carries: f = Σ fᵢ(Wᵢ x), ∇f = Σ Wᵢᵀ ∇fᵢ.

Wᵢ picks variables, or is such a selection after a prolongation: on a coarse level an element sees linear combinations
of the coarse variables, and its gradient in its own variables is the same as on the fine level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multilevel_opt.linalg.operator import LinearOperator, composed
from multilevel_opt.objective.incidence import Incidence


@dataclass(frozen=True, eq=False)
class Parts:
    """The elements of one function at a point.

    Attributes:
        incidence: which variables they have.
        gradients: ∇fᵢ of shape (E, nᵢ), one tensor for each batch.
        P: the prolongation before the selection, or None.
    """

    incidence: Incidence
    gradients: tuple[Tensor, ...]
    P: LinearOperator | None = None

    @property
    def convex(self) -> tuple[bool, ...]:
        """Whether the elements of a batch were declared convex."""
        return self.incidence.convex

    def gathered(self, v: Tensor) -> list[Tensor]:
        """Wᵢ v for all elements, (E, nᵢ) for each batch."""
        return self.incidence.gathered(v if self.P is None else self.P.matvec(v))

    def lowered(self, v: Tensor) -> Tensor:
        """Pᵀ v."""
        return v if self.P is None else self.P.rmatvec(v)

    def lifted(self, v: Tensor) -> Tensor:
        """P v."""
        return v if self.P is None else self.P.matvec(v)

    def pulled_back(self, P: LinearOperator) -> Parts:
        """The elements as functions of coarse variables."""
        return replace(self, P=P if self.P is None else composed(self.P, P))

    def scaled(self, factor: float) -> Parts:
        """The elements of the function times a number."""
        return replace(self, gradients=tuple(factor * g for g in self.gradients))


def changes(before: Sequence[Parts], after: Sequence[Parts]) -> list[Tensor]:
    """The changes of all element gradients between two points, (E, nᵢ) for each batch; zero where all is rounding.

    A change below a few roundings of the gradients themselves says nothing of the second derivatives.
    """
    return [
        _told(old, new)
        for one, two in zip(before, after, strict=True)
        for old, new in zip(one.gradients, two.gradients, strict=True)
    ]


def _told(old: Tensor, new: Tensor) -> Tensor:
    change = new - old
    size = (old.abs() + new.abs()).sum(-1)
    quiet = change.abs().sum(-1) <= 8 * torch.finfo(old.dtype).eps * size  # not where a number is NaN
    if not bool(quiet.any()):
        return change
    return torch.where(quiet[:, None], torch.zeros_like(change), change)
