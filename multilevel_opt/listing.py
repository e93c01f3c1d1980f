"""What the command line prints on stdout: the list of problems, one problem, the laws of one, the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from multilevel_opt.catalogue import Description, Entry
from multilevel_opt.check import Finding
from multilevel_opt.objective.structure import Structure
from multilevel_opt.record import method_told
from multilevel_opt.result import Result

HINT = "'mlopt problems NAME' shows parameters, source and known minimum of one."


def show_all(entries: Sequence[Entry]) -> None:
    """The problems under the headings of their groups, a line each."""
    console = Console(highlight=False)
    width = max((len(entry.name) for entry in entries), default=0)
    for group, members in groupby(entries, key=lambda entry: entry.group):
        console.print(Text(group, style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=width, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for entry in members:
            table.add_row(Text(entry.name), Text(entry.summary))
        console.print(Padding(table, (0, 0, 1, 2)))
    console.print(HINT, soft_wrap=True)


def show_one(name: str, about: Description, elements: Structure | None = None) -> None:
    """Docstring and parameters of a problem, and the numbers of its elements where it has some."""
    console = Console(highlight=False)
    console.print(Text(name, style="bold"))
    console.print(Padding(Text(about.text), (0, 0, 1, 0)))
    table = Table("parameter", "meaning", box=None, padding=(0, 2, 0, 0))
    for parameter, meaning in about.parameters:
        table.add_row(Text(str(parameter)), Text(meaning))
    console.print(table)
    if elements is not None:
        console.print(Text(f"\nas it is by default: {elements}"), soft_wrap=True)


def show_laws(findings: Sequence[Finding]) -> None:
    """The laws of a problem: what was measured, the bound, pass or fail."""
    table = Table("law", "measured", "bound", "")
    for law in findings:
        table.add_row(law.name, f"{law.measured:.3g}", f"{law.bound:.3g}", "pass" if law.passed else "FAIL")
    Console(highlight=False).print(table)


def summary(record: Mapping[str, Any], result: Result) -> str:
    """What was solved and how, and how it ended."""
    given = " ".join(f"{name}={value}" for name, value in record["parameters"].items() if value is not None)
    rows = record["n_residuals"]
    size = f"{record['n_parameters']} unknowns" + (f", {rows} residuals" if rows else "")
    before = f"  before         {record['seconds_setup']:.2f} seconds, to choose and to set up"
    head = f"{record['problem']} by {method_told(record)}: {size}\n  parameters     {given or 'none'}"
    return f"{head}\n{result}\n{before}\n"
