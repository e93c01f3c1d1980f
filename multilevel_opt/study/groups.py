"""The records of a study, put side by side: which runs started from the same point towards the same target.

A group is a problem with its parameters and target; the runs of a group differ in method and seed. Runs of a group
with the same seed have the same start, so that methods can be compared on it. Costs are ∞ where a run missed its
target and None where nobody counted them (a peer's flops).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

Record = Mapping[str, Any]

NOT_OF_THE_PROBLEM = {"seed", "device"}
UNCOUNTED = "uncounted"  # of a failed cell: the costs that nobody counts in the other runs of its method


def _measured(record: Record, *names: str) -> float | None:
    """The sum of what was measured; None where something was not."""
    values = [record.get(name) for name in names]
    known = [float(v) for v in values if isinstance(v, int | float) and isfinite(v)]
    return sum(known) if len(known) == len(names) else None


COSTS: dict[str, Callable[[Record], float | None]] = {
    "iterations": lambda record: _measured(record, "iterations"),
    "flops": lambda record: _measured(record, "flops"),
    "seconds": lambda record: _measured(record, "seconds", "seconds_setup") or _measured(record, "seconds"),
}


def solved(record: Record) -> bool:
    """Whether the run reached its target."""
    return record.get("converged") is True


def cost(record: Record, name: str) -> float | None:
    """What reaching the target cost: ∞ where it was missed, None where nobody counted."""
    spent = COSTS[name](record)
    if solved(record):
        return spent
    uncounted = name in record.get(UNCOUNTED, ()) if record.get("error") else spent is None
    return None if uncounted else inf


def spent(record: Record, name: str) -> float | None:
    """What a run cost, whether or not it reached a target; ∞ where it failed, None where nobody counted."""
    return inf if record.get("error") else COSTS[name](record)


def value(record: Record, name: str) -> float | None:
    """A number of a record; None where there is none."""
    return _measured(record, name)


@dataclass(frozen=True)
class Group:
    """The runs of one problem with one set of parameters and one target.

    Attributes:
        problem: its name.
        parameters: those that differ between the groups of the study, and tell them apart.
        everything: all parameters of the problem, the seed included, of its first run.
        target: error measures asked for.
        runs: method -> start -> record.
    """

    problem: str
    parameters: Mapping[str, Any]
    everything: Mapping[str, Any]
    target: Mapping[str, float]
    runs: dict[str, dict[str, Record]]

    @property
    def title(self) -> str:
        """The problem and its parameters in words."""
        told = ", ".join(f"{name} = {_plain(item)}" for name, item in self.parameters.items())
        return f"{self.problem}, {told}" if told else self.problem

    @property
    def aim(self) -> str:
        """The target in words; empty if there is none."""
        return " or ".join(f"{name} ≤ {_plain(item)}" for name, item in self.target.items())

    @property
    def starts(self) -> tuple[str, ...]:
        """Every start that some method was run from."""
        return tuple(dict.fromkeys(start for runs in self.runs.values() for start in runs))

    def pairs(self, a: str, b: str) -> list[tuple[Record, Record]]:
        """The records of two methods that began at the same start."""
        left, right = self.runs.get(a, {}), self.runs.get(b, {})
        return [(left[start], right[start]) for start in left if start in right]

    def costs(self, name: str, methods: Sequence[str]) -> list[list[float]]:
        """A row of costs for each start that all the methods were run from, and where all costs are known."""
        common = [start for start in self.starts if all(start in self.runs.get(m, {}) for m in methods)]
        rows = [[cost(self.runs[m][start], name) for m in methods] for start in common]
        return [[c for c in row if c is not None] for row in rows if None not in row]


@dataclass(frozen=True)
class Arrangement:
    """A study in groups.

    Attributes:
        groups: in the order of the records.
        methods: labels, in the order of the records.
        reference: the method that the others are compared with; None if there is no run.
    """

    groups: tuple[Group, ...]
    methods: tuple[str, ...]
    reference: str | None


def without_targets(study: Arrangement) -> bool:
    """Whether no run had a target, or ended in any other way than with its budget, its epochs or an error."""
    records = [record for group in study.groups for runs in group.runs.values() for record in runs.values()]
    by_itself = (solved(record) and record.get("status") != "epochs" for record in records)
    return not any(by_itself) and not any(record.get("target") for record in records)


def arrange(records: Iterable[Record], reference: str | None = None, named: Sequence[str] = ()) -> Arrangement:
    """Put records into groups.

    A method that occurs with several options is told apart by those that differ. Of two records of one method and
    start the later one counts. A failed run that lacks parameters joins the first group that has those it knows.

    Args:
        records: of a study.
        reference: label of the method to compare with. By default the first that is Levenberg–Marquardt on one
            level ("lm" before any other "lm-..."), otherwise the first there is.
        named: parameters that the study file sets; they tell groups apart rather than others, and the first of them
            rather than the next.
    """
    found = list(records)
    labels = _labels(found)
    found = _marked(found, labels)
    parameters = [_completed(record, found) for record in found]
    problems = [str(record.get("problem")) for record in found]
    telling = {problem: _telling(_of(problem, problems, parameters), named) for problem in dict.fromkeys(problems)}
    groups: dict[str, Group] = {}
    for record, label, problem, own in zip(found, labels, problems, parameters, strict=True):
        identity = {name: own[name] for name in telling[problem] if name in own}
        target = record.get("target") or {}
        group = groups.setdefault(_key([problem, identity, target]), Group(problem, identity, own, target, {}))
        started = _key(record.get("seed", own.get("seed")))
        group.runs.setdefault(label, {})[started] = record
    known = reference if reference in labels else _single_level(found, labels)
    return Arrangement(tuple(groups.values()), tuple(dict.fromkeys(labels)), known)


def _marked(records: Sequence[Record], labels: Sequence[str]) -> list[Record]:
    """The records; those of failed cells know which costs nobody counts in the other runs of their method."""
    unknown: dict[str, set[str]] = {label: set() for label in labels}
    for record, label in zip(records, labels, strict=True):
        if not record.get("error"):
            unknown[label].update(name for name in COSTS if COSTS[name](record) is None)
    return [
        {**record, UNCOUNTED: unknown[label]} if record.get("error") else record
        for record, label in zip(records, labels, strict=True)
    ]


def _labels(records: Sequence[Record]) -> list[str]:
    """A name for the method of every record: that of the study, with the options that differ."""
    names = [str(record.get("method_name") or record.get("method")) for record in records]
    options = [dict(record.get("method_options") or {}) for record in records]
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for name, chosen in zip(names, options, strict=True):
        kinds.setdefault(name, {})[_key(chosen)] = chosen
    return [_label(name, chosen, list(kinds[name].values())) for name, chosen in zip(names, options, strict=True)]


def _label(name: str, options: Mapping[str, Any], all_options: Sequence[Mapping[str, Any]]) -> str:
    keys = dict.fromkeys(key for other in all_options for key in other)
    differ = [key for key in keys if len({_key(other.get(key)) for other in all_options}) > 1]
    told = ", ".join(f"{key}={_plain(options[key])}" for key in differ if key in options)
    return f"{name} ({told})" if told else name


def _of(problem: str, problems: Sequence[str], parameters: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [own for name, own in zip(problems, parameters, strict=True) if name == problem]


def _telling(parameters: Sequence[Mapping[str, Any]], named: Sequence[str]) -> list[str]:
    """The parameters that vary, without those that follow from others.

    Named ones are preferred, in their order; of the others whole numbers to fractions.
    """
    names = dict.fromkeys(name for own in parameters for name in own if name not in NOT_OF_THE_PROBLEM)
    varied = [name for name in names if len({_key(own.get(name)) for own in parameters}) > 1]

    def parts(chosen: Sequence[str]) -> int:
        return len({_key([own.get(name) for name in chosen]) for own in parameters})

    def whole(name: str) -> bool:
        return all(float(own.get(name, 0)).is_integer() for own in parameters if _is_number(own.get(name)))

    rank = {name: len(named) - k for k, name in enumerate(named)}
    kept = list(varied)
    for name in sorted(varied, key=lambda name: (rank.get(name, 0), whole(name))):
        rest = [other for other in kept if other != name]
        if parts(rest) == parts(varied):
            kept = rest
    return kept


def _completed(record: Record, records: Sequence[Record]) -> dict[str, Any]:
    """The parameters of a record; those that a failed run lacks are taken from a run that agrees with the rest."""
    own = dict(record.get("parameters") or {})
    if not record.get("error"):
        return own
    known = {name: item for name, item in own.items() if name not in NOT_OF_THE_PROBLEM}
    for other in records:
        theirs = other.get("parameters") or {}
        if other.get("problem") == record.get("problem") and not other.get("error") and known.items() <= theirs.items():
            return {**theirs, **own}
    return own


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _single_level(records: Sequence[Record], labels: Sequence[str]) -> str | None:
    """The label of the method that the others are compared with, by default."""
    by_name = {str(record.get("method")): label for record, label in reversed(list(zip(records, labels, strict=True)))}
    single = [label for name, label in reversed(by_name.items()) if name.startswith("lm-")]
    return next(iter([*([by_name["lm"]] if "lm" in by_name else []), *single, *labels]), None)


def _key(item: Any) -> str:
    return json.dumps(item, sort_keys=True, default=str)


def _plain(item: Any) -> str:
    return f"{item:g}" if isinstance(item, float) else str(item)
