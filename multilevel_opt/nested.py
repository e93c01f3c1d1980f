"""Nested iteration (full multigrid): the solution of a coarse level is the start of the level above.

    y_L = R … R x_0;   y_ℓ ≈ argmin f_ℓ from Q y_{ℓ+1} + K R … R x_0,  ℓ = L, …, 1;   x = Q y_1 + K x_0

The coarsest objective is minimized first. Q is the interpolation of iterates (``TransferOperator.lift``, cubic on
grids, so that the error it makes is no larger than that of the discretization; Brandt 1977; "mesh refinement" in
Gratton, Mouffe, Sartenaer, Toint & Tomanos 2010); K keeps entries that a level has for itself, and is zero on grids.
Between networks of different widths Q embeds the neurons and K keeps the input weights of the others, whose output
weights become zero, so that the function stays the same (``neurons.widths``). Every level is solved by the same
loop, with the levels below it. The result starts the finest level only where f is lower there than at x_0, so that
the run still descends from the point given. Where the coarsest objective falls without bound from R … R x_0, it is
tried once more from zero. An interruption, or a limit of seconds, breaks the ascent off at its last complete iteration;
what has come so far is then the start of the finest level, and what ``Ascent.data`` tells continues the ascent itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from multilevel_opt.ascent import Ascent, Data, OutOfTime
from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Status
from multilevel_opt.state import Kept, State
from multilevel_opt.stopping import Stop


def start(
    solver: Multilevel,
    f: Objective,
    x: Tensor,
    hierarchy: Hierarchy,
    recorder: Recorder,
    region: Region = EVERYWHERE,
    stop: Stop | None = None,
    known: Mapping[str, Any] | None = None,
    keep: Callable[[Callable[[], Data | None]], None] | None = None,
) -> tuple[State, Data | None]:
    """The first state of a run: at x, or where nested iteration leads if that is lower.

    Args:
        solver: the configuration; ``cycle.nested`` asks for nested iteration.
        f: the finest objective.
        x: start point, shape (n,).
        hierarchy: the levels.
        recorder: account of the run.
        region: where the iterates may go; nested iteration is for unbounded problems.
        stop: rules of the run. Limits of seconds hold on every level, and targets where lifting keeps the function.
        known: where to go on: what this function returned for an ascent that was broken off.
        keep: called after every iteration of the ascent with a function that returns what continues it from there.

    Returns:
        The state; and where the ascent was broken off, which the state then has as its failure, what continues it.

    Raises:
        NonFiniteError: f or its gradient is not finite at x and nested iteration led nowhere better.
        InputError: ``known`` is of another method or problem.
    """
    own = hierarchy.nested and all(level.objective is not None for level in hierarchy)
    if not (solver.cycle.nested and own and region is EVERYWHERE):
        if known is not None:
            raise InputError("the checkpoint was written on a coarse level: resume with the same method and levels")
        return solver.init(f, x, region=region), None
    ascent = Ascent(solver, x, hierarchy, recorder, stop or Stop(), keep)
    try:
        return _lower(solver, f, x, ascent.go(known)), None
    except (KeyboardInterrupt, OutOfTime) as broken:
        data = ascent.data()
        if data is None:
            raise KeyboardInterrupt from None
        state = _lower(solver, f, x, (data["x"], ()))
        ascent.rewind()
        late = isinstance(broken, OutOfTime)
        return state.changed(failure=Status.MAX_SECONDS if late else Status.INTERRUPTED), data


def _lower(solver: Multilevel, f: Objective, x: Tensor, found: tuple[Tensor, tuple[Kept, ...]] | None) -> State:
    """The state at the point found, or at x unless f is lower there; NaN keeps x."""
    if found is None or not float(f(found[0])) < float(f(x)):
        return solver.init(f, x)
    return solver.init(f, *found)
