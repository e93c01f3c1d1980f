"""Interruption from the terminal, or by a scheduler that asks a process to end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt; what follows within a second counts as the same request."""
    asked = float("-inf")

    def stop(number: int, frame: object) -> None:
        nonlocal asked
        if time.monotonic() - asked > 1.0:
            asked = time.monotonic()
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
