"""The two calls of the functional interface: ``minimize`` and ``least_squares``."""

from __future__ import annotations

import os
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
from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.residual import Residual, ResidualFunction
from multilevel_opt.recorder import Monitor, Recorder
from multilevel_opt.refiner import Refiner, replayed
from multilevel_opt.result import Event, Result
from multilevel_opt.session import Callback, Keeper, Session
from multilevel_opt.stopping import GradientNorm, MaxIterations, Stop, Unbounded
from multilevel_opt.subproblem.router import CANDIDATES, memory_budget, plan
from multilevel_opt.variants import LM

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
    keeper = Keeper(target, checkpoint_seconds)
    ascent, losses, known = None, data.get("losses"), data.get("refiner")
    if "losses" in data:
        objective = replayed(objective, known)
        state = checkpoints.restored(data, solver, objective, levels, recorder, inside)
    else:
        path = data if resume else None
        state, ascent = nested.start(solver, objective, x, levels, recorder, inside, stop, path, keeper.ascending)
        recorder.measure(state.x)
    refiner = Refiner.of(solver, objective, state, levels.sizes, known) if ascent is None else None
    if losses is not None:
        recorder.restore(data["snapshot"])  # what it took to come here again is no cost of the run
    losses = losses or [state.loss]
    run = Session(solver, objective, levels, recorder, state, losses, callback, keeper, ascent, refiner)
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
