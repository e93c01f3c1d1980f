"""Orders of points whose beginnings are spread over all of them, so that coarser clouds are nested in finer ones.

The points are sorted along a space-filling curve (the Z-order of their coordinates, each by its rank among 2^16), so
that neighbours in the list are neighbours in space; then they are taken in the order of van der Corput: first the
start of the list, then its middle, then the quarters, and so on. Every beginning of that order samples the list, and
so the domain, evenly with respect to the density of the points. It works for grids, curves and random points alike,
where the first points of a grid are one of its sides. The places are shifted by a random number, so that the points
of a grid do not all lie on lines of a coarser one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BITS = 16  # of a coordinate, at most


def spread(z: Tensor, seed: int = 0) -> Tensor:
    """The order, int64 of shape (m,), in which to take the points z (m, d)."""
    m = len(z)
    place = np.argsort(_z_order(z.detach().cpu().to(torch.float64).numpy()), kind="stable")
    shift = np.random.default_rng(seed).random()
    key = (_van_der_corput(m) + shift) % 1.0
    visits = np.argsort(np.argsort(key, kind="stable"), kind="stable")  # k-th in the list of keys: k-th along the curve
    return torch.as_tensor(place[visits], device=z.device)


def _van_der_corput(m: int) -> NDArray[np.float64]:
    """The first m numbers of the sequence in base 2: 0, 1/2, 1/4, 3/4, ..."""
    numbers, value, weight = np.arange(m), np.zeros(m), 0.5
    while weight * max(m, 1) >= 0.5 and numbers.any():
        value += weight * (numbers & 1)
        numbers, weight = numbers >> 1, weight / 2
    return value


def _z_order(z: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place (m,) along the Z-order curve of the points (m, d); beyond 62 coordinates by the first of them."""
    z = z[:, : 8 * np.dtype(np.int64).itemsize - 2]
    bits = min(BITS, 62 // z.shape[1])
    low = z.min(axis=0, keepdims=True, initial=np.inf)
    span = z.max(axis=0, keepdims=True, initial=-np.inf) - low
    cells = np.floor((z - low) / np.where(span > 0, span, 1.0) * (2**bits - 1)).astype(np.int64)
    code = np.zeros(len(z), dtype=np.int64)
    for bit in reversed(range(bits)):
        for axis in range(z.shape[1]):
            code = (code << 1) | ((cells[:, axis] >> bit) & 1)
    return code
