"""The method ``auto``: what a problem is, and a cheap look at its residual, decide which method it gets.

``RULES`` are tried in order, and the first that applies says why. No clock is asked, so that the same problem always
gets the same method, also when a run is resumed. Choosing costs a few evaluations of the residual, and where the output
layer of a network is known a few least-squares problems for that layer.

The rule for the output layer makes a start of random features (``random_features.py``) and takes it where, at rows that
were not trained on, it leaves a third of the share of the residual that a target allows for the error, or nothing but
rounding. From a point that is merely good, training often goes on more slowly than from the start of the problem
(docs/how-to-choose.md), so such a start is only tried: where it does not meet the target as it is, the run begins at
that of the problem. An exact solution, where a problem knows one, is not looked at for the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from multilevel_opt.api import start_point, within_memory
from multilevel_opt.bounds import region
from multilevel_opt.errors import NonFiniteError, UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.output_layer import ROUNDING, affine, output_parameters
from multilevel_opt.problem import Problem
from multilevel_opt.random_features import Found, random_features

AUTO = "auto"
PROMISING = 1e-2  # share of the residual from which on a start is tried
RELATIVE = ("relative_l2", "rmse")  # targets that are shares of the solution, if that is of order one
SAFE = 0.3  # share of the residual for every share of the solution: errors were at most three times as large
MANY = 2000  # rows from which on levels of fewer rows may pay,
RATIO = 3  # if there are so many for every unknown (docs/how-to-choose.md, "Fewer points first")


@dataclass(frozen=True)
class Choice:
    """What ``auto`` has chosen.

    Attributes:
        method: a key of ``METHODS`` or ``TRAINERS``.
        why: in words.
        flops: spent on choosing.
        start: where the method starts, in place of the start of the problem; None: there.
        tentative: where ``start`` does not meet the target, the run begins at that of the problem.
    """

    method: str
    why: str
    flops: float = 0.0
    start: Tensor | None = field(default=None, compare=False, repr=False)
    tentative: bool = False

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

    @cached_property
    def features(self) -> Found | None:
        """A start of random features, where the output layer is known."""
        f = self.network
        own = None if f is None or f.layout is None else output_parameters(f.layout)
        if f is None or own is None:
            return None
        with suppress(NonFiniteError, UnsupportedCombination):
            linear = affine(f, self.x, own)
            return random_features(f, self.x, own, self.problem.metrics.get("held_out"), self.tolerance, linear)
        return None

    @property
    def tolerance(self) -> float:
        """The share of the residual at held-out rows from which on a start is taken."""
        allowed = [SAFE * self.until[name] for name in RELATIVE if name in self.until]
        return max([ROUNDING, *allowed])


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        method: what it gives.
        why: says why a case gets it, or nothing where it does not.
        looks: whether a start of random features is looked for.
    """

    method: str
    why: Callable[[Case], str]
    looks: bool = True


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
    own = _own(problem)
    if own is not None:
        return Choice(own, "the problem names it")
    case = Case(problem, until or {}, curvature, memory)
    rule, why = next((rule, why) for rule in RULES if (why := rule.why(case)))
    found = case.features if rule.looks else None
    if found is None or not found.share <= max(case.tolerance, PROMISING):
        return Choice(rule.method, why, case.ledger.flops)
    return Choice(rule.method, why, case.ledger.flops, found.x, rule.why is not _features)


def usual_method(problem: Problem) -> str:
    """The problem's own ``default_method``, else ``lm`` where it has a residual and ``tr2`` where it has none.

    ``auto`` chooses it or one of its kind.
    """
    return _own(problem) or ("lm" if problem.objective.has_residual else "tr2")


def _own(problem: Problem) -> str | None:
    return getattr(problem, "default_method", None)


def _no_residual(case: Case) -> str:
    return "" if case.problem.objective.has_residual else "it has no residual"


def _plain(case: Case) -> str:
    if case.bounds is not None:
        return "it has a residual, and bounds on x"
    return "" if case.curvature is None else f"it has a residual, and curvature {case.curvature!r} is asked for"


def _features(case: Case) -> str:
    found = case.features
    if found is None or not found.share <= case.tolerance:
        return ""
    return f"it starts from random features, which leave {found.share:.0e} of the residual at held-out points"


def _many_rows(case: Case) -> str:
    m, n = case.rows, case.problem.x0.numel()
    return f"it has {m} rows for {n} unknowns" if m >= max(MANY, RATIO * n) else ""


RULES: tuple[Rule, ...] = (
    Rule("tr2", _no_residual, looks=False),
    Rule("lm", _plain, looks=False),
    Rule("lm", _features),
    Rule("rows", _many_rows),
    Rule("lm", lambda case: "it has a residual"),
)
