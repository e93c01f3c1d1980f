"""Tables that are written in several formats: HTML, Markdown, LaTeX and CSV.

A cell is a text, a number, or a few numbers that belong together (a median with its quartiles). How many numbers, and
how they are put into words, is the kind of its column: a line of ``KINDS``. CSV has a column for each of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from multilevel_opt.markup import table
from multilevel_opt.notation import NONE, latex, number, with_ends


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Attributes:
        parts: what the numbers of a cell are called; one empty name for a plain cell.
        words: the numbers of a cell to text.
        numeric: whether it is set flush right, and sorted as numbers are.
        key: the part that sorting goes by.
    """

    parts: tuple[str, ...]
    words: Callable[[Sequence[Any]], str]
    numeric: bool = True
    key: int = 0


def _one(values: Sequence[Any]) -> str:
    return number(values[0], 3)


def _with_ends(values: Sequence[Any]) -> str:
    middle, low, high = values
    if low is None or high is None:
        return _one(values)
    return f"[{number(low, 3)}, {number(high, 3)}]" if middle is None else with_ends(middle, low, high)


def _range(values: Sequence[Any]) -> str:
    """Three values, or fewer where one is unknown; one where they are all the same."""
    texts = [number(value, 3) for value in values if value is not None]
    return " – ".join(texts if len(set(texts)) > 1 else texts[:1]) or NONE


def _share(values: Sequence[Any]) -> str:
    return f"{values[0]}/{values[1]}" if values[1] is not None else NONE


KINDS: dict[str, Kind] = {
    "text": Kind(("",), lambda values: str(values[0]), numeric=False),
    "number": Kind(("",), _one),
    "spread": Kind(("median", "q25", "q75"), _with_ends),
    "estimate": Kind(("", "low", "high"), _with_ends),
    "range": Kind(("min", "median", "max"), _range, key=1),
    "share": Kind(("", "of"), _share),
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: its name in CSV.
        heading: its name for readers.
        kind: a key of ``KINDS``.
    """

    key: str
    heading: str
    kind: str = "text"

    @property
    def parts(self) -> list[str]:
        """The columns of CSV."""
        return [f"{self.key}_{part}" if part else self.key for part in KINDS[self.kind].parts]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what it shows; the caption.
        columns: of the table.
        rows: of cells; a cell is a tuple with as many values as the kind of its column has parts.
        notes: sentences below it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[Any, ...], ...], ...]
    notes: tuple[str, ...] = ()

    def texts(self) -> list[list[str]]:
        """The cells in words, row by row."""
        return [[KINDS[c.kind].words(cell) for c, cell in self._cells(row)] for row in self.rows]

    def keys(self) -> list[list[str]]:
        """What the cells of each row are sorted by, as text; empty for what has no place in an order."""
        return [[_sort_key(cell[KINDS[c.kind].key]) for c, cell in self._cells(row)] for row in self.rows]

    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        return [KINDS[column.kind].numeric for column in self.columns]

    def markdown(self) -> str:
        """A table of Markdown, with its title above and its notes below."""
        head = [_markdown(column.heading) for column in self.columns]
        rule = ["---:" if numeric else "---" for numeric in self.numeric()]
        body = [[_markdown(text) for text in row] for row in self.texts()]
        lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *body)]
        notes = [f"\n{_markdown(note)}" for note in self.notes]
        return "\n".join([f"**{_markdown(self.title)}**\n", *lines, *notes]) + "\n"

    def latex(self) -> str:
        """A ``table`` of LaTeX, to be used with ``booktabs``."""
        align = "".join("r" if numeric else "l" for numeric in self.numeric())
        head = " & ".join(latex(column.heading) for column in self.columns)
        body = "\n".join(" & ".join(map(latex, row)) + r" \\" for row in self.texts())
        notes = "".join(f"\n\\par\\footnotesize {latex(note)}" for note in self.notes)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{latex(self.title)}}}\n\\begin{{tabular}}{{{align}}}\n"
            f"\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}{notes}\n\\end{{table}}\n"
        )

    def csv(self) -> str:
        """Comma-separated values, with every number in full."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([part for column in self.columns for part in column.parts])
        for row in self.rows:
            lines.writerow(["" if value is None else value for cell in row for value in cell])
        return text.getvalue()

    def _cells(self, row: Sequence[tuple[Any, ...]]) -> list[tuple[Column, tuple[Any, ...]]]:
        return list(zip(self.columns, row, strict=True))

    def filled(self) -> Table:
        """The table without the columns in which no row has anything."""
        return self._kept([k for k in range(len(self.columns)) if any(_is_told(row[k]) for row in self.rows)])

    def without(self, keys: Collection[str]) -> Table:
        """The table without some columns."""
        return self._kept([k for k, column in enumerate(self.columns) if column.key not in keys])

    def _kept(self, kept: Sequence[int]) -> Table:
        columns = tuple(self.columns[k] for k in kept)
        return replace(self, columns=columns, rows=tuple(tuple(row[k] for k in kept) for row in self.rows))

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return table(self.title, [column.heading for column in self.columns], self.texts(), self.notes)

    def __str__(self) -> str:
        return self.markdown()


def joined(title: str, tables: Sequence[tuple[Mapping[str, Any], Table]]) -> Table:
    """Tables of the same columns under one another, with what tells them apart in columns of their own."""
    names = list(dict.fromkeys(name for told, _ in tables for name in told))
    shared = [_common(columns) for columns in zip(*(table.columns for _, table in tables), strict=True)]
    rows = tuple((*((told.get(name),) for name in names), *row) for told, table in tables for row in table.rows)
    notes = tuple(dict.fromkeys(note for _, table in tables for note in table.notes))
    return Table(title, (*(Column(name, name, "number") for name in names), *shared), rows, notes)


def _common(columns: Sequence[Column]) -> Column:
    """One column for several of the same key, which may have different headings."""
    first = columns[0]
    return first if len({column.heading for column in columns}) == 1 else Column(first.key, first.key, first.kind)


def _is_told(cell: Sequence[Any]) -> bool:
    return any(value not in (None, "") for value in cell)


def _markdown(text: str) -> str:
    return re.sub(r"([\\|*_`]|(?<=\])\()", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")


def _sort_key(value: Any) -> str:
    """A value as the script of the page reads it; empty for what has no place in an order."""
    if value is None or value != value:
        return ""
    return {inf: "Infinity", -inf: "-Infinity"}.get(value) or str(value)
