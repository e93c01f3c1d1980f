"""The two calls of the functional interface: ``minimize`` and ``least_squares``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multilevel_opt import checkpoint as checkpoints
from multilevel_opt import nested
from multilevel_opt.bounds import region
from multilevel_opt.drive import drive
from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.residual import Residual, ResidualFunction
from multilevel_opt.recorder import Monitor, Recorder
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.snapshots import formed, told
from multilevel_opt.state import State
from multilevel_opt.stopping import GradientNorm, MaxIterations, Stop, Unbounded, Verdict
from multilevel_opt.subproblem.router import CANDIDATES, memory_budget, plan
from multilevel_opt.variants import LM

Callback = Callable[[Event, Tensor], Any]
DEFAULT_STOP = GradientNorm(1e-6) | MaxIterations(1000)


def minimize(
    f: Objective | Callable[[Tensor], Tensor],
    x0: Any,
    solver: Multilevel,
    *,
    hierarchy: Hierarchy | None = None,
    bounds: Any = None,
    stop: Stop = DEFAULT_STOP,
    callback: Callback | None = None,
    monitors: Mapping[str, Monitor] | None = None,
    listener: Callable[[Event], None] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
) -> Result:
    """Minimize f from x0.

    Args:
        f: an ``Objective``, or a torch callable from shape (n,) to a scalar.
        x0: start point, a floating tensor (or array) of shape (n,); its device and dtype are used throughout.
        solver: for example ``AR2``, ``TR2`` or ``LM``; with a hierarchy its coarse levels are used.
        hierarchy: coarse levels; None for one level.
        bounds: (lower, upper), each a number, a vector of shape (n,) or None, or a ``scipy.optimize.Bounds``. f is
            evaluated inside only; where x0 is outside, the run starts at the nearest point inside and says so.
        stop: rules joined by ``|``; a fall below −1e20 (times the size of f at the start, where that is larger) always
            stops the run as unbounded.
        callback: called as ``callback(event, x)`` after every iteration of the finest level; a true value stops.
        monitors: error measures by name, functions of x, evaluated after every iteration with the clock
            stopped; ``Metric(name, target)`` stops on them.
        listener: called with every event of every level, for progress displays.
        checkpoint: file to write every ``checkpoint_seconds`` and when the run ends or is interrupted.
        checkpoint_seconds: seconds between checkpoints.
        resume: continue from ``checkpoint`` instead of x0.

    Returns:
        The result. Ctrl-C ends the run with ``Status.INTERRUPTED`` and the last complete iteration.

    Raises:
        InputError: x0 is not a finite floating vector, f is not finite there, shapes disagree, or no point is
            within the bounds.
    """
    objective = f if isinstance(f, Objective) else Function(f)
    given = start_point(x0)
    inside = region(bounds, given)
    x = inside.nearest(given)
    levels = hierarchy if hierarchy is not None else Hierarchy(x.numel())
    if levels.unknowns != x.numel():
        raise ShapeError(
            f"the hierarchy has {levels.unknowns} unknowns on its finest level, x0 has {x.numel()}: "
            "build it for this problem"
        )
    levels = levels.to(x)
    recorder = Recorder([Ledger() for _ in range(len(levels))], monitors or {}, listener=listener)
    recorder.ledgers[0].work(levels.flops)
    objective = objective.counted(recorder.ledgers[0])
    target = Path(checkpoint) if checkpoint is not None else None
    if target is not None and not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write the checkpoint {target}: give a file in an existing folder that can be written")
    objective = solver.seen(objective, levels)
    data = _stored(target, x) if resume else {}
    keeper = _Keeper(target, checkpoint_seconds)
    ascent, losses = None, data.get("losses")
    if "losses" in data:
        state = checkpoints.restored(data, solver, objective, levels, recorder, inside)
    else:
        known = data if resume else None
        state, ascent = nested.start(solver, objective, x, levels, recorder, inside, stop, known, keeper.ascending)
        recorder.measure(state.x)
    run = _Run(solver, objective, levels, recorder, state, losses or [state.loss], callback, keeper, ascent)
    deep = Unbounded.below(state.loss, state.gradient_norm, float(state.x.norm()))
    result = run.finish(deep.judged(run.go(stop | deep), run.loss))
    outside = int((x != given).sum())
    remark = f"; {outside} of {x.numel()} entries of x0 were outside the bounds and were moved to them"
    return replace(result, message=result.message + remark) if outside else result


def least_squares(
    residual: Residual | ResidualFunction | LeastSquares,
    x0: Any,
    solver: Multilevel = LM,
    *,
    memory: float | None = None,
    bounds: Any = None,
    **options: Any,
) -> Result:
    """Minimize ½‖r(x)‖² from x0.

    Args:
        residual: a ``Residual``, a torch callable from shape (n,) to (m,), or a ``LeastSquares``.
        x0: start point, a floating tensor (or array) of shape (n,).
        solver: ``LM`` or a variant of it.
        memory: budget in bytes for the Jacobian and its Gram matrix (default: half of what is free); beyond it
            the steps are computed matrix-free.
        bounds: as for ``minimize``.
        **options: as for ``minimize``.

    Returns:
        The result.

    Raises:
        InputError: as for ``minimize``, and for a residual that is not of shape (m,) or not finite at x0.
    """
    x = start_point(x0)
    objective = residual if isinstance(residual, LeastSquares) else LeastSquares(residual)
    inside = region(bounds, x).nearest(x)
    return minimize(within_memory(objective, inside, memory), x, solver, bounds=bounds, **options)


def within_memory(objective: LeastSquares, x: Tensor, memory: float | None = None) -> LeastSquares:
    """The objective, matrix-free when its dense Jacobian would not fit ``memory`` bytes."""
    rows = objective.residuals(x).numel()
    budget = memory_budget(x.device) if memory is None else memory
    chosen = plan(rows, x.numel(), x.element_size(), budget)
    kept = objective.within(budget)
    return kept if CANDIDATES[chosen.form].direct else kept.without_matrix()


def start_point(x0: Any) -> Tensor:
    """x0 as a finite floating tensor of shape (n,), n ≥ 1, or a clear error."""
    try:
        x = x0.detach().clone() if isinstance(x0, Tensor) else torch.as_tensor(np.array(x0))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"x0 must be a vector of numbers, got {type(x0).__name__}: give a tensor or array") from error
    if x.is_complex():
        raise InputError("x0 is complex: minimize over the real and imaginary parts in one real vector")
    if not x.is_floating_point():
        x = x.to(torch.float64)
    if x.ndim != 1 or x.numel() == 0:
        raise ShapeError(f"x0 must have shape (n,) with n >= 1, got {tuple(x.shape)}: flatten it with .reshape(-1)")
    if not bool(torch.isfinite(x).all()):
        raise InputError("x0 contains NaN or Inf: give a finite start point")
    return x


def _stored(target: Path | None, x: Tensor) -> dict[str, Any]:
    """The checkpoint to continue from."""
    if target is None:
        raise InputError("resume=True needs the checkpoint to continue from: give checkpoint=FILE")
    return checkpoints.load(target, x)


class _Keeper:
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


class _Run:
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
        keeper: _Keeper,
        ascent: Mapping[str, Any] | None,
    ) -> None:
        self.solver, self.f, self.hierarchy, self.recorder = solver, f, hierarchy, recorder
        self.losses, self.callback, self.keeper, self.ascent = losses, callback, keeper, ascent
        self._last = (state, len(losses) - 1, recorder.snapshot(), formed(state.model))

    @property
    def loss(self) -> float:
        """The value of f after the last complete iteration."""
        return self._last[0].loss

    def go(self, stop: Stop) -> Verdict:
        try:
            state = self._last[0]
            _, verdict = drive(
                self.solver,
                self.f,
                state,
                self.hierarchy,
                self.recorder,
                stop,
                after=self._after,
                losses=self.losses,
            )
        except KeyboardInterrupt:
            _, done, snapshot, _ = self._last
            self.recorder.restore(snapshot)
            verdict = Status.INTERRUPTED, f"{Status.INTERRUPTED.value} after {done} iterations"
        return verdict

    def _after(self, state: State) -> bool:
        self._last = (state, self._last[1] + 1, self.recorder.snapshot(), formed(state.model))
        with self.recorder.clock.paused():
            if self.keeper.due():
                self._save()
            event = self.recorder.history[-1]
            return self.callback is not None and bool(self.callback(event, state.x))

    def _save(self) -> None:
        state, done, _, known = self._last
        self.keeper.write(self.ascent, {**told(state), "formed": known}, self.recorder, self.losses[: done + 1])

    def finish(self, verdict: Verdict) -> Result:
        self._save()
        (state, done, *_), recorder = self._last, self.recorder
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
