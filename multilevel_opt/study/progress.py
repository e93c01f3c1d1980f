"""The progress of a study in the terminal: cells done, failed, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from multilevel_opt.study.run import Advance

WINDOW = 3600.0  # seconds over which the speed is measured


class StudyProgress:
    """A bar on stderr, from the first thing that it is told; a context manager and a listener of ``Study.run``."""

    def __init__(self, name: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True, highlight=False)
        self._progress = Progress(*columns, console=console, speed_estimate_period=WINDOW)
        self._task = self._progress.add_task(name, total=None, start=False, state="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress.live.is_started:  # else it would leave an empty line above an error
            self._progress.stop()

    def __call__(self, advance: Advance) -> None:
        failed = f"{advance.failed} failed" if advance.failed else ""
        if advance.record is None:
            self._progress.start()
            self._progress.start_task(self._task)
            self._progress.update(self._task, total=advance.total, completed=advance.recorded, state=failed)
            if advance.earlier:
                self._progress.console.print(f"{advance.earlier} of {advance.total} cells have a record already")
            if advance.others:
                self._progress.console.print(
                    f"{advance.others} records in this folder are of cells that the study does not have; they stay"
                )
            return
        self._progress.update(self._task, completed=advance.recorded, state=failed)
        if advance.record["error"]:
            called = f"{advance.record['method_name']}, {advance.record['problem']}, seed {advance.record['seed']}"
            self._progress.console.print(f"failed: {called}: {advance.record['error']}", markup=False, highlight=False)
