"""How many rows a batch needs for its gradient to be more than noise: the norm test.

The direction −H g_S descends for all samples, in the mean, where the gradients gᵢ of single samples scatter little
(Byrd, Chin, Nocedal & Wu 2012),

    Var_i(gᵢ) / |S|  ≤  θ² ‖g_S‖²,

and where they do not, batches grow to the |S| that satisfies it: a constant step then converges, which on batches of
constant size ends in a neighbourhood. The paper takes the variance over single samples. Here it is estimated from the
parts of a batch that have gradients anyway, those shared with the batches before and after and the rest: with n_j rows
and gradients g_j of G parts,

    Var ≈ Σ_j n_j ‖g_j − g_S‖² / (G − 1),

which is unbiased but rough, so that both sides are averaged over the last steps, eight or so. The inner product
tests of Bollapragada et al. (2018) are not taken: g_S stands on both sides, and pure noise passes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

from multilevel_opt.errors import InputError

GROWTH = 2.0  # a batch has at most so many times the rows of the one before
LEAST = 8  # steps to average over, those since the last growth


class NormTest:
    """Means of both sides of the test.

    Args:
        theta: θ; 0: batches stay as they are.

    Attributes:
        variance: mean estimate of the variance.
        square: mean of ‖g_S‖².
        count: steps in the means.

    Raises:
        InputError: a negative θ.
    """

    def __init__(self, theta: float) -> None:
        if not 0 <= theta < float("inf"):
            raise InputError(f"progressive={theta} is out of range: give θ > 0, such as 0.5, or 0 for constant batches")
        self.theta = theta
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self.variance, self.square, self.count = 0.0, 0.0, 0

    def see(self, rows: Sequence[int], squares: Sequence[float], square: float) -> None:
        """Take a step into account: the rows of two or more parts, their ‖g_j‖², and ‖g_S‖²."""
        total = sum(n * q for n, q in zip(rows, squares, strict=True)) - sum(rows) * square
        scatter = max(0.0, total) / (len(rows) - 1)
        if isfinite(scatter) and isfinite(square):
            self.count += 1
            self.variance += (scatter - self.variance) / min(self.count, LEAST)
            self.square += (square - self.square) / min(self.count, LEAST)

    def size(self, size: int) -> int:
        """The rows of the next batch, after one of ``size``; where it grows, the means begin anew."""
        if not self.theta or self.count < LEAST or self.variance <= size * self.theta**2 * self.square:
            return size
        wanted = self.variance / max(self.theta**2 * self.square, 1e-300)
        self.clear()
        return ceil(min(wanted, GROWTH * size))

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"variance": self.variance, "square": self.square, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        self.variance, self.square, self.count = state["variance"], state["square"], state["count"]
