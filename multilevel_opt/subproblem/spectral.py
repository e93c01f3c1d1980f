"""Exact second-order steps for few unknowns: the Hessian as a matrix, decomposed once per model.

One eigen-decomposition serves every σ and Δ that is tried at an iterate (``linalg/secular.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.linalg.secular import Spectrum, ball_minimizer, regularized_minimizer, spectrum
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Step


@dataclass(frozen=True)
class Spectral:
    """The global minimizer of the quadratic model, the hard case included.

    With a penalty (Cartis, Gould & Toint 2011) or in a ball (Moré & Sorensen 1983).
    Costs n Hessian products and 9n³ flops for a model, and n² for every further σ or Δ but a few factorizations.
    """

    def prepare(self, model: Taylor) -> Prepared:
        """Build and decompose the Hessian when the first step is asked for."""
        return _Dense(model)

    def describe(self, model: Taylor) -> str:
        return "eigen-decomposition and secular equation"


@dataclass(eq=False)
class _Dense:
    model: Taylor
    _problem: Spectrum | None = field(default=None)

    def solve(self, globalization: Any) -> Step | None:
        g = self.model.gradient
        if self._problem is None:
            self._problem = spectrum(self.model.hessian(), g)
        return None if self._problem is None else reduced_step(self._problem, globalization)


def reduced_step(problem: Spectrum, globalization: Any) -> Step:
    """The global minimizer of a small quadratic model under a globalization, with its predicted decrease."""
    u, on_boundary = _MINIMIZER[type(globalization)](problem, globalization)
    predicted = -float(problem.gradient @ u + 0.5 * (u @ (problem.matrix @ u)))
    return Step(u, predicted, on_boundary)


def _regularized(problem: Spectrum, g: Regularization) -> tuple[Tensor, bool]:
    return regularized_minimizer(problem, g.scalar, g.power or 3), False


def _in_ball(problem: Spectrum, g: TrustRegion) -> tuple[Tensor, bool]:
    return ball_minimizer(problem, g.scalar)


_MINIMIZER: dict[type, Callable[[Spectrum, Any], tuple[Tensor, bool]]] = {
    Regularization: _regularized,
    TrustRegion: _in_ball,
}
