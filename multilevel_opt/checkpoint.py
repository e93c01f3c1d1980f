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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multilevel_opt import snapshots
from multilevel_opt.bounds import EVERYWHERE, Region
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.base import Objective
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event
from multilevel_opt.snapshots import retold, same_levels
from multilevel_opt.state import State

SCHEMA = 2
POINTS = ("x", "best_x")
ASCENT = {"ascent", "x", "snapshot", "history"}  # of a run on its way up through the coarse levels
FIELDS = {"losses", "refiner", "snapshot", "history", *snapshots.FIELDS}


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


def save(path: Path, state: Mapping[str, Any], recorder: Recorder, losses: Sequence[float]) -> Path:
    """Write the checkpoint of a run.

    Args:
        path: where.
        state: as ``snapshots.told`` gives it.
        recorder: account of the run.
        losses: f at the start and after every iteration of the finest level.
    """
    data = {
        "schema": SCHEMA,
        **state,
        "losses": list(losses),
        "snapshot": recorder.snapshot(),
        "history": [event.as_dict() for event in recorder.history],
    }
    return store(path, data)


def save_ascent(path: Path, data: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a run that is on its way up through the coarse levels, see ``Ascent.data``."""
    return store(path, {"schema": SCHEMA, **data})


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
    known = isinstance(data, dict) and data.get("schema") == SCHEMA
    if not known or not data.keys() >= (ASCENT if "ascent" in data else FIELDS):
        raise InputError(f"{path} is not a checkpoint of schema {SCHEMA}: run the problem again")
    if any(data[name].shape != like.shape or data[name].dtype != like.dtype for name in data if name in POINTS):
        raise InputError(
            f"the checkpoint {path} holds {tuple(data['x'].shape)} {data['x'].dtype}, "
            f"the problem has {tuple(like.shape)} {like.dtype}: resume the same problem"
        )
    return data


def restored(
    data: Mapping[str, Any],
    solver: Multilevel,
    f: Objective,
    hierarchy: Hierarchy,
    recorder: Recorder,
    region: Region = EVERYWHERE,
) -> State:
    """The state of a checkpoint; the recorder is set to its account as well."""
    same_levels(data, hierarchy)
    if any(bool((region.nearest(data[name]) != data[name]).any()) for name in POINTS):
        raise InputError("the point of the checkpoint is outside the bounds: resume with the same bounds")
    scale = max((abs(event["loss"]) for event in data["history"]), default=0.0)
    state = retold(data, solver, f, hierarchy.sizes, region, scale)
    recorder.history[:] = [Event(**event) for event in data["history"]]
    recorder.restore(data["snapshot"])
    return state
