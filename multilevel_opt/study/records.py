"""The records of a study: one dictionary for each cell, as read from ``records.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from multilevel_opt.errors import InputError
from multilevel_opt.study.frame import frame
from multilevel_opt.study.results import results_of
from multilevel_opt.study.table import Table

if TYPE_CHECKING:
    import pandas

FILE = "records.jsonl"


class Records(Sequence[dict[str, Any]]):
    """An unchanging list of records.

    Args:
        records: dictionaries as described in docs/reference.md, "Result format".
    """

    def __init__(self, records: Iterable[dict[str, Any]] = ()) -> None:
        self._records = tuple(records)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The records of a study's folder, or of a ``records.jsonl``; a torn last line is left out.

        Raises:
            InputError: there is no such file, or a line of it is not a record.
        """
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}; give a folder made by 'mlopt study'") from error
        return cls(parsed(file, data))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Self:
        return type(self)(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._records)

    def __repr__(self) -> str:
        failed = sum(record.get("status") == "failed" for record in self)
        return f"Records({len(self)} cells, {failed} failed)"

    def table(self, reference: str | None = None) -> Table:
        """Medians of all groups and methods, one under another (docs/studies-report.md).

        Args:
            reference: name of the method that ``save`` compares with; default: Levenberg–Marquardt on one level.
        """
        return results_of(self, reference)

    def to_pandas(self, history: bool = False) -> pandas.DataFrame:
        """A data frame of the records, nested keys joined by dots; or of all rows of their histories.

        Args:
            history: one row for each row of a history, with the cell, problem, method name and seed of its run.

        Raises:
            InputError: pandas is not installed.
        """
        return frame(self, history)

    def _repr_html_(self) -> str:
        """The records as a notebook shows them."""
        return self.table()._repr_html_()

    def filter(self, condition: Callable[[dict[str, Any]], bool] | None = None, /, **values: Any) -> Self:
        """Those records for which ``condition`` holds and whose keys have the given values.

        A key that a record does not have is looked for among its parameters: ``filter(method="lm", nu=20)``.
        """

        def wanted(record: dict[str, Any]) -> bool:
            known = {**record["parameters"], **record}
            return (condition is None or condition(record)) and all(
                name in known and known[name] == value for name, value in values.items()
            )

        return type(self)(record for record in self if wanted(record))


def parsed(file: Path, data: bytes) -> list[dict[str, Any]]:
    """The records in the bytes of a ``records.jsonl``: whole lines, of each cell the last; raises ``InputError``."""
    found: dict[str, dict[str, Any]] = {}
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            found[record["cell"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"line {number} of {file} is not the record of a cell: remove it, or give another folder"
            ) from error
    return list(found.values())
