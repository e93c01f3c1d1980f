"""Checkpoints: a run can be stopped at any iteration and continued bit for bit on the same CPU.

Only numbers, strings and tensors are stored, read back with ``torch.load(weights_only=True)`` and checked
against the schema and the run. Every file is written beside its target and renamed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event
from multilevel_opt.state import Kept, State

SCHEMA = 1
FIELDS = {"iteration", "x", "loss", "best_loss", "best_x", "globalization", "curvature", "snapshot", "history"}
FIELDS |= {"wait", "visits", "interval", "phase", "gain", "contraction"}
SAME = 1e-3  # relative difference of f at the stored point, above which the problem is another one


def written(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def write_json(path: Path, data: Mapping[str, Any]) -> Path:
    """Write one JSON object; NaN and Inf become null, as JSON has neither."""
    text = json.dumps(finite(data), indent=2, allow_nan=False)
    return written(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def finite(value: Any) -> Any:
    """The same structure with non-finite numbers replaced by None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return None
    return value


def save(path: Path, state: State, recorder: Recorder, iteration: int) -> Path:
    """Write the checkpoint of a run after ``iteration`` iterations of the finest level."""
    data = {
        "schema": SCHEMA,
        "iteration": iteration,
        "x": state.x,
        "loss": state.loss,
        "best_loss": state.best[0],
        "best_x": state.best[1],
        **memories(state),
        "wait": state.wait,
        "interval": state.interval,
        "phase": list(state.phase),
        "gain": state.gain,
        "contraction": state.contraction,
        "visits": state.visits,
        "snapshot": recorder.snapshot(),
        "history": [event.as_dict() for event in recorder.history],
    }
    return store(path, data)


def store(path: Path, data: Mapping[str, Any]) -> Path:
    """Write numbers, strings and tensors, beside the target first."""
    buffer = io.BytesIO()  # so that a full disk is an OSError, as for every other file
    torch.save(dict(data), buffer)
    return written(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def stored(path: Path, device: torch.device) -> Any:
    """The numbers, strings and tensors of a file; raises ``InputError`` where it cannot be read."""
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise InputError(
            f"cannot read the checkpoint {path}: {type(error).__name__}; give a folder made by --out"
        ) from error


def load(path: Path, like: Tensor) -> dict[str, Any]:
    """Read a checkpoint for a problem whose start point is ``like``.

    Raises:
        InputError: the file is missing, not a checkpoint, of another schema, or of another problem.
    """
    data: dict[str, Any] = stored(path, like.device)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not data.keys() >= FIELDS:
        raise InputError(f"{path} is not a checkpoint of schema {SCHEMA}: run the problem again")
    if any(data[name].shape != like.shape or data[name].dtype != like.dtype for name in ("x", "best_x")):
        raise InputError(
            f"the checkpoint {path} holds {tuple(data['x'].shape)} {data['x'].dtype}, "
            f"the problem has {tuple(like.shape)} {like.dtype}: resume the same problem"
        )
    return data


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


def restored(
    data: Mapping[str, Any],
    solver: Multilevel,
    f: Objective,
    hierarchy: Hierarchy,
    recorder: Recorder,
    region: Region = EVERYWHERE,
) -> State:
    """The state of a checkpoint; the recorder is set to its account as well."""
    if len(data["snapshot"]["ledgers"]) != len(hierarchy):
        raise InputError(
            f"the checkpoint has {len(data['snapshot']['ledgers'])} levels, the hierarchy {len(hierarchy)}: "
            "resume with the same levels"
        )
    try:
        kept = levels_known(solver, data, hierarchy.sizes)
    except KeyError as error:
        raise InputError(f"the checkpoint has no {error} of this method: resume with the same method") from error
    if any(bool((region.nearest(data[name]) != data[name]).any()) for name in ("x", "best_x")):
        raise InputError("the point of the checkpoint is outside the bounds: resume with the same bounds")
    state = solver.init(f, data["x"], kept, region)
    rounding = 1e-10 * max((abs(event["loss"]) for event in data["history"]), default=0.0)
    if not abs(state.loss - data["loss"]) <= SAME * abs(data["loss"]) + rounding:
        raise InputError(
            f"the objective at the point of the checkpoint is {state.loss:g}, there it was {data['loss']:g}: "
            "resume the same problem"
        )
    recorder.history[:] = [Event(**event) for event in data["history"]]
    recorder.restore(data["snapshot"])
    return replace(
        state,
        loss=data["loss"],
        best=(data["best_loss"], data["best_x"]),
        wait=data["wait"],
        interval=data["interval"],
        phase=(data["phase"][0], data["phase"][1]),
        gain=data["gain"],
        contraction=data["contraction"],
        visits=data["visits"],
    )
