"""Nested iteration (full multigrid): the solution of a coarse level is the start of the level above.

    y_L = R … R x_0;   y_ℓ ≈ argmin f_ℓ from Q y_{ℓ+1},  ℓ = L, …, 1;   x = Q y_1

The coarsest objective is minimized first. Q is the interpolation of iterates (``TransferOperator.lift``, cubic on
grids, so that the error it makes is no larger than that of the discretization; Brandt 1977; "mesh refinement" in
Gratton, Mouffe, Sartenaer, Toint & Tomanos 2010). Every level is solved by the same loop, with the levels below it.
The result starts the finest level only where f is lower there than at x_0, so that the run still descends from the
point given. Where the coarsest objective falls without bound from R … R x_0, it is tried once more from zero.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.drive import drive
from multilevel_opt.errors import NonFiniteError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Status
from multilevel_opt.state import Kept, State
from multilevel_opt.stopping import GradientNorm, MaxIterations, Stop, Unbounded

COARSEST = 1e-6  # the coarsest solve costs next to nothing, so it goes further than those above


def start(
    solver: Multilevel,
    f: Objective,
    x: Tensor,
    hierarchy: Hierarchy,
    recorder: Recorder,
    region: Region = EVERYWHERE,
    limits: Stop | None = None,
) -> State:
    """The first state of a run: at x, or where nested iteration leads if that is lower.

    Args:
        solver: the configuration; ``cycle.nested`` asks for nested iteration.
        f: the finest objective.
        x: start point, shape (n,).
        hierarchy: the levels.
        recorder: account of the run.
        region: where the iterates may go; nested iteration is for unbounded problems.
        limits: rules that end a solve on a coarse level early, such as a limit of seconds.

    Raises:
        NonFiniteError: f or its gradient is not finite at x and nested iteration led nowhere better.
    """
    own = hierarchy.nested and all(level.objective is not None for level in hierarchy)
    wanted = solver.cycle.nested and own and region is EVERYWHERE
    found = _refined(solver, x, hierarchy, recorder, limits) if wanted else None
    if found is None:
        return solver.init(f, x, region=region)
    lifted, kept = found
    value, given = float(f(lifted)), float(f(x))
    if not value < given:  # NaN keeps the point given
        return solver.init(f, x)
    return solver.init(f, lifted, kept)


def _refined(
    solver: Multilevel, x: Tensor, hierarchy: Hierarchy, recorder: Recorder, limits: Stop | None
) -> tuple[Tensor, tuple[Kept, ...]] | None:
    """The lifted solution of level 1 with what all levels keep, or None where a level goes wrong."""
    transfers = [level.transfer for level in hierarchy]
    for transfer in transfers:
        assert transfer is not None
        x = transfer.restrict_point(x)
    kept: tuple[Kept, ...] = ()
    for number in range(len(transfers), 0, -1):
        rest = replace(hierarchy, unknowns=hierarchy.sizes[number], levels=hierarchy.levels[number:])
        state = _solved(solver, x, hierarchy, rest, kept, recorder, limits, number)
        if state is None and not rest.levels:
            state = _solved(solver, torch.zeros_like(x), hierarchy, rest, (), recorder, limits, number)
        transfer = transfers[number - 1]
        if state is None or transfer is None or transfer.lift is None:
            return None
        recorder.ledgers[number].work(2.0 * transfer.lift.nnz)
        x = transfer.lift.matvec(state.x)
        own = Kept(state.globalization.refined(transfer.norm()), solver.curvature)
        kept = (own, *state.kept)
    return x, kept


def _solved(
    solver: Multilevel,
    x: Tensor,
    hierarchy: Hierarchy,
    rest: Hierarchy,
    kept: tuple[Kept, ...],
    recorder: Recorder,
    limits: Stop | None,
    number: int,
) -> State | None:
    """The end of the solve of one level, or None where its objective is not finite or falls without bound."""
    objective = hierarchy.levels[number - 1].objective
    assert objective is not None
    f = objective.counted(recorder.ledgers[number])
    try:
        state = solver.init(f, x, kept)
    except NonFiniteError:
        return None
    reduction = solver.cycle.nested_reduction if rest.levels else COARSEST
    stop = GradientNorm(reduction * state.gradient_norm) | MaxIterations(solver.cycle.nested_iterations) | Unbounded()
    state, (status, _) = drive(solver, f, state, rest, recorder, stop if limits is None else stop | limits, number)
    return None if status in (Status.UNBOUNDED, Status.NON_FINITE) else state
