"""Elements of the same variables added up to one: fewer matrices to learn, each from the sum of their gradients.

The sum of the functions of a pair (k, j) and of the pair (j, k), for example, is one function of the same variables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.objective.separable import Elements, PartiallySeparable

Member = tuple[
    Elements, Tensor, Tensor
]  # elements of one group, the new element of each, and the places of its variables


def merged(f: PartiallySeparable) -> PartiallySeparable:
    """The same function with one element for each set of variables; groups of other sizes stay groups of their own.

    Args:
        f: the function; an element that has a variable twice stays as it is, alone.
    """
    sizes = sorted({(group.size, group.convex) for group in f.groups})
    groups: list[Elements] = []
    for size, convex in sizes:
        alike = [group for group in f.groups if (group.size, group.convex) == (size, convex)]
        groups.append(_joined(alike, size, convex))
    return PartiallySeparable(groups, f.n, f.ledger)


def _joined(groups: Sequence[Elements], size: int, convex: bool) -> Elements:
    """One group for several whose elements have ``size`` variables."""
    tables = [group.indices.cpu().numpy() for group in groups]
    rows = np.concatenate(tables)
    keys = np.sort(rows, axis=1)
    twice = (np.diff(keys, axis=1) == 0).any(axis=1)
    own = np.where(twice, np.arange(len(rows)), -1)
    found, owner = np.unique(np.column_stack([own, np.where(twice[:, None], rows, keys)]), axis=0, return_inverse=True)
    order = np.where(twice[:, None], np.arange(size), np.argsort(np.argsort(rows, axis=1), axis=1))
    device = groups[0].indices.device
    starts = np.cumsum([len(table) for table in tables])[:-1]
    owners, places = (np.split(array, starts) for array in (owner.reshape(-1), order))
    members = [
        (group, torch.as_tensor(a, device=device), torch.as_tensor(b, device=device))
        for group, a, b in zip(groups, owners, places, strict=True)
    ]
    work = sum(group.work for group in groups) / len(found)
    table = torch.as_tensor(found[:, 1:].copy(), device=device)
    return Elements(table, lambda u: _values(u, members), flops=work, convex=convex)


def _values(u: Tensor, members: Sequence[Member]) -> Tensor:
    """The sums (E,) of the old elements, from the variables (E, n) of the new ones."""
    total = u.new_zeros(len(u))
    for group, owner, places in members:
        total = total.index_add(0, owner, group.values(u[owner].gather(1, places)))
    return total
