"""The last m pairs of all elements, with the steps stored once.

A step s of the network is a step U_i s of every element, so that of the pairs (U_i s, y_i) only the y_i are many:

    B_i = γ_i I + Z_iᵀ C_i Z_i,      Z_i: the rows U_i s/‖U_i s‖ and y_i/‖y_i‖ in turn

(``curvature.limited_memory``). In Σ U_iᵀ B_i U_i v the rows of steps then cost one product with (m, n) numbers, not one
for each element. A pair that an element refuses leaves a gap in its memory: an element knows the pairs that it took of
the last m steps that any element took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from multilevel_opt.curvature.limited_memory import LimitedMemory
from multilevel_opt.curvature.pairs import Pair, norm, unit_pairs
from multilevel_opt.separable.structure import Partition


@dataclass(frozen=True, eq=False)
class ElementPairs:
    """What E elements have learned; empty slots come first.

    Attributes:
        steps: s, shape (m, n).
        changes: y_i/‖y_i‖, 0 where a pair was refused, shape (E, m, n_e).
        ratio: ‖y_i‖/‖U_i s‖, 0 where a pair was refused, shape (E, m).
        scale: γ, shape (E,).
        guess: γ of elements without a pair, ‖y_i‖/‖U_i s‖ of the last one refused, shape (E,); NaN: none came yet.
        refused: pairs refused in a row, int64 of shape (E,).
        core: C, shape (E, 2m, 2m).
    """

    steps: Tensor
    changes: Tensor
    ratio: Tensor
    scale: Tensor
    guess: Tensor
    refused: Tensor
    core: Tensor

    @classmethod
    def empty(cls, partition: Partition, like: Tensor, memory: int) -> ElementPairs:
        """Before the first pair, in dtype and on the device of ``like``."""
        elements = partition.count
        return cls(
            like.new_zeros(memory, partition.structure.n),
            like.new_zeros(elements, memory, partition.size),
            like.new_zeros(elements, memory),
            like.new_zeros(elements),
            like.new_full((elements,), torch.nan),
            torch.zeros(elements, dtype=torch.int64, device=like.device),
            like.new_zeros(elements, 2 * memory, 2 * memory),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> ElementPairs:
        """Inverse of ``tensors``."""
        return cls(**tensors)

    def begun(self, gradients: Tensor) -> ElementPairs:
        """With γ of elements without a pair: that of a refused one, or ‖∇f_i‖; gradients are (E, n_e)."""
        guess = torch.where(torch.isnan(self.guess), norm(gradients), self.guess)
        return replace(self, scale=torch.where(self.filled.any(1), self.scale, guess))

    @property
    def filled(self) -> Tensor:
        """Which slots hold a pair, bool of shape (E, m)."""
        return self.ratio > 0

    def product(self, partition: Partition) -> Callable[[Tensor], Tensor]:
        """V -> Σ U_iᵀ B_i U_i v, shapes (n,)."""
        steps, lengths = _Rows.of(partition, self.steps), self._lengths(partition)

        def product(v: Tensor) -> Tensor:
            parts = partition.gathered(v)
            along = torch.stack([steps.products(v) / lengths, _times(self.changes, parts)], 2).flatten(1)
            weights = torch.bmm(along[:, None, :], self.core)[:, 0]
            lifted = torch.bmm(weights[:, None, 1::2], self.changes)[:, 0]
            found = partition.scattered(torch.addcmul(lifted, self.scale[:, None], parts))
            return found + steps.combined(weights[:, 0::2] / lengths)

        return product

    def taught(self, partition: Partition, s: Tensor, y: Tensor, by: LimitedMemory) -> tuple[ElementPairs, Tensor]:
        """After a step s (n,) with changes y (E, n_e) of the element gradients, and which elements agree."""
        whole = partition.gathered(s)
        length, change = norm(whole), norm(y)
        told = (length > 0) & (change > 0)  # an element that did not move has not refused anything
        guess = torch.where(told & torch.isfinite(change / length), change / length, self.guess)
        unit, difference = unit_pairs(whole, y)
        basis = self._basis(partition)
        known = self.begun_at(by.update.scale(difference.sy, difference.length))
        pair = Pair.of(unit, difference, known._times_elements(basis, unit))
        satisfied = by.update.satisfied(pair, by.threshold(s))
        taken = by.update.admits(pair, by.threshold(s)) & ~satisfied
        changed = self._pushed(partition, s, pair, taken, by) if bool(taken.any()) else self
        refused = (self.refused + told.long()) * (~(taken | satisfied)).long()
        changed = replace(changed, guess=guess, refused=refused)
        lost = ~torch.isfinite(changed.core.sum((1, 2)))
        return changed._without(lost | (refused >= by.patience) if by.patience else lost), taken | satisfied

    def begun_at(self, scale: Tensor) -> ElementPairs:
        """With this γ of elements without a pair."""
        return replace(self, scale=torch.where(self.filled.any(1), self.scale, scale))

    def _pushed(self, partition: Partition, s: Tensor, pair: Pair, taken: Tensor, by: LimitedMemory) -> ElementPairs:
        """With the newest pair in the elements that take it, and all cores made anew."""
        direction = torch.where(taken[:, None], pair.y / pair.change.length[:, None], 0.0)
        newest = torch.where(taken, pair.change.length, 0.0)
        changed = replace(
            self,
            steps=torch.cat([self.steps[1:], s[None]]),
            changes=torch.cat([self.changes[:, 1:], direction[:, None]], 1),
            ratio=torch.cat([self.ratio[:, 1:], newest[:, None]], 1),
            scale=torch.where(taken, by.update.scale(pair.sy, pair.change.length), self.scale),
        )
        basis = changed._basis(partition)
        return replace(changed, core=by._core(changed.scale, changed.ratio, torch.bmm(basis, basis.mT)))

    def _without(self, lost: Tensor) -> ElementPairs:
        """With nothing learned by these elements; a slot that no element fills moves to the front."""
        if not bool(lost.any()):
            return self
        keep = ~lost
        ratio = torch.where(keep[:, None], self.ratio, 0.0)
        order = (ratio > 0).any(0).long().argsort(stable=True)
        entries = torch.stack([2 * order, 2 * order + 1], 1).reshape(-1)
        core = torch.where(keep[:, None, None], self.core, 0.0)
        return replace(
            self,
            steps=self.steps[order],
            changes=torch.where(keep[:, None, None], self.changes, 0.0)[:, order],
            ratio=ratio[:, order],
            refused=torch.where(keep, self.refused, 0),
            core=core[:, entries][:, :, entries],
        )

    def _lengths(self, partition: Partition) -> Tensor:
        """‖U_i s‖, 1 in empty slots, shape (E, m)."""
        rows = _Rows.of(partition, self.steps)
        squares = rows.shared.square().sum(1) + rows.own.square().sum(2)[partition.members].sum(1)
        return torch.where(self.filled, squares.sqrt(), 1.0)

    def _basis(self, partition: Partition) -> Tensor:
        """Z of every element, shape (E, 2m, n_e)."""
        rows = torch.stack([partition.gathered(s) for s in self.steps], 1)
        rows = torch.where(self.filled[:, :, None], rows / self._lengths(partition)[:, :, None], 0.0)
        return torch.stack([rows, self.changes], 2).flatten(1, 2)

    def _times_elements(self, basis: Tensor, v: Tensor) -> Tensor:
        """B_i v_i, shapes (E, n_e) -> (E, n_e)."""
        weights = torch.bmm(_times(basis, v)[:, None, :], self.core)
        return torch.addcmul(torch.bmm(weights, basis)[:, 0], self.scale[:, None], v)


def _times(rows: Tensor, v: Tensor) -> Tensor:
    """Products of the rows (E, k, n_e) with v (E, n_e): row times matrix, which is many times faster on a CPU."""
    return torch.bmm(v[:, None, :], rows.mT)[:, 0]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Vectors s of the network in the parts that the structure leaves: shared (m, n_shared) and own (C, m, n_own)."""

    partition: Partition
    shared: Tensor
    own: Tensor

    @classmethod
    def of(cls, partition: Partition, rows: Tensor) -> _Rows:
        padded = torch.nn.functional.pad(rows, (0, 1))
        own = padded[:, partition.structure.own].transpose(0, 1).contiguous()
        return cls(partition, rows[:, partition.structure.shared], own)

    def products(self, v: Tensor) -> Tensor:
        """(U_i s)ᵀ U_i v, shape (E, m)."""
        part = self.partition
        by_score = torch.bmm(part.own(v)[:, None, :], self.own.mT)[:, 0]
        return self.shared @ v[part.structure.shared] + by_score[part.members].sum(1)

    def combined(self, weights: Tensor) -> Tensor:
        """Σ_i U_iᵀ Σ_t w_it U_i s_t for weights (E, m), shape (n,)."""
        members = self.partition.members
        by_score = weights.new_zeros(len(self.own), weights.shape[1])
        by_score.index_add_(0, members.reshape(-1), weights.repeat_interleave(members.shape[1], 0))
        own = torch.bmm(by_score[:, None, :], self.own)[:, 0]
        return self.partition.assembled(weights.sum(0) @ self.shared, own)
