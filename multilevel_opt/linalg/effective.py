"""The effective dimension of a damped least-squares problem."""

from __future__ import annotations

import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.cholesky import gram


def effective_dimension(jacobian: Tensor, damping: float, ledger: Ledger | None = None) -> float:
    """d(λ) = Σ s_i²/(s_i² + λ) over the singular values s_i of J, for J of shape (m, n) and λ > 0.

    It is k − λ tr (G + λI)⁻¹ for the k × k Gram matrix G of the smaller side, from one Cholesky factor L as
    k − λ ‖L⁻¹‖_F². Where G + λI is not numerically positive definite, k is returned, an upper bound.
    """
    small = jacobian if jacobian.shape[0] <= jacobian.shape[1] else jacobian.T
    k, length = small.shape
    matrix = gram(small)
    matrix = matrix.tril() + matrix.tril(-1).T
    matrix.diagonal().add_(damping)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if ledger is not None:
        ledger.work(float(k) ** 2 * length + 2 * k**3 / 3)
    if int(info) != 0 or not damping > 0:
        return float(k)
    unit = torch.eye(k, dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, unit, upper=False)
    return min(float(k), max(0.0, k - damping * float(inverse.square().sum())))
