"""Damping policies: which trial points are accepted, and how σ moves after each; the seam of globalizations.

This rule decides more than any other choice (docs/design.md, "Damping policy"):

``GainRatio``             accept when (f − f⁺)/(T(0) − T(s)) ≥ η₁; σ × γ₂, γ₁ or γ₃ (Calandra, Gratton,
                          Riccietti & Vasseur 2020, constants of their experiments)
``DelayedGratification``  accept any decrease; σ ÷ down on success, σ × up on failure (Transtrum & Sethna 2012)
``ErrorLaw``              accept any decrease; the gain ratio tells how far σ is from the edge of what is accepted
``Interpolation``         the gain ratio accepts; σ is what would have made the model exact at the trial point
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cbrt, inf, isfinite, sqrt
from typing import Protocol, Self

from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


@dataclass(frozen=True)
class Trial:
    """What is known of a trial point.

    Attributes:
        decrease: f(x) − f(x + s); −inf when f or its derivative is not finite there.
        predicted: T(0) − T(s) of the Taylor model without the regularization term.
        step_norm: ‖s‖.
        on_boundary: a trust-region step that ended on the boundary.
        slope: ∇f(x)ᵀs.
        penalty: (σ/p)‖s‖^p of the regularization that made the step.
        power: its p.
    """

    decrease: float
    predicted: float
    step_norm: float
    on_boundary: bool = False
    slope: float = 0.0
    penalty: float = 0.0
    power: int = 2

    @property
    def ratio(self) -> float:
        """Gain ratio; −inf when nothing was predicted."""
        return self.decrease / self.predicted if self.predicted > 0 and isfinite(self.decrease) else -inf


class Policy(Protocol):
    """Acceptance and the factor that σ is multiplied by."""

    def accepts(self, trial: Trial) -> bool:
        """Whether the trial point becomes the iterate."""
        ...

    def factor(self, trial: Trial) -> float:
        """Multiplier of σ after this trial."""
        ...


@dataclass(frozen=True)
class GainRatio:
    """Gain-ratio control with 0 < η₁ ≤ η₂ < 1 and 0 < γ₂ ≤ γ₁ < 1 < γ₃."""

    eta1: float = 0.1
    eta2: float = 0.75
    gamma1: float = 0.85
    gamma2: float = 0.5
    gamma3: float = 1.5

    def __post_init__(self) -> None:
        if not (0 < self.eta1 <= self.eta2 < 1 and 0 < self.gamma2 <= self.gamma1 < 1 < self.gamma3):
            raise InputError(f"{self} breaks 0 < eta1 <= eta2 < 1, 0 < gamma2 <= gamma1 < 1 < gamma3: use such values")

    def accepts(self, trial: Trial) -> bool:
        return trial.decrease > 0 and trial.ratio >= self.eta1

    def factor(self, trial: Trial) -> float:
        if not self.accepts(trial):
            return self.gamma3
        return self.gamma2 if trial.ratio >= self.eta2 else self.gamma1


@dataclass(frozen=True)
class DelayedGratification:
    """Accept any decrease; σ ÷ ``down`` on success, σ × ``up`` on failure."""

    up: float = 1.5
    down: float = 10.0

    def __post_init__(self) -> None:
        if not (self.up > 1 and self.down > 1):
            raise InputError(f"{self} needs up > 1 and down > 1: use for example up=1.5, down=10")

    def accepts(self, trial: Trial) -> bool:
        return trial.decrease > 0

    def factor(self, trial: Trial) -> float:
        return 1 / self.down if self.accepts(trial) else self.up


@dataclass(frozen=True)
class ErrorLaw:
    """Accept any decrease, and move σ by how the error of the model falls with it (docs/theory.md, "Short searches").

    Where σ exceeds the curvature that matters, s ~ 1/σ: the model promises ~ 1/σ and errs by second to fourth powers
    of s, so that 1 − ρ ~ σ^(−p) with 1 ≤ p ≤ 3. A refusal multiplies σ by (1 − ρ)^(1/3), which goes at most to where
    ρ = 0; a success with the ratio ρ divides it by ``margin`` (1 − ρ)^(−1/2), beyond where ρ = 0 is expected.

    Attributes:
        up: a refusal multiplies σ by this at least, and by this where the objective is not finite.
        most: a refusal multiplies σ by this at most.
        margin: a success divides σ by this at least.
        down: a success divides σ by this at most.
    """

    up: float = 1.5
    most: float = 10.0
    margin: float = 3.0
    down: float = 10.0

    def __post_init__(self) -> None:
        if not (1 < self.up <= self.most < inf and 1 < self.margin <= self.down < inf):
            raise InputError(f"{self} breaks 1 < up <= most < inf or 1 < margin <= down < inf: use such values")

    def accepts(self, trial: Trial) -> bool:
        return trial.decrease > 0

    def factor(self, trial: Trial) -> float:
        error = 1 - trial.ratio
        if self.accepts(trial):
            return min(1 / self.margin, max(1 / self.down, sqrt(max(error, 0.0)) / self.margin))
        return min(max(cbrt(error), self.up), self.most) if error < inf else self.up


@dataclass(frozen=True)
class Interpolation:
    """The weight for which the regularized model would have been exact at the trial point.

    Along s the function is modelled by T(αs) + c α^p with c = f⁺ − T(s), so that σ is multiplied by

        (f⁺ − T(s)) / ((σ/p)‖s‖^p)

    within bounds (Gould, Porcelli & Toint 2012, section 3; Cartis, Hauser, Liu, Welzel & Zhu 2025).

    Attributes:
        eta1: accept when the gain ratio is at least this.
        eta2: from here on σ does not rise.
        down: an acceptance multiplies σ by this at least.
        up: a rejection multiplies σ by this at least, an acceptance below ``eta2`` at most.
        shortest: a rejection shortens the step to about this fraction at most.
        trust: after an acceptance, the fraction of the interpolated weight that is taken.
        blind: factor after a rejection of which nothing is known (a step refused before f was evaluated).
    """

    eta1: float = 0.01
    eta2: float = 0.5
    down: float = 0.01
    up: float = 3.0
    shortest: float = 0.3
    trust: float = 0.3
    blind: float = 10.0

    def __post_init__(self) -> None:
        fractions = (self.eta1, self.eta2, self.down, self.shortest)
        inside = all(0 < value < 1 for value in fractions) and self.eta1 <= self.eta2 and 0 < self.trust <= 1
        if not (inside and self.up > 1 and self.blind > 1):
            raise InputError(
                f"{self} breaks 0 < eta1 <= eta2 < 1 < up, blind and 0 < trust, down, shortest: use such values"
            )

    def accepts(self, trial: Trial) -> bool:
        return trial.decrease > 0 and trial.ratio >= self.eta1

    def factor(self, trial: Trial) -> float:
        known = 0 < trial.penalty < inf and trial.slope < 0
        exact = (trial.predicted - trial.decrease) / trial.penalty if known else inf
        if self.accepts(trial):
            return min(max(self.trust * exact, self.down), 1.0 if trial.ratio >= self.eta2 else self.up)
        if not known:
            return self.blind
        most = -trial.slope / (trial.power * trial.penalty * self.shortest ** (trial.power - 1))
        return max(min(exact, most), self.up)


class Globalization(Protocol):
    """What the loop needs; ``Regularization`` and ``TrustRegion`` are the two kinds."""

    @property
    def started(self) -> bool:
        """Whether the scalar (σ or Δ) has a value."""
        ...

    @property
    def scalar(self) -> float:
        """σ or Δ."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether the scalar has left the range in which a step can still matter."""
        ...

    def start(self, model: Taylor, order: int) -> Self:
        """A copy with the scalar taken from the first model where none was given."""
        ...

    def memory(self) -> dict[str, float]:
        """The numbers that change during a run, for checkpoints."""
        ...

    def restored(self, memory: Mapping[str, float]) -> Self:
        """A copy with these numbers."""
        ...

    def accepts(self, trial: Trial) -> bool:
        """Whether the trial point becomes the iterate."""
        ...

    def update(self, trial: Trial) -> Self:
        """A copy with the scalar moved."""
        ...

    def after_coarse(self, trial: Trial) -> Self:
        """A copy after a coarse step: unchanged where every level keeps a scalar of its own."""
        ...

    def penalty(self, center: Tensor) -> Objective | None:
        """The term that a coarse model inherits from this level, or None."""
        ...

    def price(self, length: float) -> float:
        """What is added to the model at a step of this length."""
        ...

    def beside(self, length: float) -> Self | None:
        """What remains for a step at a right angle to one of this length that is fixed; None for nothing."""
        ...

    def for_coarse(self) -> Self:
        """What coarse levels use, without a scalar of their own yet."""
        ...

    def coarsened(self, own: Self | None, norm: float) -> Self:
        """The value that a coarse solve starts from, given its own last value and ‖P‖."""
        ...

    def refined(self, norm: float) -> Self:
        """The value with which the level above starts after nested iteration, given ‖P‖."""
        ...

    def restarted(self, model: Taylor) -> Self:
        """The value with which a level of the same unknowns and more rows starts, given the last model of this one."""
        ...

    def room(self, norm: float) -> float:
        """How far a coarse solve may go, in the norm of the coarse level, given ‖P‖; inf without a limit."""
        ...

    def within(self, room: float) -> Self:
        """A copy whose next step is no longer than ``room``."""
        ...
