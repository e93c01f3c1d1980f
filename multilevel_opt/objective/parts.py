"""The element gradients that a model carries: f = Σ fᵢ(Wᵢ x), ∇f = Σ Wᵢᵀ ∇fᵢ.

Wᵢ picks variables, or is such a selection after a prolongation: on a coarse level an element sees linear combinations
of the coarse variables, and its gradient in its own variables is the same as on the fine level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
        points: Wᵢ x of shape (E, nᵢ), one tensor for each batch, where they are at hand.
    """

    incidence: Incidence
    gradients: tuple[Tensor, ...]
    P: LinearOperator | None = None
    points: tuple[Tensor, ...] | None = None

    @property
    def convex(self) -> tuple[bool, ...]:
        """Whether the elements of a batch were declared convex."""
        return self.incidence.convex

    def gathered(self, v: Tensor) -> list[Tensor]:
        """Wᵢ v for all elements, (E, nᵢ) for each batch."""
        return self.incidence.gathered(v if self.P is None else self.P.matvec(v))

    def steps(self, after: Parts, s: Tensor) -> list[Tensor]:
        """Wᵢ s for a step s to the point of other parts, (E, nᵢ) for each batch."""
        if self.points is None or after.points is None or self.P is not None:
            return self.gathered(s)
        return [new - old for old, new in zip(self.points, after.points, strict=True)]

    @cached_property
    def sizes(self) -> list[Tensor]:
        """The sums of the absolute entries of the gradients, (E,) for each batch."""
        return [g.abs().sum(-1) for g in self.gradients]

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


@dataclass(frozen=True, eq=False)
class Difference:
    """The changes of the element gradients of a batch between two points.

    Attributes:
        y: shape (E, nᵢ).
        size: the sum of the absolute entries of both gradients, shape (E,).
    """

    y: Tensor
    size: Tensor

    def quiet(self, length: Tensor) -> Tensor:
        """Where ‖y‖, of shape (E,), is a few roundings of the gradients: it tells nothing of second derivatives."""
        return length <= self.size * (8 * torch.finfo(length.dtype).eps)


def differences(parts: Sequence[tuple[Parts, Parts]]) -> list[Difference]:
    """The changes of all element gradients between two points, one for each batch."""
    return [
        Difference(new - old, before + after)
        for one, two in parts
        for old, new, before, after in zip(one.gradients, two.gradients, one.sizes, two.sizes, strict=True)
    ]
