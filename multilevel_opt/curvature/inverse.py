"""The inverse secant matrix H of limited-memory BFGS in matrix form, for directions −Hg of training.

With the m newest pairs as the rows of S and Y, oldest first, R the upper triangle of SYᵀ, D its diagonal and
u = R⁻¹Sv (Byrd, Nocedal & Schnabel 1994, equation 3.1),

    H v = γ v + Sᵀ R⁻ᵀ((D + γ YYᵀ) u − γ Y v) − γ Yᵀ u.

Two products with the stacked pairs, whatever m is, in place of the 4m vector operations of the two-loop recursion;
v may be a matrix of columns. The small matrices are kept in float64 on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError


class InversePairs:
    """The newest m pairs, and H.

    Args:
        memory: m.
        scale: γ; None for sᵀy/yᵀy of the newest pair.

    Attributes:
        count: pairs held.
        scale: γ; where it is that of the newest pair, 1 without pairs.
    """

    def __init__(self, memory: int, scale: float | None = None) -> None:
        if memory < 1:
            raise InputError(f"memory={memory} holds no pairs: give 1 or more")
        self.memory, self.fixed = memory, scale
        self.clear()

    def clear(self) -> None:
        """Drop all pairs: H = γ I, with γ = 1 where it is that of the newest pair."""
        self.count, self.scale, self._next = 0, self.fixed or 1.0, 0
        self._rows: Tensor | None = None  # shape (2, m, n): S and Y, in slots
        self._sy = torch.zeros(self.memory, self.memory, dtype=torch.float64)
        self._yy = torch.zeros(self.memory, self.memory, dtype=torch.float64)

    def append(self, s: Tensor, y: Tensor) -> None:
        """Take a pair of shape (n,) with sᵀy > 0; the oldest is dropped beyond m."""
        if self._rows is None:
            self._rows = s.new_zeros(2, self.memory, s.numel())
        length = torch.linalg.vector_norm(s)
        slot = self._next
        torch.div(s, length, out=self._rows[0, slot])
        torch.div(y, length, out=self._rows[1, slot])
        products = (self._rows @ self._rows[1, slot]).double().cpu()
        self._sy[:, slot] = products[0]
        self._yy[:, slot] = self._yy[slot] = products[1]
        if self.fixed is None:
            self.scale = float(products[0, slot] / products[1, slot])
        self._next = (slot + 1) % self.memory
        self.count = min(self.count + 1, self.memory)

    def product(self, v: Tensor, out: Tensor | None = None) -> Tensor:
        """H v for v of shape (n,) or (n, k); written to ``out`` where a tensor is given, which v must not overlap."""
        if self._rows is None:
            return torch.mul(v, self.scale, out=out)
        order = self._order()
        both = (self._rows @ v).double().cpu()[:, order]
        sy, yy = self._sy[order][:, order], self._yy[order][:, order]
        vector = v.ndim == 1
        a, b = (part[:, None] if vector else part for part in both)
        u = torch.linalg.solve_triangular(sy.triu(), a, upper=True)
        middle = sy.diagonal()[:, None] * u + self.scale * (yy @ u - b)
        top = torch.linalg.solve_triangular(sy.triu().mT, middle, upper=False)
        weights = v.new_zeros(2, self.memory, u.shape[1])
        weights[:, order] = torch.stack([top, -self.scale * u]).to(v)
        rows, weights = self._rows.reshape(2 * self.memory, -1).mT, weights.reshape(2 * self.memory, -1)
        flat = torch.mm(rows, weights, out=out if out is None or not vector else out[:, None])
        product: Tensor = (flat[:, 0] if vector else flat).add_(v, alpha=self.scale)
        return product

    def state(self) -> dict[str, Any]:
        """Plain numbers and tensors."""
        held = [] if self._rows is None else [self._rows, self._sy, self._yy]
        return {"count": self.count, "scale": self.scale, "next": self._next, "held": held}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        self.clear()
        self.count, self.scale, self._next = state["count"], state["scale"], state["next"]
        if state["held"]:
            self._rows, self._sy, self._yy = (part.clone() for part in state["held"])

    def _order(self) -> list[int]:
        """The slots in use, oldest first."""
        return [(self._next - self.count + i) % self.memory for i in range(self.count)]
