"""A watched problem whose clock counts the processor seconds of this process, and which keeps errors only."""

from __future__ import annotations

import time
from types import TracebackType

from torch import Tensor

from multilevel_opt import PDEProblem
from multilevel_opt.result import Status
from multilevel_opt.stopping import Stop
from multilevel_opt.study.watch import Ended, Watched


class ProcessClock:
    """Like ``ledger.Clock``, with the processor seconds of this process: other processes do not slow it."""

    def __init__(self) -> None:
        self._started, self._at = time.process_time(), 0.0

    def seconds(self) -> float:
        return time.process_time() - self._started

    def paused(self) -> ProcessClock:
        return self

    def __enter__(self) -> None:
        self._at = time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started += time.process_time() - self._at


class Timed(Watched):
    """A problem watched for its relative error only.

    Attributes:
        errors: (seconds, relative L2 error) of every iterate looked at.
        compiling: seconds of compiling, which are no seconds of solving.
    """

    def __init__(self, problem: PDEProblem, target: float, cap: float) -> None:
        super().__init__(problem, _never)
        self._problem, self._target, self._cap = problem, target, cap
        self.clock = ProcessClock()  # type: ignore[assignment]
        self.errors: list[tuple[float, float]] = []
        self.compiling = 0.0

    def look(self, x: Tensor, number: int | None = None) -> None:
        seconds = self.clock.seconds()
        with self.clock.paused():
            self.x = x.detach().clone()
            error = self._problem.relative_l2(self.x)
            self.errors.append((seconds, error))
        if error <= self._target:
            self.verdict = Status.TARGET, "the target was reached"
        elif seconds > self._cap:
            self.verdict = Status.MAX_SECONDS, "the time limit was reached"
        if self.verdict is not None:
            raise Ended


_never: Stop = lambda progress: None  # type: ignore[assignment]  # noqa: E731
