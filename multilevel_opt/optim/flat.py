"""Gradients and weights as flat vectors in memory that is used again.

Vectors of millions of entries that are made anew in every step cost more than what is computed with them: the system
hands their memory out page by page. A ``Flat`` is one vector with a view for every weight, and a ``Shelf`` keeps those
that are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


class Flat:
    """A vector of all entries of some tensors.

    Args:
        like: the tensors, on one device; of several dtypes the widest is taken.

    Attributes:
        vector: shape (n,).
        views: parts of the vector with the shapes of the tensors.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        dtype = reduce(torch.promote_types, (t.dtype for t in like))
        sizes = [t.numel() for t in like]
        self.vector = torch.empty(sum(sizes), dtype=dtype, device=like[0].device)
        self.views = [part.view(t.shape) for part, t in zip(self.vector.split(sizes), like, strict=True)]

    def filled(self, tensors: Sequence[Tensor]) -> Flat:
        """This, with the values of the tensors."""
        torch._foreach_copy_(self.views, [t.detach() for t in tensors])
        return self


class Shelf:
    """Vectors of one length that are free."""

    def __init__(self) -> None:
        self._free: list[Flat] = []

    def take(self, like: Sequence[Tensor]) -> Flat:
        """A vector whose values are arbitrary."""
        return self._free.pop() if self._free else Flat(like)

    def give(self, *used: Flat | None) -> None:
        """Take vectors back that nobody reads any more."""
        self._free += [one for one in used if one is not None]

    def clear(self) -> None:
        """Forget them all: other tensors follow."""
        self._free.clear()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector of all entries, a copy."""
    return torch.cat([t.detach().reshape(-1) for t in tensors])
