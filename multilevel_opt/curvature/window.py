"""Limited memory for elements of few unknowns: the last m pairs, and B written out.

Where n ≤ 2m the compact form is wider than the matrix itself. So B = γI is updated by each of the last m pairs again,
oldest first, in the n unknowns: the same matrix as the compact form has, by operations on long rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import DenseForm, begun, elements_last, multiples, squares
from multilevel_opt.curvature.pairs import Change, Pair
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Scale, Store


class Slot(NamedTuple):
    """One pair of every element; zero where an element has none.

    Attributes:
        s: with ‖s‖ = 1, shape (E, n).
        change: y.
    """

    s: Tensor
    change: Change

    @classmethod
    def of(cls, s: Tensor, y: Tensor) -> Slot:
        """From vectors of shape (E, n)."""
        return cls(s, Change.of(s, y))


@dataclass(frozen=True, eq=False)
class Window(Store):
    """The last m pairs, and B; nothing is copied when a pair comes.

    Attributes:
        scale: γ, shape (E,).
        matrix: B, shape (E, n, n).
        memory: m.
        slots: the pairs, oldest first, as far as any element has some.
    """

    scale: Tensor
    matrix: Tensor
    memory: int
    slots: tuple[Slot, ...] = ()

    @classmethod
    def empty(cls, like: Tensor, memory: int) -> Window:
        """Before the first pair, for pairs of the shape, dtype, device and memory layout of ``like``, (E, n)."""
        elements, n = like.shape
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        return cls(count, count, like.new_zeros(elements), squares(like, n), memory)

    @property
    def form(self) -> DenseForm:
        return DenseForm(self.matrix)

    @property
    def changed(self) -> tuple[Tensor, ...]:
        return self.matrix, self.slots[-1].change.y, self.scale

    def started(self, scale: Scale) -> Window:
        """With B = γI in the elements that have no pair yet."""
        return self if self.begun else replace(self, matrix=begun(self.matrix, scale(), self.count == 0))

    def learned(self, s: Tensor, pair: Pair, admitted: Tensor | None, by: QuasiNewton) -> Window:
        """The newest m pairs, another γ, and B from γ and all pairs."""
        slots = (*self.slots, Slot(s, pair.change))[-self.memory :]
        scale = by.update.scale(pair.sy, pair.change.length)
        return replace(self, scale=scale, matrix=rebuilt(self.matrix, scale, slots, by), slots=slots)

    def tensors(self) -> dict[str, Tensor]:
        named = {name: getattr(self, name) for name in ("count", "refused", "scale", "matrix")}
        slots = self._padded(self.memory)
        return named | {"steps": stacked([t.s for t in slots]), "changes": stacked([t.change.y for t in slots])}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        named: dict[str, Any] = {name: tensors[name] for name in ("count", "refused", "scale", "matrix")}
        pairs = zip(tensors["steps"].unbind(1), tensors["changes"].unbind(1), strict=True)
        return replace(self, **named, slots=tuple(Slot.of(s, y) for s, y in pairs))

    def chosen(self, mask: Tensor, other: Self) -> Self:
        wide, single = mask[:, None], ("count", "refused", "scale")
        named: dict[str, Any] = {name: torch.where(mask, getattr(self, name), getattr(other, name)) for name in single}
        length = max(len(self.slots), len(other.slots))
        slots = [
            Slot(
                torch.where(wide, mine.s, yours.s),
                Change(*(torch.where(wide if a.ndim > 1 else mask, a, b) for a, b in _both(mine, yours))),
            )
            for mine, yours in zip(self._padded(length), other._padded(length), strict=True)
        ]
        matrix = torch.where(wide[:, :, None], self.matrix, other.matrix)
        return replace(self, **named, matrix=matrix, slots=tuple(slots))

    def _padded(self, length: int) -> tuple[Slot, ...]:
        """So many slots, empty ones first."""
        if len(self.slots) == length:
            return self.slots
        zero = torch.zeros_like(self.matrix[:, :, 0])
        empty = Slot(zero, Change(zero, zero[:, 0], zero[:, 0]))
        return (*(empty,) * (length - len(self.slots)), *self.slots)


def rebuilt(like: Tensor, scale: Tensor, slots: Iterable[Slot], by: QuasiNewton) -> Tensor:
    """B (E, n, n) from γ and pairs, oldest first, in the memory layout of ``like``; one not safe is passed over."""
    matrix, update, tolerance = multiples(like, scale), by.update, by.threshold(scale)
    for slot in slots:
        pair = Pair.of(slot.s, slot.change, DenseForm(matrix).matvec(slot.s))
        where = None if update.surely(pair, tolerance) else update.admits(pair, tolerance)
        update.apply(matrix, pair, tolerance, where)
    return matrix


def _both(mine: Slot, yours: Slot) -> list[tuple[Tensor, Tensor]]:
    one, two = mine.change, yours.change
    return [(one.y, two.y), (one.sy, two.sy), (one.length, two.length)]


def stacked(vectors: list[Tensor]) -> Tensor:
    """Vectors (E, n) as (E, m, n), in their memory layout."""
    if elements_last(vectors[0]):
        return torch.stack([v.T for v in vectors]).movedim(2, 0)
    return torch.stack(vectors, 1)
