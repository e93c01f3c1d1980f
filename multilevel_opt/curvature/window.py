"""Limited memory for elements of few unknowns: the last m pairs, and B written out.

Where n ≤ 2m the compact form is wider than the matrix itself. So B = γI is updated by each of the last m pairs again,
oldest first, in the n unknowns: the same matrix as the compact form has, by operations on long rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import DenseForm, begun, elements_last, finite, multiples, squares
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Store
from multilevel_opt.curvature.updates import Pair


@dataclass(frozen=True, eq=False)
class Window(Store):
    """The last m pairs with ‖s‖ = 1, and B; empty slots are zero and come first.

    Attributes:
        scale: γ, shape (E,).
        steps: s, shape (E, m, n).
        changes: y, shape (E, m, n).
        matrix: B, shape (E, n, n).
    """

    scale: Tensor
    steps: Tensor
    changes: Tensor
    matrix: Tensor

    @classmethod
    def empty(cls, like: Tensor, memory: int) -> Window:
        """Before the first pair, for pairs of the shape, dtype, device and memory layout of ``like``, (E, n)."""
        elements, n = like.shape
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        last = elements_last(like)
        pairs = like.new_zeros((memory, n, elements) if last else (elements, memory, n))
        pairs = pairs.movedim(2, 0) if last else pairs
        return cls(count, count, like.new_zeros(elements), pairs, pairs, squares(like, n))

    @property
    def form(self) -> DenseForm:
        return DenseForm(self.matrix)

    def finite(self) -> Tensor:
        return finite(self.matrix) & finite(self.changes[:, -1]) & torch.isfinite(self.scale)

    def started(self, scale: Tensor) -> Window:
        """With B = γI in the elements that have no pair yet."""
        return replace(self, matrix=begun(self.matrix, scale, self.count == 0))

    def pushed(self, s: Tensor, y: Tensor) -> Window:
        """The newest m pairs, with γ and B as they were."""
        return replace(self, steps=_pushed(self.steps, s), changes=_pushed(self.changes, y))

    def rebuilt(self, scale: Tensor, by: QuasiNewton) -> Window:
        """With another γ, and B from γ and all pairs; one that is not safe in its place is passed over."""
        update, tolerance = by.update, by.threshold(scale)
        matrix = multiples(self.matrix, scale)
        for s, y in zip(self.steps.unbind(1), self.changes.unbind(1), strict=True):
            pair = Pair.of(s, y, DenseForm(matrix).matvec(s))
            matrix = update.applied(matrix, pair, tolerance, update.admits(pair, tolerance))
        return replace(self, scale=scale, matrix=matrix)


def _pushed(known: Tensor, new: Tensor) -> Tensor:
    """(E, m, n) without the first slot and with a new last one of shape (E, n), in the same memory layout."""
    if elements_last(known):
        return torch.cat([known.movedim(0, 2)[1:], new.T[None]]).movedim(2, 0)
    return torch.cat([known[:, 1:], new[:, None]], 1)
