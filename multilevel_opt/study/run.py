"""Running the cells of a study through joblib: processes of this machine, or a Dask scheduler.

joblib hands the cells out and brings the records back, one at a time and in the order in which they are
finished; this process alone writes them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from multilevel_opt.errors import InputError, MultilevelError
from multilevel_opt.study.grid import Cell, cells
from multilevel_opt.study.isolation import close_server, isolated, served
from multilevel_opt.study.records import Records
from multilevel_opt.study.spec import StudyTable, checked, read
from multilevel_opt.study.store import Store

BREAKS = 3  # times that the pool may break without a record before the study gives up
Record = dict[str, Any]


class PoolBroken(MultilevelError):
    """Workers died again and again before they could finish a cell."""


@dataclass(frozen=True)
class Advance:
    """What a listener is told, before the first cell and after each.

    Attributes:
        record: that was just written, or None.
        recorded: cells with a record, those of earlier runs included.
        earlier: of which are from earlier runs.
        failed: of which failed.
        total: cells of the study.
        others: records in the folder of cells that the study does not have.
    """

    record: Record | None
    recorded: int
    earlier: int
    failed: int
    total: int
    others: int


Listener = Callable[[Advance], None]


class Study:
    """A convergence study: problems, parameters, methods and seeds, crossed into cells.

    Args:
        table: the contents of a study file.
        source: its text.
        folder: what paths of problems are relative to.

    Attributes:
        table: the same.
        cells: one for each run.

    Raises:
        InputError: a problem, parameter, method, option or target that does not exist, or a repeated one.
    """

    def __init__(self, table: StudyTable, source: str, folder: Path = Path()) -> None:
        self.table, self.source = table, source
        self.cells: tuple[Cell, ...] = tuple(cells(table, folder))

    @classmethod
    def from_toml(cls, path: str | Path) -> Study:
        """The study of a file (docs/studies.md); raises ``InputError`` with one sentence."""
        file = Path(path)
        table, text = read(file)
        return cls(table, text, file.parent)

    @classmethod
    def from_text(cls, text: str, folder: str | Path = ".") -> Study:
        """The study of a text in TOML; raises ``InputError``."""
        import tomllib

        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"the study is not TOML: {error}") from error
        return cls(checked(data, "the study"), text, Path(folder))

    def run(
        self,
        jobs: int = 1,
        out: str | Path | None = None,
        *,
        scheduler: str | None = None,
        retry_failed: bool = False,
        listener: Listener | None = None,
    ) -> Records:
        """Run the cells that have no record yet.

        Args:
            jobs: cells at a time; without effect where there is a scheduler.
            out: folder of the records; default: ``runs/`` and the name of the study.
            scheduler: address of a Dask scheduler.
            retry_failed: run failed cells again.
            listener: called with an ``Advance`` before the first cell and after each.

        Returns:
            The records of this study's cells, in the order of the cells.

        Raises:
            InputError: bad ``jobs``, a folder that cannot be written or is in use, a full disk, no such scheduler.
            PoolBroken: workers died before they could finish a cell.
        """
        if jobs < 1:
            raise InputError(f"jobs={jobs} is out of range: give 1 or more")
        path = Path(out) if out is not None else Path("runs") / self.table.name
        with Store.opened(path, self.source) as store:
            if retry_failed:
                store.forget_failures()
            self._run(store, jobs, scheduler, listener or (lambda advance: None))
            return Records(store.records[cell.key] for cell in self.cells)

    def _run(self, store: Store, jobs: int, scheduler: str | None, listener: Listener) -> None:
        mine = {cell.key for cell in self.cells}
        earlier = len(mine & store.records.keys())
        pending = [_limited(cell, jobs, scheduler) for cell in self.cells if cell.key not in store.records]

        def tell(record: Record | None) -> None:
            known = [found for key, found in store.records.items() if key in mine]
            failures = sum(found["status"] == "failed" for found in known)
            others = len(store.records) - len(known)
            listener(Advance(record, len(known), earlier, failures, len(mine), others))

        tell(None)
        if not pending:
            return
        finished = _through_dask(pending, scheduler) if scheduler is not None else _here(pending, jobs)
        with contextlib.closing(finished):
            for record in finished:
                store.append(record)
                tell(record)


def _here(pending: Sequence[Cell], jobs: int) -> Generator[Record, None, None]:
    """Records from processes of this machine; broken pools are replaced."""
    if jobs == 1:
        try:
            for cell in pending:
                yield served(cell)
        except BaseException:
            close_server()
            raise
        return
    from concurrent.futures.process import BrokenProcessPool

    left, breaks = {cell.key: cell for cell in pending}, 0
    while left:
        try:
            for record in _joblib(isolated, list(left.values()), "loky", jobs, _threads(pending)):
                del left[record["cell"]]
                breaks = 0
                yield record
        except BrokenProcessPool as error:
            breaks += 1
            if breaks == BREAKS:
                raise PoolBroken(f"workers died {BREAKS} times without finishing a cell: give fewer --jobs") from error


def _through_dask(pending: Sequence[Cell], scheduler: str) -> Generator[Record, None, None]:
    """Records from the workers of a Dask scheduler, which replaces those that die."""
    if find_spec("distributed") is None:
        raise InputError("a scheduler needs dask: pip install 'multilevel-opt[dask]'")
    from distributed import Client

    try:
        client = Client(scheduler, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"there is no Dask scheduler at {scheduler!r}: start one by 'dask scheduler'") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise InputError(f"the scheduler at {scheduler} has no workers: start some by 'dask worker {scheduler}'")
        yield from _joblib(served, pending, "dask", -1, 1, client=client)


def _joblib(
    function: Callable[[Cell], Record], pending: Sequence[Cell], backend: str, jobs: int, threads: int, **options: Any
) -> Generator[Record, None, None]:
    """The results of a function of cells, as they are finished, one cell a task."""
    from joblib import Parallel, delayed, parallel_config

    if backend == "loky":
        options["inner_max_num_threads"] = threads
    with parallel_config(backend, n_jobs=jobs, **options):
        yield from Parallel(return_as="generator_unordered", batch_size=1)(delayed(function)(cell) for cell in pending)


def _threads(pending: Sequence[Cell]) -> int:
    return max(int(cell.limits["threads"]) for cell in pending)


def _limited(cell: Cell, jobs: int, scheduler: str | None) -> Cell:
    """The cell with a share of this machine's memory as its limit where it has none."""
    if cell.limits["memory"] is not None or scheduler is not None or not hasattr(os, "sysconf"):
        return cell
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits: Mapping[str, Any] = {**cell.limits, "memory": machine // jobs}
    return replace(cell, limits=limits)
