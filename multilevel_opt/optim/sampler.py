"""Mini-batches of a finite set of samples, drawn so that neighbours overlap where a method wants it.

The ids come from one endless stream, a new random order of all samples after the other. A batch of ``size`` rows
begins with the last ``shared`` rows of the batch before and goes on with the next ids of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError


class OverlapSampler(torch.utils.data.Sampler[list[int]]):
    """A ``batch_sampler`` for a DataLoader, or a source of ids for ``Samples.batch``.

    An epoch is so many batches as hold about m rows, carried ones included, so that epochs cost the same gradients
    whatever the overlap.

    Args:
        samples: m, the number of samples.
        size: rows of a batch; more than m means m. It may be changed between batches.
        overlap: fraction of a batch that it shares with the next, below 1/2; 0 for ordinary shuffled batches.
        seed: of the order.

    Attributes:
        size: rows of the batches to come.
        carried: rows of the last batch that the one before had too.

    Raises:
        InputError: an argument out of range.
    """

    def __init__(self, samples: int, size: int, overlap: float = 0.0, seed: int = 0) -> None:
        if samples < 1 or size < 1 or not 0 <= overlap < 0.5:
            raise InputError(
                f"samples={samples}, size={size}, overlap={overlap}: give at least one sample to a batch, and an "
                "overlap from 0 to below 0.5"
            )
        self.samples, self.size, self.overlap = samples, min(size, samples), overlap
        self._generator = torch.Generator().manual_seed(seed)
        self._stream = torch.empty(0, dtype=torch.int64)
        self._shared = torch.empty(0, dtype=torch.int64)
        self.carried = 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return max(1, round(self.samples / self.size))

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            yield self.draw().tolist()

    @property
    def shared(self) -> int:
        """Rows that a batch has in common with the next one."""
        return round(self.overlap * self.size)

    def draw(self) -> Tensor:
        """The ids of the next batch, int64 of shape (size,)."""
        self.carried = len(self._shared)
        ids = torch.cat([self._shared, self._next(self.size - self.carried)])
        self._shared = ids[len(ids) - self.shared :]
        return ids

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {
            "size": self.size,
            "generator": self._generator.get_state(),
            "stream": self._stream,
            "shared": self._shared,
            "carried": self.carried,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.size, self.carried = state["size"], state["carried"]
        self._generator.set_state(state["generator"].cpu())
        self._stream, self._shared = state["stream"].cpu(), state["shared"].cpu()

    def _next(self, count: int) -> Tensor:
        while len(self._stream) < count:
            self._stream = torch.cat([self._stream, torch.randperm(self.samples, generator=self._generator)])
        ids, self._stream = self._stream[:count], self._stream[count:]
        return ids
