"""Globalization: how far a local model is believed, as frozen values that return updated ones.

``Regularization`` adds (σ/p)‖s‖^p to the model, ``TrustRegion`` confines s to a ball of radius Δ. Both own the
rule that accepts a trial point and moves σ or Δ; for the regularization it is a ``Policy`` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.linalg.operator import Dense
from multilevel_opt.objective.algebra import PowerNorm
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.policy import GainRatio, Policy, Trial
from multilevel_opt.policy import Globalization as Globalization

MINIMUM, MAXIMUM = 1e-30, 1e40  # of σ, for functions of ordinary size
LONGEST = 1e30  # step that a globalization must allow
FAR = 1e8
RESTART = 1e-6  # of the first σ: where a level of more rows takes over
RELATIVE = 1e-4  # chosen by `python -m benchmarks damping` (docs/design.md, "Damping policy")
CAUTION = 0.1  # of ‖g‖ at the Cauchy point: the first step is close to that of the model without penalty


@dataclass(frozen=True)
class Regularization:
    """The term (σ/p)‖s‖^p.

    Attributes:
        power: p; None means q + 1 for a model of order q.
        policy: acceptance and update of σ.
        coarse_policy: the same on coarse levels; None for ``policy``.
        weight: σ; None means: from the first model (1e-4 of the mean eigenvalue of JᵀJ, or 1 without J, moved to
            within 1e8 of ‖∇f‖ where f is very large or small).
        minimum, maximum: bounds of σ. None means 1e-30 and 1e40, or what allows steps as long as 1e30 and as short as
            ‖∇f‖/σ = 1e-40 where that is wider: beyond ``maximum`` no step can change x and the solver stops, and from
            1e-30 the trials of one iteration reach any useful σ again.
        inherited: coarse solves add (σ/p)‖s‖^p of the fine level to their objective and start from its σ, as
            published; otherwise every level keeps a σ of its own.
    """

    power: int | None = None
    policy: Policy = field(default_factory=GainRatio)
    coarse_policy: Policy | None = None
    weight: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    inherited: bool = False

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < inf:
            raise InputError(f"regularization weight {self.weight} is out of range: give a finite number > 0")
        minimum, maximum = self.minimum or MINIMUM, self.maximum or MAXIMUM
        if 0 in (self.minimum, self.maximum) or not (0 < minimum < maximum < inf and (self.power or 2) >= 2):
            raise InputError(f"{self} breaks 0 < minimum < maximum < inf or power >= 2: use such values")

    @property
    def started(self) -> bool:
        return None not in (self.weight, self.power, self.minimum, self.maximum)

    @property
    def scalar(self) -> float:
        return 0.0 if self.weight is None else self.weight

    @property
    def exhausted(self) -> bool:
        return self.scalar > (self.maximum or MAXIMUM)

    def start(self, model: Taylor, order: int) -> Regularization:
        size, power = float(model.gradient.norm()), self.power or order + 1
        minimum = self.minimum or max(min(MINIMUM, size * LONGEST ** (1 - power)), 1e-290)
        maximum = self.maximum or min(max(MAXIMUM, size * MAXIMUM), 1e290)
        weight = self.weight if self.weight is not None else initial_weight(model, power)
        return replace(self, weight=max(weight, minimum), power=power, minimum=minimum, maximum=maximum)

    def memory(self) -> dict[str, float]:
        limits = {"minimum": self.minimum or 0.0, "maximum": self.maximum or 0.0}
        return {"weight": self.scalar, "power": float(self.power or 0), **limits}

    def restored(self, memory: Mapping[str, float]) -> Regularization:
        minimum, maximum = (memory.get(name) or None for name in ("minimum", "maximum"))
        weight, power = memory["weight"] or None, int(memory["power"]) or None
        return replace(self, weight=weight, power=power, minimum=minimum, maximum=maximum)

    def accepts(self, trial: Trial) -> bool:
        return self.policy.accepts(trial)

    def update(self, trial: Trial) -> Regularization:
        made = replace(trial, penalty=self.price(trial.step_norm), power=self.power or 2)
        return replace(self, weight=max(self.minimum or MINIMUM, self.scalar * self.policy.factor(made)))

    def after_coarse(self, trial: Trial) -> Regularization:
        return self.update(trial) if self.inherited else self

    def penalty(self, center: Tensor) -> Objective | None:
        return PowerNorm(self.scalar, self.power or 2, center) if self.inherited else None

    def price(self, length: float) -> float:
        power = self.power or 2
        return self.scalar / power * length**power if length < LONGEST ** (10 / power) else inf

    def beside(self, length: float) -> Regularization:
        return self  # exact for p = 2; for p > 2 the part that is fixed is left out of the norm

    def for_coarse(self) -> Regularization:
        return replace(self, weight=None, policy=self.coarse_policy or self.policy, coarse_policy=None)

    def coarsened(self, own: Regularization | None, norm: float) -> Regularization:
        if self.inherited:
            return self
        return own if own is not None else self.for_coarse()

    def refined(self, norm: float) -> Regularization:
        return replace(self, weight=max(self.minimum or 0.0, self.scalar / norm ** (self.power or 2)))

    def restarted(self, model: Taylor) -> Regularization:
        return replace(self, weight=max(self.scalar, RESTART * initial_weight(model, self.power or 2)))

    def room(self, norm: float) -> float:
        return inf

    def within(self, room: float) -> Regularization:
        return self


@dataclass(frozen=True)
class TrustRegion:
    """The ball ‖s‖ ≤ Δ (Conn, Gould & Toint 2000, Algorithm 6.1.1; constants of their section 17.1).

    Attributes:
        radius: Δ; None means ``first`` times the length of the Cauchy step of the first model (1 for order 1).
        first: see ``radius``.
        eta1, eta2: accept from η₁ on, enlarge from η₂ on.
        shrink, grow: factors of Δ.
        minimum, maximum: bounds of Δ; the solver stops below ``minimum``. ``maximum`` lets an unbounded function be
            seen as such.
        reach: radius of coarse steps; inf means Δ. Each kind of step moves its own radius: what a level below promised
            in vain says nothing of the Taylor model, and rough Taylor steps say nothing of smooth coarse ones.
    """

    radius: float | None = None
    first: float = 3.0
    eta1: float = 0.01
    eta2: float = 0.9
    shrink: float = 0.25
    grow: float = 2.5
    minimum: float = 1e-14
    maximum: float = LONGEST
    reach: float = inf

    def __post_init__(self) -> None:
        if self.radius is not None and not 0 < self.radius < inf:
            raise InputError(f"trust-region radius {self.radius} is out of range: give a finite number > 0")
        if not (0 < self.eta1 <= self.eta2 < 1 and 0 < self.shrink < 1 < self.grow < inf):
            raise InputError(f"{self} breaks 0 < eta1 <= eta2 < 1, 0 < shrink < 1 < grow: use such values")
        if not (self.minimum > 0 and self.maximum > 0 and self.reach > 0):
            found = f"{self.minimum}, {self.maximum}, {self.reach}"
            raise InputError(f"trust-region bounds {found} are out of range: give numbers > 0")

    @property
    def started(self) -> bool:
        return self.radius is not None

    @property
    def scalar(self) -> float:
        return inf if self.radius is None else self.radius

    @property
    def exhausted(self) -> bool:
        return self.scalar < self.minimum

    def start(self, model: Taylor, order: int) -> TrustRegion:
        if self.radius is not None:
            return self
        return replace(self, radius=min(self.maximum, self.first * cauchy_length(model) or 1.0))

    def memory(self) -> dict[str, float]:
        return {"radius": self.scalar, "reach": self.reach}

    def restored(self, memory: Mapping[str, float]) -> TrustRegion:
        return replace(self, radius=memory["radius"], reach=memory["reach"])

    def accepts(self, trial: Trial) -> bool:
        return trial.decrease > 0 and trial.ratio >= self.eta1

    def update(self, trial: Trial) -> TrustRegion:
        if not self.accepts(trial):
            shrunk = self.shrink * min(self.scalar, trial.step_norm or self.scalar)
            return replace(self, radius=max(shrunk, 0.5 * self.minimum))
        if trial.ratio >= self.eta2 and trial.on_boundary:
            return replace(self, radius=min(self.maximum, self.grow * self.scalar))
        return self

    def after_coarse(self, trial: Trial) -> TrustRegion:
        limit = self.room(1.0)
        if not self.accepts(trial):
            return replace(self, reach=max(self.shrink * min(limit, trial.step_norm or limit), 0.5 * self.minimum))
        if trial.ratio < self.eta2 or not trial.on_boundary:
            return self
        grown = replace(self, reach=min(self.maximum, self.grow * limit))
        return grown.update(trial) if limit >= self.scalar else grown

    def penalty(self, center: Tensor) -> Objective | None:
        return None

    def price(self, length: float) -> float:
        return 0.0 if length <= self.scalar * (1 + 1e-9) else inf

    def beside(self, length: float) -> TrustRegion | None:
        return replace(self, radius=sqrt(self.scalar**2 - length**2)) if length < self.scalar else None

    def for_coarse(self) -> TrustRegion:
        return self if self.reach == inf else replace(self, reach=inf)

    def coarsened(self, own: TrustRegion | None, norm: float) -> TrustRegion:
        """Its own radius, within the ball of the level above (Gratton, Sartenaer & Toint 2008)."""
        room = self.room(norm)
        if own is None:
            return replace(self, radius=room, maximum=room, reach=inf)
        return replace(own, radius=min(room, max(own.scalar, 1e-3 * room)), maximum=room)

    def refined(self, norm: float) -> TrustRegion:
        return replace(self, radius=norm * self.scalar, reach=inf)

    def restarted(self, model: Taylor) -> TrustRegion:
        return self

    def room(self, norm: float) -> float:
        return (self.scalar if self.reach == inf else self.reach) / max(norm, 1e-300)

    def within(self, room: float) -> TrustRegion:
        return self if self.scalar <= room else replace(self, radius=max(room, 0.5 * self.minimum))


def initial_weight(model: Taylor, power: int) -> float:
    """σ from the first model.

    With a residual, RELATIVE times the mean eigenvalue of JJᵀ (matrix-free: a Rayleigh quotient of it). Otherwise the
    weight whose penalty has at the Cauchy point the fraction CAUTION of the gradient: CAUTION ‖g‖ / ℓ^{p−1}.
    """
    normal = model.normal
    if normal is None or normal.residual.numel() == 0:
        length = cauchy_length(model)
        norm = float(torch.linalg.vector_norm(model.gradient))
        weight = CAUTION * norm / length ** (power - 1) if length > 0 else 0.0
        size = norm or 1.0  # without curvature a few trials find a step of any useful length
        return weight if 0 < weight < inf else min(max(1.0, size / FAR), size * FAR)
    if isinstance(normal.jacobian, Dense):
        matrix = normal.jacobian.matrix
        return RELATIVE * float(matrix.square().sum()) / min(matrix.shape) or RELATIVE
    r2 = float(normal.residual @ normal.residual)
    return RELATIVE * float(torch.linalg.vector_norm(model.gradient) ** 2) / r2 if r2 > 0 else RELATIVE


def cauchy_length(model: Taylor) -> float:
    """ℓ = ‖g‖ / |ĝᵀBĝ|, ĝ = g/‖g‖: distance of the stationary point along g; 0 where there is none."""
    g = model.gradient
    norm = float(torch.linalg.vector_norm(g))
    if model.order < 2 or norm == 0.0:
        return 0.0
    unit = g / norm
    curvature = abs(float(unit @ model.hvp(torch.zeros_like(unit), unit)))
    length = norm / curvature if curvature > 0 else 0.0
    return length if length < inf else 0.0
