"""Where problems come from: an entry point of the group ``multilevel_opt.problems``, or a class in a user's file.

Parameters are given as ``name=value``. Their names, types and defaults are those of the class: the fields of a
dataclass, or the arguments of its constructor.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import torch

from multilevel_opt.errors import InputError, MultilevelError
from multilevel_opt.problem import Problem, completed

GROUP = "multilevel_opt.problems"
REQUIRED = object()
MODULE = "multilevel_opt_user_"  # modules made of users' files


@dataclass(frozen=True)
class Parameter:
    """A parameter of a problem.

    Attributes:
        name: as given on the command line.
        kinds: the types it takes, tried in order; None: the word ``none``.
        default: its value where none is given; ``REQUIRED`` where one must be.
    """

    name: str
    kinds: tuple[Any, ...]
    default: Any = REQUIRED

    def parse(self, text: str) -> Any:
        """The value that ``text`` stands for; raises ``InputError``."""
        for kind in self.kinds:
            reader = _READERS.get(kind)
            if reader is not None:
                value = reader(text)
                if value is not _NO:
                    return value
        names = " or ".join(_KIND_NAMES[kind] for kind in self.kinds if kind in _READERS)
        raise InputError(f"{self.name}={text} is not {names or 'a value that can be given here'}: correct it")

    def __str__(self) -> str:
        if self.default is REQUIRED:
            return f"{self.name} (required)"
        return f"{self.name}={'none' if self.default is None else self.default}"


def load(name: str, say: Callable[[str], None] = lambda text: None) -> type:
    """The class of a problem.

    Args:
        name: a registered name, or ``path.py:Class``, whose code is then run.
        say: called with the remark that a file is run.

    Raises:
        InputError: there is no such problem, or it cannot be loaded.
    """
    if is_file(name):
        path, _, attribute = _split(name)
        return _from_file(Path(path), attribute, say)
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none are installed"
        raise InputError(f"unknown problem {name!r}: choose one of {known}; or give path.py:Class")
    return loaded(points[name])


def is_file(name: str) -> bool:
    """Whether a problem is named by a user's file."""
    return ".py:" in name or name.endswith(".py")


def absolute(name: str, folder: Path = Path()) -> str:
    """The problem named in ``folder``, as it is named from any folder."""
    if not is_file(name):
        return name
    path, colon, attribute = _split(name)
    return f"{(folder / path).resolve()}{colon}{attribute}"


def short(name: str) -> str:
    """The problem's name without the folders of its file."""
    return name.rpartition(os.sep)[2] if is_file(name) else name


def parameters(problem: type) -> dict[str, Parameter]:
    """The parameters of a problem class, by name."""
    hints = _hints(problem)
    signature = inspect.signature(problem)
    usable = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        p.name: Parameter(p.name, _kinds(hints.get(p.name)), REQUIRED if p.default is p.empty else p.default)
        for p in signature.parameters.values()
        if p.kind in usable
    }


def parse(problem: type, assignments: Sequence[str]) -> dict[str, Any]:
    """Values of ``name=value`` words; raises ``InputError`` for an unknown name or a value of the wrong type."""
    known = parameters(problem)
    values: dict[str, Any] = {}
    for word in assignments:
        name, equals, text = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} is not a parameter: write name=value")
        if name not in known:
            names = ", ".join(map(str, known.values())) or "none"
            raise InputError(f"unknown parameter {name!r} of {problem.__name__}: the parameters are {names}")
        if name in values:
            raise InputError(f"parameter {name!r} is given twice: give it once")
        values[name] = known[name].parse(text)
    return values


def make(problem: type, values: Mapping[str, Any]) -> Problem:
    """The problem with the given parameters; raises ``InputError`` for values it refuses or parts it lacks."""
    known = parameters(problem)
    lacking = [p.name for p in known.values() if p.default is REQUIRED and p.name not in values]
    if lacking:
        raise InputError(f"{problem.__name__} needs a value for {', '.join(lacking)}: write {lacking[0]}=value")
    try:
        made = completed(problem(**values), {p.name: p.default for p in known.values()} | dict(values))
    except MultilevelError:
        raise
    except Exception as error:
        raise InputError(f"{problem.__name__} cannot be made: {told(error)}") from error
    return made


def is_users(error: BaseException) -> bool:
    """Whether an exception passed through the code of a user's file."""
    return any(frame.f_globals.get("__name__", "").startswith(MODULE) for frame, _ in _frames(error))


def told(error: BaseException) -> str:
    """An exception of a user's code in one line, with the last place in that code, or else the last of all."""
    text = " ".join(str(error).split())
    frames = _frames(error)
    own = [place for place in frames if place[0].f_globals.get("__name__", "").startswith(MODULE)]
    if not frames:
        return f"{type(error).__name__}: {text}"
    frame, line = (own or frames)[-1]
    return f"{type(error).__name__}{': ' if text else ''}{text} ({Path(frame.f_code.co_filename).name}, line {line})"


def _frames(error: BaseException) -> list[tuple[types.FrameType, int]]:
    return list(traceback.walk_tb(error.__traceback__))


def _from_file(path: Path, attribute: str, say: Callable[[str], None]) -> type:
    if not attribute:
        raise InputError(f"{path} names no class: write path.py:Class")
    if not path.is_file():
        raise InputError(f"there is no file {path}: give path.py:Class")
    say(f"running the code of {path}")
    name = f"{MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except MultilevelError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be run: {told(error)}") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == name]
        raise InputError(f"{path} has no class {attribute!r}: it has {', '.join(classes) or 'none'}")
    return found


def loaded(point: EntryPoint) -> type:
    """The class of an entry point; raises ``InputError``."""
    try:
        found = point.load()
    except Exception as error:
        raise InputError(f"problem {point.name!r} cannot be loaded: {told(error)}") from error
    if not isinstance(found, type):
        raise InputError(f"problem {point.name!r} is not a class: its entry point is {point.value}")
    return found


def _split(name: str) -> tuple[str, str, str]:
    """Path, colon and class of a problem in a user's file; the last two are empty where no class is named."""
    return name.rpartition(":") if ".py:" in name else (name, "", "")


def _hints(problem: type) -> dict[str, Any]:
    """Resolved annotations; empty where they cannot be resolved."""
    try:
        return typing.get_type_hints(problem if is_dataclass(problem) else vars(problem).get("__init__", problem))
    except Exception:
        return {}


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of an annotation in the order in which to try them; of none, the plain ones."""
    if hint is None or hint is Any:
        return _ORDER
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    return tuple(sorted(members, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER)))


_NO = object()
_ORDER: tuple[Any, ...] = (type(None), int, float, bool, str)
_KIND_NAMES: dict[Any, str] = {
    type(None): "none",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    torch.dtype: "a torch dtype",
    torch.device: "a torch device",
}


def _number(kind: Callable[[str], float]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            return _NO
        return value if math.isfinite(value) else _NO

    return read


def _dtype(text: str) -> Any:
    found = getattr(torch, text.removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype) else _NO


_READERS: dict[Any, Callable[[str], Any]] = {
    type(None): lambda text: None if text.lower() == "none" else _NO,
    bool: lambda text: {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        text.lower(), _NO
    ),
    int: _number(int),
    float: _number(float),
    str: lambda text: text,
    torch.dtype: _dtype,
    torch.device: torch.device,
}
