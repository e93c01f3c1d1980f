"""The report of a run: one self-contained HTML file, and the pictures in it, made from the files of its folder.

Nothing is fetched and nothing is executed by the page: pictures are data URIs, every text is escaped, and a
content security policy forbids the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multilevel_opt.checkpoint import write_json, written
from multilevel_opt.errors import InputError
from multilevel_opt.films import draw_film, moves
from multilevel_opt.pictures import convergence_picture
from multilevel_opt.point_pictures import draw_points, has_points
from multilevel_opt.problem import Problem
from multilevel_opt.record import ERRORS, SCHEMA, counted, level_rows
from multilevel_opt.solution_pictures import draw_solution
from multilevel_opt.solution_values import Array, drawable, solution_values
from multilevel_opt.solve import Run
from multilevel_opt.study.folder import (
    Spec,
    read_history,
    read_json,
    read_solution,
    write_history,
    write_solution,
)
from multilevel_opt.study.page import encoded, render

# name, format, text in place of the picture, caption
CAPTIONS = (
    (
        "solution",
        "png",
        "The solution: exact, by the network, and their difference",
        "The solution: exact where it is known, by the network, and the size of their difference.",
    ),
    ("film", "gif", "The solution in time", "The solution in time."),
    (
        "points",
        "png",
        "The residual of the equation and the points of training",
        "The residual of the equation, weighted as in training, and the points where it was trained.",
    ),
)

NEEDED = {
    "problem",
    "method",
    "message",
    "converged",
    "iterations",
    "flops",
    "seconds",
    "seconds_setup",
    "n_parameters",
    "n_residuals",
    "linear_algebra",
    "peak_memory_bytes",
}


def save_run(folder: Path, run: Run, problem: Problem) -> None:
    """Write the data of a finished run: history, solution, and last the record."""
    write_history(folder / "history.csv", run.result.history)
    values = solution_values(problem, run.result.x)
    if values is not None:
        write_solution(folder / "solution.npz", values)
    write_json(folder / "result.json", run.record)


def write_report(folder: Path) -> Path:
    """Draw the pictures and write ``report.html`` from the files of a run's folder; raises ``InputError``."""
    spec, record = Spec.read(folder / "run.json"), read_json(folder / "result.json")
    if record.get("schema") != SCHEMA or not set(record) >= NEEDED:
        raise InputError(
            f"{folder / 'result.json'} is not a record of schema {SCHEMA}: run the problem again with --out"
        )
    history, values = read_history(folder / "history.csv"), read_solution(folder / "solution.npz")
    pictures = {} if values is None or not drawable(values) else _of_solution(folder, values)
    pictures["convergence"] = folder / "convergence.png"
    written(pictures["convergence"], lambda temporary: convergence_picture(history, temporary))
    page = html(record, spec, {name: path.read_bytes() for name, path in pictures.items()})
    return written(folder / "report.html", lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _of_solution(folder: Path, values: Mapping[str, Array]) -> dict[str, Path]:
    """Draw what there is to draw of a solution."""
    drawn = {"solution": written(folder / "solution.png", lambda temporary: draw_solution(values, temporary))}
    if moves(values):
        drawn["film"] = written(folder / "film.gif", lambda temporary: draw_film(values, temporary))
    if has_points(values):
        drawn["points"] = written(folder / "points.png", lambda temporary: draw_points(values, temporary))
    return drawn


def _measures(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What was reached, by the name to show: the usual error measures, then those of the problem."""
    known = {name: record[name] for name in ERRORS if record.get(name) is not None}
    own = {name: value for name, value in (record.get("metrics") or {}).items() if value is not None}
    return [(ERRORS.get(name) or name, value) for name, value in (known | own).items()]


def html(record: Mapping[str, Any], spec: Spec, pictures: Mapping[str, bytes]) -> str:
    """The page of a record with its pictures (PNG and GIF, by name)."""
    return render(
        "report.html.j2",
        record=record,
        command=spec.command,
        measures=_measures(record),
        targets={ERRORS.get(name, name): value for name, value in (record.get("target") or {}).items()},
        levels=level_rows(record),
        counts=counted(record),
        drawn=[caption for caption in CAPTIONS if caption[0] in pictures],
        pictures={name: encoded(data) for name, data in pictures.items()},
    )
