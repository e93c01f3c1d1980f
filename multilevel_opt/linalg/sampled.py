"""The Gram matrix of some rows as a preconditioner of the damped system with all of them.

With m_c of the m rows drawn at random and A = √(m/m_c) J_c,

    AᵀA + ΛI  ≈  JᵀJ + ΛI

as soon as m_c is a few times the effective dimension Σ sᵢ²/(sᵢ² + Λ) (Rokhlin & Tygert 2008; Avron, Maymounkov &
Toledo 2010). It is inverted by a Cholesky factor of order n, or for m_c < n of order m_c,

    (AᵀA + ΛI)⁻¹ v = [v − Aᵀ(AAᵀ + ΛI)⁻¹ A v]/Λ
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.cholesky import factor, gram
from multilevel_opt.linalg.operator import ByRows

FLOOR = 1e4  # roundings of the trace: dampings below it are raised to it, here only


class SampledInverse:
    """v -> (AᵀA + ΛI)⁻¹ v for a sample of rows and any Λ.

    Args:
        jacobian: J of shape (m, n).
        count: m_c; the rows are the same for the same m.
        like: a vector with the dtype and device of J.
        ledger: where flops are recorded.
    """

    def __init__(self, jacobian: ByRows, count: int, like: Tensor, ledger: Ledger) -> None:
        m, n = jacobian.shape
        generator = torch.Generator(device="cpu").manual_seed(m)
        ids = torch.randperm(m, generator=generator, device="cpu")[:count].sort().values.to(like.device)
        self._a = sqrt(m / count) * jacobian.some(ids)
        self._dual, self._ledger = count < n, ledger
        self._gram = gram(self._a if self._dual else self._a.T)
        k = self._gram.shape[0]
        self._least = FLOOR * torch.finfo(like.dtype).eps * float(self._gram.diagonal().sum())
        ledger.work(float(count) * n * k)
        ledger.holds((count * n + 2 * k * k) * like.element_size())
        self._factor: Tensor | None = None
        self._damping = 0.0

    def factorize(self, damping: float) -> bool:
        """Factorize for Λ = damping; False when the matrix is not numerically positive definite."""
        self._damping = max(damping, self._least)
        shifted = self._gram.clone()
        shifted.diagonal().add_(self._damping)
        self._ledger.work(shifted.shape[0] ** 3 / 3)
        self._factor = factor(shifted)
        return self._factor is not None

    def __call__(self, v: Tensor) -> Tensor:
        assert self._factor is not None, "factorize before solving"
        self._ledger.work(2.0 * self._factor.numel())
        if not self._dual:
            return torch.cholesky_solve(v[:, None], self._factor)[:, 0]
        self._ledger.work(4.0 * self._a.numel())
        inner = torch.cholesky_solve((self._a @ v)[:, None], self._factor)[:, 0]
        return (v - self._a.T @ inner) / self._damping
