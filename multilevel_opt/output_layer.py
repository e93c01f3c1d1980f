"""Steps in the output layer alone, where the residual is affine in its parameters.

With the hidden layers fixed, a linear PDE leaves the linear least-squares problem min ½‖r + J_o d‖² in the parameters
of the output layer. It is the loss itself and no model of it, so a step of any length is right, where the steps in all
parameters are kept short by the curvature of the hidden layers. Three things make it usable:

* it is solved on J_o itself, with columns of norm one, by orthogonal transformations (``linalg/orthogonal.py``),
* of all ridges the largest is taken that comes within ``near`` of the least loss, so that the weights stay moderate:
  without it they grow to 1e6 and more, and training cannot go on from there,
* where points are held out, the residual there has to fall as well.

At the start it is the method of random features, whose steepness is tried as well (``random_features.py``); later it is
a step of variable projection (Golub & Pereyra 1973). It is taken only where it nearly solves the problem: from features
that fit badly, and from output weights that fit them as well as they can, training goes on more slowly than from the
point it was at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multilevel_opt.attempt import attempt
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import Dense
from multilevel_opt.linalg.orthogonal import OrthogonalSystem
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.output_fit import unit_columns
from multilevel_opt.random_features import Judge, random_features
from multilevel_opt.state import Outcome, State
from multilevel_opt.subproblem.base import Step

NEVER = 2**62  # Taylor steps to wait where the residual is not affine
ROUNDING = 1e-9  # of the residual at held-out rows: what is left where the output layer solves the equation
SAME = 1e3  # roundings by which an affine residual may fail to be one
DECADES = 2.0  # between two ridges that are tried


@dataclass(frozen=True)
class OutputLayer:
    """When and how the output layer is solved for.

    Attributes:
        sufficient: not while a Taylor step decreases f by at least this fraction.
        first: at the start, f has to fall to this fraction: training goes on badly from features that nearly fit.
        later: afterwards, to this one.
        near: the loss may exceed the least one by this factor, for smaller weights.
        largest: no parameter of the layer may become larger than this times the largest, or one if that is more.
        tries: ridges judged by the held-out residual before the step is given up.
    """

    sufficient: float = 0.5
    first: float = 1e-8
    later: float = 1e-6
    near: float = 2.0
    largest: float = 1e3
    tries: int = 4

    def due(self, state: State) -> bool:
        """Whether the next iteration is such a step: at the start, then when Taylor steps do little."""
        return state.wait == 0 and (state.visits == 0 or state.gain < self.sufficient)

    def step(self, f: Objective, state: State, order: int, judge: Judge | None) -> tuple[State, Outcome]:
        """Solve for the output layer; the state moves there when f falls, and ``judge`` with it."""
        state = replace(state, visits=state.visits + 1, moved=False)
        own, what = self._found(f, state)
        if own is None:
            return replace(state, wait=NEVER, interval=NEVER), Outcome(0.0, 0, what)
        if state.visits == 1:
            return self._started(f, state, own, order, judge)
        before = float("inf") if judge is None else judge(state.x)
        steps = self._steps(state, own, f.ledger, self.later * state.loss)
        if not steps:
            return state, Outcome(0.0, 0, "the output layer alone does not lower the loss enough")
        for tried, step in enumerate(steps[: self.tries], start=1):
            if judge is None or judge(state.region.moved(state.x, step.s)) < before:
                state, trial, note = attempt(f, state, step, order, likely=True)
                return state, Outcome(trial.ratio, tried, note)
        return state, Outcome(0.0, len(steps), "no solution for the output layer lowers the held-out residual")

    def _started(
        self, f: Objective, state: State, own: Tensor, order: int, judge: Judge | None
    ) -> tuple[State, Outcome]:
        """The start by random features, where it nearly solves the problem."""
        assert isinstance(f, LeastSquares)
        found = random_features(f, state.x, own, judge, ROUNDING)
        loss = 0.5 * float(f.residuals(found.x).square().sum())
        if not loss <= self.first * state.loss:
            return state, Outcome(0.0, 0, "the output layer alone does not lower the loss enough")
        if not found.share < 1.0:
            return state, Outcome(0.0, 0, "no solution for the output layer lowers the held-out residual")
        state, trial, note = attempt(f, state, Step(found.x - state.x, state.loss - loss), order, likely=True)
        return state, Outcome(trial.ratio, 1, note or f"first layer times {found.factor:g}")

    def _found(self, f: Objective, state: State) -> tuple[Tensor | None, str]:
        """The places of the output layer, or None and why there are none; linearity is looked at once."""
        own = output_parameters(f.layout) if isinstance(f, LeastSquares) and f.layout is not None else None
        if own is None or not isinstance(f, LeastSquares):
            return None, "the output layer is not known"
        if state.visits == 1 and not affine(f, state.x, own):
            return None, "the residual is not linear in the output layer"
        return own, ""

    def _steps(self, state: State, own: Tensor, ledger: Ledger, enough: float) -> list[Step]:
        """Steps by falling preference: the first as said above, then those with larger ridges."""
        normal = state.model.normal
        if normal is None or not isinstance(normal.jacobian, Dense) or normal.linear is not None:
            return []
        columns = normal.jacobian.matrix[:, own]
        unit, scale = unit_columns(columns)
        system = OrthogonalSystem(normal.residual, unit, None, ledger)
        epsilon = torch.finfo(columns.dtype).eps
        ridges = _ridges(own.numel() * epsilon**2, own.numel())
        found: list[tuple[float, Tensor]] = []
        limit = self.largest * max(1.0, float(state.x[own].abs().max()))
        for ridge in ridges:
            system.factorize(ridge)
            d = system.solve() / scale
            if float((state.x[own] + d).abs().max()) <= limit:
                left = normal.residual + columns @ d
                found.append((0.5 * float(left @ left), d))
        ledger.work(2.0 * columns.numel() * len(ridges))
        least = min((loss for loss, _ in found), default=0.0)
        if not found or least > enough:
            return []
        first = max(k for k, (loss, _) in enumerate(found) if loss <= self.near * least)
        return [Step(_embedded(state.x, own, d), state.loss - loss) for loss, d in found[first:] if loss <= enough]


def output_parameters(layout: Layout) -> Tensor | None:
    """Places of weight and bias of the output layer in the flat vector, int64; None where the layout has none."""
    ends = [k for k, b in enumerate(layout.blocks) if b.neurons[0] is None and b.neurons[-1] is not None]
    if not ends:
        return None
    weight = layout.blocks[ends[-1]]
    after = layout.blocks[ends[-1] + 1 : ends[-1] + 2]
    bias = [b for b in after if b.shape == weight.shape[:1] and b.name.endswith("bias")]
    return torch.cat([torch.arange(b.start, b.start + b.size) for b in (weight, *bias)])


def affine(f: LeastSquares, x: Tensor, own: Tensor) -> bool:
    """Whether r(x + d + e) − r(x + d) − r(x + e) + r(x) vanishes for random d and e in the parameters ``own``."""
    generator = torch.Generator(device="cpu").manual_seed(own.numel())
    size = float(x[own].abs().max()) or 1.0
    d, e = (
        _embedded(x, own, size * torch.randn(own.numel(), generator=generator, dtype=torch.float64).to(x))
        for _ in range(2)
    )
    both, first, second, plain = (f.residuals(x + s) for s in (d + e, d, e, 0 * d))
    scale = max(float(r.abs().max()) for r in (both, first, second, plain))
    return float((both - first - second + plain).abs().max()) <= SAME * torch.finfo(x.dtype).eps * scale


def _ridges(smallest: float, largest: float) -> Sequence[float]:
    found = [smallest]
    while found[-1] < largest:
        found.append(found[-1] * 10**DECADES)
    return found


def _embedded(x: Tensor, own: Tensor, d: Tensor) -> Tensor:
    return torch.zeros_like(x).index_copy(0, own.to(x.device), d)
