"""Damped least squares on J itself, for dampings that a Gram matrix cannot see.

A Gram matrix holds the singular values of J only above √ε s₁, with ε the rounding of the numbers: its Cholesky factor
solves the system for Λ with a relative error of about ε s₁²/Λ. Orthogonal transformations of J see them down to ε s₁,
and their error is about ε s₁/√Λ (Björck 1996, sections 1.4 and 2.4). One factorization serves every Λ:

    J or Jᵀ = Q R,   R = U S Vᵀ   (R of order k = min(m, n))

and with J = A S Bᵀ, A of shape (m, k) and B of shape (n, k), both with orthonormal columns, the step is

    s = −B [(S² + Λ)⁻¹ (S Aᵀr + Bᵀc)] − (c − B Bᵀc)/Λ

Where few Λ are asked for and m >= n, ``TriangularSystem`` does without Q and singular values:

    [J r] = Q [R p; 0 q],   [R p; √Λ I 0] = Q' [R' p'; 0 q'],   R' s = −p'
"""

from __future__ import annotations

import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger

SVD_FLOPS = 20.0  # of a square matrix of order k, in k³: LAPACK's divide and conquer with all vectors


def orthogonal_flops(m: int, n: int) -> float:
    """Floating-point operations of the factorization above for J of shape (m, n)."""
    long, k = max(m, n), min(m, n)
    return 4.0 * (long * k**2 - k**3 / 3) + SVD_FLOPS * k**3


class OrthogonalSystem:
    """The family of damped systems for one (r, J, c) and any Λ > 0, as ``cholesky.DampedSystem`` is one.

    Args:
        residual: r of shape (m,).
        jacobian: J of shape (m, n), with finite entries.
        linear: c of shape (n,), or None for zero.
        ledger: where flops are recorded.
    """

    def __init__(self, residual: Tensor, jacobian: Tensor, linear: Tensor | None, ledger: Ledger) -> None:
        m, n = jacobian.shape
        self._ledger, self._k = ledger, min(m, n)
        self._wide = m < n
        q, r = torch.linalg.qr(jacobian.T if self._wide else jacobian)
        u, s, vt = torch.linalg.svd(r)
        self._q: Tensor = q
        self._near: Tensor = u
        self._s: Tensor = s
        self._far: Tensor = vt.T
        ledger.work(orthogonal_flops(m, n))
        ledger.holds((2 * m * n + 4 * self._k**2) * jacobian.element_size())
        self._damping = 0.0
        self._rhs = self._left(residual) * self._s
        self._outside: Tensor | None = None
        if linear is not None:
            inside = self._right(linear)
            self._rhs = self._rhs + inside
            self._outside = linear - self._step(inside)

    def factorize(self, damping: float) -> bool:
        """Take Λ = damping; False unless it is a positive number."""
        self._damping = damping
        return 0.0 < damping < float("inf")

    def solve(self) -> Tensor:
        """The step s of shape (n,) for the last Λ."""
        s = -self._step(self._filtered(self._rhs))
        return s if self._outside is None else s - self._outside / self._damping

    def correct(self, second: Tensor) -> Tensor:
        """−½(JᵀJ + ΛI)⁻¹Jᵀ r'' for r'' of shape (m,): the geodesic acceleration."""
        return -0.5 * self._step(self._filtered(self._left(second) * self._s))

    def _filtered(self, v: Tensor) -> Tensor:
        """(S² + Λ)⁻¹ v without squares that underflow beside each other."""
        size = torch.hypot(self._s, self._s.new_tensor(self._damping).sqrt())
        return v / size / size

    def _left(self, w: Tensor) -> Tensor:
        """Aᵀ w, shapes (m,) -> (k,)."""
        return self._far.T @ w if self._wide else self._near.T @ self._tall(w)

    def _right(self, v: Tensor) -> Tensor:
        """Bᵀ v, shapes (n,) -> (k,)."""
        return self._near.T @ self._tall(v) if self._wide else self._far.T @ v

    def _step(self, z: Tensor) -> Tensor:
        """B z, shapes (k,) -> (n,)."""
        self._ledger.work(2.0 * z.numel() * z.numel())
        if not self._wide:
            return self._far @ z
        self._ledger.work(2.0 * self._q.numel())
        return self._q @ (self._near @ z)

    def _tall(self, v: Tensor) -> Tensor:
        """Qᵀ v."""
        self._ledger.work(2.0 * self._q.numel() + 2.0 * self._k**2)
        return self._q.T @ v


class TriangularSystem:
    """min ½‖r + J s‖² + ½Λ‖s‖² for few Λ > 0, by triangular factors alone (Björck 1996, section 2.4).

    Args:
        residual: r of shape (m,).
        jacobian: J of shape (m, n) with m >= n, with finite entries.
        ledger: where flops are recorded.
    """

    def __init__(self, residual: Tensor, jacobian: Tensor, ledger: Ledger) -> None:
        m, n = jacobian.shape
        self._ledger, self._n = ledger, n
        self._r: Tensor = torch.linalg.qr(torch.cat([jacobian, residual[:, None]], dim=1), mode="r")[1][:n]
        ledger.work(2.0 * n**2 * (m - n / 3))
        ledger.holds((2 * m * n + 5 * n**2) * jacobian.element_size())

    def solve(self, damping: float) -> Tensor:
        """The step s of shape (n,) for Λ = damping."""
        n = self._n
        below = torch.eye(n, n + 1, dtype=self._r.dtype, device=self._r.device).mul_(damping**0.5)
        r = torch.linalg.qr(torch.cat([self._r, below]), mode="r")[1]
        self._ledger.work(10 / 3 * n**3)
        found: Tensor = -torch.linalg.solve_triangular(r[:n, :n], r[:n, n:], upper=True)[:, 0]
        return found
