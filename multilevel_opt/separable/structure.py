"""Which weights the scores of a network depend on, and the elements of a loss that follow.

    f(w) = Σ_i f_i(U_i w),   U_i: the weights of the scores of element i

A weight of several scores is *shared*, a weight of one score is that score's *own*. An element of the scores a and b is
given the shared weights and the own weights of a and of b, in this order, so that all elements together are one
(E, n_e) array. Scores with fewer own weights than others are filled up with a weight n that is always 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, eq=False)
class Structure:
    """The weights of every score.

    Attributes:
        masks: score j uses weight i; bool of shape (C, n).
        names: of the parameters that make up the n weights, in their order.
        sizes: how many weights each of them has.
    """

    masks: Tensor
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of scores C."""
        return int(self.masks.shape[0])

    @property
    def n(self) -> int:
        """Number of weights."""
        return int(self.masks.shape[1])

    @cached_property
    def shared(self) -> Tensor:
        """The weights of more than one score, int64 of shape (n_shared,)."""
        return (self.masks.sum(0) > 1).nonzero()[:, 0]

    @cached_property
    def own(self) -> Tensor:
        """The weights of one score only, int64 of shape (C, n_own); n where a score has fewer than others."""
        single = self.masks & (self.masks.sum(0) == 1)
        rows = [row.nonzero()[:, 0] for row in single]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.n)

    def of_score(self, score: int) -> Tensor:
        """The weights of a score, int64, ascending."""
        return self.masks[score].nonzero()[:, 0]

    def owners(self) -> list[str]:
        """The parameters with weights of one score only."""
        single = (self.masks.sum(0) == 1).split(self.sizes)
        return [name for name, found in zip(self.names, single, strict=True) if bool(found.any())]

    def pairs(self, merged: bool = True) -> Partition:
        """One element for two scores: C(C−1)/2 unordered pairs, or all C(C−1) ordered ones."""
        make = combinations if merged else permutations
        members = torch.tensor(list(make(range(self.classes), 2)), dtype=torch.int64, device=self.masks.device)
        return Partition(self, members.reshape(-1, 2), merged)

    def singles(self) -> Partition:
        """One element for every score."""
        return Partition(self, torch.arange(self.classes, device=self.masks.device)[:, None], True)

    def partition(self, parts: int, merged: bool = True) -> Partition:
        """The elements of a loss whose elements have so many scores (``ScoreLoss.parts``).

        Raises:
            InputError: a loss without elements.
        """
        if parts not in (1, 2):
            raise InputError("a loss that couples all scores has no elements: choose a pairwise or one-vs-rest loss")
        return self.singles() if parts == 1 else self.pairs(merged)


@dataclass(frozen=True, eq=False)
class Partition:
    """Elements of a few scores each.

    Attributes:
        structure: the weights of the scores.
        members: the scores of every element, int64 of shape (E, r).
        merged: an element of (a, b) stands for (b, a) too.
    """

    structure: Structure
    members: Tensor
    merged: bool = True

    @property
    def count(self) -> int:
        """Number of elements E."""
        return int(self.members.shape[0])

    @property
    def size(self) -> int:
        """Weights n_e of an element, with what fills it up."""
        return len(self.structure.shared) + int(self.members.shape[1]) * int(self.structure.own.shape[1])

    @cached_property
    def indices(self) -> Tensor:
        """The weights of every element, int64 of shape (E, n_e); n where an element has fewer."""
        own = self.structure.own[self.members].reshape(self.count, -1)
        return torch.cat([self.structure.shared.expand(self.count, -1), own], dim=1)

    def gathered(self, x: Tensor) -> Tensor:
        """U_i x for all elements: (n,) -> (E, n_e)."""
        own = self.own(x)[self.members].reshape(self.count, -1)
        return torch.cat([x[self.structure.shared].expand(self.count, -1), own], dim=1)

    def scattered(self, parts: Tensor) -> Tensor:
        """Σ U_iᵀ p_i: (E, n_e) -> (n,)."""
        shared, own = self._split(parts)
        total = own.new_zeros(self.structure.own.shape)
        total.index_add_(0, self.members.reshape(-1), own.reshape(-1, own.shape[2]))
        return self.assembled(shared.sum(0), total)

    def own(self, x: Tensor) -> Tensor:
        """The own weights of all scores: (n,) -> (C, n_own)."""
        return torch.nn.functional.pad(x, (0, 1))[self.structure.own]

    def assembled(self, shared: Tensor, own: Tensor) -> Tensor:
        """The vector (n,) of shared weights (n_shared,) and own weights (C, n_own), 0 elsewhere."""
        x = own.new_zeros(self.structure.n + 1)
        x[self.structure.own.reshape(-1)] = own.reshape(-1)
        x[self.structure.shared] = shared
        return x[:-1]

    def _split(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Shared (E, n_shared) and own (E, r, n_own) parts."""
        s = len(self.structure.shared)
        return parts[:, :s], parts[:, s:].reshape(self.count, self.members.shape[1], -1)

    def sizes(self) -> Tensor:
        """Weights of every element, without what fills it up, shape (E,)."""
        return (self.indices < self.structure.n).sum(1)

    def overlap(self) -> Tensor:
        """How many weights two elements have in common, int64 of shape (E, E)."""
        used = torch.stack([self.structure.masks[row].any(0) for row in self.members]).double()
        return (used @ used.T).round().long()

    def graph(self) -> networkx.Graph[Any]:
        """The bipartite graph of elements ``("element", i)`` and weights ``("weight", j)``."""
        import networkx

        graph: networkx.Graph[Any] = networkx.Graph()
        graph.add_nodes_from((("weight", j) for j in range(self.structure.n)), bipartite=1)
        for i, row in enumerate(self.members):
            graph.add_node(("element", i), bipartite=0, scores=tuple(row.tolist()))
            weights = self.structure.masks[row].any(0).nonzero()[:, 0]
            graph.add_edges_from((("element", i), ("weight", j)) for j in weights.tolist())
        return graph

    def summary(self) -> dict[str, int | float]:
        """Counts: weights, of them shared, of a score, of an element (the largest), elements, and its share of all."""
        largest = int(self.sizes().max())
        return {
            "weights": self.structure.n,
            "shared": len(self.structure.shared),
            "score": int(self.structure.masks.sum(1).max()),
            "element": largest,
            "elements": self.count,
            "share": largest / self.structure.n,
        }
