"""Solve every registered differential equation by its defaults and write ``docs/gallery.md`` with a picture of each.

    python -m docs.gallery [--seconds S] [--fresh] [NAME]...

Each is one run of ``mlopt solve`` in ``runs/gallery/NAME``. A finished run is not repeated, so that the page can be
made anew in a moment, or after some problems only; ``--fresh`` repeats it. Others than PDE problems are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from multilevel_opt import PDEProblem, cli, registry
from multilevel_opt.errors import InputError
from multilevel_opt.notation import number
from multilevel_opt.pde.definition import Definition
from multilevel_opt.solution_pictures import draw_solution
from multilevel_opt.study.folder import Spec, read_json, read_solution

HERE = Path(__file__).parent
PICTURES = HERE / "figures" / "gallery"
RUNS = HERE.parent / "runs" / "gallery"
WIDTH, COLOURS = 900, 224  # pixels across, and colours, of a picture
SECONDS = 60.0
TARGET = 1e-6

HEAD = """# Gallery

Every differential equation that comes with the package, solved by the defaults of the problem, from random features
where `auto` chose them and by `lm` where not, on one thread, within {seconds:g} seconds each. In the pictures: the
exact solution, the network, and the size of their difference on a logarithmic scale; time runs to the right; one row
for each function, slice or time.
`mlopt problems NAME` explains the parameters.

Seconds, with choosing and set-up, are those of the machine that made this page, perhaps a busy one: where it says
"max seconds", the time was over before the target {target:g} of the relative L² error was reached, and more time
brings a smaller error.

| problem | equation | relative L² error | residual | seconds | stopped |
|---|---|---|---|---|---|
"""
FOOT = """
`make gallery` solves what has not been solved yet and writes this page; `python -m docs.gallery --fresh NAME` solves
one anew. Registered `PDEProblem`s of other packages are found as well.
"""


def problems() -> dict[str, type[PDEProblem]]:
    """The registered PDE problems that can be loaded, by name."""
    found = {}
    for point in sorted(entry_points(group=registry.GROUP), key=lambda point: point.name):
        try:
            kind = registry.loaded(point)
        except InputError as error:
            sys.stderr.write(f"{point.name}: {error}\n")
            continue
        if isinstance(kind, type) and issubclass(kind, PDEProblem):
            found[point.name] = kind
    return found


def command(name: str, kind: type[PDEProblem], seconds: float) -> list[str]:
    """The words after ``mlopt`` that solve a problem for the gallery."""
    known = kind.exact is not Definition.exact
    target = ["--until", f"relative_l2={TARGET:g}"] if known else []
    return ["solve", name, *target, "--max-seconds", f"{seconds:g}"]


def solved(name: str, kind: type[PDEProblem], seconds: float, fresh: bool) -> Mapping[str, Any] | None:
    """The record of a problem, solved now if that was not done before; None where it failed."""
    folder = RUNS / name
    if fresh or not (folder / "result.json").exists():
        sys.stderr.write(f"{name} ...\n")
        status = cli.main([*command(name, kind, seconds), "--out", str(folder), "--quiet"])
        if status not in (0, 1):
            return None
    return read_json(folder / "result.json")


def draw(name: str) -> Path | None:
    """A small picture of a solved problem, of few colours; None where there is none to draw."""
    values = read_solution(RUNS / name / "solution.npz")
    if values is None:
        return None
    large = draw_solution(values, RUNS / name / "gallery.png", dpi=110)
    with Image.open(large) as image:
        small = image.convert("RGB")
        small.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
        data = BytesIO()
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    path.write_bytes(data.getvalue())
    return path


def summary(kind: type) -> str:
    """What a problem is, in a line of a table."""
    return (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".").replace("|", "\\|")


def row(name: str, kind: type, record: Mapping[str, Any]) -> str:
    """A line of the table."""
    measures = record.get("metrics") or {}
    seconds = float(record["seconds"]) + float(record["seconds_setup"] or 0.0)
    status = str(record["status"]).replace("_", " ")
    values = number(record.get("relative_l2")), number(measures.get("held_out")), f"{seconds:.0f}"
    link = f"[`{name}`](#{name})" if (PICTURES / f"{name}.png").exists() else f"`{name}`"
    return f"| {link} | {summary(kind)} | {' | '.join(values)} | {status} |"


def section(name: str, kind: type) -> str:
    """A problem's picture and command."""
    told = Spec.read(RUNS / name / "run.json").command
    alt = f"Solution of {name}: exact, network, error"
    return f"\n## {name}\n\n{summary(kind)}.\n\n    {told}\n\n![{alt}](figures/gallery/{name}.png)\n"


def page(found: Mapping[str, type[PDEProblem]], seconds: float = SECONDS) -> str:
    """The page, of all problems that have been solved."""
    records = {name: read_json(path) for name in found if (path := RUNS / name / "result.json").exists()}
    drawn = [name for name in records if (PICTURES / f"{name}.png").exists()]
    table = "\n".join(row(name, found[name], record) for name, record in records.items())
    head = HEAD.format(seconds=seconds, target=TARGET)
    return head + table + "\n" + FOOT + "".join(section(name, found[name]) for name in drawn)


def main(words: Sequence[str] | None = None) -> None:
    """Solve what is asked for, draw it, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m docs.gallery", description="Solve all and write docs/gallery.md.")
    parser.add_argument("names", nargs="*", help="problems to solve; all of them by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of solving, for each problem")
    parser.add_argument("--fresh", action="store_true", help="solve again what was solved before")
    given = parser.parse_args(words)
    found = problems()
    unknown = set(given.names) - set(found)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no PDE problem of this name; choose of {', '.join(found)}")
    for name in given.names or found:
        if solved(name, found[name], given.seconds, given.fresh) is not None:
            draw(name)
    (HERE / "gallery.md").write_text(page(found, given.seconds), encoding="utf-8")
    total = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    sys.stdout.write(f"{HERE / 'gallery.md'}: pictures of {total / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
