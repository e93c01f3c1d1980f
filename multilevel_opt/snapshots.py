"""A state as plain numbers and tensors, and back: what checkpoints hold of every level.

The model at the iterate is not stored, it is expanded anew. Whether the Jacobian of a deferred model had been computed
is, so that the account of a continued run is that of one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain, repeat
from typing import Any

from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.controller import Choice, Experience
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.linalg.operator import Deferred
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.result import Status
from multilevel_opt.state import Kept, State

PLAIN = ("loss", "wait", "interval", "gain", "contraction", "visits", "effective")  # fields that are numbers
FIELDS = {"x", "best_loss", "best_x", "globalization", "curvature", "phase", "experience", "formed", "failure", *PLAIN}
SAME = 1e-3  # relative difference of f at the stored point, above which the problem is another one


def told(state: State) -> dict[str, Any]:
    """The state as numbers, strings and tensors, with the keys ``FIELDS``."""
    return {
        "x": state.x,
        "best_loss": state.best[0],
        "best_x": state.best[1],
        **memories(state),
        **{name: getattr(state, name) for name in PLAIN},
        "phase": list(state.phase),
        "experience": None if state.experience is None else asdict(state.experience),
        "formed": formed(state.model),
        "failure": None if state.failure is None else state.failure.name,
    }


def retold(
    data: Mapping[str, Any],
    solver: Multilevel,
    f: Objective,
    sizes: Sequence[int],
    region: Region = EVERYWHERE,
    scale: float = 0.0,
) -> State:
    """The inverse of ``told``.

    Args:
        data: what ``told`` returned.
        solver: the same configuration.
        f: the same objective.
        sizes: unknowns of this level and those below.
        region: where the iterates may go.
        scale: of f, whose rounding does not count as a difference.

    Raises:
        InputError: another method or another objective.
    """
    try:
        kept = levels_known(solver, data, sizes)
    except KeyError as error:
        raise InputError(f"the checkpoint has no {error} of this method: resume with the same method") from error
    state = solver.init(f, data["x"], kept, region)
    if not abs(state.loss - data["loss"]) <= SAME * abs(data["loss"]) + 1e-10 * scale:
        raise InputError(
            f"the objective at the point of the checkpoint is {state.loss:g}, there it was {data['loss']:g}: "
            "resume the same problem"
        )
    if data["formed"] and state.model.normal is not None and isinstance(state.model.normal.jacobian, Deferred):
        _ = state.model.normal.jacobian.matrix
    return state.changed(
        best=(data["best_loss"], data["best_x"]),
        phase=tuple(data["phase"]),
        experience=_experience(data["experience"]),
        failure=None if data["failure"] is None else Status[data["failure"]],
        **{name: data[name] for name in PLAIN},
    )


def same_levels(data: Mapping[str, Any], hierarchy: Hierarchy) -> None:
    """Raises ``InputError`` where a checkpoint was written with another number of levels."""
    stored = len(data["snapshot"]["ledgers"])
    if stored != len(hierarchy):
        raise InputError(
            f"the checkpoint has {stored} levels, the hierarchy {len(hierarchy)}: resume with the same levels"
        )


def formed(model: Taylor) -> bool:
    """Whether a model needs no Jacobian any more that it does not have."""
    jacobian = None if model.normal is None else model.normal.jacobian
    return not isinstance(jacobian, Deferred) or jacobian.formed


def memories(state: State) -> dict[str, Any]:
    """What the levels keep, finest first, as lists of plain numbers and tensors."""
    return {
        "globalization": [kept.globalization.memory() for kept in state.kept],
        "curvature": [kept.curvature.learned() for kept in state.kept],
    }


def known(globalization: Any, memories: Sequence[Mapping[str, float]]) -> list[Any]:
    """The globalizations of all levels, finest first, with the numbers of ``Globalization.memory``."""
    kinds = chain([globalization], repeat(globalization.for_coarse()))
    return [kind.restored(memory) for kind, memory in zip(kinds, memories, strict=False)]


def levels_known(solver: Multilevel, data: Mapping[str, Any], sizes: Sequence[int]) -> tuple[Kept, ...]:
    """What the levels keep, finest first: the inverse of ``memories``."""
    curvatures = [solver.curvature.restored(*pair) for pair in zip(data["curvature"], sizes, strict=False)]
    globalizations = known(solver.globalization, data["globalization"])
    return tuple(Kept(*pair) for pair in zip(globalizations, curvatures, strict=True))


def _experience(data: Mapping[str, Any] | None) -> Experience | None:
    if data is None:
        return None
    return Experience(tuple(Choice(**choice) for choice in data["choices"]), data["run"], data["failed"])
