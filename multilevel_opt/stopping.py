"""When to stop: small rules, joined by ``|``.

A rule looks at a ``Progress`` (what is known after an iteration) and returns a status with the numbers that
decided, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any, ClassVar

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.result import Status

Verdict = tuple[Status, str]


@dataclass(frozen=True)
class Progress:
    """What the rules see after an iteration of the finest level (or of the level they guard).

    Attributes:
        iteration: iterations so far on this level, in this solve.
        loss: f at the iterate.
        gradient_norm: ‖∇f‖ at the iterate.
        seconds: of solving so far.
        metrics: error measures by name.
        displacement: distance from the start point of this solve.
        losses: f at the start and after every iteration of this solve.
        gradient: −∇f at the iterate, projected where x is bounded, shape (n,), where known.
    """

    iteration: int
    loss: float
    gradient_norm: float
    seconds: float
    metrics: Mapping[str, float]
    displacement: float = 0.0
    losses: Sequence[float] = ()
    gradient: Tensor | None = None


class Stop:
    """Base of the rules."""

    def __call__(self, progress: Progress) -> Verdict | None:
        """The verdict, or None to go on."""
        return None

    def __or__(self, other: Stop) -> Stop:
        return AnyOf((*_parts(self), *_parts(other)))


@dataclass(frozen=True)
class AnyOf(Stop):
    """Stops when the first of its rules does."""

    rules: tuple[Stop, ...]

    def __call__(self, progress: Progress) -> Verdict | None:
        for rule in self.rules:
            verdict = rule(progress)
            if verdict is not None:
                return verdict
        return None


@dataclass(frozen=True)
class GradientNorm(Stop):
    """‖∇f‖ ≤ tol, in the Euclidean norm unless said otherwise.

    Attributes:
        tol: largest norm.
        norm: 2, or ``math.inf`` for the largest entry, which does not grow with the number of unknowns.
    """

    tol: float
    norm: float = 2.0

    def __call__(self, progress: Progress) -> Verdict | None:
        gradient = progress.gradient
        if self.norm == 2.0 or gradient is None:
            size = progress.gradient_norm
        else:
            least, most = gradient.aminmax()  # torch's own norm takes five times as long for the largest entry
            largest = max(-float(least), float(most))
            size = largest if self.norm == inf else float(torch.linalg.vector_norm(gradient, self.norm))
        if not size <= self.tol:
            return None
        return Status.GRADIENT, f"gradient norm {size:.3g} <= {self.tol:g}"


@dataclass(frozen=True)
class MaxIterations(Stop):
    """At most ``limit`` iterations of the finest level."""

    limit: int

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise InputError(f"max_iterations {self.limit} is negative: give 0 or more")

    def __call__(self, progress: Progress) -> Verdict | None:
        if progress.iteration < self.limit:
            return None
        return Status.MAX_ITERATIONS, f"{progress.iteration} iterations, the limit"


@dataclass(frozen=True)
class MaxSeconds(Stop):
    """At most ``limit`` seconds of solving."""

    limit: float

    def __call__(self, progress: Progress) -> Verdict | None:
        if progress.seconds < self.limit:
            return None
        return Status.MAX_SECONDS, f"{progress.seconds:.3g} seconds, the limit is {self.limit:g}"


@dataclass(frozen=True)
class Loss(Stop):
    """f ≤ target."""

    target: float

    def __call__(self, progress: Progress) -> Verdict | None:
        if not progress.loss <= self.target:
            return None
        return Status.TARGET, f"loss {progress.loss:.3g} <= {self.target:g}"


@dataclass(frozen=True)
class Metric(Stop):
    """A measure, watched by a monitor of the same name, is at most ``target``, or at least where it is ``rising``."""

    name: str
    target: float
    rising: bool = False

    def __call__(self, progress: Progress) -> Verdict | None:
        value = progress.metrics.get(self.name, float("nan"))
        if isnan(value) or (value < self.target if self.rising else value > self.target):
            return None
        return Status.TARGET, f"{self.name} {value:.3g} {'>=' if self.rising else '<='} {self.target:g}"


@dataclass(frozen=True)
class Displacement(Stop):
    """The iterate reached the boundary of the ball that the level above allows."""

    limit: float
    edge: ClassVar[float] = 1 - 1e-8  # a step to the boundary may end a rounding short of it

    def __call__(self, progress: Progress) -> Verdict | None:
        if progress.displacement < self.edge * self.limit:
            return None
        return (
            Status.USER,
            f"the coarse iterate is {progress.displacement:.3g} away, the ball has radius {self.limit:.3g}",
        )


@dataclass(frozen=True)
class Stagnation(Stop):
    """f decreased by less than ``fraction`` of its value over the last ``window`` iterations."""

    fraction: float
    window: int = 5

    def __call__(self, progress: Progress) -> Verdict | None:
        if len(progress.losses) <= self.window:
            return None
        before, now = progress.losses[-1 - self.window], progress.losses[-1]
        if before - now >= self.fraction * abs(before):
            return None
        return Status.STALLED, f"loss fell from {before:.3g} to {now:.3g} in {self.window} iterations"


@dataclass(frozen=True)
class Unbounded(Stop):
    """f fell below ``floor``."""

    floor: float = -1e20

    @classmethod
    def below(cls, loss: float, gradient_norm: float, distance: float) -> Unbounded:
        """The rule for a run from a point with this f and ‖∇f‖, at this distance from 0.

        The floor is −1e20 times the size of f there (|f|, ‖∇f‖ max(1, ‖x‖)), or times one where that is less.
        """
        return cls(cls.floor * max(1.0, abs(loss), gradient_norm * max(1.0, distance)))

    def __call__(self, progress: Progress) -> Verdict | None:
        if progress.loss > self.floor:
            return None
        return Status.UNBOUNDED, f"loss {progress.loss:.3g} fell below {self.floor:g}"

    def judged(self, verdict: Verdict, loss: float) -> Verdict:
        """A verdict with the last f in mind: so far down a run stalls for want of digits, not of decrease."""
        floor = 1e-5 * self.floor
        if verdict[0] is not Status.STALLED or loss > floor:
            return verdict
        return Status.UNBOUNDED, f"loss {loss:.3g} fell below {floor:g}, where its rounding hides every decrease"


def limits(rule: Stop) -> Stop:
    """The limits of seconds among the rules, for solves whose other quantities mean something else."""
    return AnyOf(tuple(part for part in _parts(rule) if isinstance(part, MaxSeconds)))


def targets(rule: Stop) -> Stop:
    """The rules that ask for a value of f or of an error measure, which functions that are the same share."""
    return AnyOf(tuple(part for part in _parts(rule) if isinstance(part, Loss | Metric)))


def _parts(rule: Stop) -> tuple[Stop, ...]:
    return rule.rules if isinstance(rule, AnyOf) else (rule,)


def stop_rule(
    until: Mapping[str, float],
    metrics: Mapping[str, Any],
    max_iterations: int,
    max_seconds: float | None,
    rising: Collection[str] = (),
) -> Stop:
    """The stopping rule of targets and limits; metrics that are ``rising`` have to be at least their target.

    Raises:
        InputError: an unknown target or a bad value.
    """
    fixed: dict[str, Callable[[float], Stop]] = {"loss": Loss, "gradient_norm": GradientNorm}
    rule: Stop = MaxIterations(max_iterations)
    if max_seconds is not None:
        rule = rule | MaxSeconds(max_seconds)
    for target, value in until.items():
        if not (isfinite(value) and value > 0):
            raise InputError(f"target {target}={value} is out of range: give a positive number")
        if target in fixed:
            rule = fixed[target](value) | rule
        elif target in metrics:
            rule = Metric(target, value, target in rising) | rule
        else:
            known = ", ".join([*fixed, *metrics])
            raise InputError(f"unknown target {target!r}: choose one of {known}")
    return rule if until else GradientNorm(1e-8) | rule
