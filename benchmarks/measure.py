"""Medians of seconds, taken in turn so that all calls meet the same load, and how figures are printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def medians(calls: Mapping[str, Callable[[], Any]], repeat: int = 7) -> dict[str, float]:
    """Median seconds of each call after one round that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return {name: median(seconds[1:]) for name, seconds in taken.items()}


def spread(values: Iterable[float]) -> str:
    """``median [min, max]``, or a dash where there is nothing."""
    known = sorted(values)
    return f"{short(median(known))} [{short(known[0])}, {short(known[-1])}]" if known else "-"


def short(value: float) -> str:
    """A number in two or three figures."""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def show(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table; the first column holds names, the others numbers."""
    table = Table(title=Text(title), title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=132).print(table)


def say(text: str) -> None:
    Console(highlight=False, width=132).print(text)
