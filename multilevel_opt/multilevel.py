"""The recursive multilevel solver of order q: one loop for all orders, globalizations and levels.

At each iteration of each level:

1. a coarse step, when the level below is useful, ``‖R∇f‖ ≥ κ‖∇f‖`` and ``‖R∇f‖ > ε`` (docs/theory.md, 20;
   Gratton, Sartenaer & Toint 2008; Calandra, Gratton, Riccietti & Vasseur 2020), enough Taylor steps lie
   behind and the last of them did little: minimize the coarse model (``coarse.py``) by this same loop,
   s = P(y* − y₀);
2. otherwise a Taylor step: minimize the local model under the globalization, moving σ or Δ until a trial
   point is accepted.

The state always holds the model at the iterate, so nothing is computed twice; a trial point whose value or
derivative is not finite is rejected like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.attempt import attempt, polish, resolution
from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.coarse import coarse_model, rungs
from multilevel_opt.curvature import Curvature, Exact
from multilevel_opt.drive import drive
from multilevel_opt.errors import NonFiniteError
from multilevel_opt.globalization import Globalization
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.output_layer import NEVER, OutputLayer
from multilevel_opt.policy import Trial
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event, Status
from multilevel_opt.state import Cycle, Kept, Outcome, State, progress_made
from multilevel_opt.stopping import Displacement, GradientNorm, MaxIterations, Stagnation, Stop
from multilevel_opt.subproblem.base import Prepared, Step, Subproblem
from multilevel_opt.subproblem.levelled import Smoother
from multilevel_opt.transfer.operator import TransferOperator


@dataclass(frozen=True)
class Multilevel:
    """A solver: a frozen configuration with ``init`` and ``step``.

    Attributes:
        order: q of the model (2 for Gauss–Newton models).
        globalization: regularization or trust region, with its acceptance rule.
        curvature: what stands for the second form.
        subproblem: solver of the local model.
        cycle: when and how to use coarse levels.
        smoother: solver of the local model where grids lie below (``Hierarchy.nested``); None for ``subproblem``.
        output: when the output layer of a network is solved for by itself, on one level; None for never.
    """

    order: int
    globalization: Any
    subproblem: Subproblem
    curvature: Curvature = field(default_factory=Exact)
    cycle: Cycle = field(default_factory=Cycle)
    smoother: Smoother | None = None
    output: OutputLayer | None = None

    def __post_init__(self) -> None:
        self.curvature.check(self.order, self.cycle.coherence)

    def replace(self, **changes: Any) -> Multilevel:
        """A copy with some parts exchanged."""
        return replace(self, **changes)

    def seen(self, f: Objective, hierarchy: Hierarchy) -> Objective:
        """The objective as this solver evaluates it above the levels of a hierarchy."""
        return f

    def init(
        self,
        f: Objective,
        x: Tensor,
        kept: tuple[Kept, ...] = (),
        region: Region = EVERYWHERE,
    ) -> State:
        """The state at x, a point of the region, with what this level and those below have kept.

        Raises ``NonFiniteError`` when f or ∇f is not finite there.
        """
        own = kept[0] if kept else Kept(self.globalization, self.curvature)
        model = own.curvature.expand(f, x, self.order)
        loss, norm = float(model.value), region.criticality(x, model.gradient)
        if not (isfinite(loss) and isfinite(norm)):
            raise NonFiniteError(
                f"the objective at the start point is {loss:g} with gradient norm {norm:g}: "
                "start where both are finite, or look for a division by zero or an overflow in the residual"
            )
        start: Globalization = own.globalization
        if not start.started:
            start = start.start(model, self.order)
        wait = self.cycle.first_wait
        return State(x, loss, model, norm, start, own.curvature, (loss, x), below=kept[1:], wait=wait, region=region)

    def step(self, f: Objective, state: State, hierarchy: Hierarchy, recorder: Recorder, level: int = 0) -> State:
        """One iteration of this level, recorded in ``recorder``."""
        transfer = self._useful_transfer(f, state, hierarchy)
        before, kind = self.cost(recorder), "taylor"
        if transfer is not None:
            kind, (after, outcome) = "coarse", self._coarse(f, state, hierarchy, transfer, recorder, level)
        elif self.output is not None and level == 0 and not hierarchy.levels and self.output.due(state):
            judge = recorder.monitors.get("held_out")
            kind, (after, outcome) = "output", self.output.step(f, state, self.order, judge)
        else:
            after, outcome = self._taylor(f, state, hierarchy, recorder.ledgers[level + 1 :])
        if hierarchy.levels or (self.output is not None and after.interval < NEVER):
            spent = progress_made(state.loss, after.loss), self.cost(recorder) - before
            after = self._paced(after, spent, coarse=kind != "taylor")
            if kind == "taylor":
                gain = (state.loss - after.loss) / max(abs(state.loss), 1e-300)
                after = after.changed(gain=gain, contraction=after.gradient_norm / max(state.gradient_norm, 1e-300))
        if level == 0:
            recorder.measure(after.x)
        recorder.record(
            Event(
                level,
                recorder.next_iteration(level),
                kind,
                after.moved,
                after.loss,
                after.gradient_norm,
                after.globalization.scalar,
                outcome.ratio,
                outcome.trials,
                metrics=recorder.metrics if level == 0 else {},
                note=outcome.note,
            )
        )
        return after

    def cost(self, recorder: Recorder) -> float:
        """What the run has cost so far, as the choice between kinds of steps counts it."""
        return recorder.flops

    def descend(self, f: Objective, x: Tensor, done: Callable[[Tensor, Tensor], bool], limit: int) -> Tensor:
        """Minimize f on one level, without account: how one solver serves as subproblem solver of another.

        Args:
            f: for example a regularized model.
            x: start, shape (n,).
            done: (x, ∇f(x)) -> whether that will do.
            limit: of iterations.

        Returns:
            The last iterate.
        """
        state = self.init(f, x)
        for _ in range(limit):
            if state.failure is not None or done(state.x, state.model.gradient):
                break
            state, _ = self._taylor(f, state, Hierarchy(x.numel()), ())
        return state.x

    def _paced(self, state: State, spent: tuple[float, float], coarse: bool) -> State:
        """Choose how many Taylor steps come before the next coarse step, from progress per flop."""
        if not coarse:
            return state.changed(phase=(state.phase[0] + spent[0], state.phase[1] + spent[1]))
        interval = max(state.interval, self.cycle.shortest_wait)
        if self.cycle.longest_wait and state.phase[1] > 0 and spent[1] > 0:
            pays = spent[0] / spent[1] >= state.phase[0] / state.phase[1]
            interval = (
                max(self.cycle.shortest_wait, interval // 2) if pays else min(2 * interval, self.cycle.longest_wait)
            )
        return state.changed(wait=interval, interval=interval, phase=(0.0, 0.0))

    def _useful_transfer(self, f: Objective, state: State, hierarchy: Hierarchy) -> TransferOperator | None:
        """The transfer operator of the level below if a coarse step is due and useful."""
        if not hierarchy.levels or self.cycle.shape == "cascade":
            return None
        if state.wait > 0 or state.gain >= self.cycle.sufficient < 1.0:
            return None
        if hierarchy.nested and state.contraction <= self.cycle.contraction > 0:
            return None
        transfer = hierarchy.levels[0].transfer_at(f, state.x, state.visits)
        transfer = state.region.truncated(transfer, state.x, state.model.gradient)
        restricted = float(transfer.restrict(state.model.gradient).norm())
        useful = restricted >= self.cycle.kappa * state.gradient_norm and restricted > self.cycle.tolerance
        return transfer if useful else None

    def _taylor(
        self, f: Objective, state: State, levels: Hierarchy, ledgers: Sequence[Ledger]
    ) -> tuple[State, Outcome]:
        """Minimize the local model, moving σ or Δ until a trial point is accepted."""
        state = state.changed(wait=max(0, state.wait - 1))
        outcome = Outcome(-inf, 0)
        finite, room = 0, state.room()
        for trials in range(1, self.cycle.max_trials + 1):
            prepared = state.prepared or self._prepared(state, levels, ledgers)
            state = state.changed(prepared=prepared)
            step = prepared.solve(state.globalization.within(room))
            if step is None:
                state = state.changed(globalization=state.globalization.update(Trial(-inf, 1.0, 0.0)))
                continue
            rounding = resolution(f, state)
            if 0 <= step.predicted <= 10 * rounding:
                polished = polish(f, state, step, self.order)
                if polished.moved or (step.predicted <= 0.1 * rounding and (finite or trials == 1)):
                    return polished, Outcome(-inf, trials, "the predicted decrease is below the rounding of f")
            if torch.equal(state.x + step.s, state.x):
                finite += trials == 1
                break
            state, trial, note = attempt(f, state, step, self.order, likely=False)
            outcome = Outcome(trial.ratio, trials, note)
            finite += isfinite(trial.decrease)
            state = state.changed(globalization=state.globalization.update(trial))
            if state.moved:
                return state, outcome
            if state.globalization.exhausted or trial.step_norm <= 1e-16 * float(state.x.norm()):
                break
        failure = Status.STALLED if finite else Status.NON_FINITE
        return state.changed(moved=False, failure=failure), outcome

    def _prepared(self, state: State, levels: Hierarchy, ledgers: Sequence[Ledger]) -> Prepared:
        """The local model made ready, by the smoother where grids lie below and nothing bounds x."""
        smoother = self._smoother(state, levels)
        if smoother is None:
            return state.region.prepare(self.subproblem, state.x, state.model)
        return smoother.prepare(state.model, lambda: rungs(state.model, levels, state.x, state.curvature, ledgers))

    def _smoother(self, state: State, levels: Hierarchy) -> Smoother | None:
        usable = levels.nested and state.region is EVERYWHERE and self.curvature.evaluates  # nothing is learned below
        return self.smoother if usable else None

    def describe(self, state: State, levels: Hierarchy) -> str:
        """Which linear algebra the steps at this state get, in words."""
        return (self._smoother(state, levels) or self.subproblem).describe(state.model)

    def _coarse(
        self,
        f: Objective,
        state: State,
        hierarchy: Hierarchy,
        transfer: TransferOperator,
        recorder: Recorder,
        level: int,
    ) -> tuple[State, Outcome]:
        """Minimize the coarse model by this loop and prolong the correction."""
        below = hierarchy.levels[0]
        mu, start = coarse_model(
            f,
            state.model,
            below,
            transfer,
            state.x,
            self.cycle.coherence,
            state.curvature,
            recorder.ledgers[level + 1],
        )
        penalty = state.globalization.penalty(start)
        if penalty is not None:
            mu = mu + penalty
        own, *rest = state.below or (state.kept[0].for_coarse(),)
        if transfer is not below.transfer or penalty is not None:  # another function than at the last visit
            own, *rest = (kept.forgetful() for kept in (own, *rest))
        norm = transfer.norm() if isfinite(state.globalization.room(1.0)) else 1.0
        room = state.globalization.room(norm)
        own = replace(own, globalization=state.globalization.coarsened(own.globalization, norm))
        solver = self.replace(cycle=self.cycle.below(level, state.visits)) if self.cycle.shape == "F" else self
        state = state.changed(visits=state.visits + 1, moved=False)
        try:
            region = state.region.coarse(transfer, state.x, start)
            inner = solver.init(mu, start, (own, *rest), region)
        except NonFiniteError:
            return state, Outcome(-inf, 0, "the coarse model is not finite at its start point")
        if isfinite(room):
            inner = inner.changed(ball=(start, room))
        stop = solver._enough(inner, not hierarchy.coarser.levels) | Displacement(room)
        final, _ = drive(solver, mu, inner, hierarchy.coarser, recorder, stop, level + 1)
        state = state.changed(below=final.kept)
        if final.x is inner.x:
            return state, Outcome(-inf, 0, "the coarse level found no decrease")
        alpha = 1.0 if below.objective is None else transfer.scale  # a Galerkin model is f itself, not α f
        s = final.x - start
        outside = float(s.norm()) >= Displacement.edge * room
        step = Step(transfer.prolong(s), final.descent / alpha, outside)
        recorder.ledgers[level + 1].work(6.0 * transfer.nnz)  # the gradient and the point down, the step up
        state, trial, note = attempt(f, state, step, self.order, likely=below.objective is None)
        if trial.predicted > 10 * resolution(f, state):  # the ratio of smaller ones says nothing
            state = state.changed(globalization=state.globalization.after_coarse(trial))
        return state, Outcome(trial.ratio, 1, note)

    def _enough(self, inner: State, coarsest: bool) -> Stop:
        """When a coarse solve ends."""
        cycle = self.cycle
        tolerance = max(cycle.tolerance, cycle.reduction * inner.gradient_norm)
        stop: Stop = MaxIterations(cycle.iterations(coarsest)) | GradientNorm(tolerance)
        return stop | Stagnation(cycle.stagnation) if cycle.stagnation else stop
