"""What a user sees while a run goes on.

``Progress`` hears of every iteration and draws a few times a second: a panel that is redrawn in place on
a terminal, plain lines elsewhere. An event that is not drawn costs one look at the clock; drawing is spaced so
that it takes at most one part in a hundred of the time.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from math import inf, isfinite, log
from typing import IO, Self

from rich.console import Console
from rich.control import Control
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from multilevel_opt.result import Event

EVERY = 0.2  # seconds between two drawings on a terminal
LINE_EVERY = 1.0  # seconds between two lines elsewhere
SHARE = 0.01  # of the time that drawing may take


class Progress:
    """Progress on stderr; both a ``listener(event)`` and a ``callback(event, x)``.

    Args:
        targets: error measures, "loss" or "gradient_norm", and the values at which the run stops.
        max_iterations: limit of iterations, if there is one.
        max_seconds: limit of seconds, if there is one.
        scalar: what to call the scalar of the globalization.
        file: where to write; stderr by default.

    As a context manager, or by ``close()``, it shows the last iteration when the run has ended.
    """

    def __init__(
        self,
        targets: Mapping[str, float] | None = None,
        max_iterations: int | None = None,
        max_seconds: float | None = None,
        *,
        scalar: str = "λ",
        file: IO[str] | None = None,
    ) -> None:
        self._console = Console(file=file if file is not None else sys.stderr, highlight=False)
        self._forecast = Forecast(targets or {}, max_iterations, max_seconds)
        self._scalar = scalar
        self._redraws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._every = EVERY if self._redraws else LINE_EVERY
        self._due = 0.0
        self._lines = 0
        self._last: Event | None = None
        self._finest: Event | None = None
        self._drawn: Event | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, event: Event, x: Tensor | None = None) -> None:
        self._last = event
        if event.level == 0:
            self._finest = event
        now = time.monotonic()
        if now >= self._due:
            self._draw()
            self._due = max(now + self._every, time.monotonic() + (time.monotonic() - now) / SHARE)

    def close(self) -> None:
        """Show the last iteration of the finest level."""
        if self._finest is not None and self._drawn is not self._finest:
            self._last = self._finest
            self._draw(ended=True)
        self._lines = 0

    def _draw(self, ended: bool = False) -> None:
        assert self._last is not None
        finest = self._finest
        if finest is not None:
            self._forecast.see(finest)
        numbers = Text.assemble(*_numbers(finest, self._last, self._scalar))
        clock = duration(self._last.seconds)
        if finest is not None and not ended:
            clock += self._forecast.told(finest)
        self._drawn = self._last
        if not self._redraws:
            self._console.print(Text.assemble(numbers, clock), soft_wrap=True)
            return
        below = Table.grid(padding=(0, 2))
        done = self._forecast.share(finest) if finest is not None else 0.0
        below.add_row(ProgressBar(total=1.0, completed=done, width=30), Text(clock, "dim"))
        with self._console.capture() as capture:
            self._console.print(numbers, no_wrap=True, overflow="ellipsis")
            self._console.print(below, no_wrap=True, overflow="ellipsis")
        self._console.control(*self._back())
        text = capture.get()
        self._lines = text.count("\n")
        self._console.file.write(text)
        self._console.file.flush()

    def _back(self) -> list[Control]:
        """Go back over the lines of the last drawing, erasing them."""
        up = Control((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        return [Control(ControlType.CARRIAGE_RETURN), *[up] * self._lines]


class Forecast:
    """When a run will stop: the log-linear decrease towards its target, or its limits, whichever comes first.

    Args:
        targets: as for ``Progress``.
        max_iterations: as for ``Progress``.
        max_seconds: as for ``Progress``.
    """

    def __init__(
        self, targets: Mapping[str, float], max_iterations: int | None = None, max_seconds: float | None = None
    ) -> None:
        self._targets = dict(targets)
        self._max_iterations, self._max_seconds = max_iterations, max_seconds
        self._start: dict[str, float] = {}
        self._seen: dict[str, deque[tuple[float, float]]] = {name: deque(maxlen=30) for name in targets}

    def see(self, event: Event) -> None:
        """Take an iteration of the finest level into account."""
        for name, seen in self._seen.items():
            value = measured(event, name)
            if 0 < value < inf and (not seen or event.seconds > seen[-1][0]):
                seen.append((event.seconds, log(value)))
                self._start.setdefault(name, log(value))

    def told(self, event: Event) -> str:
        """The time left as it is shown; empty where nothing can be said."""
        target, limit = self.to_target(), self.to_limit(event)
        if target <= limit and isfinite(target):
            return f", about {duration(target)} left"
        bound = "at most" if self._targets else "about"
        return f", {bound} {duration(limit)} left" if 0 < limit < inf else ""

    def to_target(self) -> float:
        """Seconds to the nearest target at the pace of late; Inf where there is no decrease."""
        return min((self._to_target(name, target) for name, target in self._targets.items()), default=inf)

    def to_limit(self, event: Event) -> float:
        """Seconds to the nearest limit; Inf where there is none."""
        limits = [inf]
        if self._max_seconds is not None:
            limits.append(max(0.0, self._max_seconds - event.seconds))
        if self._max_iterations is not None and event.iteration:
            limits.append((self._max_iterations - event.iteration) * event.seconds / event.iteration)
        return min(limits)

    def share(self, event: Event) -> float:
        """How much of the way lies behind, between 0 and 1: in decades to the target, or to the limit."""
        shares = [0.0]
        for name, target in self._targets.items():
            value, start = measured(event, name), self._start.get(name)
            if start is not None and 0 < value < inf and start > log(target):
                shares.append((start - log(value)) / (start - log(target)))
        if self._max_seconds:
            shares.append(event.seconds / self._max_seconds)
        if self._max_iterations and not self._targets:
            shares.append(event.iteration / self._max_iterations)
        return min(1.0, max(shares))

    def _to_target(self, name: str, target: float) -> float:
        seen = self._seen[name]
        if len(seen) < 3:
            return inf
        n = len(seen)
        t_mean, y_mean = sum(t for t, _ in seen) / n, sum(y for _, y in seen) / n
        slope = sum((t - t_mean) * (y - y_mean) for t, y in seen) / sum((t - t_mean) ** 2 for t, _ in seen)
        return max(0.0, (log(target) - seen[-1][1]) / slope) if slope < 0 else inf


def measured(event: Event, name: str) -> float:
    """The value of a target's quantity after an iteration; NaN where it is not known."""
    if name in ("loss", "gradient_norm"):
        return float(getattr(event, name))
    return float(event.metrics.get(name, float("nan")))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in the figures that matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _numbers(finest: Event | None, last: Event, scalar: str) -> list[tuple[str, str]]:
    """What is shown: the finest level's numbers, and where the run is; names dim, numbers bright."""
    shown = finest or last
    values = {"loss": shown.loss, **shown.metrics, "‖∇f‖": shown.gradient_norm, scalar: shown.scalar}
    values.pop("relative_l2" if "rmse" in values else "", None)  # says the same
    level = f"{last.level}" if last.level == 0 else f"{last.level}, step {last.iteration}"
    pairs = [("iteration", f"{finest.iteration}")] if finest else []
    pairs += [("level", level)]
    pairs += [(name, f"{value:.2e}") for name, value in values.items()]
    return [part for name, value in pairs for part in ((f"{name} ", "dim"), (f"{value}  ", ""))]
