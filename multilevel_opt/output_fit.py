"""The best output layer for hidden layers that stay, where the residual is not affine in it.

min over v of ½‖r(v)‖², v the parameters of the output layer, is a small nonlinear least-squares problem for features
that do not move: for smooth ones Gauss–Newton solves it in a few steps (Dong & Li 2021, section 2.3, for differential
equations),

    d = −(JᵀJ + Λ I)⁻¹ Jᵀ r,   v ← v + t d,   t = 1, ½, ¼, … until the loss falls,

on columns of norm one, with a damping Λ of the rounding of their Gram matrix. It ends where the linearization promises
little more; what the Gram matrix cannot see is left to orthogonal transformations of J (``random_features.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from multilevel_opt.linalg.cholesky import DampedSystem
from multilevel_opt.objective.least_squares import LeastSquares

STEPS = 20
SHORTEST = 2.0**-10
PROMISED = 0.8  # of the loss: no step where the linearization leaves more than this,
FELL = 0.99  # and the last one where more than this is left
SHIFT = 1e3  # Λ in roundings of the trace of the Gram matrix


def unit_columns(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of norm one, and what they were divided by: their norms, one for those of zeros."""
    norms = torch.linalg.vector_norm(columns, dim=0)
    scale = torch.where(norms > 0, norms, 1.0)
    return columns / scale, scale


def gauss_newton(f: LeastSquares, x: Tensor, own: Tensor) -> Tensor:
    """A point near the least loss in the parameters ``own``, from x.

    Args:
        f: sum of squares of a network.
        x: shape (n,), with a finite residual.
        own: places, int64 of shape (W,).

    Returns:
        x with other values there, shape (n,); x itself where no step lowers the loss.
    """
    own = own.to(x.device)
    for _ in range(STEPS):
        r, columns = f.columns(x, own)
        if not bool(torch.isfinite(columns).all()):
            break
        unit, scale = unit_columns(columns)
        m, n = columns.shape
        system = DampedSystem(r, unit, None, unit.T @ r, m < n, f.ledger)
        if not system.factorize(SHIFT * torch.finfo(x.dtype).eps * system.trace):
            break
        d = system.solve() / scale
        loss, left = (float(v.square().sum()) for v in (r, r + columns @ d))
        f.ledger.work(4.0 * m * n)
        if not left <= PROMISED * loss:
            break
        moved, after = _shortened(f, x, own, d, loss)
        if moved is None:
            break
        x = moved
        if after > FELL * loss:
            break
    return x


def _shortened(f: LeastSquares, x: Tensor, own: Tensor, d: Tensor, loss: float) -> tuple[Tensor | None, float]:
    """The first of x + d, x + ½d, … with a smaller ‖r‖², and that; None where there is none."""
    length = 1.0
    while length >= SHORTEST:
        moved = x.index_add(0, own, length * d)
        after = float(f.residuals(moved).square().sum())
        if after < loss:
            return moved, after
        length *= 0.5
    return None, loss
