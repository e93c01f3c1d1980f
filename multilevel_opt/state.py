"""What a level is told (``Cycle``) and what it remembers between iterations (``State``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from typing import Any

from torch import Tensor

from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.controller import Experience
from multilevel_opt.curvature import Curvature
from multilevel_opt.errors import InputError
from multilevel_opt.globalization import Globalization
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.result import Status
from multilevel_opt.subproblem.base import Prepared

ROUNDS = {"free": 0, "V": 1, "W": 2, "F": 2, "cascade": 0}  # cycles in one coarse solve; 0: up to its own limits


@dataclass(frozen=True)
class Cycle:
    """When and how long the solver works on the coarse level.

    Attributes:
        coarse_iterations: at most so many iterations of a coarse solve.
        stagnation: leave the coarse level when five iterations there decrease its objective by less than this
            fraction; 0 never does.
        taylor_steps: Taylor steps between two coarse steps, at least.
        longest_wait: when a coarse step brought less for its flops than the Taylor steps before it, twice as many
            Taylor steps follow, up to this number; when it brought more, half as many. 0 never adapts.
        sufficient: no coarse step while a Taylor step decreases f by at least this fraction; 1 asks for none.
        kappa: κ of the usefulness test; below min(1, ‖R‖).
        tolerance: ε of the usefulness test and gradient tolerance of coarse solves.
        coherence: order of the coherence law for levels with an objective of their own.
        max_trials: trial points in one iteration before it gives up.
        shape: "free" takes a coarse step whenever one is due and useful; "V", "W" and "F" fix the pattern: ``pre``
            Taylor steps, one coarse solve, ``post`` Taylor steps, where the coarse solve is one such cycle (V), two
            (W), or one of kind F and one of kind V (F). On the coarsest level ``coarse_iterations`` holds. "cascade"
            takes no coarse steps, so that coarse levels serve nested iteration only.
        pre, post: Taylor steps before and after the coarse step of a V, W or F cycle.
        contraction: on grids, no coarse step while a Taylor step reduces ‖∇f‖ to this fraction or less; 0: no such
            condition.
        reduction: a coarse solve ends when it has reduced its gradient norm to this fraction; 0 never does.
        nested: solve the coarsest own objective first and go up level by level (full multigrid), where the transfer
            operators have a map for iterates upwards (``lift``).
        nested_reduction: the solve of a level of nested iteration ends at this fraction of its first gradient norm.
        nested_iterations: and after so many iterations.
        nested_stagnation: and when thirty iterations there decrease its objective by less than this fraction; 0 never.
        nested_overfit: and, on levels of fewer rows, where held-out rows have so many times the loss of its own.
        refine: where the finest level overfits in this sense and more rows can be had, it gets as many again, so often.
    """

    coarse_iterations: int = 10
    stagnation: float = 0.0
    taylor_steps: int = 1
    longest_wait: int = 0
    sufficient: float = 1.0
    kappa: float = 0.1
    tolerance: float = 0.0
    coherence: int = 1
    max_trials: int = 200
    shape: str = "free"
    pre: int = 1
    post: int = 1
    contraction: float = 0.0
    reduction: float = 0.0
    nested: bool = True
    nested_reduction: float = 0.01
    nested_iterations: int = 100
    nested_stagnation: float = 0.0
    nested_overfit: float = 1.3
    refine: int = 0

    def __post_init__(self) -> None:
        if self.shape not in ROUNDS:
            raise InputError(f"unknown shape {self.shape!r} of a cycle: use one of {', '.join(ROUNDS)}")
        if min(self.pre, self.post) < 0 or self.pre + self.post < 1:
            raise InputError(f"pre={self.pre}, post={self.post} smooth nothing: use at least one step before or after")
        counts = min(self.coarse_iterations, self.taylor_steps, self.coherence, self.max_trials)
        if counts < 1 or not (self.kappa >= 0 and self.tolerance >= 0 and self.stagnation >= 0):
            raise InputError(f"{self} has a count below 1 or a negative tolerance: use larger values")

    @property
    def first_wait(self) -> int:
        """Taylor steps before the first coarse step of a solve."""
        return 0 if self.shape == "free" else self.pre

    @property
    def shortest_wait(self) -> int:
        """Taylor steps between two coarse steps, at least."""
        return self.taylor_steps if self.shape == "free" else self.pre + self.post

    def iterations(self, coarsest: bool) -> int:
        """Limit of iterations of a coarse solve."""
        rounds = 0 if coarsest else ROUNDS[self.shape]
        return rounds * (self.pre + self.post + 1) or self.coarse_iterations

    def below(self, level: int, visits: int) -> Cycle:
        """The cycle of the level below: of an F cycle only the first coarse solve is one of kind F."""
        return replace(self, shape="V") if self.shape == "F" and level > 0 and visits > 0 else self


def progress_made(before: float, after: float) -> float:
    """Progress from one objective value to a lower one: log-decrease where both are positive, else decrease."""
    return log(before / after) if before > 0 and after > 0 else before - after


@dataclass(frozen=True, eq=False)
class Kept:
    """What a level keeps between visits: its globalization with σ or Δ, and its curvature with the pairs."""

    globalization: Globalization
    curvature: Curvature

    def for_coarse(self) -> Kept:
        """What a coarser level starts with."""
        return Kept(self.globalization.for_coarse(), self.curvature.fresh())

    def forgetful(self) -> Kept:
        """The same without the pairs, for a level that now has another function."""
        return Kept(self.globalization, self.curvature.fresh())


@dataclass(frozen=True, eq=False)
class State:
    """Where a level stands: the iterate, the model there, and what the level remembers.

    Attributes:
        x: iterate, shape (n,).
        loss: f(x).
        model: Taylor model at x.
        gradient_norm: ‖∇f(x)‖, projected where x is bounded.
        globalization: with its current σ or Δ.
        curvature: with its current pairs.
        prepared: the model made ready for steps, or None.
        below: what every coarser level keeps, finest first.
        wait: Taylor steps to take before the next coarse step.
        interval: Taylor steps between coarse steps at present.
        phase: (decrease, flops) of the Taylor steps since the last coarse step.
        gain: fraction by which the last Taylor step decreased f; 1 before the first.
        contraction: ‖∇f‖ after the last Taylor step over that before it; 0 before the first.
        descent: what the accepted steps of this solve decreased f by.
        ball: (center, radius) of the ball that the level above allows, or None.
        visits: coarse steps tried so far.
        moved: whether the last iteration was accepted.
        failure: why no trial point was acceptable, or None.
        best: (f, x) of the lowest finite value seen, accepted or not.
        region: where the iterates may go.
        experience: what is known of the kinds of steps, where a controller chooses among them.
        effective: the effective dimension at the last coarse-row step; 0 before the first.
    """

    x: Tensor
    loss: float
    model: Taylor
    gradient_norm: float
    globalization: Globalization
    curvature: Curvature
    best: tuple[float, Tensor]
    prepared: Prepared | None = None
    below: tuple[Kept, ...] = ()
    wait: int = 0
    interval: int = 0
    phase: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    contraction: float = 0.0
    descent: float = 0.0
    ball: tuple[Tensor, float] | None = None
    visits: int = 0
    moved: bool = False
    failure: Status | None = None
    region: Region = EVERYWHERE
    experience: Experience | None = None
    effective: float = 0.0

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What this level and those below keep, finest first."""
        return Kept(self.globalization, self.curvature), *self.below

    def changed(self, **fields: Any) -> State:
        """The state with other values of some fields, at once: ``dataclasses.replace`` looks at each of the fields."""
        other = object.__new__(State)
        vars(other).update(vars(self))
        vars(other).update(fields)
        return other

    def moved_to(self, x: Tensor, model: Taylor, loss: float, norm: float, decrease: float, ledger: Ledger) -> State:
        """The state after an accepted step, with the model at the new iterate completed by the new curvature."""
        curvature = self.curvature.taught(x - self.x, self.model, model)
        return self.changed(
            x=x,
            loss=loss,
            model=curvature.completed(model, ledger),
            gradient_norm=norm,
            curvature=curvature,
            prepared=None,
            descent=self.descent + decrease,
            moved=True,
            failure=None,
        )

    def taught(self, x: Tensor, model: Taylor, ledger: Ledger) -> State:
        """The state after a rejected trial point x with this model, for curvatures that learn from those."""
        curvature = self.curvature.taught(x - self.x, self.model, model)
        return self.changed(model=curvature.completed(self.model, ledger), curvature=curvature, prepared=None)

    def room(self) -> float:
        """How far the next step may go: what is left of the ball, δ ≤ Δ − ‖x − x₀‖."""
        if self.ball is None:
            return inf
        center, radius = self.ball
        return radius - float((self.x - center).norm())


@dataclass(frozen=True)
class Outcome:
    """What the history wants to know about an iteration."""

    ratio: float
    trials: int
    note: str = ""
