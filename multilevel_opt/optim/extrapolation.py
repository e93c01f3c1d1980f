"""Where partitioned training evaluates the next mini-batch: past the iterate, as Nesterov; a key of ``EXTRAPOLATIONS``.

    w_{k+1} = v_k + s(v_k),      v_{k+1} = w_{k+1} + μ_k (w_{k+1} − w_k)

``constant`` has μ = 0.9 (PLS_NA in the code of Raynaud & Orban), ``adaptive`` the sequence

    θ₊² + (θ² − γ) θ₊ − θ² = 0,    μ = θ(1 − θ)/(θ² + θ₊)

from θ = 1 with γ = 10⁻⁵ (PLS_AdaN). Both begin anew after a step that is rejected, and where the way from w_k to
w_{k+1} leads uphill, ∇f(v_k)ᵀ(w_{k+1} − w_k) > 0 (O'Donoghue & Candès 2015), since the steps are long already. The
weights of the module are the points v.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

from torch import Tensor

CONSTANT, GAMMA = 0.9, 1e-5  # published


class Extrapolation:
    """No extrapolation: v = w."""

    def __init__(self) -> None:
        self.iterate: Tensor | None = None  # w, once there is one

    def weight(self) -> float:
        """μ of this step."""
        return 0.0

    def forget(self) -> None:
        """Begin anew: a step was rejected, or the weights went elsewhere."""
        self.iterate = None

    def following(self, reached: Tensor, gradient: Tensor) -> Tensor:
        """The point of the next step.

        Args:
            reached: w_{k+1}, shape (n,).
            gradient: at v_k, of the same mini-batch.
        """
        weight = self.weight()
        before, self.iterate = self.iterate, reached
        if before is None or weight == 0.0:
            return reached
        if float(gradient @ (reached - before)) > 0:
            self.forget()
            self.iterate = reached
            return reached
        return reached + weight * (reached - before)

    def state(self) -> dict[str, Any]:
        """What continues it, as plain numbers and tensors."""
        return {"iterate": self.iterate}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state``."""
        self.iterate = state["iterate"]


class Constant(Extrapolation):
    """μ = 0.9."""

    def weight(self) -> float:
        return CONSTANT


class Adaptive(Extrapolation):
    """μ from the sequence θ, towards 1."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = 1.0

    def weight(self) -> float:
        square = self.theta * self.theta
        b = square - GAMMA
        following = (sqrt(b * b + 4 * square) - b) / 2
        found = self.theta * (1 - self.theta) / (square + following)
        self.theta = following
        return found

    def forget(self) -> None:
        super().forget()
        self.theta = 1.0

    def state(self) -> dict[str, Any]:
        return {**super().state(), "theta": self.theta}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.theta = state["theta"]


EXTRAPOLATIONS: dict[str, Callable[[], Extrapolation]] = {
    "none": Extrapolation,
    "constant": Constant,
    "adaptive": Adaptive,
}
