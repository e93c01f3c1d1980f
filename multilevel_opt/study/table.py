"""Tables that are written in several formats: HTML, Markdown, LaTeX and CSV.

A cell is a text, a number, or a few numbers that belong together (a median with its quartiles). How many numbers, and
how they are put into words, is the kind of its column: a line of ``KINDS``. CSV has a column for each of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import inf, isnan
from typing import Any

from multilevel_opt.notation import NONE, latex_number, number

Write = Callable[[Any], str]


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Attributes:
        parts: what the numbers of a cell are called; one empty name for a plain cell.
        words: the numbers of a cell, and how to write one, to text.
        numeric: whether it is set flush right, and sorted by ``key``.
        key: the part that sorting goes by.
    """

    parts: tuple[str, ...]
    words: Callable[[Sequence[Any], Write], str]
    numeric: bool = True
    key: int = 0


def _one(values: Sequence[Any], write: Write) -> str:
    return write(values[0])


def _with_interval(values: Sequence[Any], write: Write) -> str:
    middle, low, high = values
    ends = f"[{write(low)}, {write(high)}]" if low is not None and high is not None else ""
    return f"{write(middle)} {ends}".strip() if middle is not None or not ends else ends


def _range(values: Sequence[Any], write: Write) -> str:
    known = [write(value) for value in values if value is not None]
    return " – ".join(known) or NONE


def _share(values: Sequence[Any], write: Write) -> str:
    return f"{write(values[0])}/{write(values[1])}" if values[1] is not None else NONE


KINDS: dict[str, Kind] = {
    "text": Kind(("",), lambda values, write: str(values[0]), numeric=False),
    "number": Kind(("",), _one),
    "spread": Kind(("median", "q25", "q75"), _with_interval),
    "estimate": Kind(("", "low", "high"), _with_interval),
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
    notes: tuple[str, ...] = field(default=())

    def texts(self, write: Write = number) -> list[list[str]]:
        """The cells in words, row by row."""
        return [[KINDS[c.kind].words(cell, write) for c, cell in self._cells(row)] for row in self.rows]

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
        texts = self.texts(_latex_value)
        plain = [
            [text if KINDS[c.kind].numeric else latex_escaped(text) for c, text in zip(self.columns, row, strict=True)]
            for row in texts
        ]
        align = "".join("r" if numeric else "l" for numeric in self.numeric())
        head = " & ".join(latex_escaped(column.heading) for column in self.columns)
        body = "\n".join(" & ".join(row).replace("–", "--") + r" \\" for row in plain)
        notes = "".join(f"\n\\par\\footnotesize {latex_escaped(note)}" for note in self.notes)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{latex_escaped(self.title)}}}\n\\begin{{tabular}}{{{align}}}\n"
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

    def _repr_html_(self) -> str:
        rows = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in self.texts()]
        head = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in self.columns)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}"
        )

    def __str__(self) -> str:
        return self.markdown()


def joined(title: str, tables: Sequence[tuple[Mapping[str, Any], Table]]) -> Table:
    """Tables of the same columns under one another, with what tells them apart in columns of their own."""
    names = list(dict.fromkeys(name for told, _ in tables for name in told))
    columns = (*(Column(name, name, "number") for name in names), *(tables[0][1].columns if tables else ()))
    rows = tuple((*((told.get(name),) for name in names), *row) for told, table in tables for row in table.rows)
    notes = tuple(dict.fromkeys(note for _, table in tables for note in table.notes))
    return Table(title, columns, rows, notes)


def latex_escaped(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    return re.sub(r"[\\{}$&#_%~^<>|–≤]", lambda found: _LATEX[found.group()], text)


def _latex_value(value: Any) -> str:
    return latex_escaped(value) if isinstance(value, str) else latex_number(value)


def _markdown(text: str) -> str:
    return re.sub(r"([\\|*_`\[\]])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")


def _sort_key(value: Any) -> str:
    if isinstance(value, float) and isnan(value):
        return ""
    return {None: "", inf: "Infinity", -inf: "-Infinity"}.get(value) if value in (None, inf, -inf) else str(value)  # type: ignore[return-value]


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "≤": r"$\le$",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}
