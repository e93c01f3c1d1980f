"""A problem as other optimizers see it: functions of a vector, watched.

All peers get the same start point, the same residual and derivatives, the same stopping rule as our own methods.
Their clock stands still while an iterate is looked at, and a run ends by an exception that no peer handles.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.ledger import Clock, Ledger
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.problem import Problem
from multilevel_opt.result import Status
from multilevel_opt.stopping import Progress, Stop, Verdict

Array = npt.NDArray[np.float64]


class Ended(BaseException):
    """A stopping rule ended the run; not an ``Exception``, so that no peer takes it for a failure of its own."""


@dataclass(frozen=True)
class Row:
    """An iterate of a peer: its number from 0, seconds so far, f, ‖∇f‖ and the error measures."""

    iteration: int
    seconds: float
    loss: float
    norm: float
    metrics: Mapping[str, float]


class Watched:
    """The functions of a problem, with counts, clock and history.

    Args:
        problem: see ``Problem``.
        stop: when to end.

    Attributes:
        problem: the same.
        x0: start point (n,).
        ledger: evaluations asked for.
        clock: seconds of solving.
        rows: every iterate looked at.
        x: the last iterate looked at, and
        gradient: ∇f there.
        verdict: why the run ended, or None.
    """

    def __init__(self, problem: Problem, stop: Stop) -> None:
        self.problem, self._stop = problem, stop
        self.x0 = problem.x0.detach().clone()
        self.ledger = Ledger()
        self._exact = problem.objective.exact.counted(self.ledger)
        self.rows: list[Row] = []
        self.x = self.x0
        self.verdict: Verdict | None = None
        self.clock = Clock()
        self._last: tuple[Tensor, Taylor] | None = None
        self.gradient = torch.zeros_like(self.x0)

    def expanded(self, x: Tensor, order: int = 1) -> Taylor:
        """Value, gradient and (order 2) exact Hessian products at x; the last point is remembered."""
        if self._last is None or self._last[1].order < order or not torch.equal(self._last[0], x):
            self._last = (x.detach().clone(), self._exact.expand(x.detach(), order))
        return self._last[1]

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and ∇f(x) by reverse differentiation."""
        model = self.expanded(x)
        return model.value, model.gradient

    @property
    def squares(self) -> LeastSquares:
        """The objective as least squares; raises ``UnsupportedCombination`` for any other."""
        objective = self.problem.objective
        if not isinstance(objective, LeastSquares):
            raise UnsupportedCombination(
                f"this method minimizes least squares only, the problem is a {type(objective).__name__}: leave it out"
            )
        return objective.counted(self.ledger)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): rows of the residual, parameters."""
        with torch.no_grad():
            return self.squares.residual(self.x0).numel(), self.x0.numel()

    def tensor(self, x: Array) -> Tensor:
        """A numpy vector with the dtype and device of the problem."""
        return torch.as_tensor(np.array(x)).to(self.x0)

    def look(self, x: Tensor, number: int | None = None) -> None:
        """Enter an iterate into the history, with the clock stopped; raises ``Ended`` when a rule says so.

        ``number`` is that of the iteration where not every iterate is looked at.
        """
        with self.clock.paused():
            self.x = x.detach().clone()
            model = self._known(self.x)
            self.gradient = model.gradient
            loss, norm = float(model.value), float(model.gradient.norm())
            metrics = {name: metric(self.x) for name, metric in self.problem.metrics.items()}
            iteration = len(self.rows) if number is None else number
            seconds = self.clock.seconds()
            self.rows.append(Row(iteration, seconds, loss, norm, metrics))
            self.verdict = self._stop(Progress(iteration, loss, norm, seconds, metrics))
            if not isfinite(loss):
                self.verdict = Status.NON_FINITE, f"the loss is {loss} after {iteration} iterations"
        if self.verdict is not None:
            raise Ended

    def _known(self, x: Tensor) -> Taylor:
        """The expansion at x: as the peer has computed it, or else anew and not counted."""
        if self._last is not None and torch.equal(self._last[0], x):
            return self._last[1]
        return self.problem.objective.exact.counted(Ledger()).expand(x, 1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Warnings of a peer are its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run(watched: Watched, peer: Callable[[Watched, Mapping[str, Any]], str], options: Mapping[str, Any]) -> Verdict:
    """Let a peer work until a rule ends it or it stops by itself; returns why."""
    try:
        with quiet():
            watched.look(watched.x0)
            return Status.STALLED, f"it stopped by itself: {peer(watched, options)}"
    except Ended:
        assert watched.verdict is not None
        return watched.verdict
