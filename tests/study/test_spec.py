"""A study file says what it means, or is refused in one sentence that names the key, the value and the remedy."""

import re
from pathlib import Path

import pytest

from multilevel_opt.cli import main
from multilevel_opt.errors import InputError
from multilevel_opt.study.run import Study

GOOD = """
name = "s"
seeds = [3, 1]
until = { rmse = 1e-3 }

[[problems]]
problem = "poisson"
parameters = { nu = [3, 6.0], width = [16, 32, 64], init = "normal" }

[[problems]]
problem = "helmholtz"
until = { rmse = [1e-2, 1e-4], loss = 1e-9 }

[[methods]]
name = "LM"
method = "lm"

[[methods]]
name = "two levels"
method = "galerkin"
options = { levels = 3, coarsening = "subnetwork" }
"""

WRONG = {
    ("name = ", "nam = "): r"unknown key 'nam': the keys are name, description, seeds",
    ('name = "s"', ""): r"the key name is missing",
    ("[3, 1]", "[]"): r"seeds = \[\]",
    ("[3, 1]", "[3, -1]"): r"seeds\[1\] = -1 is not allowed.*greater than or equal to 0",
    ("[3, 1]", "[3, 3]"): r"seed '3' is given twice",
    ("[3, 1]", '"9-0"'): r"seeds = '9-0' is not allowed.*the range is empty",
    ("[3, 1]", '"a-b"'): r"seeds = 'a-b' is not allowed.*range",
    ("{ rmse = 1e-3 }", "{ rmse = -1 }"): r"until\.rmse = -1 is not allowed: give a positive number",
    ("{ rmse = 1e-3 }", "{ rms = 1e-3 }"): r"unknown target 'rms': choose one of loss, gradient_norm, rmse",
    ("{ rmse = 1e-3 }", "{ rmse = inf }"): r"until\.rmse = inf is not allowed: give a positive",
    ("nu = [3, 6.0]", "nu = []"): r"problems\[0\]\.parameters\.nu = \[\] is not allowed: the list is empty",
    ("nu = [3, 6.0]", "nu = [3, 3.0]"): r"comes twice",
    ("nu = [3, 6.0]", 'nu = "much"'): r"nu=much is not a finite number",
    ("nu = [3, 6.0]", 'nu = [3, "much"]'): r"nu=much is not a finite number",
    ("nu = [3, 6.0]", "nv = 3"): r"unknown parameter 'nv' of Poisson: the parameters are",
    ("nu = [3, 6.0]", "seed = 3"): r"the seed of 'poisson' is given as a parameter",
    ("nu = [3, 6.0]", "nu = -3.0"): r"nu must be positive",
    ('"poisson"', '"poison"'): r"unknown problem 'poison': choose one of",
    ('method = "lm"', 'method = "ln"'): r"unknown method 'ln': choose one of auto, lm, .*scipy-trf",
    ('name = "two levels"', 'name = "LM"'): r"method 'LM' is given twice",
    ("levels = 3", "levls = 3"): r"unknown option 'levls' of method 'galerkin': the options are levels, coarsening",
    ("levels = 3", "levels = 0"): r"levels=0 is out of range",
    ("levels = 3", 'levels = "3"'): r"levels='3'.*correct it",
    ('"subnetwork"', '"subnetwork", cycle = { kapa = 1 }'): r"unknown option 'kapa' of the cycle: the options are",
    ('"subnetwork"', '"subnetwork", cycle = { stagnation = "x" }'): r"option stagnation='x' of the cycle is not like",
    ('"subnetwork"', '"subnetwork", cycle = { taylor_steps = 0 }'): r"has a count below 1",
    ('"subnetwork"', '"subnetwork", cycle = 3'): r"cycle=3 of method 'galerkin' is not a table",
    ('"subnetwork"', '"subnet"'): r"unknown coarsening 'subnet'",
    ('method = "lm"', 'method = "torch-adam"\noptions = { rate = 1 }'): r"unknown option 'rate' of method 'torch-adam'",
    ('method = "lm"', 'method = "torch-adam"\noptions = { learning_rate = "x" }'): r"is not like its default 0.001",
    ("[[problems]]", "[budget]\nmax_seconds = 0\n[[problems]]"): r"budget\.max_seconds = 0 is not allowed",
    (
        "[[problems]]",
        "[budget]\nmax_second = 1\n[[problems]]",
    ): r"unknown key 'max_second' in budget: the keys are max_",
    ("[[problems]]", '[limits]\nmemory = "much"\n[[problems]]'): r"limits\.memory = 'much' is not allowed",
    ('name = "s"', 'name = "s"\nreference = "l"'): r"reference 'l' is none of the methods: name one of LM, two levels",
    ("[[problems]]", '[[published]]\nproblem = "p"\nmethd = "m"\n[[problems]]'): r"unknown key 'methd' in published",
    ('method = "lm"', 'method = "lm"\nwhere = { nu = 7 }'): r"method 'LM' has no problem left by its where",
    ("[[methods]]", "[[methods]"): r"is not TOML: .*line",
    ("[[methods]]", "[[metods]]"): r"unknown key 'metods'|methods is missing",
}


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change[1][:30])
def test_a_wrong_file_is_refused_in_one_sentence(
    change: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD.replace(*change, 1), encoding="utf-8")
    assert file.read_text(encoding="utf-8") != GOOD
    assert main(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert re.search(WRONG[change], told), told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", [0, -2])
def test_a_number_of_jobs_below_one_is_refused(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"jobs={jobs}"):
        Study.from_text(GOOD).run(jobs, tmp_path / "out")


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_lists_are_crossed_and_targets_of_a_problem_replace_those_of_the_study() -> None:
    cells = Study.from_text(GOOD).cells
    poisson = [cell for cell in cells if cell.problem == "poisson"]
    helmholtz = [cell for cell in cells if cell.problem == "helmholtz"]
    assert len(poisson) == 2 * 3 * 2 * 2  # nu, width, seeds, methods
    assert len(helmholtz) == 2 * 2 * 2  # targets, seeds, methods
    assert {cell.until["rmse"] for cell in poisson} == {1e-3}
    assert {tuple(cell.until.values()) for cell in helmholtz} == {(1e-2, 1e-9), (1e-4, 1e-9)}
    assert {cell.parameters["seed"] for cell in cells} == {1, 3}


def test_a_method_is_run_where_its_table_says() -> None:
    def counted(where: str) -> list[tuple[str, float]]:
        cells = Study.from_text(GOOD.replace('method = "lm"', f'method = "lm"\nwhere = {where}')).cells
        return [(cell.problem, cell.parameters.get("nu")) for cell in cells if cell.method == "lm"]

    everything = counted("{}")
    assert counted('{ problem = "poisson" }') == [found for found in everything if found[0] == "poisson"]
    assert counted("{ nu = [6.0, 9.0] }") == [found for found in everything if found[1] == 6.0]
    assert counted('{ problem = ["poisson", "helmholtz"] }') == everything


def test_a_cell_keeps_its_identity_when_the_file_grows_and_changes_it_with_the_budget() -> None:
    keys = {cell.key for cell in Study.from_text(GOOD).cells}
    assert len(keys) == len(Study.from_text(GOOD).cells)
    more = Study.from_text(GOOD.replace("[3, 1]", "[1, 2, 3]").replace("[3, 6.0]", "[6, 3.0]"))
    assert keys < {cell.key for cell in more.cells}
    other = Study.from_text(GOOD.replace("[[problems]]", "[budget]\nmax_iterations = 7\n[[problems]]", 1))
    assert keys.isdisjoint(cell.key for cell in other.cells)
    limited = Study.from_text(GOOD.replace("[[problems]]", "[limits]\nseconds = 7\n[[problems]]", 1))
    assert keys == {cell.key for cell in limited.cells}


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "problems" / "studies").glob("*.toml")), ids=str)
def test_the_studies_of_the_gallery_are_well_formed(file: Path) -> None:
    study = Study.from_toml(file)
    assert study.table.name == file.stem
    assert study.cells
