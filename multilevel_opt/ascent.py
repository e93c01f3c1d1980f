"""The way up of nested iteration (``nested.py``): every level is solved in turn, and where it stands can be stored.

A level is left when its rules say so, when the gate of its held-out rows does, or when the finest function meets a
target already. After every complete iteration ``Ascent.data`` tells all that the rest of the way depends on, so that an
ascent that was broken off goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.drive import drive
from multilevel_opt.errors import NonFiniteError
from multilevel_opt.gate import Gate
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event, Status
from multilevel_opt.snapshots import retold, same_levels, told
from multilevel_opt.state import Kept, State
from multilevel_opt.stopping import GradientNorm, MaxIterations, Progress, Stagnation, Stop, Unbounded, limits, targets

COARSEST = 1e-6  # the coarsest solve costs next to nothing, so it goes further than those above
PATIENCE = 30  # iterations of a plateau

Data = dict[str, Any]


class OutOfTime(Exception):
    """The limit of seconds was reached on a coarse level."""


@dataclass
class _Level:
    """Where the solve of a level stands.

    Attributes:
        number: of the level.
        zero: whether it is the second try of the coarsest level, from zero.
        state: after the last complete iteration.
        losses: f at the start and after every iteration.
        norm: of the first gradient.
        gate: the gate, or None.
    """

    number: int
    zero: bool
    state: State
    losses: list[float]
    norm: float
    gate: Gate | None

    @property
    def best(self) -> State:
        """What goes up if the level is left now."""
        return self.state if self.gate is None else self.gate.best


class Ascent:
    """From the coarsest level to the finest; the arguments are those of ``nested.start``."""

    def __init__(
        self,
        solver: Multilevel,
        x: Tensor,
        hierarchy: Hierarchy,
        recorder: Recorder,
        stop: Stop,
        keep: Callable[[Callable[[], Data | None]], None] | None = None,
    ) -> None:
        self._solver, self._hierarchy, self._recorder, self._keep = solver, hierarchy, recorder, keep
        self._transfers = [level.transfer for level in hierarchy if level.transfer is not None]
        self._same = all(transfer.same for transfer in self._transfers)
        self._limits, self._targets = limits(stop), targets(stop)
        self._given = [x]
        for transfer in self._transfers:
            self._given.append(transfer.restrict_point(self._given[-1]))
        self._last: tuple[Data, Tensor, dict[str, Any], list[Event]] | None = None

    def go(self, known: Mapping[str, Any] | None = None) -> tuple[Tensor, tuple[Kept, ...]] | None:
        """The lifted solution of level 1 with what all levels keep, or None where a level goes wrong."""
        level = None if known is None else self._restored(known)
        x, kept = self._given[-1], tuple[Kept, ...]()
        for number in range(len(self._transfers) if level is None else level.number, 0, -1):
            level = level or self._begun(x, kept, number)
            state = None if level is None else self._solved(level)
            if state is None and number == len(self._transfers) and not (level is not None and level.zero):
                level = self._begun(torch.zeros_like(self._given[-1]), (), number, zero=True)
                state = None if level is None else self._solved(level)
            transfer, level = self._transfers[number - 1], None
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

    def data(self) -> Data | None:
        """The last complete iteration as numbers, strings and tensors; None before the first level has begun."""
        if self._last is None:
            return None
        level, best, snapshot, history = self._last
        events = [event.as_dict() for event in history]
        return {"ascent": level, "x": self._lifted(best, level["level"]), "snapshot": snapshot, "history": events}

    def rewind(self) -> None:
        """Set the account back to the last complete iteration."""
        assert self._last is not None
        *_, snapshot, history = self._last
        self._recorder.history[:] = history
        self._recorder.restore(snapshot)

    def _mark(self, level: _Level) -> None:
        """Remember a complete iteration."""
        told_of = {
            "level": level.number,
            "zero": level.zero,
            "state": told(level.state),
            "losses": list(level.losses),
            "norm": level.norm,
            "gate": None if level.gate is None else level.gate.told(),
        }
        self._last = told_of, level.best.x, self._recorder.snapshot(), list(self._recorder.history)
        if self._keep is not None:
            self._keep(self.data)

    def _begun(self, x: Tensor, kept: tuple[Kept, ...], number: int, zero: bool = False) -> _Level | None:
        """The start of the solve of one level, or None where its objective is not finite."""
        f, held_out = self._objectives(number)
        try:
            state = self._solver.init(f, x, kept)
        except NonFiniteError:
            return None
        gate = None
        if held_out is not None and not self._reached(state, number):
            gate = Gate(held_out, self._solver.cycle.nested_overfit, state)
        return _Level(number, zero, state, [state.loss], state.gradient_norm, gate)

    def _restored(self, data: Mapping[str, Any]) -> _Level:
        """The level of ``data``; the account is set to what it was as well."""
        same_levels(data, self._hierarchy)
        own = data["ascent"]
        number, sizes = own["level"], self._hierarchy.sizes[own["level"] :]
        f, held_out = self._objectives(number)
        scale = max(map(abs, own["losses"]))
        state = retold(own["state"], self._solver, f, sizes, scale=scale)
        gate = None
        if held_out is not None and own["gate"] is not None:
            best = retold(own["gate"]["best"], self._solver, f, sizes, scale=scale)
            if torch.equal(best.x, state.x):  # one point has one model
                best = best.changed(model=state.model)
            gate = Gate.restored(own["gate"], held_out, self._solver.cycle.nested_overfit, best)
        self._recorder.history[:] = [Event(**event) for event in data["history"]]
        self._recorder.restore(data["snapshot"])
        return _Level(number, own["zero"], state, list(own["losses"]), own["norm"], gate)

    def _solved(self, level: _Level) -> State | None:
        """The end of the solve of one level, or None where its objective falls without bound or is not finite."""
        number, gate = level.number, level.gate
        if len(level.losses) == 1:
            self._mark(level)
            if self._reached(level.state, number):
                return level.state

        def after(now: State) -> bool:
            level.state = now
            left = self._left(level)
            self._mark(level)
            return left

        if len(level.losses) > 1 and (self._reached(level.state, number) or (gate is not None and gate.reason)):
            status, reason = Status.USER, ""  # broken off after its last iteration
        else:
            f, _ = self._objectives(number)
            level.state, (status, reason) = drive(
                self._solver,
                f,
                level.state,
                self._below(number),
                self._recorder,
                self._stop(level),
                number,
                after=after,
                losses=level.losses,
            )
        if status is Status.MAX_SECONDS:
            raise OutOfTime
        met = gate is not None and self._reached(level.state, number)
        if gate is not None:
            why = gate.reason or ("it meets the target" if met else reason)
            self._recorder.remark(f"left the level: {why}")
        if status in (Status.UNBOUNDED, Status.NON_FINITE):
            return None
        return level.state if met else level.best

    def _left(self, level: _Level) -> bool:
        if self._reached(level.state, level.number):
            return True
        return level.gate is not None and level.gate(level.state)

    def _stop(self, level: _Level) -> Stop:
        cycle = self._solver.cycle
        reduction = cycle.nested_reduction if self._below(level.number).levels else COARSEST
        stop = GradientNorm(reduction * level.norm) | MaxIterations(cycle.nested_iterations) | Unbounded()
        stop = stop | Stagnation(cycle.nested_stagnation, PATIENCE) if cycle.nested_stagnation else stop
        return stop | self._limits

    def _objectives(self, number: int) -> tuple[Objective, Objective | None]:
        """The objective of a level and that of its held-out rows, which record what they cost."""
        level, ledger = self._hierarchy.levels[number - 1], self._recorder.ledgers[number]
        assert level.objective is not None
        held_out = None if level.held_out is None else level.held_out.counted(ledger)
        return self._solver.seen(level.objective.counted(ledger), self._below(number)), held_out

    def _below(self, number: int) -> Hierarchy:
        """The hierarchy seen from a level."""
        levels = self._hierarchy.levels[number:]
        return replace(self._hierarchy, unknowns=self._hierarchy.sizes[number], levels=levels)

    def _lifted(self, x: Tensor, number: int) -> Tensor:
        """A point of a level on the finest."""
        for below in range(number, 0, -1):
            x = self._transfers[below - 1].lifted(x, self._given[below - 1])
        return x

    def _reached(self, state: State, number: int) -> bool:
        """Whether the finest function at the lifted iterate, which is the same function, meets a target of the run."""
        if not self._same:
            return False
        self._recorder.measure(self._lifted(state.x, number))
        seconds = self._recorder.clock.seconds()
        progress = Progress(0, state.loss, state.gradient_norm, seconds, self._recorder.metrics)
        return self._targets(progress) is not None
