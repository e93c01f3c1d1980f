"""From the words of the command line to values: targets, bytes, and the options that are a problem's parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from multilevel_opt import registry
from multilevel_opt.errors import InputError, MultilevelError
from multilevel_opt.study.folder import Spec

SMALL_GRAM = 1e8
_BYTES = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?", re.IGNORECASE)


def targets(words: Sequence[str]) -> dict[str, float]:
    """``name=value`` words as numbers by name; raises ``InputError``."""
    found: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{word!r} is not a target: write name=value, for example rmse=1e-3") from None
        if name in found:
            raise InputError(f"target {name!r} is given twice: give it once")
        found[name] = value
    return found


def settings(words: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words as options of a method: numbers, true and false, texts; raises ``InputError``."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name in found:
            raise InputError(f"{word!r} is not an option of its own: write name=value once, for example lr=0.01")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def in_bytes(text: str) -> float:
    """A size such as 4GiB, 500 MB or 1e9 (bytes); raises ``InputError``."""
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise InputError(f"memory {text!r} is not a size: write a number and a unit, for example 4GiB")
    power = " kmgt".index(match["unit"].lower() or " ")
    size = float(match["number"]) * (1024.0 if match["binary"] else 1000.0) ** power
    if size <= 0:
        raise InputError(f"memory {text!r} is out of range: give a positive size, for example 4GiB")
    return size


def positive(name: str, value: float | None) -> None:
    """Refuse a limit that is not a positive number."""
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"{name} {value:g} is out of range: give a positive number")


def with_options(
    spec: Spec, problem: type, seed: int | None, device: str, dtype: str | None
) -> tuple[Spec, tuple[str, ...]]:
    """The specification with seed, device and dtype as parameters of the problem, and remarks on what was ignored.

    Raises:
        InputError: a device that is not there, one that the problem does not take, or an option that contradicts
            a parameter.
    """
    known = registry.parameters(problem)
    words, remarks = list(spec.assignments), []
    named = {word.partition("=")[0] for word in words}
    chosen: str | None = available(device)
    if device == "auto" and (chosen == "cpu" or "device" in named):
        chosen = None
    for name, value in {"seed": seed, "device": chosen, "dtype": dtype}.items():
        if value is None or f"{name}={value}" in words:
            continue
        if name in named:
            raise InputError(f"{name} is given twice, as a parameter and as --{name} {value}: give it once")
        if name in known:
            words.append(f"{name}={value}")
        elif name == "seed":
            remarks.append(f"{problem.__name__} takes no seed: --seed has no effect")
        elif name == "dtype" or device not in ("auto", "cpu"):
            raise InputError(f"{problem.__name__} takes no {name}: leave --{name} {value} out")
    return replace(spec, assignments=tuple(words)), tuple(remarks)


def available(device: str) -> str:
    """The device by name, with ``auto`` resolved; raises ``InputError`` where it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = torch.device("meta")
    if found.type == "cpu":
        return "cpu"
    if found.type != "cuda":
        raise InputError(f"unknown device {device!r}: choose one of auto, cpu, cuda, cuda:N")
    if (found.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not available here: use --device cpu")
    return device


def few_threads(problem: Any) -> None:
    """Run a small problem on one thread: synchronizing several costs more than they bring.

    Small is a Gram matrix of fewer than 10⁸ products; larger problems keep the threads of the environment.
    """
    rows, columns = getattr(problem, "n_residuals", None), problem.x0.numel()
    if rows is not None and rows * columns * min(rows, columns) < SMALL_GRAM:
        torch.set_num_threads(1)
        threadpool_limits(1)


def sentence(error: Exception) -> str | None:
    """What to tell the user of an error that is not ours; None for one that is."""
    if isinstance(error, MultilevelError):
        return str(error)
    if hasattr(error, "format_message"):  # wrong usage of the command line
        return " ".join(str(error.format_message()).split())
    if isinstance(error, OSError):
        return f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return "the memory does not suffice: give a smaller --memory, so that less is held at once"
    return f"the problem's code failed: {registry.told(error)}" if registry.is_users(error) else None
