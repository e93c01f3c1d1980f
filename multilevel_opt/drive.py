"""The driver: step until a rule, the callback or a failure says why to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Status
from multilevel_opt.state import State
from multilevel_opt.stopping import Progress, Stop, Verdict


class Stepper(Protocol):
    """What is driven; ``Multilevel`` is one."""

    def step(self, f: Objective, state: State, hierarchy: Hierarchy, recorder: Recorder, level: int = 0) -> State:
        """One iteration of a level, recorded."""
        ...


def drive(
    solver: Stepper,
    f: Objective,
    state: State,
    hierarchy: Hierarchy,
    recorder: Recorder,
    stop: Stop,
    level: int = 0,
    after: Callable[[State], bool] | None = None,
    losses: list[float] | None = None,
) -> tuple[State, Verdict]:
    """Step until a rule, the callback or a failure stops the run; every level runs through this loop.

    Args:
        solver: the configuration.
        f: the objective of this level.
        state: where to start.
        hierarchy: this level and those below.
        recorder: account of the whole run.
        level: 0 is the finest.
        stop: rules looked at before the first and after every iteration.
        after: called with every new state; True stops the run.
        losses: f at the start and after every iteration so far, of a resumed solve; what follows is appended.

    Returns:
        The last state and the verdict.
    """
    start = state.x
    losses = [state.loss] if losses is None else losses
    while True:
        progress = Progress(
            len(losses) - 1,
            state.loss,
            state.gradient_norm,
            recorder.clock.seconds(),
            recorder.metrics if level == 0 else {},
            float((state.x - start).norm()) if level else 0.0,
            losses,
            state.region.projected_gradient(state.x, state.model.gradient),
        )
        verdict = stop(progress)
        if verdict is None and state.failure is not None:
            verdict = state.failure, state.failure.value
        if verdict is not None:
            return state, verdict
        state = solver.step(f, state, hierarchy, recorder, level)
        losses.append(state.loss)
        if after is not None and after(state):
            return state, (Status.USER, Status.USER.value)
