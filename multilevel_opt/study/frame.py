"""Records as a data frame of pandas, where it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from multilevel_opt.errors import InputError

if TYPE_CHECKING:
    import pandas

OF_THE_RUN = ("cell", "problem", "method_name", "seed")


def frame(records: Iterable[Mapping[str, Any]], history: bool = False) -> pandas.DataFrame:
    """A row for each record, nested keys joined by dots; with ``history`` one for each row of their histories.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError(
            "to_pandas() needs pandas, which is not installed: run pip install 'multilevel-opt[notebook]'"
        ) from error
    if history:
        return pandas.DataFrame([row for record in records for row in _rows(record)])
    left_out = ("history", "history_columns")
    return pandas.json_normalize([{k: v for k, v in record.items() if k not in left_out} for record in records])


def _rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    run = {name: record.get(name) for name in OF_THE_RUN}
    columns = record.get("history_columns") or ()
    return [{**run, **dict(zip(columns, row, strict=True))} for row in record.get("history") or ()]
