"""The running account of a solve: ledgers of all levels, the clock, the history, the error monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from multilevel_opt.frozen import altered
from multilevel_opt.ledger import Clock, Ledger
from multilevel_opt.result import Event

Monitor = Callable[[Tensor], float]


@dataclass
class Recorder:
    """Mutable account of one run, shared by all its levels.

    Attributes:
        ledgers: one for each level, finest first.
        monitors: error measures evaluated after every iteration of the finest level, with the clock stopped.
        clock: seconds of solving.
        history: events in order.
        metrics: last values of the monitors.
        listener: called with every event, with the clock stopped.
    """

    ledgers: list[Ledger]
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    history: list[Event] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    listener: Callable[[Event], None] | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations of all levels so far."""
        return sum(ledger.flops for ledger in self.ledgers)

    def measure(self, x: Tensor) -> dict[str, float]:
        """Evaluate the monitors at x."""
        with self.clock.paused():
            self.metrics = {name: monitor(x) for name, monitor in self.monitors.items()}
        return self.metrics

    def record(self, event: Event) -> None:
        """Append an event, stamped with the flops and seconds so far."""
        stamped = altered(event, flops=self.flops, seconds=self.clock.seconds())
        self.history.append(stamped)
        if self.listener is not None:
            with self.clock.paused():
                self.listener(stamped)

    def remark(self, note: str) -> None:
        """Add a remark to the last event."""
        if self.history:
            last = self.history[-1]
            self.history[-1] = replace(last, note="; ".join(filter(None, (last.note, note))))

    def next_iteration(self, level: int) -> int:
        """Number of the next iteration of a level."""
        for event in reversed(self.history):
            if event.level == level:
                return event.iteration + 1
        return 1

    def snapshot(self) -> dict[str, Any]:
        """Plain values from which ``restore`` continues."""
        return {
            "ledgers": [ledger.as_dict() for ledger in self.ledgers],
            "seconds": self.clock.seconds(),
            "history": len(self.history),
            "metrics": dict(self.metrics),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot; ledger objects are kept, since objectives hold them."""
        for ledger, data in zip(self.ledgers, snapshot["ledgers"], strict=True):
            ledger.restore(data)
        self.clock = Clock(snapshot["seconds"])
        self.metrics = dict(snapshot["metrics"])
        del self.history[snapshot["history"] :]
