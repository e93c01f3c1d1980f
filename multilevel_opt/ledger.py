"""What a run costs: one ledger per level, filled by the operators and factorizations themselves.

A floating-point operation is one addition or one multiplication, so a product of an (m, k) with a (k, n)
matrix counts 2mkn. The formulas are in docs/theory.md, section "Flops".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

KINDS = ("function", "gradient", "residual", "jacobian", "jvp", "vjp", "hvp")


@dataclass
class Ledger:
    """Counts of one level.

    Attributes:
        counts: number of evaluations by kind (see ``KINDS``).
        flops: floating-point operations of evaluations, products and factorizations.
        bytes: largest number of bytes held at once by a Jacobian and its Gram matrix.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    flops: float = 0.0
    bytes: int = 0

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

    def as_dict(self) -> dict[str, Any]:
        """The ledger as plain numbers, for records and checkpoints."""
        return {"counts": dict(self.counts), "flops": self.flops, "bytes": self.bytes}


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
