"""The folder of a run: how to run it again, its record, its history, its solution, its checkpoint.

============== =============================================================================================
run.json       the problem, the method and the limits: what ``resume`` and a reader need to run it again
result.json    the record of the run, as printed by ``--json``; absent while a run is going on
history.csv    every iteration of every level
solution.npz   points, network and exact values of the pictures, points of training (plain arrays)
checkpoint*.pt where the run stands (numbers, strings and tensors only)
*.png, *.gif   pictures, made from the files above
report.html    the report, made from them all
============== =============================================================================================

Every file is written beside its target and renamed.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from multilevel_opt.checkpoint import write_json, written
from multilevel_opt.errors import InputError
from multilevel_opt.result import Event
from multilevel_opt.solution_values import OF_POINTS, TEXTS

SCHEMA = 1
FILES = (
    "run.json",
    "result.json",
    "history.csv",
    "solution.npz",
    "checkpoint.pt",
    "checkpoint.stage.pt",
    "solution.png",
    "points.png",
    "film.gif",
    "convergence.png",
    "report.html",
)


@dataclass(frozen=True)
class Spec:
    """How to run it again, in the words of the command line.

    Attributes:
        problem: a registered name, or ``path.py:Class`` with an absolute path.
        assignments: ``name=value`` words.
        method: a key of ``METHODS``.
        levels: as for ``solve``.
        coarsening: as for ``solve``.
        curvature: as for ``solve``.
        until: targets.
        max_iterations: as for ``solve``.
        max_seconds: as for ``solve``.
        memory: as for ``solve``.
        options: of the method, by name.
    """

    problem: str
    assignments: tuple[str, ...] = ()
    method: str = "lm"
    levels: int | None = None
    coarsening: str | None = None
    curvature: str | None = None
    until: Mapping[str, float] = field(default_factory=dict)
    max_iterations: int = 1000
    max_seconds: float | None = None
    memory: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that runs it again."""
        words = ["mlopt", "solve", self.problem, *self.assignments, "--method", self.method]
        options = {"--levels": self.levels, "--coarsening": self.coarsening, "--curvature": self.curvature}
        limits = {"--max-iterations": self.max_iterations, "--max-seconds": self.max_seconds, "--memory": self.memory}
        words += _options(options)
        for name, value in self.options.items():
            words += ["--option", f"{name}={value}"]
        for name, value in self.until.items():
            words += ["--until", f"{name}={value:g}"]
        return shlex.join([*words, *_options(limits)])

    @classmethod
    def read(cls, path: Path) -> Spec:
        """The specification in a ``run.json``; raises ``InputError`` for anything else."""
        data = read_json(path)
        known = {f.name for f in fields(cls)}
        if data.pop("schema", None) != SCHEMA or not {"problem", "method"} <= set(data) <= known:
            raise InputError(f"{path} does not describe a run of schema {SCHEMA}: run the problem again with --out")
        wrong = [name for name, value in data.items() if not _valid(name, value)]
        if wrong:
            raise InputError(f"{path} has a {wrong[0]} that makes no sense: run the problem again with --out")
        data["assignments"] = tuple(data.get("assignments", ()))
        return cls(**data)

    def write(self, path: Path) -> Path:
        """Write ``run.json``."""
        return write_json(path, {"schema": SCHEMA, **asdict(self)})


class RunFolder:
    """The folder given by ``--out``: claimed before long work starts, given back if nothing comes of it.

    Args:
        path: the folder; it may exist already.

    Attributes:
        begun: whether this run has written into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = False
        self._made: list[Path] = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def claim(self) -> None:
        """Make the folder, and a file in it to see that one can; raises ``InputError``."""
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                self._made.append(folder)
            handle, probe = tempfile.mkstemp(dir=self.path, prefix=".probe-")
            os.close(handle)
            Path(probe).unlink()
        except OSError as error:
            self.release()
            raise InputError(f"cannot write to {self.path}: {error.strerror or error}; give another --out") from error

    def release(self) -> None:
        """Remove the folders made by ``claim`` that are still empty."""
        while self._made:
            try:
                self._made.pop().rmdir()
            except OSError:
                return

    @contextmanager
    def claimed(self, tell: Callable[[str], None]) -> Iterator[None]:
        """``claim``, then ``release``; who interrupts a run outside of its iterations is told how to continue."""
        self.claim()
        try:
            yield
        except KeyboardInterrupt:
            if self.begun:
                tell(f"interrupted: continue by 'mlopt resume {self.path}'")
            raise
        finally:
            self.release()

    def begin(self, spec: Spec, keep: Sequence[str] = ()) -> None:
        """Write ``run.json`` and remove what an earlier run has left, but for ``keep``."""
        for name in FILES:
            if name not in keep:
                (self.path / name).unlink(missing_ok=True)
        spec.write(self.path / "run.json")
        self.begun = True


def why_ended(record: Mapping[str, Any], spec: Spec, again: bool) -> str | None:
    """Why a run with this record has nothing left to do within the limits of ``spec``; None if it has.

    ``again``: the targets are not those of the record.
    """
    status, iterations, seconds = record.get("status"), record.get("iterations", 0), record.get("seconds", 0.0)
    if status == "interrupted" or again:
        return None
    if status == "max_iterations":
        goes_on = spec.max_iterations > iterations
        return None if goes_on else f"{iterations} iterations are the limit; raise --max-iterations"
    if status == "max_seconds":
        goes_on = spec.max_seconds is None or spec.max_seconds > seconds
        return None if goes_on else f"{spec.max_seconds:g} seconds are the limit; raise --max-seconds"
    return f"the run has ended, {record.get('message')}"


def write_history(path: Path, history: Sequence[Event]) -> Path:
    """Every event as a line of CSV; numbers as written by ``repr``, so that they are read back exactly."""
    metrics = sorted({name for event in history for name in event.metrics})
    plain = [f.name for f in fields(Event) if f.name not in ("metrics", "note")]

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow([*plain, *metrics, "note"])
            for event in history:
                values = [getattr(event, name) for name in plain]
                lines.writerow([*values, *(event.metrics.get(name, "") for name in metrics), event.note])

    return written(path, write)


def read_history(path: Path) -> list[Event]:
    """Inverse of ``write_history``; raises ``InputError``."""
    plain = [f for f in fields(Event) if f.name not in ("metrics", "note")]
    readers = {"int": int, "float": float, "str": str, "bool": lambda text: text == "True"}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            lines, header = list(reader), reader.fieldnames or []
        if not {f.name for f in fields(Event)} <= {*header, "metrics"}:
            raise ValueError("columns are missing")
        metrics = [name for name in header if name not in {f.name for f in fields(Event)}]
        return [
            Event(
                **{f.name: readers[str(f.type)](line[f.name]) for f in plain},  # type: ignore[operator]
                metrics={name: float(line[name]) for name in metrics if line[name]},
                note=line["note"],
            )
            for line in lines
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {type(error).__name__}; run the problem again with --out") from error


def write_solution(path: Path, values: Mapping[str, NDArray[Any]]) -> Path:
    """The arrays of a picture, without pickle."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **values)  # type: ignore[arg-type]

    return written(path, write)


def read_solution(path: Path) -> dict[str, NDArray[Any]] | None:
    """Inverse of ``write_solution``; None where there is no such file; raises ``InputError``."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as data:
            values = {name: np.asarray(data[name], dtype=None if name in TEXTS else float) for name in data.files}
        lengths = {len(values[name]) for name in OF_POINTS if name in values}
        if values["points"].ndim != 2 or len(lengths) != 1 or "network" not in values:
            raise InputError(f"{path} does not hold points, network and exact values: run the problem again")
        if any(values[name].dtype.kind != "U" for name in TEXTS if name in values):
            raise InputError(f"{path} has names that are no text: run the problem again")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(f"cannot read {path}: {type(error).__name__}; run the problem again with --out") from error
    return values


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object; raises ``InputError``."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InputError(f"cannot read {path}: {reason}; give a folder made by --out") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a JSON object: give a folder made by --out")
    return data


def _options(values: Mapping[str, float | str | None]) -> list[str]:
    words = []
    for name, value in values.items():
        if value is not None:
            words += [name, f"{value:.12g}" if isinstance(value, float) else str(value)]
    return words


def _valid(name: str, value: Any) -> bool:
    """Whether a value of ``run.json`` has the type that its field takes."""
    if name in ("levels", "coarsening", "curvature", "max_seconds", "memory") and value is None:
        return True
    if name in ("problem", "method", "coarsening", "curvature"):
        return isinstance(value, str)
    if name == "assignments":
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if name == "options":
        return isinstance(value, dict) and all(isinstance(item, str | int | float) for item in value.values())
    if name == "until":
        return isinstance(value, dict) and all(_valid("target", target) for target in value.values())
    kinds = (int,) if name in ("levels", "max_iterations") else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and isfinite(value)
