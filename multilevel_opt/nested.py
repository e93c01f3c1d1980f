"""Nested iteration (full multigrid): the solution of a coarse level is the start of the level above.

    y_L = R … R x_0;   y_ℓ ≈ argmin f_ℓ from Q y_{ℓ+1} + K R … R x_0,  ℓ = L, …, 1;   x = Q y_1 + K x_0

The coarsest objective is minimized first. Q is the interpolation of iterates (``TransferOperator.lift``, cubic on
grids, so that the error it makes is no larger than that of the discretization; Brandt 1977; "mesh refinement" in
Gratton, Mouffe, Sartenaer, Toint & Tomanos 2010); K keeps entries that a level has for itself, and is zero on grids.
Between networks of different widths Q embeds the neurons and K keeps the input weights of the others, whose output
weights become zero, so that the function stays the same (``neurons.widths``). Every level is solved by the same
loop, with the levels below it. The result starts the finest level only where f is lower there than at x_0, so that
the run still descends from the point given. Where the coarsest objective falls without bound from R … R x_0, it is
tried once more from zero.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.drive import drive
from multilevel_opt.errors import NonFiniteError
from multilevel_opt.gate import Gate
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Status
from multilevel_opt.state import Kept, State
from multilevel_opt.stopping import GradientNorm, MaxIterations, Progress, Stagnation, Stop, Unbounded, limits, targets

COARSEST = 1e-6  # the coarsest solve costs next to nothing, so it goes further than those above
PATIENCE = 30  # iterations of a plateau


def start(
    solver: Multilevel,
    f: Objective,
    x: Tensor,
    hierarchy: Hierarchy,
    recorder: Recorder,
    region: Region = EVERYWHERE,
    stop: Stop | None = None,
) -> State:
    """The first state of a run: at x, or where nested iteration leads if that is lower.

    Args:
        solver: the configuration; ``cycle.nested`` asks for nested iteration.
        f: the finest objective.
        x: start point, shape (n,).
        hierarchy: the levels.
        recorder: account of the run.
        region: where the iterates may go; nested iteration is for unbounded problems.
        stop: rules of the run. Limits of seconds hold on every level, and targets where lifting keeps the function.

    Raises:
        NonFiniteError: f or its gradient is not finite at x and nested iteration led nowhere better.
    """
    own = hierarchy.nested and all(level.objective is not None for level in hierarchy)
    wanted = solver.cycle.nested and own and region is EVERYWHERE
    found = _Ascent(solver, x, hierarchy, recorder, stop or Stop()).go() if wanted else None
    if found is None:
        return solver.init(f, x, region=region)
    lifted, kept = found
    value, given = float(f(lifted)), float(f(x))
    if not value < given:  # NaN keeps the point given
        return solver.init(f, x)
    return solver.init(f, lifted, kept)


class _Ascent:
    """From the coarsest level to the finest."""

    def __init__(self, solver: Multilevel, x: Tensor, hierarchy: Hierarchy, recorder: Recorder, stop: Stop) -> None:
        self._solver, self._hierarchy, self._recorder = solver, hierarchy, recorder
        self._transfers = [level.transfer for level in hierarchy if level.transfer is not None]
        self._same = all(transfer.same for transfer in self._transfers)
        self._limits, self._targets = limits(stop), targets(stop)
        self._given = [x]
        for transfer in self._transfers:
            self._given.append(transfer.restrict_point(self._given[-1]))

    def go(self) -> tuple[Tensor, tuple[Kept, ...]] | None:
        """The lifted solution of level 1 with what all levels keep, or None where a level goes wrong."""
        x, kept = self._given[-1], tuple[Kept, ...]()
        for number in range(len(self._transfers), 0, -1):
            rest = replace(
                self._hierarchy,
                unknowns=self._hierarchy.sizes[number],
                levels=self._hierarchy.levels[number:],
            )
            state = self._solved(x, rest, kept, number)
            if state is None and not rest.levels:
                state = self._solved(torch.zeros_like(x), rest, (), number)
            transfer = self._transfers[number - 1]
            if state is None or transfer.lift is None:
                return None
            self._recorder.ledgers[number].work(2.0 * transfer.lift.nnz)
            x = transfer.lifted(state.x, self._given[number - 1])
            if transfer.keeps is None:  # otherwise the level above has unknowns of its own and starts anew
                own = Kept(state.globalization.refined(transfer.norm()), self._solver.curvature)
                if transfer.P.identity:
                    own = replace(own, globalization=own.globalization.restarted(state.model))
                kept = (own, *state.kept)
        return x, kept

    def _solved(self, x: Tensor, rest: Hierarchy, kept: tuple[Kept, ...], number: int) -> State | None:
        """The end of the solve of one level, or None where its objective is not finite or falls without bound."""
        level, cycle = self._hierarchy.levels[number - 1], self._solver.cycle
        objective = level.objective
        assert objective is not None
        ledger = self._recorder.ledgers[number]
        f = objective.counted(ledger)
        try:
            state = self._solver.init(f, x, kept)
        except NonFiniteError:
            return None
        if self._reached(state, number):
            return state
        gate = None if level.held_out is None else Gate(level.held_out.counted(ledger), cycle.nested_overfit, state)
        reduction = cycle.nested_reduction if rest.levels else COARSEST
        stop = GradientNorm(reduction * state.gradient_norm) | MaxIterations(cycle.nested_iterations) | Unbounded()
        if cycle.nested_stagnation:
            stop = stop | Stagnation(cycle.nested_stagnation, PATIENCE)
        state, (status, reason) = drive(
            self._solver,
            f,
            state,
            rest,
            self._recorder,
            stop | self._limits,
            number,
            after=lambda now: self._reached(now, number) or (gate is not None and gate(now)),
        )
        if gate is not None:
            state = state if self._reached(state, number) else gate.best
            self._recorder.remark(f"left the level: {gate.reason or reason}")
        return None if status in (Status.UNBOUNDED, Status.NON_FINITE) else state

    def _reached(self, state: State, number: int) -> bool:
        """Whether the finest function at the lifted iterate, which is the same function, meets a target of the run."""
        if not self._same:
            return False
        x = state.x
        for below in range(number, 0, -1):
            x = self._transfers[below - 1].lifted(x, self._given[below - 1])
        self._recorder.measure(x)
        seconds = self._recorder.clock.seconds()
        progress = Progress(0, state.loss, state.gradient_norm, seconds, self._recorder.metrics)
        return self._targets(progress) is not None
