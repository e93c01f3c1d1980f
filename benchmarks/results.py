"""Put the tables of a study that has been run into docs/studies-results.md.

    mlopt study problems/studies/peers.toml --jobs 2 --out runs/peers
    python -m benchmarks.results runs/peers --jobs 2

The command, the day of the last record, the size of the machine and the versions go with them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import torch

from multilevel_opt.study import summary
from multilevel_opt.study.records import FILE

PAGE = Path(__file__).parents[1] / "docs" / "studies-results.md"
TABLES = {"scaling": ("growth", "results")}  # of the others: the results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study, as given by --out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="with which it was run")
    arguments = parser.parse_args()
    summary.write(arguments.folder)
    name = summary.read_source(arguments.folder / summary.SOURCE).name
    PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8"), name, section(arguments.folder, name, arguments.jobs)))


def section(folder: Path, name: str, jobs: int) -> str:
    """How the study was run, and its tables."""
    day = datetime.fromtimestamp((folder / FILE).stat().st_mtime, UTC).date()
    command = f"mlopt study problems/studies/{name}.toml --jobs {jobs} --out DIR"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    tables = [
        (folder / "tables" / f"{table}.md").read_text(encoding="utf-8") for table in TABLES.get(name, ("results",))
    ]
    return "\n".join([f"`{command}`, {day}, {machine()}, {versions}\n", *tables])


def machine() -> str:
    """Cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB"


def inserted(page: str, name: str, text: str) -> str:
    """The page with the text between the marks of the study, ``<!-- name -->`` and ``<!-- end of name -->``."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    place = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(place.findall(page)) != 1:
        raise SystemExit(f"the page has no place for the study {name!r}: write {begin} and {end} where it belongs")
    return place.sub(lambda _: f"{begin}\n{text}{end}", page)


if __name__ == "__main__":
    main()
