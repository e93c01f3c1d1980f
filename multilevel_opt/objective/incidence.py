"""Which elements have which variables, compiled once: gathers, scatters and the assembled sparse matrix.

One selection gathers the variables of all elements and one addition scatters all their gradients. Elements of few
variables lie last in memory, (nᵢ, E) seen as (E, nᵢ), so that operations on them run through long rows. Their
matrices, where they are known, are added up to one sparse matrix Σ Uᵢᵀ Bᵢ Uᵢ whose pattern never changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.linalg.banded import WIDEST, Band, Numbers
from multilevel_opt.objective.batches import Batch, planned


class Incidence:
    """The variables of all elements of all groups.

    Args:
        tables: for each group the variables of its elements, int64 of shape (E, nᵢ).
        n: number of variables.
        convex: which groups were declared convex; None: none.

    Attributes:
        batches: the groups side by side. What follows takes and gives one tensor for each of them.
    """

    def __init__(self, tables: Sequence[Tensor], n: int, convex: Sequence[bool] | None = None) -> None:
        self.tables, self.n = tuple(tables), n
        self.batches = planned(self.tables, n, convex or (False,) * len(self.tables))
        self.small = tuple(batch.small for batch in self.batches)
        self.convex = tuple(batch.convex for batch in self.batches)
        self._sizes = [batch.count * batch.size for batch in self.batches]
        self._padded = any(batch.padded for batch in self.batches)

    @cached_property
    def flat(self) -> Tensor:
        """The variables of all elements in the order of memory, int64."""
        return torch.cat(self._flattened([batch.table for batch in self.batches]))

    def gathered(self, v: Tensor) -> list[Tensor]:
        """Uᵢ v for all elements, (E, nᵢ) for each batch."""
        whole = torch.nn.functional.pad(v, (0, 1)) if self._padded else v
        parts = whole.index_select(0, self.flat).split(self._sizes)
        return [
            part.reshape(batch.size, batch.count).T if batch.small else part.reshape(batch.count, batch.size)
            for part, batch in zip(parts, self.batches, strict=True)
        ]

    def joined(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """One tensor (E, nᵢ) for each batch, from those of the groups."""
        return [batch.joined([parts[k] for k in batch.groups]) for batch in self.batches]

    def views(self, whole: Sequence[Tensor]) -> list[Tensor]:
        """The parts (E, nᵢ) of the groups, from the tensors of the batches."""
        pairs = zip(self.batches, whole, strict=True)
        found = {k: part for batch, t in pairs for k, part in zip(batch.groups, batch.views(t), strict=True)}
        return [found[k] for k in range(len(self.tables))]

    def scattered(self, parts: Sequence[Tensor]) -> Tensor:
        """Σ Uᵢᵀ pᵢ of shape (n,) for parts of shape (E, nᵢ)."""
        flat = torch.cat(self._flattened(parts)) if len(parts) > 1 else self._flattened(parts)[0]
        total = flat.new_zeros(self.n + self._padded).index_add_(0, self.flat, flat)
        return total[: self.n] if self._padded else total

    def assembled(self, blocks: Sequence[Tensor]) -> Tensor:
        """Σ Uᵢᵀ Bᵢ Uᵢ as a sparse matrix (CSR) of shape (n, n), for symmetric Bᵢ (E, nᵢ, nᵢ) of the small batches."""
        rows, columns, places = self._pattern
        flat = torch.cat([block.movedim(0, 2).reshape(-1) for block in blocks])
        values = flat.new_zeros(columns.numel() + self._padded).index_add_(0, places, flat)
        return _csr(rows, columns, values[: columns.numel()], self.n)

    @cached_property
    def wide(self) -> Incidence:
        """The groups that are not small."""
        wide = [batch for batch in self.batches if not batch.small]
        return Incidence([batch.tables[0] for batch in wide], self.n, [batch.convex for batch in wide])

    @cached_property
    def band(self) -> Band | None:
        """The narrow band of the assembled matrix; None where it has none, or elements are not small, or not here.

        None too where an element has a variable twice: of its matrix both halves count.
        """
        if not all(self.small) or self.tables[0].device.type != "cpu" or self.repeats:
            return None
        width = max(_width(batch) for batch in self.batches)
        if width <= WIDEST:
            return Band(self.n, width, None)
        rows, columns, _ = self._pattern
        return Band.of(scipy.sparse.csr_array((columns >= 0, columns, rows), shape=(self.n, self.n)))

    def banded(self, blocks: Sequence[Tensor]) -> Tensor:
        """The numbers of Σ Uᵢᵀ Bᵢ Uᵢ within the band, for symmetric Bᵢ (E, nᵢ, nᵢ) of the batches."""
        assert self.band is not None
        rows = [block.movedim(0, 2).reshape(-1, block.shape[0]) for block in blocks]
        flat = torch.cat([row.index_select(0, k).reshape(-1) for row, k in zip(rows, self._slots[1], strict=True)])
        return flat.new_zeros(self.band.size + 1).index_add_(0, self._slots[0], flat)[:-1]

    @cached_property
    def _slots(self) -> tuple[Tensor, list[Tensor]]:
        """Where the lower halves of all Bᵢ go in the band, and which entries of Bᵢ these are, by batches."""
        assert self.band is not None
        places, entries = [], []
        for batch in self.batches:
            (i, j), table = np.tril_indices(batch.size), batch.table.numpy().T
            places.append(self.band.slots(table[i], table[j]).reshape(-1))
            entries.append(torch.from_numpy(i * batch.size + j))
        return torch.from_numpy(np.concatenate(places)), entries

    @property
    def nnz(self) -> int:
        """Entries of the assembled matrix."""
        return self._pattern[1].numel() if any(self.small) else 0

    @cached_property
    def repeats(self) -> bool:
        """Whether an element has a variable twice."""
        return any(bool((t[:, k : k + 1] == t[:, k + 1 :]).any()) for t in self.tables for k in range(t.shape[1] - 1))

    @cached_property
    def _pattern(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row pointers and columns of the assembled matrix, and where each entry of each Bᵢ goes."""
        keys: list[Numbers] = []
        for batch in self.batches:
            if batch.small:
                index = batch.table.cpu().numpy().T
                key = index[:, None, :] * self.n + index[None, :, :]
                outside = np.maximum(index[:, None, :], index[None, :, :]) == self.n
                keys.append(np.where(outside, self.n**2, key).reshape(-1) if batch.padded else key.reshape(-1))
        found, places = _unique(np.concatenate(keys))
        found = found[: np.searchsorted(found, self.n**2)]
        rows = np.searchsorted(found, self.n * np.arange(self.n + 1))
        kind = np.int32 if max(self.n, len(found)) < 2**31 else np.int64  # products convert others every time
        device = self.tables[0].device
        kept = [torch.as_tensor(a, device=device) for a in (rows.astype(kind), (found % self.n).astype(kind), places)]
        with warnings.catch_warnings():  # said once by torch; what is used of it here, products, is not new
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            _csr(kept[0], kept[1], torch.zeros(len(found), device=device), self.n)
        return kept[0], kept[1], kept[2]

    def _flattened(self, parts: Sequence[Tensor]) -> list[Tensor]:
        return [(part.T if small else part).reshape(-1) for part, small in zip(parts, self.small, strict=True)]


def _width(batch: Batch) -> int:
    """The largest distance of two variables of one element."""
    table = batch.table.numpy().T
    largest = np.where(table == batch.n, -1, table).max(0) if batch.padded else table.max(0)
    return int((largest - table.min(0)).max(initial=0))


def _unique(keys: Numbers) -> tuple[Numbers, Numbers]:
    """The different keys, ascending, and which of them each key is; ``numpy.unique`` makes no use of keys in order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    places = np.empty_like(order)
    places[order] = np.cumsum(first) - 1
    return ordered[first], places


def _csr(rows: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    matrix: Tensor = torch.sparse_csr_tensor(
        rows, columns, values, (n, n), device=values.device, check_invariants=False
    )
    return matrix
