"""Groups of elements side by side: small elements of several groups are handled as one batch of the same size.

An operation on a batch costs less than one on each group. Elements with fewer variables than the batch has get a
variable more, number n, which is zero everywhere and belongs to none; its rows of element matrices are never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

SMALL = 32  # elements of more variables are never written out as matrices
WASTE = 100_000  # numbers of element matrices that a group may waste in a batch; and as many as the batch has


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups whose elements are handled at once, small ones last in memory: (size, E) seen as (E, size).

    Attributes:
        groups: their numbers.
        tables: their variables, int64 of shape (Eᵢ, nᵢ).
        n: number of variables.
        convex: whether all of them were declared convex.
    """

    groups: tuple[int, ...]
    tables: tuple[Tensor, ...]
    n: int
    convex: bool

    @property
    def size(self) -> int:
        """Variables of one element."""
        return max(table.shape[1] for table in self.tables)

    @property
    def count(self) -> int:
        """Elements E."""
        return sum(len(table) for table in self.tables)

    @property
    def small(self) -> bool:
        """Whether the matrices of the elements may be written out."""
        return self.size <= SMALL

    @property
    def padded(self) -> bool:
        """Whether an element has fewer variables than the batch."""
        return any(table.shape[1] < self.size for table in self.tables)

    @cached_property
    def table(self) -> Tensor:
        """The variables of all elements, int64 of shape (E, size); n where an element has fewer."""
        return self.joined(self.tables, self.n)

    def joined(self, parts: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        """One tensor (E, size) from those of the groups, (Eᵢ, nᵢ)."""
        if len(parts) == 1:
            return parts[0].T.contiguous().T if self.small else parts[0]
        whole = parts[0].new_full((self.size, self.count), fill)
        for part, view in zip(parts, self.views(whole.T), strict=True):
            view.copy_(part)
        return whole.T

    def squares(self, parts: Sequence[Tensor]) -> Tensor:
        """One tensor (E, size, size) from those of the groups, (Eᵢ, nᵢ, nᵢ)."""
        if len(parts) == 1:
            return parts[0]
        whole = parts[0].new_zeros(self.size, self.size, self.count).movedim(2, 0)
        for part, view in zip(parts, self.views(whole), strict=True):
            view[:, :, : part.shape[2]].copy_(part)
        return whole

    def views(self, whole: Tensor) -> list[Tensor]:
        """The parts (Eᵢ, nᵢ, ...) of a tensor (E, size, ...)."""
        rows = whole.split([len(table) for table in self.tables])
        return [part[:, : table.shape[1]] for part, table in zip(rows, self.tables, strict=True)]


def planned(tables: Sequence[Tensor], n: int, convex: Sequence[bool]) -> tuple[Batch, ...]:
    """The batches: groups that are not small alone, the others together as far as that wastes little."""
    order = sorted(range(len(tables)), key=lambda k: (convex[k], -tables[k].shape[1]))
    plans: list[list[int]] = []
    for k in order:
        size = tables[plans[-1][0]].shape[1] if plans else 0
        fits = bool(plans) and convex[plans[-1][0]] == convex[k] and size <= SMALL
        own, whole = len(tables[k]), sum(len(tables[j]) for j in plans[-1]) if plans else 0
        waste = own * (size**2 - tables[k].shape[1] ** 2)
        if fits and waste <= max(WASTE, whole * size**2):
            plans[-1].append(k)
        else:
            plans.append([k])
    return tuple(Batch(tuple(p), tuple(tables[k] for k in p), n, convex[p[0]]) for p in plans)
