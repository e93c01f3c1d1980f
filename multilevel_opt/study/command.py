"""``mlopt study``: a study file in, records out, progress on stderr."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from multilevel_opt.study.progress import StudyProgress
from multilevel_opt.study.run import Study


def study(
    file: Annotated[Path, typer.Argument(help="a study in TOML, see docs/studies.md", show_default=False)],
    jobs: Annotated[int, typer.Option(help="cells at a time")] = 1,
    out: Annotated[Path | None, typer.Option(help="folder of the records; default: runs/ and the study's name")] = None,
    scheduler: Annotated[str | None, typer.Option(help="address of a Dask scheduler, tcp://HOST:PORT")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run failed cells again")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="print nothing but errors")] = False,
) -> None:
    """Run the cells of a study that have no record yet; a killed study goes on where it was."""
    asked = Study.from_toml(file)
    display = None if quiet else StudyProgress(asked.table.name)
    with display or contextlib.nullcontext():
        records = asked.run(jobs, out, scheduler=scheduler, retry_failed=retry_failed, listener=display)
    raise typer.Exit(1 if any(record["error"] for record in records) else 0)
