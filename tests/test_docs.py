"""The documentation is true: its examples run, its links lead somewhere, its options and keys exist."""

import re
import runpy
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import multilevel_opt as mlo
from multilevel_opt import cli
from multilevel_opt.methods import METHODS
from multilevel_opt.study.folder import FILES
from multilevel_opt.training import TRAINERS
from problems import Poisson
from problems.burgers import cole_hopf

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

Names = Mapping[str, Any]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"\bmlopt ([a-z]+)([^`\n|]*)")

EXPECTED: dict[str, Callable[[Names], bool]] = {
    "readme.py": lambda n: n["result"].success and n["result"].metrics["rmse"] <= 1e-3,
    "cubic.py": lambda n: n["run"].result.success and n["run"].result.metrics["rmse"] <= 1e-4,
    "own_hierarchy.py": lambda n: (
        n["defect"] < 1e-12
        and n["one_level"].success
        and n["two_levels"].success
        and n["two_levels"].njev < n["one_level"].njev / 2
    ),
    "semilinear.py": lambda n: n["found"].success and n["found"].metrics["relative_l2"] <= 1e-5,
    "valley.py": lambda n: n["result"].success and n["result"].fun < 1e-12,
    "torch_optimizer.py": lambda n: n["loss"] < 1e-2,
    "own_equation.py": lambda n: (
        abs(float(n["disk"].solution(n["run"].result.x, torch.zeros(1, 2).double())) - 0.21015) < 5e-4
    ),
    "deepxde.md": lambda n: (
        n["plate"].record["relative_l2"] <= 1e-4
        and torch.allclose(n["there"], cole_hopf(n["place"], 0.1), rtol=2e-2)
        and len(n["finer"].training_points()["added"]) == 40
        and abs(n["rod"].estimates(n["cooled"].result.x)["C"] - 0.3) < 1e-3
    ),
    "studies-report.md": lambda n: (
        n["comparison"].outcome == "cheaper"
        and n["comparison"].only_a == 1
        and n["growth"].covers(1)
        and n["order"].covers(2)
        and not n["order"].covers(1)
    ),
    "separable-networks.md": lambda n: n["batch"].element_gradients.shape == (3, 234) and n["opt"].last.accepted,
    "README.md": lambda n: n["result"].success and str(n["hierarchy"]) in text(ROOT / "README.md"),
    "reference.md": lambda n: (
        n["found"].success
        and n["found"].ledgers[0].counts["hvp"] == 0
        and n["again"].nit == 5
        and all(torch.isfinite(one.residual(one.x0)).all() for one in n["variants"])
        and len(n["refined"].interior_points) == 120
    ),
    "training.md": lambda n: (
        n["optimizer"].last.accepted
        and n["loss"] < 1.0
        and n["result"].fun < n["f"].rows(range(200))(n["f"].x)
        and n["lbfgs"].counts["pairs_accepted"] > 50
        and n["lbfgs"].counts["gradients"] < 65
        and 100 <= n["sampler"].size <= len(n["f"])
        and n["run"].record["test_accuracy"] > 0.5
    ),
    "partitioned.md": lambda n: n["found"].success and n["again"].success and n["g"].colors == 3,
    "theory.md": lambda n: n["counted"] == pytest.approx(n["by_hand"], rel=1e-12),
    "tutorial.md": lambda n: (
        n["run"].result.success
        and n["result"].success
        and n["found"].metrics["rmse"] <= 1e-4
        and n["valley"].result.success
        and n["valley"].record["chosen"]["method"] == "tr2"
        and n["squares"].record["chosen"]["method"] == "lm"
        and n["chain"].success
        and n["hessian"].nnz == 3 * 200 - 2
        and float(n["middle"]) == pytest.approx(0.37271, rel=1e-2)
        and n["wave"].success
        and max(n["fisher"].defects().values()) < 1e-12
        and torch.allclose(n["fit"].x, torch.tensor([2.5, 1.3], dtype=torch.float64), rtol=1e-8)
        and n["together"].njev < n["alone"].njev / 2
        and n["loss"] < 1e-2
        and n["rest"].nit == 5
        and (n["bounded"].success, float(n["bounded"].x[1])) == (True, 1.5)
        and all(finding.passed for finding in mlo.check.report(n["cubic"]))
    ),
}


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, so that examples leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_a_number(path: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(path), run_name="__main__")
    assert EXPECTED[path.name](names)
    assert re.search(r"\d", capsys.readouterr().out)


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(text(p))], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    for number, block in enumerate(BLOCK.findall(text(page)), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), vars(module))
    assert EXPECTED[page.name](vars(module))


def test_the_example_of_the_readme_is_the_script() -> None:
    (block,) = BLOCK.findall(text(ROOT / "README.md"))
    assert text(DOCS / "examples" / "readme.py").endswith(block)


def test_an_equation_of_ones_own_takes_fifteen_lines() -> None:
    script = text(DOCS / "examples" / "own_equation.py").rpartition('"""')[2]
    assert len([line for line in script.splitlines() if line.strip()]) <= 15


def test_a_problem_in_a_file_is_solved_by_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = f"{DOCS / 'examples' / 'cubic.py'}:Cubic"
    assert cli.main(["solve", problem, "width=100", "--until", "rmse=1e-4", "--quiet"]) == 0


def test_a_plain_class_of_few_lines_is_solved_and_checked(here: Path) -> None:
    path = DOCS / "examples" / "valley.py"
    (block,) = re.findall(r"^class Valley:.*?(?=\n\n\n)", text(path), re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) <= 15
    assert block in text(DOCS / "tutorial.md")
    assert cli.main(["solve", f"{path}:Valley", "n=6", "--out", "run", "--quiet"]) == 0
    assert (here / "run" / "report.html").exists()
    assert cli.main(["check", f"{path}:Valley", "n=6"]) == 0


def broken_links(page: Path, content: str) -> list[str]:
    """Relative links of a page to files, or headings of pages, that do not exist."""
    broken = []
    for target in LINK.findall(content):
        file, _, anchor = target.partition("#")
        found = page if not file else page.parent / file
        if "://" not in target and not (found.exists() and (not anchor or anchor in anchors(found))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, prose(page)) == []


def test_a_broken_link_is_seen() -> None:
    content = "[a](nowhere.md) [b](theory.md#flops) [c](theory.md#flips) [d](https://example.org) [e](index.md)"
    assert broken_links(DOCS / "index.md", content) == ["nowhere.md", "theory.md#flips"]


def anchors(page: Path) -> set[str]:
    """The names that headings of a page have in links."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options_of(command: str) -> set[str]:
    """The options of a command of mlopt; raises KeyError for a command that does not exist."""
    group: Any = typer.main.get_command(cli.app)
    return {option for parameter in group.commands[command].params for option in parameter.opts}


def unknown_options(content: str) -> list[str]:
    """Commands of mlopt, and options in the same piece of code, that do not exist."""
    group: Any = typer.main.get_command(cli.app)
    unknown = []
    for command, rest in COMMAND.findall(content):
        if command not in group.commands:
            unknown.append(command)
        else:
            unknown += sorted(set(re.findall(r"(?<=\s)--[a-z-]+", rest)) - options_of(command))
    return unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    assert unknown_options(text(page)) == []


def test_an_unknown_command_or_option_is_seen() -> None:
    content = "`mlopt solve poisson --method lm --levls 2`, `mlopt resme runs/x`, `mlopt resume runs/x --json`"
    assert unknown_options(content) == ["--levls", "resme"]


def test_every_option_and_command_is_in_the_reference() -> None:
    reference, group = text(DOCS / "reference.md"), typer.main.get_command(cli.app)
    for command in group.commands:
        assert f"`mlopt {command}" in reference
        missing = {o for o in options_of(command) if o.startswith("--") and f"`{o}" not in reference} - {"--help"}
        assert missing == set()


def test_every_key_of_a_record_and_column_of_the_history_is_in_the_reference() -> None:
    reference = text(DOCS / "reference.md")
    record = mlo.solve(Poisson(nu=5, width=16), "galerkin", max_iterations=1).record
    columns = {field.name for field in fields(mlo.Event)} - {"metrics"}
    missing = {name for name in {*record, *columns, *METHODS, *TRAINERS, *FILES} if f"`{name}`" not in reference}
    assert missing == set()


def test_the_defaults_of_the_cycle_are_in_the_reference() -> None:
    reference, plain = text(DOCS / "reference.md").partition("option of `Cycle`")[2], asdict(mlo.Cycle())
    for name, default in plain.items():
        (row,) = re.findall(rf"^\| `{name}` \| ([^|]*) \|", reference, re.MULTILINE)
        special = [(key, getattr(solver.cycle, name)) for key, solver in (("LM", mlo.LM), ("RLM", mlo.RLM))]
        told = ", ".join(f"`{key}`: {value}" for key, value in special if value != default)
        assert row == (f"{default} ({told})" if told else f"{default}")


def test_the_readme_is_short() -> None:
    assert len(text(ROOT / "README.md").splitlines()) <= 120


def test_equations_are_numbered_in_order() -> None:
    numbers = [int(n) for n in re.findall(r"\\tag\{(\d+)\}", text(DOCS / "theory.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
