"""The folder of a study, and its one writer.

``records.jsonl`` grows by whole lines: each is one write to a file opened for appending, then synced. A crash
can only tear the last line, which the next run drops; a write that fails is taken back. A lock, which the
system releases with the process that holds it, keeps a second run out.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from multilevel_opt.checkpoint import finite, written
from multilevel_opt.errors import InputError
from multilevel_opt.study.folder import RunFolder
from multilevel_opt.study.records import FILE, parsed

SOURCE = "study.toml"
LOCK = ".lock"


class Store:
    """The records of one study; made by ``opened``.

    Attributes:
        path: the folder.
        records: what has been recorded so far, by cell.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._file = path / FILE
        self._handle = handle
        self.records = self._read()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, source: str) -> Iterator[Self]:
        """The store of a folder, locked, with the text of the study beside its records.

        Raises:
            InputError: the folder cannot be written, another run holds it, or its records are not a study's.
        """
        RunFolder(path).claim()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(_locked(path))
                handle = os.open(path / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                held.callback(os.close, handle)
                store = cls(path, handle)
                written(path / SOURCE, lambda temporary: temporary.write_text(source, encoding="utf-8"))
            except OSError as error:
                reason = error.strerror or error
                raise InputError(f"cannot write to {path}: {reason}; the records there stay as they are") from error
            yield store

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; raises ``InputError`` when the disk takes no more, and then leaves the file as it was."""
        line = json.dumps(finite(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._handle).st_size
        try:
            if os.write(self._handle, line) != len(line):
                raise OSError(0, "the disk is full")
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, size)
            raise InputError(
                f"cannot write to {self._file}: {error.strerror}; the {len(self.records)} records before it stay, "
                "make room and run the study again"
            ) from error
        self.records[record["cell"]] = dict(record)

    def forget_failures(self) -> None:
        """Take the records of failed cells out of the file, so that these cells run again."""
        kept = {cell: record for cell, record in self.records.items() if record["status"] != "failed"}
        if len(kept) == len(self.records):
            return
        text = "".join(json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n" for record in kept.values())
        written(self._file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        replaced = os.open(self._file, os.O_RDWR | os.O_APPEND)
        os.dup2(replaced, self._handle, inheritable=False)
        os.close(replaced)
        self.records = kept

    def _read(self) -> dict[str, dict[str, Any]]:
        """The records in the file, after what a crash has left behind its last whole line is cut off."""
        data = self._file.read_bytes()
        records = {record["cell"]: record for record in parsed(self._file, data)}
        os.ftruncate(self._handle, data.rfind(b"\n") + 1)
        return records


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"another run writes to {path}: wait for it, or give another --out") from None
    try:
        yield
    finally:
        lock.release()
