"""A trial point: evaluated, judged by the globalization, and made the iterate or not.

Near the rounding of f its differences say nothing. Where the objective gives value and gradient together
(``Objective.joint``), the decrease of a small step is measured by the gradients at both ends,

    f(x) − f(x + s) ≈ −½ (∇f(x) + ∇f(x + s))ᵀ s,

which is exact for quadratic functions and keeps its digits (Hager & Zhang 2005 use the same information). Otherwise,
and below the rounding altogether, a step is taken if it halves the gradient and f does not show a rise.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite

import torch
from torch import Tensor

from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.policy import Trial
from multilevel_opt.result import Status
from multilevel_opt.state import State
from multilevel_opt.subproblem.base import Step

SMALL = 1e6  # a decrease of f below so many roundings is measured by gradients
FINER = 1e-8  # and so much finer than values do they resolve one


def resolution(f: Objective, state: State) -> float:
    """The rounding of f, as far as it can be judged by values or gradients."""
    return torch.finfo(state.x.dtype).eps * abs(state.loss) * (FINER if f.joint else 1.0)


def attempt(f: Objective, state: State, step: Step, order: int, likely: bool) -> tuple[State, Trial, str]:
    """Evaluate x + s; the state moves there when the globalization accepts and all is finite.

    Args:
        f: the objective.
        state: at x.
        step: s and the decrease it promises.
        order: of the model at the new point.
        likely: expand at once; otherwise the value decides first, unless f gives both together.
    """
    x = state.region.moved(state.x, step.s)
    model = state.curvature.expand(f, x, order) if likely or f.joint else None
    loss = float(model.value) if model is not None else float(f(x))
    finite = isfinite(loss)
    decrease = _decrease(state, model, loss, step) if f.joint and model is not None else state.loss - loss
    slope = float(state.model.gradient @ step.s)
    length = float(torch.linalg.vector_norm(step.s))
    trial = Trial(decrease if finite else -inf, step.predicted, length, step.on_boundary, slope)
    known = state.best
    state = state.changed(best=(loss, x) if finite and loss < known[0] else known, moved=False)
    if not finite:
        return state, trial, "the objective is not finite at the trial point"
    if not state.globalization.accepts(trial):
        if state.curvature.learn_from_rejected:
            model = model if model is not None else state.curvature.expand(f, x, 1)
            state = state.taught(x, model, f.ledger)
        return state, trial, ""
    if model is None:
        model = state.curvature.expand(f, x, order)
    norm = state.region.criticality(x, model.gradient)
    if not isfinite(norm):
        note = "the gradient is not finite at the trial point"
        return state.changed(best=known), replace(trial, decrease=-inf), note
    return state.moved_to(x, model, loss, norm, trial.decrease, f.ledger), trial, ""


def polish(f: Objective, state: State, step: Step, order: int) -> State:
    """Take a step whose decrease f cannot show if it halves the gradient; otherwise the run has stalled."""
    x = state.region.moved(state.x, step.s)
    model = state.curvature.expand(f, x, order)
    loss, norm = float(model.value), state.region.criticality(x, model.gradient)
    rounding = torch.finfo(x.dtype).eps * abs(state.loss)
    decrease = _decrease(state, model, loss, step) if f.joint else state.loss - loss
    if not (decrease >= -4 * rounding and norm < 0.5 * state.gradient_norm):
        return state.changed(moved=False, failure=Status.STALLED)
    return state.moved_to(x, model, loss, norm, decrease, f.ledger).changed(best=(loss, x))


def _decrease(state: State, model: Taylor, loss: float, step: Step) -> float:
    """f(x) − f(x + s), by gradients where the difference of the values is lost in rounding."""
    difference = state.loss - loss
    visible = step.predicted > SMALL * torch.finfo(state.x.dtype).eps * max(abs(state.loss), abs(loss))
    if visible and difference != 0:  # terms of f may cancel far above the rounding of their sum
        return difference
    slopes: Tensor = state.model.gradient + model.gradient
    return -0.5 * float(slopes @ step.s)
