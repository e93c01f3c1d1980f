"""The command line: ``mlopt problems | solve | resume | study | report | check | cite``.

Exit status: 0 the target, or first-order convergence, was reached; 1 the run stopped before it; 2 bad usage or
input (one sentence on stderr); 130 interrupted; 70 a defect of the program (with a traceback). Results go to
stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from multilevel_opt import catalogue, citations, listing, registry
from multilevel_opt.auto import AUTO, usual_method
from multilevel_opt.callbacks import Progress
from multilevel_opt.checkpoint import finite
from multilevel_opt.errors import InputError
from multilevel_opt.interruption import interruptible
from multilevel_opt.methods import METHODS
from multilevel_opt.objective.structure import draw, structure
from multilevel_opt.options import few_threads, in_bytes, positive, sentence, settings, targets, with_options
from multilevel_opt.result import Event, Status
from multilevel_opt.solve import Run, check_method, iterations_of, scalar_of
from multilevel_opt.solve import solve as run_solver
from multilevel_opt.study.command import study
from multilevel_opt.study.folder import FILES, RunFolder, Spec, read_json, why_ended
from multilevel_opt.training import TRAINERS
from multilevel_opt.variants import CURVATURES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multilevel optimization of neural networks and other functions.",
)
app.command()(study)

ProblemName = Annotated[
    str, typer.Argument(help="a name listed by 'mlopt problems', or path.py:Class", show_default=False)
]
Words = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="parameters of the problem")]
Folder = Annotated[Path, typer.Argument(help="a folder made by --out", show_default=False)]
Until = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="stop when rmse, relative_l2, loss or gradient_norm is this small; repeatable"
    ),
]
Curvature = Annotated[str | None, typer.Option(help=f"one of {', '.join(CURVATURES)}; default: the method's")]
Json = Annotated[bool, typer.Option("--json", help="print the result as one JSON object")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but the JSON object and errors")]


@app.callback(invoke_without_command=True)
def _options(
    show: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    if show:
        sys.stdout.write(f"mlopt {version('multilevel-opt')}\n")
        raise typer.Exit


@app.command()
def problems(
    name: Annotated[str | None, typer.Argument(help="one of them, or path.py:Class", show_default=False)] = None,
    graph: Annotated[Path | None, typer.Option(help="picture of its elements and variables, png, pdf or svg")] = None,
) -> None:
    """List the problems there are, or tell everything about one."""
    if name is None:
        listing.show_all(catalogue.available())
        return
    problem = registry.load(name, _say)
    elements = catalogue.separable(problem)
    listing.show_one(name, catalogue.described(problem), None if elements is None else structure(elements))
    if graph is not None:
        if elements is None:
            raise InputError(f"{name} declares no elements to draw: choose a problem of the group of separable ones")
        draw(elements, graph)


@app.command()
def solve(
    problem: ProblemName,
    parameters: Words = None,
    method: Annotated[
        str,
        typer.Option(
            help=f"{AUTO}, which chooses, or one of {', '.join(METHODS)}; for a problem with samples also of "
            f"{', '.join(TRAINERS)}"
        ),
    ] = AUTO,
    levels: Annotated[int | None, typer.Option(help="number of levels; default: the method's")] = None,
    coarsening: Annotated[str | None, typer.Option(help="how coarse levels are made; default: the method's")] = None,
    curvature: Curvature = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="of the method, for example lr=0.01; repeatable")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of the problem")] = None,
    until: Until = None,
    max_iterations: Annotated[int, typer.Option(help="limit of iterations")] = 1000,
    max_seconds: Annotated[float | None, typer.Option(help="limit of seconds of solving")] = None,
    memory: Annotated[str | None, typer.Option(help="budget of dense linear algebra, for example 4GiB")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float64 or float32")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for results, pictures, report and checkpoint")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Solve a problem."""
    spec = Spec(
        registry.absolute(problem),
        tuple(parameters or ()),
        method,
        levels,
        coarsening,
        curvature,
        targets(until or ()),
        max_iterations,
        max_seconds,
        None if memory is None else in_bytes(memory),
        settings(option or ()),
    )
    check_method(method, levels, coarsening, curvature, spec.options)
    positive("max_seconds", max_seconds)
    found = registry.load(spec.problem, _say)
    spec, remarks = with_options(spec, found, seed, device, dtype)
    for remark in remarks:
        _say(remark)
    raise typer.Exit(_run(spec, found, RunFolder(out) if out is not None else None, as_json, quiet))


@app.command()
def resume(
    folder: Folder,
    until: Until = None,
    max_iterations: Annotated[int | None, typer.Option(help="new limit of iterations")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="new limit of seconds of solving")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue an interrupted run, bit for bit on the same CPU."""
    spec = Spec.read(folder / "run.json")
    changes = {"until": targets(until) if until else None, "max_iterations": max_iterations, "max_seconds": max_seconds}
    asked = replace(spec, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    if (folder / "result.json").exists():
        record = read_json(folder / "result.json")
        reason = why_ended(record, asked, again=asked.until != spec.until)
        if reason is not None:
            _say(f"nothing to resume: {reason}")
            if as_json:
                _print_json(record)
            raise typer.Exit(0 if record.get("converged") else 1)
    found = registry.load(asked.problem, _say)
    raise typer.Exit(_run(asked, found, RunFolder(folder), as_json, quiet, resume=True))


@app.command()
def report(folder: Folder) -> None:
    """Make the pictures and report.html of a run, or of a study, anew from its files."""
    from multilevel_opt.study import summary  # both draw, which not every command needs
    from multilevel_opt.study.report import write_report

    write = summary.write if summary.is_study(folder) else write_report
    sys.stdout.write(f"{write(folder)}\n")


@app.command()
def check(problem: ProblemName, parameters: Words = None) -> None:
    """Check derivatives, adjointness and coherence of a problem: numbers, and pass or fail."""
    found = registry.load(problem, _say)
    from multilevel_opt import check as checks

    findings = checks.report(registry.make(found, registry.parse(found, parameters or ())))
    listing.show_laws(findings)
    raise typer.Exit(0 if all(law.passed for law in findings) else 1)


@app.command()
def cite(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join([*METHODS, *TRAINERS])}", show_default=False)],
    coarsening: Annotated[str | None, typer.Option(help="as for solve")] = None,
    curvature: Curvature = None,
) -> None:
    """Print BibTeX of what a method uses."""
    if method == AUTO:
        raise InputError("auto is no method of its own: cite the one it has chosen, which the run names")
    check_method(method, None, coarsening, curvature)
    sys.stdout.write(citations.bibtex(method, coarsening, curvature) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        with interruptible():
            return int(app(args=arguments, prog_name="mlopt", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # the reader of stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = sentence(error)
        if told is None:
            traceback.print_exc()
            return 70
        _say(f"error: {told}")
        return 2


def _run(spec: Spec, found: type, folder: RunFolder | None, as_json: bool, quiet: bool, resume: bool = False) -> int:
    """Solve, write the folder, print the result; returns the exit status."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        problem = registry.make(found, registry.parse(found, spec.assignments))
        few_threads(problem)
        if folder is None:
            run = _solve(spec, problem, None, quiet, False)
        else:
            with folder.claimed(_say):
                run = _solve(spec, problem, folder, quiet, resume and (folder / "checkpoint.pt").exists())
    try:
        if folder is not None:
            from multilevel_opt.study.report import save_run, write_report

            save_run(folder.path, run, problem)
            if run.result.status is not Status.INTERRUPTED:
                write_report(folder.path)
    finally:
        if as_json:
            _print_json(run.record)
        elif not quiet:
            sys.stdout.write(listing.summary(run.record, run.result))
            for note in run.record["notes"][len(run.hierarchy.notes) :]:
                _say(note)
    if run.result.status is not Status.INTERRUPTED:
        return 0 if run.result.success else 1
    if folder is not None:
        _say(f"interrupted after {run.result.nit} iterations: continue by 'mlopt resume {folder.path}'")
    return 130


def _solve(spec: Spec, problem: Any, folder: RunFolder | None, quiet: bool, resume: bool) -> Run:
    usual = usual_method(problem) if spec.method == AUTO else spec.method
    iterations = iterations_of(usual, problem, spec.max_iterations)
    display = Progress(spec.until, iterations, spec.max_seconds, scalar=scalar_of(usual))
    kept = [name for name in FILES if name != "result.json"] if resume else ["checkpoint.pt", "checkpoint.stage.pt"]

    def begin() -> None:
        if folder is not None and not folder.begun:
            folder.begin(spec, kept)

    def listen(event: Event) -> None:
        begin()
        if not quiet:
            display(event)

    with display:
        run = run_solver(
            problem,
            spec.method,
            name=registry.short(spec.problem),
            levels=spec.levels,
            coarsening=spec.coarsening,
            curvature=spec.curvature,
            options=spec.options,
            until=spec.until,
            max_iterations=spec.max_iterations,
            max_seconds=spec.max_seconds,
            memory=spec.memory,
            listener=listen,
            announce=None if quiet else lambda hierarchy: _say(str(hierarchy)),
            checkpoint=None if folder is None else folder / "checkpoint.pt",
            resume=resume,
        )
        begin()
    return run


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _print_json(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(finite(record), indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
