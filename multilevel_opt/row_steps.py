"""Levenberg–Marquardt on levels of fewer rows: nested iteration first, then steps with the rows of a coarse level.

A *coarse-row step* from x minimizes the model

    f(x) + ∇f(x)ᵀs + ½‖J_c s‖² + ½λ‖s‖²,

whose gradient is that of all rows and whose Gauss–Newton matrix is that of m_c of them: the first step of
Levenberg–Marquardt for the coherent coarse function ½‖r_c(x + s)‖² + ⟨∇f − ∇f_c, s⟩ (docs/theory.md, "Row levels").
Trial points are judged by f itself, and λ moves as in a Taylor step. It needs the value and the gradient of f, and
of J only m_c rows. That is enough while m_c is several times the effective dimension d(λ) = Σ s_i²/(s_i² + λ): the
coarsest level with m_c ≥ 2.5 d(λ) is taken, and none where there is no such level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from multilevel_opt.controller import Controller
from multilevel_opt.hierarchy import Hierarchy, Level
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.effective import effective_dimension
from multilevel_opt.linalg.operator import Dense
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.recorder import Recorder
from multilevel_opt.state import Outcome, State
from multilevel_opt.transfer.operator import TransferOperator

ENOUGH = 2.5  # rows of a coarse level for every effective dimension (theory, "Row levels")
TRIALS = 12  # of a coarse-row step, at most
AGING = 0.8  # of the effective dimension at a Taylor step, so that it is measured again when λ has moved
CHOICES = 2  # Taylor step, coarse-row step


@dataclass(frozen=True)
class RowLevels(Multilevel):
    """The loop with coarse-row steps; on one level it is ``Multilevel``.

    Attributes:
        controller: chooses between Taylor steps and coarse-row steps.
    """

    controller: Controller = field(default_factory=Controller)

    def seen(self, f: Objective, hierarchy: Hierarchy) -> Objective:
        return f.deferred() if hierarchy.levels else f

    def cost(self, recorder: Recorder) -> float:
        return recorder.clock.seconds() if self.controller.seconds else recorder.flops

    def _useful_transfer(self, f: Objective, state: State, hierarchy: Hierarchy) -> TransferOperator | None:
        usable = self._sufficient(state, hierarchy)
        if not usable or self.controller.choose(state.experience, (True, True)) == 0:
            return None
        return hierarchy.levels[usable[0]].transfer

    def _sufficient(self, state: State, hierarchy: Hierarchy) -> list[int]:
        """The levels that may have enough rows for the effective dimension, the coarsest first."""
        enough = ENOUGH * state.effective
        return [
            number
            for number, level in reversed(list(enumerate(hierarchy.levels)))
            if (level.rows or 0) > enough and level.transfer is not None and level.transfer.P.identity
        ]

    def _paced(self, state: State, spent: tuple[float, float], coarse: bool) -> State:
        known = self.controller.learned(state.experience, CHOICES, int(coarse), *spent)
        return replace(state, experience=known, effective=state.effective * (1.0 if coarse else AGING))

    def _coarse(
        self,
        f: Objective,
        state: State,
        hierarchy: Hierarchy,
        transfer: TransferOperator,
        recorder: Recorder,
        level: int,
    ) -> tuple[State, Outcome]:
        """One step with the Gauss-Newton matrix of the coarsest level that is good enough, and the gradient of f."""
        ledgers: Sequence[Ledger] = recorder.ledgers[level + 1 :]
        state = replace(state, moved=False, visits=state.visits + 1)
        for number in self._sufficient(state, hierarchy):
            below = hierarchy.levels[number]
            model = self._surrogate(state, below, ledgers[number])
            state = replace(state, effective=self._dimension(state, model, ledgers[number]))
            if (below.rows or 0) >= ENOUGH * state.effective:
                break
        else:
            return state, Outcome(-inf, 0, f"too few rows below for the effective dimension {state.effective:.0f}")
        brief = self.replace(cycle=replace(self.cycle, max_trials=TRIALS))
        after, outcome = brief._taylor(f, replace(state, model=model, prepared=None), hierarchy, ledgers)
        outcome = replace(outcome, note=outcome.note or f"with {below.kind}, effective dimension {state.effective:.0f}")
        if after.moved:
            return after, outcome
        return replace(state, best=after.best), outcome  # a failure says nothing of the model of all rows

    def _surrogate(self, state: State, below: Level, ledger: Ledger) -> Taylor:
        assert below.objective is not None
        own = state.curvature.expand(below.objective.counted(ledger), state.x, self.order)
        return own + (state.model.truncated(1) - own.truncated(1))

    def _dimension(self, state: State, model: Taylor, ledger: Ledger) -> float:
        """The effective dimension at the present λ; without a matrix that of the last time, or of λ = 0."""
        normal, damping = model.normal, state.globalization.scalar
        if normal is None or not isinstance(normal.jacobian, Dense) or not damping > 0:
            return state.effective
        return effective_dimension(normal.jacobian.matrix, damping, ledger)
