"""What ``solve`` and the command line need of a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from multilevel_opt.objective.base import Objective


class Problem(Protocol):
    """What a problem offers; ``PDEProblem`` is one, a user's own class may be another.

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
