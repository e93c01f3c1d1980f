"""Weights between fine and coarse neurons: pyamg's formulas, then guards, then a scale.

Coarse neurons keep their value; the row of a fine neuron i comes from a_ij e_j summed to zero. On the
dense, nearly singular coupling matrices of networks those weights can reach thousands, or a row can be
empty, so every row passes, in this order:

1. fill: an empty row, or one with NaN, becomes weight 1 on the coarse neighbour with the largest |a_ij|;
2. clip: weights beyond ±bound are cut to it;
3. constants, where asked: the row is divided by its sum; where the sum is below ``TINY_SUM``, or
   the division breaks the bound, it becomes weight 1 as in 1.

At the end P is divided by its norm, and R = Pᵀ is the transpose of the divided one (after Calandra,
Gratton, Riccietti, Vasseur, arXiv 1904.04685; which norm they take is our reading).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from pyamg.classical.interpolate import classical_interpolation, direct_interpolation

from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from multilevel_opt.transfer.splitting import CFSplitting, as_csr

Array = npt.NDArray[np.float64]

TINY_SUM = 0.1
"""Row sums below this are not rescaled to 1."""

EXACT_NORM = 2048
"""Up to this many coarse neurons ‖P‖₂ is exact; beyond, the bound (‖P‖_1 ‖P‖_∞)^½ is taken."""


@dataclass(frozen=True)
class InterpolationReport:
    """What the guards did; all counts are rows.

    Attributes:
        kind: formula of the weights.
        fine: fine neurons.
        filled: empty or not finite, replaced by weight 1.
        clipped: cut to the bound.
        rescaled: divided by their sum.
        injected: replaced by weight 1, because the sum was tiny or negative, or the division broke the bound.
        raw_norm: ‖P‖₂ of the formula, NaN taken as 0.
        guarded_norm: ‖P‖₂ after the guards.
        sigma: the number P was divided by.
    """

    kind: str
    fine: int
    filled: int
    clipped: int
    rescaled: int
    injected: int
    raw_norm: float
    guarded_norm: float
    sigma: float

    def __str__(self) -> str:
        return (
            f"{self.kind} interpolation of {self.fine} fine neurons: {self.filled} filled, "
            f"{self.clipped} clipped, {self.rescaled} rescaled, {self.injected} injected; "
            f"norm {self.raw_norm:.3g} -> {self.guarded_norm:.3g}, divided by {self.sigma:.3g}"
        )


def interpolate(
    A: Any,
    splitting: CFSplitting,
    kind: str = "direct",
    bound: float = 4.0,
    constants: bool = False,
    norm: str | None = "2",
) -> tuple[Any, InterpolationReport]:
    """The neuron-level prolongation and what was done to it.

    Args:
        A: coupling matrix, shape (r, r): torch, numpy or scipy sparse.
        splitting: coarse and fine neurons of A.
        kind: ``direct``, ``classical`` (modified classical of pyamg) or ``standard`` (direct after the
            elimination of strong fine neighbours, Stueben 1999).
        bound: largest |weight| >= 1 allowed before the scale.
        constants: make every row sum to 1 before the scale (the scaled rows then sum to 1/σ).
        norm: ``2`` or ``inf``, the norm of P that becomes 1 by the scale (at most 1 for ``2`` with more than
            ``EXACT_NORM`` coarse neurons); None leaves P unscaled.

    Returns:
        P as a float64 ``scipy.sparse.csr_array`` of shape (r, n_c), columns in ascending order of the coarse
        neurons, and the report.

    Raises:
        ShapeError: A and the splitting differ in size.
        NonFiniteError: A has NaN or infinite entries.
        InputError: bound < 1, or no coarse neuron.
        UnsupportedCombination: unknown kind or norm.
    """
    matrix = as_csr(A)
    if kind not in KINDS:
        raise UnsupportedCombination(f"unknown interpolation '{kind}': use one of {', '.join(KINDS)}")
    if norm is not None and norm not in NORMS:
        raise UnsupportedCombination(f"unknown norm '{norm}' of P: use one of {', '.join(NORMS)}")
    if splitting.mask.shape != (matrix.shape[0],):
        raise ShapeError(f"a splitting of {splitting.mask.size} neurons does not fit {matrix.shape[0]} of A")
    if not bound >= 1:
        raise InputError(f"the bound of the weights must be at least 1, got {bound}")
    if splitting.n_coarse == 0:
        raise InputError("the splitting has no coarse neuron to interpolate from: use another threshold")
    with np.errstate(all="ignore"):
        raw = KINDS[kind](matrix, splitting).toarray()
    finite = np.where(np.isfinite(raw), raw, 0.0)
    weights, counts = _guarded(raw, matrix, splitting, bound, constants)
    sigma = 1.0 if norm is None else NORMS[norm](weights)
    report = InterpolationReport(
        kind, int((~splitting.mask).sum()), *counts, spectral_norm(finite), spectral_norm(weights), sigma
    )
    return scipy.sparse.csr_array(weights / sigma), report


def injection(splitting: CFSplitting) -> Any:
    """The (r, n_c) matrix that puts coarse values on coarse neurons; its transpose restricts points."""
    coarse = splitting.coarse
    return scipy.sparse.csr_array(
        (np.ones(coarse.size), (coarse, np.arange(coarse.size))), shape=(splitting.mask.size, coarse.size)
    )


def averaging(prolongation: Any) -> Any:
    """The (r, n_c) matrix Q whose transpose averages fine values: |P| with columns of sum 1.

    Args:
        prolongation: P, scipy sparse of shape (r, n_c) without zero columns.
    """
    weights = abs(scipy.sparse.csr_array(prolongation))
    return scipy.sparse.csr_array(weights @ scipy.sparse.diags_array(1.0 / weights.sum(axis=0)))


def spectral_norm(matrix: Array) -> float:
    """‖P‖₂ of a dense (r, n_c) array, or the bound (‖P‖_1 ‖P‖_∞)^½ beyond ``EXACT_NORM`` columns."""
    if matrix.shape[1] > EXACT_NORM:
        return float(np.sqrt(np.linalg.norm(matrix, 1) * np.linalg.norm(matrix, np.inf)))
    return float(np.sqrt(max(float(np.linalg.eigvalsh(matrix.T @ matrix)[-1]), 0.0)))


def _guarded(
    raw: Array, matrix: Any, splitting: CFSplitting, bound: float, constants: bool
) -> tuple[Array, tuple[int, int, int, int]]:
    """The weights after the guards, and the rows filled, clipped, rescaled and injected."""
    fine = ~splitting.mask
    single = _strongest(matrix, splitting)
    empty = fine & (~np.isfinite(raw).all(1) | ~raw.any(1))
    weights = np.where(empty[:, None], single, raw)
    beyond = fine & (np.abs(weights) > bound).any(1)
    weights = np.where(fine[:, None], np.clip(weights, -bound, bound), weights)
    if not constants:
        return weights, (int(empty.sum()), int(beyond.sum()), 0, 0)
    sums = weights.sum(1, keepdims=True)
    divided = weights / np.where(sums > TINY_SUM, sums, 1.0)
    fails = fine & ((sums[:, 0] <= TINY_SUM) | (np.abs(divided) > bound).any(1))
    changed = fine & ~fails & (np.abs(sums[:, 0] - 1.0) > 1e-12)
    weights = np.where(fails[:, None], single, divided)
    return weights, (int(empty.sum()), int(beyond.sum()), int(changed.sum()), int(fails.sum()))


def _strongest(matrix: Any, splitting: CFSplitting) -> Array:
    """Weight 1 on the coarse neuron j with the largest |a_ij| (the first of equals), shape (r, n_c)."""
    couplings = np.abs(matrix[:, splitting.coarse].toarray())
    couplings[splitting.coarse, np.arange(splitting.n_coarse)] = np.inf
    single: Array = np.zeros(couplings.shape)
    single[np.arange(single.shape[0]), couplings.argmax(1)] = 1.0
    return single


def _direct(matrix: Any, splitting: CFSplitting) -> Any:
    return direct_interpolation(matrix, splitting.strength.copy(), splitting.mask.astype(np.int32))


def _classical(matrix: Any, splitting: CFSplitting) -> Any:
    return classical_interpolation(matrix, splitting.strength.copy(), splitting.mask.astype(np.int32))


def _standard(matrix: Any, splitting: CFSplitting) -> Any:
    """Direct interpolation with e_j = -Σ_{k≠j} a_jk e_k / a_jj put in for every strong fine neighbour j."""
    dense, strong = matrix.toarray(), splitting.strength.toarray() > 0
    fine = ~splitting.mask
    eliminated = strong & fine[None, :] & fine[:, None]
    diagonal = np.diag(dense)
    factors = np.divide(dense, diagonal[None, :], out=np.zeros_like(dense), where=eliminated & (diagonal > 0))
    reach = strong | (eliminated.astype(np.float64) @ strong.astype(np.float64) > 0)
    np.fill_diagonal(reach, False)
    reached = scipy.sparse.csr_array(reach.astype(np.float64))
    return direct_interpolation(as_csr(dense - factors @ dense), reached, splitting.mask.astype(np.int32))


KINDS: dict[str, Callable[[Any, CFSplitting], Any]] = {
    "direct": _direct,
    "classical": _classical,
    "standard": _standard,
}
NORMS: dict[str, Callable[[Array], float]] = {
    "2": spectral_norm,
    "inf": lambda weights: float(np.linalg.norm(weights, np.inf)),
}
