"""A cell in a process of its own, with hard limits of time and memory.

The worker forks for every cell, which costs some milliseconds where a fresh interpreter would cost seconds, and
waits: for the record, for the time limit, or for its own parent to die, with which all of them end. Whatever
happens in the child, hanging in foreign code, eating memory or crashing, ends as an error in a record.

A process may only fork while it has one thread. A worker with several (one of Dask, or the caller itself) starts a
``Server``: an interpreter that does nothing but fork cells that it is given, one line of JSON each.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from multilevel_opt import registry
from multilevel_opt.checkpoint import finite
from multilevel_opt.errors import InputError, MultilevelError
from multilevel_opt.study.cell import failed, from_plain, solve_cell
from multilevel_opt.study.grid import Cell

try:
    import resource
except ImportError:  # not on Windows, where no cell is forked
    resource = None  # type: ignore[assignment]

POLL = 0.25  # seconds between two looks at the parent
HEAVY = "torch._dynamo"  # torch loads it, for seconds, at the first use of torch.func or of its optimizers
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
OWN = threading.local()  # the server of this thread of this worker


def isolated(cell: Cell) -> dict[str, Any]:
    """The record of a cell, solved in a child of this process, which must have one thread."""
    _die_with_parent()
    _preload(cell.source)
    parent, started = os.getppid(), time.monotonic()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _in_child(cell, sending)
    os.close(sending)
    try:
        text = _received(receiving, cell.limits["seconds"], parent, child)
    finally:
        os.close(receiving)
        _kill(child)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return _record(cell, text, status, time.monotonic() - started)


def served(cell: Cell) -> dict[str, Any]:
    """The record of a cell, solved in a child of the server of this thread."""
    server: Server | None = getattr(OWN, "server", None)
    if server is None or not server.alive:
        server = OWN.server = Server()
    return server.solve(cell)


class Server:
    """An interpreter that forks cells; it ends when its standard input is closed, and so with its owner."""

    def __init__(self) -> None:
        _needs_fork()
        command = [sys.executable, "-c", "from multilevel_opt.study.isolation import serve; serve()"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def solve(self, cell: Cell) -> dict[str, Any]:
        """The record of a cell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b""
        with suppress(OSError):
            self._process.stdin.write(json.dumps(asdict(cell)).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self.close()
            return failed(cell, _how_it_ended(self._process.returncode), None)
        record: dict[str, Any] = json.loads(line)
        return record

    def close(self) -> None:
        """End it, and the cell that it is working on."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
            return
        self._process.kill()
        self._process.wait()


def close_server() -> None:
    """End the server of this thread, if it has one."""
    server: Server | None = getattr(OWN, "server", None)
    if server is not None:
        server.close()
        OWN.server = None


def serve() -> None:
    """The main loop of a server: a cell in, a record out."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a problem prints must not get between the answers
    with suppress(BrokenPipeError, KeyboardInterrupt):
        for line in sys.stdin.buffer:
            record = isolated(from_plain(json.loads(line)))
            answers.write(json.dumps(record).encode() + b"\n")
            answers.flush()


def _needs_fork() -> None:
    """Raises ``InputError`` where processes cannot fork."""
    if not hasattr(os, "fork"):
        raise InputError("studies need a system that can fork processes: run them on Linux or macOS")


def _in_child(cell: Cell, sending: int) -> None:
    """Solve the cell, send its record and end this process, whatever happens."""
    try:
        os.setpgid(0, 0)  # so that what the cell starts is killed with it
        _die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silent, standard)
        _limit_memory(cell)
        warnings.simplefilter("ignore")
        record = finite(solve_cell(cell))
        text = json.dumps({"record": record, "heavy": HEAVY in sys.modules}, allow_nan=False).encode()
        with os.fdopen(sending, "wb") as pipe:
            pipe.write(text)
    finally:
        os._exit(0)


def _preload(source: str) -> None:
    """Load a registered problem, so that its cells are forked with it; a user's file is run in the cells only."""
    if not registry.is_file(source):
        with suppress(MultilevelError):  # the cell will tell
            registry.load(source)


def _die_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)


def _limit_memory(cell: Cell) -> None:
    """Let allocations fail beyond the limit; what the process has mapped at its start does not count."""
    most = cell.limits["memory"]
    if most is None or str(cell.parameters.get("device", "cpu")) != "cpu":  # accelerators map more than they use
        return
    mapped = Path("/proc/self/statm")
    start = int(mapped.read_text().split()[0]) * resource.getpagesize() if mapped.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (start + int(most), resource.RLIM_INFINITY))


def _record(cell: Cell, text: bytes | None, status: int, seconds: float) -> dict[str, Any]:
    """The record in what a child has sent before it ended, or one that says how it ended."""
    if text is None:
        return failed(cell, f"killed after {cell.limits['seconds']:g} seconds, the limit of a cell", seconds)
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        return failed(cell, _how_it_ended(status), seconds)
    if answer["heavy"]:
        with suppress(ImportError):
            importlib.import_module(HEAVY)  # here, so that the cells that follow are forked with it
    record: dict[str, Any] = answer["record"]
    return record


def _received(receiving: int, seconds: float | None, parent: int, child: int) -> bytes | None:
    """What the child sends, None when its time is over; ends both processes when ``parent`` is gone."""
    deadline = inf if seconds is None else time.monotonic() + seconds
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        ready, _, _ = select.select([receiving], [], [], min(POLL, left))
        if ready:
            part = os.read(receiving, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
        elif os.getppid() != parent:
            _kill(child)
            os._exit(1)


def _kill(child: int) -> None:
    """Kill a child and what it has started."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)


def _how_it_ended(status: int | None) -> str:
    if status is None or status >= 0:
        return "its process ended without a result"
    name = signal.Signals(-status).name
    often = " (often: out of memory)" if -status in (signal.SIGKILL, signal.SIGABRT) else ""
    return f"its process was killed by {name}{often}"
