"""The inverse secant matrix H of BFGS as a matrix, for the small factors of Kronecker curvature.

With ρ = 1/sᵀy and q = yᵀHy the update (Nocedal & Wright 2006, (6.17)) is one product of rank two:

    H⁺ = H + [s, Hy] [[ρ²q + ρ, −ρ], [−ρ, 0]] [s, Hy]ᵀ
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class InverseMatrix:
    """H.

    Args:
        matrix: the first one, shape (n, n), symmetric positive definite; it is changed in place.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def append(self, s: Tensor, y: Tensor) -> None:
        """Take a pair of shape (n,) with sᵀy > 0; one that leads out of the finite numbers changes nothing."""
        rho, image = 1 / torch.dot(s, y), self.matrix @ y
        left = torch.stack([s, image])
        right = torch.stack([(rho * torch.dot(y, image) + 1) * rho * s - rho * image, -rho * s])
        self.matrix.addmm_(left.T, torch.where(torch.isfinite(right).all(), right, 0.0))

    def product(self, v: Tensor) -> Tensor:
        """H v for v of shape (n,) or (n, k)."""
        return self.matrix @ v

    def state(self) -> dict[str, Any]:
        """Plain numbers and tensors."""
        return {"matrix": self.matrix}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        self.matrix = state["matrix"].clone()
