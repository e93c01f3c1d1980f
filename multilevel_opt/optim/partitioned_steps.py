"""How far partitioned training goes on a mini-batch: a trust region, or a search along the line; a key of ``STEPS``.

    trust region   min gᵀs + ½ sᵀBs, ‖s‖ ≤ Δ;   accept where ρ = (f(w) − f(w + s)) / (−gᵀs − ½ sᵀBs) > 10⁻³;
                   Δ doubles where ρ ≥ 0.75 and ‖s‖ > 0.8Δ, and is halved where ρ ≤ 10⁻³
    line search    Bd ≈ −g;   β = 1, then 3/2 β while f falls further, or 2/3 β until f(w) − f(w + βd) ≥ −0.05 β gᵀd

by truncated conjugate gradients, which end where the curvature is negative: on the boundary, or with the last step
before it. The constants are those of Raynaud & Orban (2022) and of their code (PUS, PLS), where the conjugate gradients
of the line search run to rounding; here they stop where those of the trust region do.

The decrease is a mean over the samples of a batch, known up to its standard error. ``doubt`` standard errors are given
to a step before it is rejected, and taken off before the radius or β grows; 0 is the published rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from torch import Tensor

from multilevel_opt.linalg.krylov import CGResult, steihaug

ACCEPT, ENLARGE, NEAR, GROW, SHRINK = 1e-3, 0.75, 0.8, 2.0, 0.5  # published
ARMIJO, LONGER, SHORTER = 0.05, 1.5, 2 / 3  # published
TRIALS = 10  # of a search: (2/3)¹⁰ is 0.02

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Line:
    """The loss of a batch along a direction d.

    Attributes:
        slope: gᵀd.
        curvature: dᵀBd.
        length: ‖d‖.
        decrease: β -> f(w) − f(w + βd) and its standard error, NaN where it is not finite; leaves the weights there.
    """

    slope: float
    curvature: float
    length: float
    decrease: Callable[[float], tuple[float, float]]

    def predicted(self, beta: float) -> float:
        """The decrease of the quadratic model."""
        return -(beta * self.slope + 0.5 * beta * beta * self.curvature)


@dataclass(frozen=True)
class Outcome:
    """What became of a direction.

    Attributes:
        beta: how far to go, 0 where no step was good enough.
        ratio: actual over predicted decrease, NaN where that is not finite.
        damping: Δ of the step, or NaN.
    """

    beta: float
    ratio: float
    damping: float


class Steps(ABC):
    """A choice of steps.

    Args:
        radius: Δ at the start.
        largest: bound of Δ.
        doubt: standard errors by which the decrease is doubted.
    """

    def __init__(self, radius: float, largest: float, doubt: float) -> None:
        self.start, self.largest, self.doubt, self.radius = radius, largest, doubt, radius

    @abstractmethod
    def direction(self, product: Product, gradient: Tensor, tol: float, max_products: int) -> CGResult:
        """D of shape (n,), from products with B."""

    @abstractmethod
    def taken(self, line: Line, rate: float) -> Outcome:
        """How far to go along d, ``rate`` being the length that is tried first."""

    def forget(self) -> None:
        """Begin anew."""
        self.radius = self.start

    def state(self) -> dict[str, float]:
        """What was learned."""
        return {"radius": self.radius}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state``."""
        self.radius = state["radius"]


class TrustRegion(Steps):
    """PUS."""

    def direction(self, product: Product, gradient: Tensor, tol: float, max_products: int) -> CGResult:
        return steihaug(product, gradient, radius=self.radius, tol=tol, max_products=max_products)

    def taken(self, line: Line, rate: float) -> Outcome:
        predicted, damping = line.predicted(rate), self.radius
        decrease, error = line.decrease(rate)
        known = isfinite(decrease) and predicted > 0
        ratio, doubt = (decrease / predicted, self.doubt * error / predicted) if known else (nan, 0.0)
        self.adapt(ratio, doubt, line.length)
        return Outcome(rate if ratio + doubt > ACCEPT else 0.0, ratio, damping)

    def adapt(self, ratio: float, doubt: float, length: float) -> None:
        """Δ after a step of this length, by ρ and its uncertainty."""
        if not ratio + doubt > ACCEPT:
            self.radius *= SHRINK
        elif ratio - doubt >= ENLARGE and length > NEAR * self.radius:
            self.radius = min(self.largest, GROW * self.radius)


class LineSearch(Steps):
    """PLS."""

    def direction(self, product: Product, gradient: Tensor, tol: float, max_products: int) -> CGResult:
        return steihaug(product, gradient, tol=tol, max_products=max_products)

    def taken(self, line: Line, rate: float) -> Outcome:
        if not line.slope < 0:
            return Outcome(0.0, nan, nan)
        beta = rate
        decrease, error = line.decrease(beta)
        if self._enough(line, beta, decrease, error):
            beta, decrease = self._longer(line, beta, decrease)
        else:
            beta, decrease = self._shorter(line, beta)
        predicted = line.predicted(beta)
        return Outcome(beta, decrease / predicted if predicted > 0 else nan, nan)

    def _enough(self, line: Line, beta: float, decrease: float, error: float) -> bool:
        return decrease + self.doubt * error >= -ARMIJO * beta * line.slope

    def _longer(self, line: Line, beta: float, decrease: float) -> tuple[float, float]:
        """The last β before f rises."""
        for _ in range(TRIALS):
            further, error = line.decrease(LONGER * beta)
            if not (further - self.doubt * error > decrease and self._enough(line, LONGER * beta, further, 0.0)):
                break
            beta, decrease = LONGER * beta, further
        return beta, decrease

    def _shorter(self, line: Line, beta: float) -> tuple[float, float]:
        """The first β with enough decrease, 0 where there is none."""
        for _ in range(TRIALS):
            beta *= SHORTER
            decrease, error = line.decrease(beta)
            if self._enough(line, beta, decrease, error):
                return beta, decrease
        return 0.0, nan


STEPS: dict[str, Callable[[float, float, float], Steps]] = {"trust-region": TrustRegion, "line-search": LineSearch}
