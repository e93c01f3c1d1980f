"""The method ``auto``: what a problem is, and a cheap look at its residual, decide which method it gets.

``RULES`` are tried in order, and the first that applies says why. A rule costs a few evaluations of the residual at
most, and no clock is asked, so that the same problem always gets the same method, also when a run is resumed.

The rule for the output layer tries the step of ``output_layer`` on a sample of the rows, with its tests and limits:
twice as many rows as that layer has parameters. It applies where the step meets a target, or leaves nothing but
rounding: from a point that is merely good, training goes on more slowly than from the start (docs/how-to-choose.md).
Where it has more parameters than there are rows, it can interpolate them, and the sample would be the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from multilevel_opt.api import start_point, within_memory
from multilevel_opt.bounds import region
from multilevel_opt.errors import NonFiniteError, UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.methods import default_method
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.output_layer import OutputLayer, affine, output_parameters
from multilevel_opt.problem import Problem
from multilevel_opt.variants import LM

AUTO = "auto"
SAMPLE = 2  # rows tried for every parameter of the output layer
ROUNDING = 1e-9  # of the norm of the residual: what is left where the output layer solves the equation
MANY = 2000  # rows from which on levels of fewer rows may pay,
RATIO = 3  # if there are so many for every unknown (docs/how-to-choose.md, "Fewer points first")


@dataclass(frozen=True)
class Choice:
    """What ``auto`` has chosen.

    Attributes:
        method: a key of ``METHODS`` or ``TRAINERS``.
        why: in words.
        flops: spent on choosing.
    """

    method: str
    why: str
    flops: float = 0.0

    def told(self) -> dict[str, str]:
        """What the record says of it."""
        return {"method": self.method, "why": self.why}

    def __str__(self) -> str:
        return f"auto chose {self.method}: {self.why}"


class Case:
    """What the rules look at: a problem with a residual, measured when a rule first asks.

    Args:
        problem: with everything that ``Problem`` names.
        until: targets by name.
        curvature: asked for by name, or None.
        memory: budget in bytes for dense linear algebra, or None for the default.
    """

    def __init__(
        self, problem: Problem, until: Mapping[str, float], curvature: str | None, memory: float | None
    ) -> None:
        self.problem, self.until, self.curvature, self._memory = problem, until, curvature, memory
        self.ledger = Ledger()

    @cached_property
    def x(self) -> Tensor:
        """The start point."""
        given = start_point(self.problem.x0)
        return region(self.bounds, given).nearest(given)

    @property
    def bounds(self) -> Any:
        """Those on x, or None."""
        return getattr(self.problem, "x_bounds", None)

    @cached_property
    def network(self) -> LeastSquares | None:
        """The objective, where it is the sum of squares of a network whose Jacobian fits the memory; else None."""
        f = self.problem.objective
        if not isinstance(f, LeastSquares) or f.layout is None:
            return None
        kept = within_memory(f, self.x, self._memory)
        return None if kept.matrix_free else kept.counted(self.ledger)

    @cached_property
    def rows(self) -> int:
        """m, of a network."""
        return 0 if self.network is None else self.network.residuals(self.x).numel()

    def met(self, x: Tensor) -> str:
        """The error measures that meet a target at x, with their values."""
        errors = set(self.until) & set(self.problem.metrics) - set(getattr(self.problem, "rising", ()))
        found = {name: self.problem.metrics[name](x) for name in sorted(errors)}
        return ", ".join(f"{name} {value:.1e}" for name, value in found.items() if value <= self.until[name])


@dataclass(frozen=True)
class Rule:
    """One line of the table: a method, and a function that says why a case gets it, or nothing where it does not."""

    method: str
    why: Callable[[Case], str]


def choose(
    problem: Problem,
    until: Mapping[str, float] | None = None,
    curvature: str | None = None,
    memory: float | None = None,
) -> Choice:
    """The method for a problem with everything that ``Problem`` names.

    Args:
        problem: see there.
        until: targets by name.
        curvature: asked for by name, or None.
        memory: budget in bytes for dense linear algebra, or None for the default.

    Raises:
        InputError: the start point or the residual there is not what it must be.
    """
    own = getattr(problem, "default_method", None)
    if own is not None:
        return Choice(own, "the problem names it")
    case = Case(problem, until or {}, curvature, memory)
    for rule in RULES:
        why = rule.why(case)
        if why:
            return Choice(rule.method, why, case.ledger.flops)
    return Choice("lm", "it has a residual", case.ledger.flops)


def usual_method(problem: Problem) -> str:
    """The problem's own ``default_method``, else that of its objective; ``auto`` chooses it or one of its kind."""
    return getattr(problem, "default_method", None) or default_method(problem)


def _no_residual(case: Case) -> str:
    return "" if case.problem.objective.has_residual else "it has no residual"


def _plain(case: Case) -> str:
    if case.bounds is not None:
        return "it has a residual, and bounds on x"
    return "" if case.curvature is None else f"it has a residual, and curvature {case.curvature!r} is asked for"


def _features(case: Case) -> str:
    """Whether the output layer alone solves the equation at the start."""
    f = case.network
    own = None if f is None or f.layout is None else output_parameters(f.layout)
    if f is None or own is None:
        return ""
    with suppress(NonFiniteError, UnsupportedCombination):
        if case.rows <= own.numel():
            fewer = f"it is linear in the output layer, whose {own.numel()} parameters can fit {case.rows} rows"
            return fewer if affine(f, case.x, own) else ""
        sample = _sampled(f, case.x, SAMPLE * own.numel() / case.rows)
        before = LM.init(sample, case.x)
        after, _ = OutputLayer().step(sample, before, LM.order, None)
        share = (after.loss / before.loss) ** 0.5 if after.moved else 1.0
        reached = case.met(after.x) if after.moved else ""
        if reached or share <= ROUNDING:
            return f"solving for the output layer alone brings {reached or f'the residual to {share:.0e} of its norm'}"
    return ""


def _sampled(f: LeastSquares, x: Tensor, fraction: float) -> LeastSquares:
    """The same function on a fraction of its rows of every kind."""
    strips = f.residual.strips(x)
    few = f.residual.sampled([strip.order[: strip.kept(fraction)] for strip in strips], strips)
    return LeastSquares(few, ledger=f.ledger)


def _many_rows(case: Case) -> str:
    m, n = case.rows, case.problem.x0.numel()
    return f"it has {m} rows for {n} unknowns" if m >= max(MANY, RATIO * n) else ""


RULES: tuple[Rule, ...] = (
    Rule("tr2", _no_residual),
    Rule("lm", _plain),
    Rule("lm-features", _features),
    Rule("rows", _many_rows),
)
