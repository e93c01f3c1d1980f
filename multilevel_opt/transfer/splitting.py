"""Coarse and fine neurons: strength of connection and Ruge-Stueben splitting by pyamg.

Neuron i depends strongly on j when

    negative:  -a_ij >= θ max_k(-a_ik)        absolute:  |a_ij| >= θ max_{k≠i} |a_ik|

(Ruge and Stueben 1987; the negative rule is the usual one, with θ = 0.25). Coupling matrices of networks are
dense and of low numerical rank, so the splitting can collapse to a few coarse neurons or keep nearly
all. A collapsed splitting is detected; other θ and then the other rule are tried, and ``note`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from pyamg.classical.split import RS
from pyamg.strength import classical_strength_of_connection
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError, ShapeError, UnsupportedCombination

RULES = {"negative": "min", "absolute": "abs"}
"""Name of the rule -> name of the norm in pyamg."""

LADDER = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Thresholds tried when a splitting collapses."""


@dataclass(frozen=True, eq=False)
class CFSplitting:
    """Which of r neurons are coarse.

    Attributes:
        mask: True for coarse neurons, shape (r,).
        strength: entry (i, j) > 0 where i depends strongly on j; zero diagonal, shape (r, r), CSR.
        theta: threshold used in the end.
        rule: rule used in the end.
        promoted: fine neurons that depended strongly on fine ones only, and were made coarse.
        isolated: neurons that depend strongly on none; those are fine and need another interpolation.
        note: what happened, empty when the first attempt held.
    """

    mask: npt.NDArray[np.bool_]
    strength: Any
    theta: float
    rule: str
    promoted: int
    isolated: int
    note: str = ""

    @property
    def coarse(self) -> npt.NDArray[np.int64]:
        """Indices of the coarse neurons, ascending, shape (n_c,)."""
        return np.flatnonzero(self.mask).astype(np.int64)

    @property
    def n_coarse(self) -> int:
        """Number of coarse neurons."""
        return int(self.mask.sum())


def split(
    A: Tensor | npt.NDArray[Any] | Any,
    theta: float = 0.25,
    rule: str = "negative",
    min_coarse: int | None = None,
    max_fraction: float = 0.9,
    fallback: bool = True,
) -> CFSplitting:
    """Split the neurons into coarse and fine ones.

    Every fine neuron that depends strongly on any other has a strong coarse neighbour.

    Args:
        A: coupling matrix, shape (r, r): torch, numpy or scipy sparse.
        theta: threshold in (0, 1].
        rule: ``negative`` or ``absolute``.
        min_coarse: fewer coarse neurons than this is a collapse; default max(2, r // 64).
        max_fraction: more than this part of r is a collapse too.
        fallback: after a collapse try other thresholds (``LADDER``, nearest first, towards more coarse
            neurons where there were too few, and the reverse), then the other rule in the same manner.

    Raises:
        ShapeError: A is not square, or smaller than 2 x 2.
        NonFiniteError: A has NaN or infinite entries.
        InputError: θ outside (0, 1].
        UnsupportedCombination: unknown rule, or every attempt collapsed.
    """
    if rule not in RULES:
        raise UnsupportedCombination(f"unknown rule '{rule}' of coupling: use one of {', '.join(RULES)}")
    if not 0 < theta <= 1:
        raise InputError(f"the threshold of strong coupling must lie in (0, 1], got {theta}")
    matrix = as_csr(A)
    least = max(2, matrix.shape[0] // 64) if min_coarse is None else min_coarse
    most = max_fraction * matrix.shape[0]
    tried: list[str] = []
    attempts = _attempts(matrix, theta, rule, least)
    for result in attempts if fallback else islice(attempts, 1):
        if least <= result.n_coarse <= most:
            return _noted(result, tried)
        tried.append(f"{result.n_coarse} at θ={result.theta:g} {result.rule}")
    raise UnsupportedCombination(
        f"splitting {matrix.shape[0]} neurons collapsed ({'; '.join(tried)}; "
        f"wanted {least} to {most:.0f} coarse): use another coarsening or another start point"
    )


def as_csr(A: Any) -> Any:
    """A square coupling matrix as a float64 ``scipy.sparse.csr_array`` with sorted 32-bit indices.

    Raises:
        ShapeError: not square, or smaller than 2 x 2.
        NonFiniteError: NaN or infinite entries.
    """
    raw = A.detach().cpu().numpy() if isinstance(A, Tensor) else A
    if len(raw.shape) != 2 or raw.shape[0] != raw.shape[1] or raw.shape[0] < 2:
        raise ShapeError(f"a coupling matrix must be square and at least 2 x 2, got shape {tuple(raw.shape)}")
    matrix = scipy.sparse.csr_array(raw, dtype=np.float64)
    if not np.isfinite(matrix.data).all():
        raise NonFiniteError("the coupling matrix has entries that are NaN or infinite: check the Jacobian")
    matrix.sum_duplicates()
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def _attempts(matrix: Any, theta: float, rule: str, min_coarse: int) -> Iterator[CFSplitting]:
    other = next(name for name in RULES if name != rule)
    for name in (rule, other):
        first = _attempt(matrix, theta, name)
        yield first
        up = sorted(t for t in LADDER if t > theta)
        down = sorted((t for t in LADDER if t < theta), reverse=True)
        for threshold in up if first.n_coarse < min_coarse else down:
            yield _attempt(matrix, threshold, name)


def _attempt(matrix: Any, theta: float, rule: str) -> CFSplitting:
    strength = scipy.sparse.csr_array(
        classical_strength_of_connection(matrix, theta=theta, block=False, norm=RULES[rule])
    )
    strength.setdiag(0.0)
    strength.eliminate_zeros()
    mask = RS(strength).astype(bool)
    promoted = _promote(strength, mask)
    isolated = int((np.diff(strength.indptr) == 0)[~mask].sum())
    return CFSplitting(mask, strength, theta, rule, promoted, isolated)


def _promote(strength: Any, mask: npt.NDArray[np.bool_]) -> int:
    """Make coarse, in ascending order, fine points whose strong neighbours are all fine; return how many."""
    depends = np.diff(strength.indptr) > 0
    orphans = np.flatnonzero(depends & ~mask & (_pattern(strength) @ mask.astype(np.float64) == 0))
    before = int(mask.sum())
    for i in orphans:
        neighbours = strength.indices[strength.indptr[i] : strength.indptr[i + 1]]
        mask[i] = not mask[neighbours].any()
    return int(mask.sum()) - before


def _pattern(matrix: Any) -> Any:
    return scipy.sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def _noted(result: CFSplitting, tried: list[str]) -> CFSplitting:
    if not tried:
        return result
    note = f"collapsed splittings ({'; '.join(tried)}) were replaced by θ={result.theta:g} {result.rule}"
    return replace(result, note=note)
