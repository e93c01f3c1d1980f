"""What the stages of a run have brought so far: rows of the solution, costs and history, to store and read back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from torch import Tensor

from multilevel_opt.checkpoint import store, stored
from multilevel_opt.errors import InputError
from multilevel_opt.ledger import Ledger
from multilevel_opt.problem import Stage
from multilevel_opt.result import Event, Result

SCHEMA = 1
OVERFIT = "the residual at held-out points parted from that of training"


@dataclass
class Account:
    """The books of a run in stages.

    Attributes:
        rows: of the finished stages.
        failures: attempts at the next stage that were given up.
        reports: a plain summary of every attempt, finished or not.
        history: events of all attempts, numbered through.
        ledgers: of all levels.
        seconds: of solving.
        setup: seconds of building hierarchies.
        gradients: of the finished stages.
    """

    rows: list[Tensor] = field(default_factory=list)
    failures: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    seconds: float = 0.0
    setup: float = 0.0
    gradients: list[Tensor] = field(default_factory=list)

    @property
    def iterations(self) -> int:
        """Iterations of the finest level."""
        return sum(report["iterations"] for report in self.reports)

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Reports of the stages that are part of the solution."""
        return [report for report in self.reports if report["weight"]]

    def shifted(self, event: Event) -> Event:
        """An event of the present stage, numbered and clocked over the whole run."""
        before = sum(sum(report["per_level"][event.level : event.level + 1]) for report in self.reports)
        flops = sum(ledger.flops for ledger in self.ledgers)
        number = before + event.iteration
        return replace(event, iteration=number, flops=flops + event.flops, seconds=self.seconds + event.seconds)

    def add(self, stage: Stage, result: Result, setup: float, given_up: bool) -> None:
        """Book a stage; one that was given up costs, but brings nothing."""
        self.history += [self.shifted(event) for event in result.history]
        report = {
            "name": stage.name,
            "status": result.status.name.lower(),
            "message": f"given up: {OVERFIT}" if given_up else result.message,
            "weight": 0.0 if given_up else stage.weight,
            "iterations": result.nit,
            "per_level": list(result.iterations_per_level),
            "flops": result.flops,
            "seconds": result.seconds,
            "loss": result.fun,
            "metrics": dict(result.metrics),
        }
        self.reports.append(report)
        pairs = zip_longest(self.ledgers, result.ledgers, fillvalue=Ledger())  # stages may differ in their levels
        self.ledgers = [_sum(*pair) for pair in pairs]
        self.seconds += result.seconds
        self.setup += setup
        self.failures = self.failures + 1 if given_up else 0
        if not given_up:
            self.rows.append(stage.row(result.x))
            self.gradients.append(result.grad)

    def save(self, path: Path) -> None:
        """Write it as a file of numbers, strings and tensors."""
        lists = {
            "history": [event.as_dict() for event in self.history],
            "ledgers": [led.as_dict() for led in self.ledgers],
        }
        store(path, {"stages": SCHEMA, **vars(self), **lists})

    @classmethod
    def load(cls, path: Path, like: Tensor) -> Account:
        """Inverse of ``save``; raises ``InputError``."""
        data: dict[str, Any] = stored(path, like.device)
        if not isinstance(data, dict) or data.pop("stages", None) != SCHEMA:
            raise InputError(f"{path} is not a checkpoint of a run in stages: run the problem again")
        data["history"] = [Event(**event) for event in data["history"]]
        data["ledgers"] = [Ledger.restored(ledger) for ledger in data["ledgers"]]
        return cls(**data)


def _sum(a: Ledger, b: Ledger) -> Ledger:
    counts = {kind: a.counts[kind] + b.counts[kind] for kind in a.counts}
    return Ledger(counts, a.flops + b.flops, max(a.bytes, b.bytes))
