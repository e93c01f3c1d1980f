"""The cells of a study: problems, parameters, targets, seeds and methods, crossed.

A cell is plain values, so that it travels to any process, and its identity is a hash of all that decides its
result: the same file gives the same cells anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from multilevel_opt import registry
from multilevel_opt.errors import InputError
from multilevel_opt.study.solvers import check_method
from multilevel_opt.study.spec import ProblemTable, StudyTable


@dataclass(frozen=True)
class Cell:
    """One run of one method on one problem.

    Attributes:
        study: name of the study.
        problem: as written in the study file.
        parameters: of the problem, its seed included where it takes one.
        seed: of the study.
        method_name: name of the method in the study.
        method: a key of ``METHODS`` or ``PEERS``.
        options: of the method.
        until: targets by name.
        budget: ``max_iterations``, ``max_seconds``, ``memory``.
        source: where the code of the problem is: a registered name, or an absolute ``path.py:Class``.
        limits: ``seconds``, ``memory`` and ``threads`` of the process.
    """

    study: str
    problem: str
    parameters: Mapping[str, Any]
    seed: int
    method_name: str
    method: str
    options: Mapping[str, Any]
    until: Mapping[str, float]
    budget: Mapping[str, Any]
    source: str
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of what decides the result."""
        decides = [self.problem, self.parameters, self.seed, self.method_name, self.method, self.options]
        decides += [self.until, self.budget]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def cells(study: StudyTable, folder: Path) -> list[Cell]:
    """All cells of a study file that lies in ``folder``.

    Raises:
        InputError: a name is given twice, a problem, parameter, method, option or target is unknown, or two
            cells are the same.
    """
    _once([method.name for method in study.methods], "method")
    _once([str(seed) for seed in study.seeds], "seed")
    for method in study.methods:
        check_method(method.method, method.options)
    if not study.seeds:
        raise InputError("seeds = [] leaves no cell: give at least one seed")
    found = [cell for table in study.problems for cell in _cells_of(table, study, folder)]
    idle = {method.name for method in study.methods} - {cell.method_name for cell in found}
    if idle:
        raise InputError(
            f"method {min(idle)!r} has no problem left by its where: give values of the problems there are"
        )
    times = Counter(cell.key for cell in found)
    for cell in found:
        if times[cell.key] > 1:
            raise InputError(
                f"problem {cell.problem!r} with {dict(cell.parameters)} comes twice: "
                "leave out the repeated value or [[problems]] table"
            )
    return found


def _cells_of(table: ProblemTable, study: StudyTable, folder: Path) -> Iterator[Cell]:
    """The cells of one problem."""
    source, budget, limits = registry.absolute(table.problem, folder), study.budget.model_dump(), _limits(study)
    for parameters, until, seed in _crossed(table, study, registry.load(source)):
        for method in (method for method in study.methods if method.runs(table.problem, parameters)):
            yield Cell(
                study=study.name,
                problem=table.problem,
                parameters=parameters,
                seed=seed,
                method_name=method.name,
                method=method.method,
                options=method.options,
                until=until,
                budget=budget,
                source=source,
                limits=limits,
            )


def _crossed(
    table: ProblemTable, study: StudyTable, kind: type
) -> Iterator[tuple[dict[str, Any], dict[str, float], int]]:
    """Parameters, targets and seed of the cells of one problem and one method."""
    known = registry.parameters(kind)
    for name, value in table.parameters.items():
        if name == "seed":
            raise InputError(f"the seed of {table.problem!r} is given as a parameter: give seeds = [...] of the study")
        registry.parse(kind, [f"{name}={one}" for one in _list(value)[:1]])
    targets = study.until if table.until is None else table.until
    made = None
    for values in product(*map(_list, table.parameters.values())):
        words = [f"{name}={value}" for name, value in zip(table.parameters, values, strict=True)]
        for until in product(*map(_list, targets.values())):
            for seed in study.seeds:
                parameters = registry.parse(kind, [*words, f"seed={seed}"] if "seed" in known else words)
                if made is None:
                    made = registry.make(kind, parameters)
                    _check_targets(targets, made.metrics)
                yield _plain(parameters), dict(zip(targets, until, strict=True)), seed


def _check_targets(targets: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    allowed = ["loss", "gradient_norm", *metrics]
    for name in targets:
        if name not in allowed:
            raise InputError(f"unknown target {name!r}: choose one of {', '.join(allowed)}")


def _limits(study: StudyTable) -> dict[str, Any]:
    seconds = study.limits.seconds
    if seconds is None and study.budget.max_seconds is not None:
        seconds = 2 * study.budget.max_seconds + 60
    return {**study.limits.model_dump(), "seconds": seconds}


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them."""
    return {name: value if isinstance(value, _PLAIN) else str(value) for name, value in parameters.items()}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _once(names: Sequence[str], what: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(f"{what} {twice[0]!r} is given twice: give every {what} a value of its own")


_PLAIN = (bool, int, float, str, type(None))
