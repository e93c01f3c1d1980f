"""What ``solve`` and the command line need of a problem, and what they add where a plain one leaves it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares

PLAIN = (int, float, str, bool, type(None))


class Problem(Protocol):
    """What a problem offers; ``PDEProblem`` is one, a user's own class may be another.

    Only ``x0`` and one of ``objective`` and ``residual`` must be there, see ``completed``.

    Attributes:
        objective: the function to minimize.
        x0: start point, shape (n,).
        metrics: error measures of x by name; may be empty.
        parameters: what defines the problem, as plain values.

    A problem may also have ``x_bounds``, bounds on x as ``minimize`` takes them.
    """

    @property
    def objective(self) -> Objective: ...
    @property
    def x0(self) -> Tensor: ...
    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Stage:
    """One of several problems that are solved in turn; a problem made of such has ``stages`` and ``joined``.

    ``stages(rows, failures)`` is the stage after those with these rows, tried in vain so often, or None when there
    are no more; ``joined(rows)`` is the solution of the whole. A ``stages`` of None: the problem is solved at once.

    Attributes:
        problem: it starts where the stage before has led.
        name: for messages.
        left: number of stages from this one on, an estimate: limits are shared equally among them.
        share: of the targets of errors, which grow from stage to stage, that this stage may use up.
        weight: of this stage in the whole; those of all stages sum to 1.
        row: solution of the stage -> what is kept of it, a vector.
        spoilt: (iteration, metrics) -> whether to break off and ask for another stage; iteration is None at the end of
            a stage that missed its target. None: never.
    """

    problem: Problem
    name: str
    left: int
    share: float
    weight: float
    row: Callable[[Tensor], Tensor]
    spoilt: Callable[[int | None, Mapping[str, float]], bool] | None = None


def lacking(problem: object) -> list[str]:
    """What a problem must have and has not."""
    function = hasattr(problem, "objective") or hasattr(problem, "residual")
    return ([] if function else ["objective or residual"]) + ([] if hasattr(problem, "x0") else ["x0"])


def completed(problem: Any, parameters: Mapping[str, Any] | None = None) -> Problem:
    """The problem with everything that ``Problem`` names.

    ``objective`` may be a method x -> scalar; without it ``residual``, a method x -> (m,), makes a least-squares
    objective. Without ``metrics`` there are none; without ``parameters`` they are those given here, or the fields of a
    dataclass. A complete problem is returned as it is.

    Raises:
        InputError: no function to minimize, or no start.
    """
    missing = lacking(problem)
    if missing:
        raise InputError(
            f"{type(problem).__name__} has no {' and no '.join(missing)}: define x0, and objective(self, x) or "
            "residual(self, x)"
        )
    whole = all(hasattr(problem, name) for name in ("objective", "metrics", "parameters"))
    if whole and isinstance(problem.objective, Objective) and isinstance(problem.x0, Tensor):
        return cast(Problem, problem)
    return cast(Problem, _Completed(problem, parameters))


class _Completed:
    """A problem with its gaps filled; everything else is asked of the problem itself."""

    def __init__(self, given: Any, parameters: Mapping[str, Any] | None) -> None:
        self.given = given
        function = getattr(given, "objective", None)
        self.objective = LeastSquares(given.residual) if function is None else _objective(function)
        start = given.x0
        self.x0 = start if isinstance(start, Tensor) else _vector(start)
        self.metrics = getattr(given, "metrics", {})
        known = parameters if parameters is not None else _fields(given)
        self.parameters = getattr(given, "parameters", {k: _plain(value) for k, value in known.items()})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.given, name)


def _objective(function: Any) -> Objective:
    return function if isinstance(function, Objective) else Function(function)


def _vector(start: Any) -> Tensor:
    try:
        return torch.as_tensor(np.asarray(start, dtype=np.float64), device="cpu")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"x0 must be a vector of numbers, got {type(start).__name__}: give a tensor or array"
        ) from error


def _fields(problem: Any) -> dict[str, Any]:
    return {field.name: getattr(problem, field.name) for field in fields(problem)} if is_dataclass(problem) else {}


def _plain(value: Any) -> Any:
    return value if isinstance(value, PLAIN) else str(value)
