"""The point from which a training goes on: weights, optimizer, order of the samples, random numbers, account."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multilevel_opt.checkpoint import stored
from multilevel_opt.errors import InputError
from multilevel_opt.result import Event

if TYPE_CHECKING:
    from multilevel_opt.training.run import Run

SCHEMA = 1


def pack(run: Run) -> dict[str, Any]:
    """Everything, as plain numbers, strings and tensors."""
    return {
        "schema": SCHEMA,
        "kind": "training",
        "module": run.module.state_dict(),
        "optimizer": run.opt.state_dict(),
        "sampler": run.sampler.state_dict(),
        "random": random_state(run.problem.x0.device),
        "place": {"epoch": run.epoch, "step": run.step, "loss": run.loss, "losses": list(run.losses)},
        "best": {"loss": run.best[0], "module": run.best[1]},
        "snapshot": run.recorder.snapshot(),
        "history": [event.as_dict() for event in run.recorder.history],
    }


def restore(run: Run, data: Mapping[str, Any]) -> None:
    """Inverse of ``pack``; an epoch that was recorded before its end is recorded again at its end."""
    from multilevel_opt.training.run import PART

    run.module.load_state_dict(data["module"])
    run.opt.load_state_dict(data["optimizer"])
    run.sampler.load_state_dict(data["sampler"])
    set_random_state(data["random"], run.problem.x0.device)
    place = data["place"]
    run.epoch, run.step, run.loss, run.losses = place["epoch"], place["step"], place["loss"], list(place["losses"])
    run.best = (data["best"]["loss"], data["best"]["module"])
    history = [Event(**event) for event in data["history"]]
    run.recorder.history[:] = history
    run.recorder.restore(data["snapshot"])
    if run.recorder.history and run.recorder.history[-1].note == PART:
        run.recorder.history.pop()
        run.losses.pop()


def load(path: Path, run: Run) -> dict[str, Any]:
    """Read a point of the same problem and method; raises ``InputError``."""
    data: dict[str, Any] = stored(path, run.problem.x0.device)
    if not isinstance(data, dict) or (data.get("schema"), data.get("kind")) != (SCHEMA, "training"):
        raise InputError(f"{path} is not a checkpoint of a training of schema {SCHEMA}: run the problem again")
    own = run.module.state_dict()
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in data["module"].items()}:
        raise InputError(f"the checkpoint {path} holds another network: resume the same problem")
    return data


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Where the random numbers of torch stand."""
    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Inverse of ``random_state``."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
