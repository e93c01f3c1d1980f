"""First-order models in closed form.

min gᵀs + (σ/p)‖s‖^p        s = −(‖g‖/σ)^{1/(p−1)} g/‖g‖
min gᵀs,  ‖s‖ ≤ Δ           s = −Δ g/‖g‖
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Step


@dataclass(frozen=True)
class GradientStep:
    """The step of a model of order one, under regularization or in a trust region."""

    def prepare(self, model: Taylor) -> _Gradient:
        """Nothing depends on the model but its gradient."""
        return _Gradient(model)

    def describe(self, model: Taylor) -> str:
        return "closed form"


@dataclass(frozen=True, eq=False)
class _Gradient:
    model: Taylor

    def solve(self, globalization: Any) -> Step | None:
        g = self.model.gradient
        norm = float(g.norm())
        length = _LENGTH[type(globalization)](globalization, norm)
        return Step(-(length / norm) * g if norm > 0 else -g, length * norm, isinstance(globalization, TrustRegion))


def _regularized(g: Regularization, norm: float) -> float:
    return float((norm / max(g.scalar, 1e-300)) ** (1 / ((g.power or 2) - 1)))


def _radius(g: TrustRegion, norm: float) -> float:
    return g.scalar


_LENGTH: dict[type, Any] = {Regularization: _regularized, TrustRegion: _radius}
