"""What a study file may say, as pydantic models, and what is told when it says something else."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from multilevel_opt.errors import InputError
from multilevel_opt.study.published import Published


def _several(value: Any, good: Callable[[Any], bool], wanted: str) -> Any:
    """The value, if it or all members of it are good; one message where pydantic has one for every type."""
    several = value if isinstance(value, list) else [value]
    if not several:
        raise ValueError("the list is empty: give at least one value")
    if not all(map(good, several)):
        raise ValueError(f"give {wanted}, or a list of such")
    return value


def _plain(value: Any) -> Any:
    return _several(value, lambda one: isinstance(one, bool | int | float | str), "a number, a text, true or false")


def _target(value: Any) -> Any:
    def good(one: Any) -> bool:
        return isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < inf

    return _several(value, good, "a positive number")


Parameter = Annotated[Any, AfterValidator(_plain)]
Target = Annotated[Any, AfterValidator(_target)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
Size = Annotated[ByteSize, Field(gt=0)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[^\n\r\x00]*$")]


class Table(BaseModel):
    """A table of a study file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemTable(Table):
    """``[[problems]]``: a problem and values of its parameters; lists are crossed.

    Attributes:
        problem: a registered name, or ``path.py:Class``, relative to the study file.
        parameters: by name.
        until: targets of this problem in place of those of the study.
    """

    problem: Name
    parameters: dict[str, Parameter] = {}
    until: dict[str, Target] | None = None


class MethodTable(Table):
    """``[[methods]]``: a method under a name of its own.

    Attributes:
        name: as tables and pictures call it.
        method: a key of ``METHODS``, ``TRAINERS`` or ``PEERS``.
        options: of the method.
        where: run on these problems alone: values, or lists of them, of ``problem`` and of parameters.
    """

    name: Name
    method: Name
    options: dict[str, Any] = {}
    where: dict[str, Parameter] = {}

    def runs(self, problem: str, parameters: Mapping[str, Any]) -> bool:
        """Whether the method is to be run on a problem with these parameters."""
        own = {**parameters, "problem": problem}
        return all(
            key in own and own[key] in (value if isinstance(value, list) else [value])
            for key, value in self.where.items()
        )


class Budget(Table):
    """``[budget]``: where the solver of a cell stops by itself.

    Attributes:
        max_iterations: iterations of the finest level.
        max_seconds: seconds of solving.
        memory: bytes for dense linear algebra; beyond them steps are matrix-free.
    """

    max_iterations: NonNegativeInt = 1000
    max_seconds: Positive | None = None
    memory: Size | None = None


class Limits(Table):
    """``[limits]``: where the process of a cell is killed, and what it may use.

    Attributes:
        seconds: wall time of the whole cell; default: twice ``max_seconds`` and a minute, or none.
        memory: bytes that the cell may allocate; default: the machine's memory, shared by the jobs.
        threads: of torch and BLAS in a cell.
    """

    seconds: Positive | None = None
    memory: Size | None = None
    threads: PositiveInt = 1


class StudyTable(Table):
    """A whole study file; docs/studies.md has every key.

    Attributes:
        name: of the study.
        description: one sentence about it.
        seeds: whole numbers, or a range such as ``"0-9"``.
        until: targets by name; lists are crossed.
        budget: where solvers stop.
        limits: where processes are killed.
        problems: at least one.
        methods: at least one.
        reference: name of the method that the report compares the others with.
        published: figures of others, for the report.
    """

    name: Name
    description: str = ""
    seeds: tuple[NonNegativeInt, ...] = (0,)
    until: dict[str, Target] = {}
    budget: Budget = Budget()
    limits: Limits = Limits()
    problems: Annotated[tuple[ProblemTable, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodTable, ...], Field(min_length=1)]
    reference: Name | None = None
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _known_reference(self) -> StudyTable:
        names = [method.name for method in self.methods]
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference {self.reference!r} is none of the methods: name one of {', '.join(names)}")
        return self

    @field_validator("seeds", mode="before")
    @classmethod
    def _range(cls, value: Any) -> Any:
        """``"0-9"`` as the numbers from 0 to 9."""
        if not isinstance(value, str):
            return [value] if isinstance(value, int) else value
        first, dash, last = value.partition("-")
        if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
            raise ValueError('write a list of whole numbers, or a range such as "0-9"')
        numbers = list(range(int(first), int(last) + 1))
        if not numbers:
            raise ValueError("the range is empty: write the smaller number first")
        return numbers


def read(path: Path) -> tuple[StudyTable, str]:
    """The tables of a study file and its text; raises ``InputError`` with one sentence."""
    try:
        text = path.read_text(encoding="utf-8")
        return checked(tomllib.loads(text), path), text
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a study file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text in UTF-8: give a study file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}") from error


def checked(data: Any, path: Path | str) -> StudyTable:
    """The tables of a parsed study file; raises ``InputError`` naming the key, the value and what is allowed."""
    try:
        return StudyTable.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {told(error)}") from error


def told(error: ValidationError) -> str:
    """The first finding of pydantic in one sentence."""
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place, value = first["loc"], first["input"]
    key = _called(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_table_at(place[:-1]).model_fields)
        where = f" in {_called(place[:-1])}" if place[:-1] else ""
        return f"unknown key {place[-1]!r}{where}: the keys are {known}"
    if first["type"] == "missing":
        return f"the key {key} is missing: write it"
    reason = first["msg"].removeprefix("Value error, ")
    if not place:  # found of several tables together
        return reason
    return f"{key} = {_short(value)} is not allowed: {reason[:1].lower()}{reason[1:]}"


def _called(place: tuple[int | str, ...]) -> str:
    """``problems[0].parameters.nu`` of a location of pydantic."""
    words = ""
    for part in place:
        if isinstance(part, int):
            words += f"[{part}]"
        else:
            words += f".{part}" if words else part
    return words or "the file"


def _table_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    return _TABLES.get(str(place[0]), StudyTable) if place else StudyTable


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_TABLES: dict[str, type[BaseModel]] = {
    "problems": ProblemTable,
    "methods": MethodTable,
    "budget": Budget,
    "limits": Limits,
    "published": Published,
}
