"""The report of a study: tables (CSV, Markdown, LaTeX), pictures (PNG, PDF) and one self-contained ``report.html``.

============ =======================================================================================
tables/      results, comparison, growth, orders, missed, each as ``.csv``, ``.md`` and ``.tex``
pictures/    work against error, profiles and growth, each as ``.png`` and ``.pdf``
report.html  all of it in one page; pictures in a light and a dark dress are inside
============ =======================================================================================

Everything is made from ``study.toml`` and ``records.jsonl``, and every file is written beside its target and renamed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic import TypeAdapter, ValidationError

from multilevel_opt.checkpoint import written
from multilevel_opt.errors import InputError
from multilevel_opt.study.comparisons import comparison_table, sentences
from multilevel_opt.study.courses import course_plots
from multilevel_opt.study.groups import Arrangement, Record, arrange, solved, without_targets
from multilevel_opt.study.growth import growth_table, order_table
from multilevel_opt.study.page import encoded, render
from multilevel_opt.study.plot import DARK, Plot, draw, pdf, png
from multilevel_opt.study.plots import growth_plots, profile_plots, work_plots
from multilevel_opt.study.published import Published
from multilevel_opt.study.records import FILE, Records
from multilevel_opt.study.results import result_tables, results_table
from multilevel_opt.study.table import Column, Table
from multilevel_opt.study.valid import check

SOURCE = "study.toml"
SHOWN = 100  # rows of the table of missed targets that the page shows; the files have all
FORMATS: dict[str, Callable[[Table], str]] = {"csv": Table.csv, "md": Table.markdown, "tex": Table.latex}
PICTURES: dict[str, Callable[[Figure], bytes]] = {"png": png, "pdf": pdf}
SECTIONS = {
    "overview": "Overview",
    "results": "Results",
    "comparison": "Comparison",
    "profiles": "Profiles",
    "growth": "Growth",
    "orders": "Orders of convergence",
    "missed": "Missed targets",
    "again": "Run it again",
}


@dataclass(frozen=True)
class Source:
    """What a study file says about its report.

    Attributes:
        text: the whole file; empty where there is none.
        name: of the study.
        description: one sentence about it.
        reference: the method that the others are compared with.
        named: parameters that it sets, in its order.
        published: figures of others.
    """

    text: str = ""
    name: str = ""
    description: str = ""
    reference: str | None = None
    named: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


def is_study(folder: Path) -> bool:
    """Whether a folder holds the records of a study."""
    return (folder / FILE).exists()


def write(folder: Path) -> Path:
    """Write tables, pictures and ``report.html`` of a study's folder; returns the page.

    Raises:
        InputError: the study file or the records cannot be read.
    """
    source, records = read_source(folder / SOURCE), Records.load(folder)
    check(records)
    study = arrange(records, source.reference, source.named)
    tables = _tables(study, source)
    results = [*course_plots(study), *work_plots(study)]
    drawn = {"results": results, "profiles": profile_plots(study), "growth": growth_plots(study)}
    _clear(folder)
    for name, table in tables.items():
        _write_tables(folder / "tables", name, [table], FORMATS)
    by_group = {
        suffix: form for suffix, form in FORMATS.items() if suffix != "csv"
    }  # one wide table suits programs only
    _write_tables(folder / "tables", "results", _noted_once(result_tables(study, source.published)), by_group)
    for plot in (plot for plots in drawn.values() for plot in plots):
        figure = draw(plot)
        for suffix, form in PICTURES.items():
            _write(folder / "pictures" / f"{plot.name}.{suffix}", form(figure))
    page = _page(source, records, study, tables, drawn, folder)
    return _write(folder / "report.html", page.encode())


def read_source(path: Path) -> Source:
    """What a study file says about the report; raises ``InputError``."""
    if not path.exists():
        return Source()
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
        published = TypeAdapter(tuple[Published, ...]).validate_python(tuple(data.get("published", ())))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; give the folder of a study") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: published.{place} = {first['input']!r} is not allowed: {first['msg']}") from error
    named = dict.fromkeys(name for table in data.get("problems", ()) for name in table.get("parameters", ()))
    told = [data.get(name) for name in ("name", "description", "reference")]
    name, description, reference = (item if isinstance(item, str) else "" for item in told)
    return Source(text, name, description, reference or None, tuple(named), published)


def missed_table(study: Arrangement) -> Table:
    """The runs that missed their target, by method and reason."""
    columns = (
        Column("problem", "problem"),
        Column("method", "method"),
        Column("status", "status"),
        Column("runs", "runs", "share"),
        Column("seeds", "seeds"),
        Column("reason", "reason"),
    )
    budgeted = without_targets(study)  # nothing was missed then, unless it failed
    found: dict[tuple[str, str, str, str], list[Record]] = {}
    for group in study.groups:
        for method, runs in group.runs.items():
            for record in runs.values():
                if record.get("error") or not (solved(record) or budgeted):
                    key = group.title, method, _status(record), str(record.get("error") or "")
                    found.setdefault(key, []).append(record)
    of = {(group.title, method): len(runs) for group in study.groups for method, runs in group.runs.items()}
    rows = tuple(
        ((title,), (method,), (status,), (len(records), of[title, method]), (_seeds(records),), (_reason(records[0]),))
        for (title, method, status, _), records in found.items()
    )
    return Table("Runs that missed their target", columns, rows)


def _tables(study: Arrangement, source: Source) -> dict[str, Table]:
    return {
        "results": results_table(study, source.published),
        "comparison": comparison_table(study),
        "growth": growth_table(study),
        "orders": order_table(study),
        "missed": missed_table(study),
    }


def _page(
    source: Source,
    records: Sequence[Record],
    study: Arrangement,
    tables: Mapping[str, Table],
    drawn: Mapping[str, Sequence[Plot]],
    folder: Path,
) -> str:
    parts = {
        name: _part(tables.get(name), drawn.get(name, ()), folder)
        for name in SECTIONS
        if name not in ("overview", "results", "again")
    }
    parts = {name: part for name, part in parts.items() if part["tables"] or part["pictures"]}
    shown = {"overview", "again", *parts, *(["results"] if study.groups else [])}
    return render(
        "study.html.j2",
        script="sort.js",
        title=source.name or next((str(r["study"]) for r in records if r.get("study")), "Study"),
        description=source.description,
        sections={anchor: heading for anchor, heading in SECTIONS.items() if anchor in shown},
        facts=_facts(records, study),
        groups=_groups(study, source, drawn["results"], folder),
        notes=tables["results"].notes,
        parts=parts,
        source=source.text,
        made_with=_made_with(records),
    )


def _groups(study: Arrangement, source: Source, plots: Sequence[Plot], folder: Path) -> list[dict[str, Any]]:
    tables = result_tables(study, source.published)
    return [
        {
            "title": group.title,
            "table": replace(table.filled(), title=f"to {group.aim}" if group.aim else "no target", notes=()),
            "shown": sentences(replace(study, groups=(group,))),
            "pictures": [_embedded(plot, folder) for plot in plots if plot.name.startswith(f"work-{number}-")],
        }
        for number, (group, table) in enumerate(zip(study.groups, tables, strict=True), 1)
    ]


def _part(table: Table | None, plots: Sequence[Plot], folder: Path) -> dict[str, Any]:
    notes = []
    if table is not None and len(table.rows) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(table.rows)} rows; the files in tables/ have all.")
        table = replace(table, rows=table.rows[:SHOWN])
    pictures = [_embedded(plot, folder) for plot in plots]
    return {
        "tables": [table.filled()] if table is not None and table.rows else [],
        "notes": notes,
        "pictures": pictures,
    }


def _embedded(plot: Plot, folder: Path) -> dict[str, str]:
    light = (folder / "pictures" / f"{plot.name}.png").read_bytes()
    return {"alt": plot.alt, "light": encoded(light), "dark": encoded(png(draw(plot, DARK)))}


def _facts(records: Sequence[Record], study: Arrangement) -> dict[str, Any]:
    failed = sum(bool(record.get("error")) for record in records)
    seconds = sum(float(record.get(name) or 0.0) for record in records for name in ("seconds", "seconds_setup"))
    return {
        "problems": len(study.groups),
        "methods": len(study.methods),
        "cells": len(records),
        "solved": sum(map(solved, records)),
        "missed their target": len(records) - failed - sum(map(solved, records)),
        "failed": failed,
        "seconds in all": seconds,
        **({"compared with": study.reference} if study.reference else {}),
    }


def _made_with(records: Iterable[Record]) -> list[str]:
    """Versions and devices, every combination that occurs with its number of cells."""
    found = Counter(
        " · ".join(
            [
                *(f"{k} {v}" for k, v in (r.get("versions") or {}).items()),
                *filter(None, (r.get("device"), r.get("dtype"))),
            ]
        )
        for r in records
    )
    return [f"{told} ({cells} cells)" for told, cells in found.items() if told]


def _seeds(records: Sequence[Record]) -> str:
    return ", ".join(str(record.get("seed")) for record in records)


def _status(record: Record) -> str:
    return "failed" if record.get("error") else str(record.get("status") or "unknown")


def _reason(record: Record) -> str:
    return str(record.get("error") or record.get("message") or "")


def _clear(folder: Path) -> None:
    """Remove what an earlier report has left."""
    for name, suffixes in (("tables", FORMATS), ("pictures", PICTURES)):
        for suffix in suffixes:
            for path in (folder / name).glob(f"*.{suffix}"):
                path.unlink()


def _noted_once(tables: Sequence[Table]) -> list[Table]:
    """The tables with every note below the last table that has it."""
    later = [{note for table in tables[k + 1 :] for note in table.notes} for k in range(len(tables))]
    return [
        replace(table, notes=tuple(note for note in table.notes if note not in after))
        for table, after in zip(tables, later, strict=True)
    ]


def _write_tables(
    folder: Path, name: str, tables: Sequence[Table], formats: Mapping[str, Callable[[Table], str]]
) -> None:
    if any(table.rows for table in tables):
        for suffix, form in formats.items():
            _write(folder / f"{name}.{suffix}", "\n".join(map(form, tables)).encode())


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(exist_ok=True)
        return written(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; make the folder writable") from error
