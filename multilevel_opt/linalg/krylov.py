"""Conjugate gradients for ``(H + ΛI) s = −g``, stopped at a trust-region boundary where one is given.

One routine serves the trust-region step (Steihaug 1983; Conn, Gould & Toint 2000, Algorithm 7.5.1), the
matrix-free damped least-squares step (no boundary) and the smoother of geometric levels (few iterations).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp, inf, sqrt

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CGResult:
    """Outcome of truncated conjugate gradients.

    Attributes:
        step: s of shape (n,).
        product: H s without the shift, shape (n,), so that the model value needs no further product.
        products: number of products with H.
        on_boundary: the step ended on the trust-region boundary.
        bent: a direction without positive curvature led there.
    """

    step: Tensor
    product: Tensor
    products: int
    on_boundary: bool
    bent: bool = False


def to_boundary(s: Tensor, d: Tensor, radius: float) -> float:
    """The τ > 0 with ‖s + τ d‖ = radius, by the formula without cancellation."""
    a, b, c = float(d @ d), 2 * float(s @ d), float(s @ s) - radius * radius
    root = sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b + root) / (2 * a) if b <= 0 else -2 * c / (b + root)


def steihaug(
    hvp: Product,
    gradient: Tensor,
    shift: float = 0.0,
    radius: float = inf,
    tol: float = 0.1,
    max_products: int = 0,
) -> CGResult:
    """Minimize ``gᵀs + ½sᵀ(H + shift·I)s`` over ``‖s‖ ≤ radius`` approximately.

    Args:
        hvp: v -> H v, shapes (n,) -> (n,).
        gradient: g of shape (n,).
        shift: added to the diagonal of H.
        radius: trust-region radius, ``inf`` for none.
        tol: relative residual at which to stop.
        max_products: iteration limit; 0 means 2n.

    Returns:
        The step; with negative curvature and no radius, the last iterate before it (−g at the start).
    """
    scale = 2.0 ** frexp(_length(gradient))[1]  # a power of two: no digit changes, and no square overflows
    s, hs = torch.zeros_like(gradient), torch.zeros_like(gradient)
    r = gradient / scale
    d = -r
    rr = float(r @ r)
    stop = tol * tol * rr
    limit = max_products or 2 * gradient.numel()
    products = 0
    while products < limit and rr > stop and rr > 0.0:
        hd = hvp(d)
        products += 1
        curvature = float(d @ hd) / scale
        if shift:
            curvature += shift / scale * float(d @ d)
        alpha = rr / curvature if curvature > 0 else inf
        if curvature <= 0 and radius == inf:
            return (
                CGResult(-gradient, hd * scale, products, False) if products == 1 else CGResult(s, hs, products, False)
            )
        following = s.add(d, alpha=alpha) if alpha < inf else s
        if alpha == inf or (radius < inf and _length(following) >= radius):
            tau = to_boundary(s, d, radius)
            return CGResult(s.add_(d, alpha=tau), hs.add_(hd, alpha=tau), products, True, curvature <= 0)
        s = following
        hs.add_(hd, alpha=alpha)
        r.add_(hd, alpha=alpha / scale)
        if shift:
            r.add_(d, alpha=alpha * shift / scale)
        rr_next = float(r @ r)
        d = (d * (rr_next / rr)).sub_(r)
        rr = rr_next
    return CGResult(s, hs, products, False)


def _length(v: Tensor) -> float:
    return float(torch.linalg.vector_norm(v))


def preconditioned(
    hvp: Product, gradient: Tensor, shift: float, inverse: Product, tol: float, max_products: int
) -> CGResult:
    """Minimize ``gᵀs + ½sᵀ(H + shift·I)s`` for positive definite H + shift·I approximately, with a preconditioner.

    Args:
        hvp: v -> H v.
        gradient: g of shape (n,).
        shift: added to the diagonal of H.
        inverse: v -> M⁻¹ v with a positive definite M near H + shift·I.
        tol: residual at which to stop, relative, in the norm of M⁻¹.
        max_products: iteration limit.

    Returns:
        The step; ends early where rounding makes a curvature or a norm negative or not finite.
    """
    s, hs, r = torch.zeros_like(gradient), torch.zeros_like(gradient), -gradient
    z = inverse(r)
    d, rz = z, float(r @ z)
    stop, products = tol * tol * rz, 0
    while products < max_products and rz > stop and 0.0 < rz < inf:
        hd = hvp(d)
        products += 1
        curvature = float(d @ hd) + shift * float(d @ d)
        if not 0.0 < curvature < inf:
            break
        alpha = rz / curvature
        s, hs = s + alpha * d, hs + alpha * hd
        r = r - alpha * (hd + shift * d)
        z = inverse(r)
        rz, before = float(r @ z), rz
        d = z + (rz / before) * d
    return CGResult(s, hs, products, False)


@dataclass(frozen=True)
class Tridiagonal:
    """Lanczos basis: ``Qᵀ H Q = T`` with Q of shape (n, k) orthonormal, first column g/‖g‖.

    Attributes:
        basis: Q.
        diagonal, off_diagonal: of T, lengths k and k − 1.
        remainder: the next off-diagonal entry, 0 when the space is invariant; ‖HQu − QTu‖ = remainder·|u_k|.
        following: the next basis vector times the remainder, shape (n,).
    """

    basis: Tensor
    diagonal: Tensor
    off_diagonal: Tensor
    remainder: float
    following: Tensor

    def matrix(self) -> Tensor:
        """T of shape (k, k)."""
        off = self.off_diagonal
        return torch.diag(self.diagonal) + torch.diag(off, 1) + torch.diag(off, -1)


def lanczos(hvp: Product, gradient: Tensor, steps: int, known: Tridiagonal | None = None) -> Tridiagonal:
    """At most ``steps`` Lanczos iterations in all, fully reorthogonalized.

    Args:
        hvp: v -> H v.
        gradient: g ≠ 0 of shape (n,), the direction of the first basis vector.
        steps: largest k.
        known: a basis to continue; where its space is invariant, with a random vector orthogonal to it.
    """
    basis, alphas, betas = [gradient / gradient.norm()], list[Tensor](), list[Tensor]()
    if known is not None:
        following = known.following if known.remainder > 0 else _orthogonal(known.basis)
        alphas, betas = list(known.diagonal), [*known.off_diagonal, known.diagonal.new_tensor(known.remainder)]
        basis = [*known.basis.T, following / following.norm()]
    remainder = 0.0
    limit = min(steps, gradient.numel())
    while True:
        w = hvp(basis[-1])
        size = float(w.norm())
        alphas.append(basis[-1] @ w)
        q = torch.stack(basis)
        for _twice in range(2):
            w = w - q.T @ (q @ w)
        beta = w.norm()
        remainder = float(beta) if float(beta) > 1e-12 * size and len(basis) < gradient.numel() else 0.0
        if len(basis) == limit or remainder == 0.0:
            off = torch.stack(betas) if betas else gradient.new_zeros(0)
            return Tridiagonal(q.T, torch.stack(alphas), off, remainder, w)
        betas.append(beta)
        basis.append(w / beta)


def _orthogonal(basis: Tensor) -> Tensor:
    """A random vector orthogonal to the columns of ``basis``, the same for the same shape."""
    n, k = basis.shape
    generator = torch.Generator(device="cpu").manual_seed(k)
    v = torch.randn(n, generator=generator, dtype=torch.float64, device="cpu").to(basis)
    for _twice in range(2):
        v = v - basis @ (basis.T @ v)
    return v
