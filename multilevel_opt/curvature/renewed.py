"""Limited memory for elements of few unknowns at the price of one update: B is made anew from its pairs now and then.

Every pair updates B, and after every r pairs B is built again from γ and the last m of them, as ``window.py`` does with
every pair. So B is made of m to m + r − 1 pairs: what is older is forgotten a little later, and with r = m an iteration
costs two updates in place of m. An element that refused one of its last m pairs keeps the matrix it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import begun, squares
from multilevel_opt.curvature.pairs import Change, Pair
from multilevel_opt.curvature.quasi_newton import QuasiNewton, Scale
from multilevel_opt.curvature.secant import Matrices
from multilevel_opt.curvature.window import Slot, rebuilt, stacked
from multilevel_opt.frozen import altered


class Kept(NamedTuple):
    """One pair of every element.

    Attributes:
        pair: the pair, of use where it was absorbed.
        absorbed: where it was, bool of shape (E,); None: everywhere.
    """

    pair: Slot
    absorbed: Tensor | None


@dataclass(frozen=True, eq=False)
class Renewed(Matrices):
    """B, and the last m pairs.

    Attributes:
        memory: m.
        renewal: r.
        pairs: the pairs, oldest first, as far as there are some.
        age: how many pairs have come.
    """

    memory: int
    renewal: int
    pairs: tuple[Kept, ...] = ()
    age: int = 0

    masked: ClassVar[bool] = True

    @classmethod
    def empty(cls, like: Tensor, memory: int, renewal: int) -> Renewed:
        """Before the first pair, for pairs of the shape, dtype, device and memory layout of ``like``, (E, n)."""
        elements, n = like.shape
        count = torch.zeros(elements, dtype=torch.int64, device=like.device)
        return cls(count, count, squares(like, n), memory, renewal)

    def started(self, scale: Scale) -> Renewed:
        """With B = γI in the elements that have no pair yet."""
        return self if self.begun else replace(self, matrix=begun(self.matrix, scale(), self.count == 0))

    def learned(self, s: Tensor, pair: Pair, admitted: Tensor | None, by: QuasiNewton) -> Renewed:
        """With one pair more, in the elements that admit it."""
        matrix = self.matrix.clone()
        by.update.apply(matrix, pair, by.threshold(s), admitted)
        pairs = (*self.pairs, Kept(Slot(s, pair.change), admitted))[-self.memory :]
        if self.age and self.age % self.renewal == 0:
            matrix = _renewed(matrix, pairs, by)
        return altered(self, matrix=matrix, pairs=pairs, age=self.age + 1)

    def tensors(self) -> dict[str, Tensor]:
        named = {"count": self.count, "refused": self.refused, "matrix": self.matrix}
        empty = torch.zeros_like(self.matrix[:, :, 0])
        none = Kept(Slot.of(empty, empty), torch.zeros_like(self.count, dtype=torch.bool))
        pairs = (*(none,) * (self.memory - len(self.pairs)), *self.pairs)
        every = torch.ones_like(self.count, dtype=torch.bool)
        return named | {
            "age": torch.tensor(self.age, dtype=torch.int64, device="cpu"),
            "steps": stacked([kept.pair.s for kept in pairs]),
            "changes": stacked([kept.pair.change.y for kept in pairs]),
            "absorbed": torch.stack([every if kept.absorbed is None else kept.absorbed for kept in pairs], 1),
        }

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        named: dict[str, Any] = {name: tensors[name] for name in ("count", "refused", "matrix")}
        each = zip(*(tensors[name].unbind(1) for name in ("steps", "changes", "absorbed")), strict=True)
        pairs = tuple(Kept(Slot.of(s, y), None if bool(a.all()) else a) for s, y, a in each)
        age = int(tensors["age"])
        return replace(self, **named, pairs=pairs[max(0, self.memory - age) :], age=age)

    def where(self, mask: Tensor, other: Self) -> Self:
        return self if bool(mask.all()) else self.chosen(mask, other)  # a pair that all refuse has come, too

    def chosen(self, mask: Tensor, other: Self) -> Self:
        matrix = torch.where(mask[:, None, None], self.matrix, other.matrix)
        count, refused = (
            torch.where(mask, a, b) for a, b in ((self.count, other.count), (self.refused, other.refused))
        )
        if self.age:  # after a pair that some have refused
            *before, last = self.pairs
            pairs = (*before, Kept(last.pair, mask if last.absorbed is None else last.absorbed & mask))
        else:  # where some forget everything
            pairs = tuple(Kept(k.pair, ~mask if k.absorbed is None else k.absorbed & ~mask) for k in other.pairs)
        return replace(self, matrix=matrix, count=count, refused=refused, pairs=pairs, age=max(self.age, other.age))


def _renewed(matrix: Tensor, pairs: tuple[Kept, ...], by: QuasiNewton) -> Tensor:
    """The matrices (E, n, n), built again in the elements that have absorbed all pairs, γ that of the newest."""
    newest: Change = pairs[-1].pair.change
    partial = [kept.absorbed for kept in pairs if kept.absorbed is not None]
    ready = torch.stack(partial).all(0) if partial else None
    if ready is not None and not bool(ready.any()):
        return matrix
    made = rebuilt(matrix, by.update.scale(newest.sy, newest.length), [kept.pair for kept in pairs], by)
    return made if ready is None else torch.where(ready[:, None, None], made, matrix)
