"""More rows for a finest level that overfits, where its objective can have more.

The finest level is watched like the levels below it (``gate.py``): when it fits its own rows and no others, or ends
while it does, the run goes on with as many rows again, from the point of the lowest held-out loss and with λ as at a
change of level. So no number of points has to be chosen; a level that does not overfit keeps its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.gate import Gate
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.result import Status
from multilevel_opt.snapshots import retold
from multilevel_opt.state import Kept, State
from multilevel_opt.stopping import Progress, Stop, Verdict
from multilevel_opt.subproblem.router import CANDIDATES, plan

ENDS = (Status.GRADIENT, Status.STALLED)  # of a level that may only have fitted its rows
REMARKED = 9.0  # held-out over training loss, above which such an end is none
NEGLIGIBLE = 1e-8  # held-out loss, relative to that at the start, below which it is one all the same


class Refiner(Stop):
    """Watches the finest level of one run; as a stopping rule it ends a solve that is to go on with more rows.

    Args:
        solver: the configuration; ``cycle.refine`` says how often.
        f: the finest objective.
        held_out: the loss of rows that it does not train on.
        gate: at the start of the run.
    """

    def __init__(self, solver: Multilevel, f: Objective, held_out: Objective, gate: Gate) -> None:
        self._solver, self._f, self._held_out, self._gate = solver, f, held_out, gate
        self._first, self._points, self._most = gate.last[0], list[Tensor](), solver.cycle.refine

    @classmethod
    def of(
        cls,
        solver: Multilevel,
        f: Objective,
        state: State,
        sizes: Sequence[int],
        known: Mapping[str, Any] | None = None,
    ) -> Refiner | None:
        """A refiner where the solver refines and f has rows in reserve; None elsewhere.

        Args:
            solver: the configuration.
            f: the finest objective, as it is at ``state``.
            state: where the run stands.
            sizes: unknowns of all levels, finest first.
            known: what ``told`` returned for the same run, or None at its start.
        """
        held_out = f.held_out() if solver.cycle.refine else None
        if held_out is None:
            return None
        if known is None:
            return cls(solver, f, held_out, Gate(held_out, solver.cycle.nested_overfit, state))
        best = retold(known["gate"]["best"], solver, f, sizes, state.region)
        made = cls(solver, f, held_out, Gate.restored(known["gate"], held_out, solver.cycle.nested_overfit, best))
        made._first, made._points, made._most = known["first"], list(known["points"]), known["most"]
        return made

    def told(self) -> dict[str, Any]:
        """What it has seen and done, as numbers, strings and tensors."""
        return {"first": self._first, "points": list(self._points), "most": self._most, "gate": self._gate.told()}

    def __call__(self, progress: Progress) -> Verdict | None:
        rounding = torch.finfo(self._gate.best.x.dtype).eps * self._first
        due = self._gate.reason and self._left and self._gate.last[0] > rounding
        return (Status.USER, self._gate.reason) if due else None

    def saw(self, state: State) -> None:
        """Judge the state after an iteration."""
        if self._left and not self._gate.reason:
            self._gate(state)

    def wants(self, verdict: Verdict) -> bool:
        """Whether a solve that ended so goes on with more rows."""
        held, loss = self._gate.last
        overfitted = verdict[0] in ENDS and held > max(REMARKED * loss, NEGLIGIBLE * self._first)
        return self._left and (overfitted or verdict == (Status.USER, self._gate.reason))

    def refined(self) -> tuple[Objective, State, str] | None:
        """The objective with more rows, the state where its solve starts, and a remark; None if there are no more."""
        best, before = self._gate.best, _rows(self._f)
        f = self._f.refined(best.x, len(self._points))
        if f is None or not bool(torch.isfinite(f(best.x))) or not _fits(f, best.x):
            self._most = len(self._points)
            return None
        kept = (Kept(best.globalization, self._solver.curvature), *best.below)
        state = self._solver.init(f, best.x, kept, best.region)
        state = state.changed(
            globalization=state.globalization.restarted(state.model),
            experience=best.experience,
            effective=best.effective,
        )
        why = self._gate.reason or "it ended overfitted"
        self._points.append(best.x)
        self._f, self._gate = f, Gate(self._held_out, self._solver.cycle.nested_overfit, state)
        return f, state, f"{_rows(f) - before} rows added to {before}: {why}"

    @property
    def _left(self) -> bool:
        return len(self._points) < self._most


def replayed(f: Objective, known: Mapping[str, Any] | None) -> Objective:
    """The objective with the rows that a run has got so far, as ``Refiner.told`` has them."""
    for number, x in enumerate(known["points"] if known is not None else ()):
        found = f.refined(x, number)
        if found is None:
            raise InputError("the checkpoint is of a run with more rows: resume the same problem")
        f = found
    return f


def _rows(f: Objective) -> int:
    return f.evaluated_rows if isinstance(f, LeastSquares) else 0


def _fits(f: Objective, x: Tensor) -> bool:
    """Whether steps get direct linear algebra, if they had it before."""
    if not isinstance(f, LeastSquares) or f.matrix_free:
        return True
    return CANDIDATES[plan(f.evaluated_rows, x.numel(), x.element_size(), f.memory).form].direct
