"""Records as the analysis takes them: checked once, so that no statistic meets a value that it cannot read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from multilevel_opt.errors import InputError


class Shape(BaseModel):
    """What the analysis reads of a record; other keys may be anything."""

    problem: str
    parameters: dict[str, Any] | None = None
    target: dict[str, float] | None = None
    method: str | None = None
    method_name: str | None = None
    method_options: dict[str, Any] | None = None
    status: str | None = None
    error: str | None = None
    converged: bool | None = None
    iterations: float | None = None
    flops: float | None = None
    seconds: float | None = None
    seconds_setup: float | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    rmse: float | None = None
    relative_l2: float | None = None
    n_parameters: float | None = None
    n_residuals: float | None = None
    versions: dict[str, Any] | None = None
    history: list[list[float | None]] | None = None
    history_columns: list[str] | None = None

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Self:
        width = len(self.history_columns or ())
        if any(len(row) != width for row in self.history or ()):
            raise ValueError(f"rows of history have not the {width} values that history_columns names")
        return self


def check(records: Iterable[Mapping[str, Any]]) -> None:
    """Raise ``InputError`` for the first record that the analysis cannot read."""
    shape = TypeAdapter(Shape)
    for number, record in enumerate(records, 1):
        try:
            shape.validate_python(record)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the record"
            raise InputError(
                f"record {number} (cell {record.get('cell')}) cannot be read: {place}: {first['msg']}; remove its line "
                "and run the study again"
            ) from error
