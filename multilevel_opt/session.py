"""One run on its finest level: the loop with callback, checkpoints, interruption and refinement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from torch import Tensor

from multilevel_opt import checkpoint as checkpoints
from multilevel_opt.drive import drive
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.refiner import Refiner
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.snapshots import formed, told
from multilevel_opt.state import State
from multilevel_opt.stopping import Stop, Verdict

Callback = Callable[[Event, Tensor], Any]


class Keeper:
    """Writes checkpoints to ``target``, if there is one, every so many seconds."""

    def __init__(self, target: Path | None, every: float) -> None:
        self.target, self._every = target, every
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one."""
        return self.target is not None and time.monotonic() - self._saved >= self._every

    def ascending(self, data: Callable[[], Mapping[str, Any] | None]) -> None:
        """Write one of nested iteration, if it is time; ``data`` gives what it holds."""
        if self.due():
            self.write(data())

    def write(self, ascent: Mapping[str, Any] | None, *finest: Any) -> None:
        """Write one of nested iteration, where that is going on, or of the finest level."""
        if self.target is None:
            return
        if ascent is not None:
            checkpoints.save_ascent(self.target, ascent)
        else:
            checkpoints.save(self.target, *finest)
        self._saved = time.monotonic()


@dataclass(frozen=True)
class _Mark:
    """The last complete iteration.

    Attributes:
        state: after it.
        done: iterations so far.
        snapshot: of the account.
        formed: whether the model had its Jacobian then.
        refiner: what ``Refiner.told`` said then, or None.
    """

    state: State
    done: int
    snapshot: Mapping[str, Any]
    formed: bool
    refiner: Mapping[str, Any] | None


class Session:
    """One solve: the loop with callback, checkpoints and interruption."""

    def __init__(
        self,
        solver: Multilevel,
        f: Objective,
        hierarchy: Hierarchy,
        recorder: Recorder,
        state: State,
        losses: list[float],
        callback: Callback | None,
        keeper: Keeper,
        ascent: Mapping[str, Any] | None,
        refiner: Refiner | None,
    ) -> None:
        self.solver, self.f, self.hierarchy, self.recorder = solver, f, hierarchy, recorder
        self.losses, self.callback, self.keeper, self.ascent = losses, callback, keeper, ascent
        self.refiner = refiner
        self._last = self._marked(state, len(losses) - 1)

    @property
    def loss(self) -> float:
        """The value of f after the last complete iteration."""
        return self._last.state.loss

    def go(self, stop: Stop) -> Verdict:
        """Iterate until a rule says why to stop."""
        try:
            return self._driven(stop)
        except KeyboardInterrupt:
            done = self._last.done
            self.recorder.restore(self._last.snapshot)
            return Status.INTERRUPTED, f"{Status.INTERRUPTED.value} after {done} iterations"

    def _driven(self, stop: Stop) -> Verdict:
        rule = stop if self.refiner is None else stop | self.refiner
        while True:
            state, after, losses = self._last.state, self._after, self.losses
            parts = (self.solver, self.f, state, self.hierarchy, self.recorder)
            _, verdict = drive(*parts, rule, after=after, losses=losses)
            if self.refiner is None or not self.refiner.wants(verdict):
                return verdict
            if not self._refined() and verdict[0] is not Status.USER:
                return verdict

    def _refined(self) -> bool:
        """Go on with more rows; False where there are none."""
        assert self.refiner is not None
        found = self.refiner.refined()
        if found is None:
            return False
        self.f, state, remark = found
        self.recorder.measure(state.x)
        self.losses[:] = [*(inf for _ in self.losses[1:]), state.loss]  # those of fewer rows are no measure of progress
        self.recorder.remark(remark)
        self._last = self._marked(state, len(self.losses) - 1)
        return True

    def _after(self, state: State) -> bool:
        if self.refiner is not None:
            self.refiner.saw(state)
        self._last = self._marked(state, self._last.done + 1)
        with self.recorder.clock.paused():
            if self.keeper.due():
                self._save()
            event = self.recorder.history[-1]
            return self.callback is not None and bool(self.callback(event, state.x))

    def _marked(self, state: State, done: int) -> _Mark:
        known = None if self.refiner is None else self.refiner.told()
        return _Mark(state, done, self.recorder.snapshot(), formed(state.model), known)

    def _save(self) -> None:
        last = self._last
        state = {**told(last.state), "formed": last.formed, "refiner": last.refiner}
        self.keeper.write(self.ascent, state, self.recorder, self.losses[: last.done + 1])

    def finish(self, verdict: Verdict) -> Result:
        """The result, and a last checkpoint."""
        self._save()
        state, done, recorder = self._last.state, self._last.done, self.recorder
        status, message = verdict
        last = recorder.history[-1] if recorder.history else None
        if last is not None and last.note and status in (Status.NON_FINITE, Status.STALLED):
            message = f"{message} ({last.note})"
        better = state.best[0] < state.loss and not status.converged  # what converged is the iterate
        if better:
            recorder.measure(state.best[1])
        return Result(
            state.best[1] if better else state.x,
            state.best[0] if better else state.loss,
            state.model.gradient,
            status,
            message,
            done,
            tuple(recorder.history),
            tuple(replace(ledger) for ledger in recorder.ledgers),
            self.hierarchy.sizes,
            recorder.clock.seconds(),
            self.solver.describe(state, self.hierarchy),
            dict(recorder.metrics),
            state.gradient_norm,
        )
