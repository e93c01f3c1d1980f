"""What a run costs: one ledger per level, filled by the operators and factorizations themselves.

A floating-point operation is one addition or one multiplication, so a product of an (m, k) with a (k, n)
matrix counts 2mkn. The formulas are in docs/theory.md, section "Flops".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

KINDS = ("function", "gradient", "residual", "jacobian", "jvp", "vjp", "hvp")


@dataclass
class Spent:
    """What the steps by one kind of linear algebra have cost.

    Attributes:
        steps: models solved.
        predicted: flops that were expected.
        flops: that were counted.
        seconds: that it took.
    """

    steps: int = 0
    predicted: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass
class Ledger:
    """Counts of one level.

    Attributes:
        counts: number of evaluations by kind (see ``KINDS``).
        flops: floating-point operations of evaluations, products and factorizations.
        bytes: largest number of bytes held at once by a Jacobian and its Gram matrix.
        spent: what the linear algebra of steps has cost, by choice.
        decisions: the choices in the order in which they were first made, each with flops, bytes and the reason.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    flops: float = 0.0
    bytes: int = 0
    spent: dict[str, Spent] = field(default_factory=dict)
    decisions: list[dict[str, float | str]] = field(default_factory=list)

    def count(self, kind: str, flops: float = 0.0, times: int = 1) -> None:
        """Record ``times`` evaluations of one kind that cost ``flops`` together."""
        self.counts[kind] += times
        self.flops += flops

    def work(self, flops: float) -> None:
        """Record linear algebra that is not an evaluation."""
        self.flops += flops

    def holds(self, n_bytes: int) -> None:
        """Record memory held at once; the largest value is kept."""
        self.bytes = max(self.bytes, n_bytes)

    def decide(self, decision: dict[str, float | str]) -> None:
        """Record a choice of linear algebra the first time it is made."""
        if all(known["choice"] != decision["choice"] for known in self.decisions):
            self.decisions.append(decision)

    def spend(self, choice: str, predicted: float, flops: float, seconds: float) -> None:
        """Record what a step by one choice has cost."""
        spent = self.spent.setdefault(choice, Spent())
        spent.steps, spent.predicted = spent.steps + 1, spent.predicted + predicted
        spent.flops, spent.seconds = spent.flops + flops, spent.seconds + seconds

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over the numbers of ``as_dict``."""
        self.counts.update(data["counts"])
        self.flops, self.bytes = data["flops"], data["bytes"]
        self.spent = {name: Spent(**values) for name, values in data.get("spent", {}).items()}
        self.decisions = [dict(decision) for decision in data.get("decisions", ())]

    @classmethod
    def restored(cls, data: Mapping[str, Any]) -> Ledger:
        """The ledger of ``as_dict``."""
        made = cls()
        made.restore(data)
        return made

    def as_dict(self) -> dict[str, Any]:
        """The ledger as plain numbers, for records and checkpoints."""
        spent = {name: asdict(values) for name, values in self.spent.items()}
        decisions = [dict(decision) for decision in self.decisions]
        return {
            "counts": dict(self.counts),
            "flops": self.flops,
            "bytes": self.bytes,
            "spent": spent,
            "decisions": decisions,
        }


class Clock:
    """Seconds of solving; stands still inside ``with clock.paused():`` (error monitors, callbacks)."""

    def __init__(self, already: float = 0.0) -> None:
        self._offset = already
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._offset + time.perf_counter() - self._started

    def paused(self) -> _Pause:
        """Context in which the clock stands still."""
        return _Pause(self)


class _Pause:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = 0.0

    def __enter__(self) -> None:
        self._at = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock._offset -= time.perf_counter() - self._at
