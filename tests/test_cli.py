import csv
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multilevel_opt import CURVATURES, catalogue, citations
from multilevel_opt.cli import main
from multilevel_opt.study.folder import FILES, Spec

USER = '''
import time
import torch
import multilevel_opt as mlo

class Valley:
    """A chain of bent valleys: many iterations of Levenberg-Marquardt."""

    def __init__(self, n: int = 12, pause: float = 0.0, seed: int = 0):
        self.pause = pause
        self.parameters = {"n": n, "seed": seed}
        random = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.x0 = 0.1 * random - 1.2
        self.metrics = {"rmse": lambda x: float((x - 1).square().mean().sqrt())}
        self.objective = mlo.LeastSquares(self.residual)

    def residual(self, x):
        time.sleep(self.pause)
        return torch.cat([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])

class NanStart(Valley):
    def residual(self, x):
        return x * float("nan")

class NanInTheMiddle(Valley):
    def residual(self, x):
        return torch.cat([10 * (x[1:] - x[:-1] ** 2), torch.log(x + 1.25), 1 - x[:-1]])

class WrongShape(Valley):
    def residual(self, x):
        return x[None]

class Raises(Valley):
    def residual(self, x):
        raise ValueError("no such material")

class Chatty(Valley):
    def residual(self, x):
        print("hello")
        return 1 - x

class Bare:
    pass
'''

VALLEY = ["--method", "lm", "--until", "rmse=1e-8"]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("user") / "mine.py"
    path.write_text(USER, encoding="utf-8")
    return str(path)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return [{name: text for name, text in line.items() if name != "seconds"} for line in csv.DictReader(file)]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def assert_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(arguments)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("running the code of")]
    assert status == 2
    assert captured.out == ""
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert told in lines[0]


BAD = {
    "nothing": "unknown problem 'nothing'",
    "poisson bar=1": "unknown parameter 'bar'",
    "poisson width": "not a parameter",
    "poisson width=0": "width",
    "poisson nu=-1": "nu",
    "poisson nu=x": "nu=x is not a finite number",
    "poisson --method foo": "unknown method 'foo'",
    "poisson --method lm --levels 2": "one level",
    "poisson --method galerkin --coarsening foo": "unknown coarsening 'foo'",
    "poisson --curvature foo": "unknown curvature 'foo': choose one of exact, gauss-newton, bfgs, sr1, se, lbfgs",
    "poisson --method ar1 --curvature bfgs": "models of order 2",
    "poisson --levels 0": "levels=0",
    "poisson --levels x": "--levels",
    "poisson --until rmse": "not a target",
    "poisson --until rmse=x": "not a target",
    "poisson --until rmse=-1": "positive",
    "poisson --until foo=1": "unknown target 'foo'",
    "poisson --until rmse=1 --until rmse=2": "given twice",
    "poisson --device foo": "unknown device 'foo'",
    "poisson --device cuda:99": "not available",
    "poisson --dtype float16": "float16",
    "poisson --memory x": "not a size",
    "poisson --memory 0": "positive",
    "poisson --max-iterations -1": "negative",
    "poisson --max-seconds 0": "positive",
    "poisson --seed 1 seed=2": "given twice",
    "poisson --foo": "--foo",
    "USER:NanStart": "the objective at the start point is nan",
    "USER:WrongShape": "shape (m,)",
    "USER:Raises": "no such material (mine.py, line",
    "USER:Bare": "no objective",
    "USER:Nothing": "no class 'Nothing'",
    "USER:Valley --method rlm": "no",
    "USER:Valley --dtype float32": "takes no dtype",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    words: str, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["solve", *words.replace("USER", user).split(), "--out", str(tmp_path / "deep" / "run"), "--quiet"]
    if words.startswith("USER") and "--method" not in words:
        arguments += ["--method", "lm"]
    assert_refused(arguments, BAD[words], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resume", "nowhere"], "cannot read nowhere/run.json"),
        (["report", "nowhere"], "cannot read nowhere/run.json"),
        (["cite", "foo"], "unknown method 'foo'"),
        (["check", "foo"], "unknown problem 'foo'"),
        (["foo"], "foo"),
        (["solve"], "PROBLEM"),
    ],
)
def test_bad_usage_is_one_sentence(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told.lower() in captured.err.lower()
    assert len(captured.err.splitlines()) == 1


def test_an_unwritable_folder_is_told(user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for out in (file, file / "below" / "it"):
        assert_refused(["solve", f"{user}:Valley", *VALLEY, "--quiet", "--out", str(out)], "cannot write to", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_full_disk_is_told(user: str, tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [
        sys.executable,
        "-m",
        "multilevel_opt.cli",
        "solve",
        f"{user}:Valley",
        *VALLEY,
        "--quiet",
        "--out",
        "run",
    ]
    done = subprocess.run(command, cwd=tmp_path, preexec_fn=small_files, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr


def test_json_is_exactly_one_object(user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", f"{user}:Valley", *VALLEY, "--json", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == record(tmp_path / "run")
    assert "iteration" in captured.err


def test_what_a_problem_prints_does_not_spoil_json(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["solve", f"{user}:Chatty", "--method", "lm", "--json"])
    captured = capsys.readouterr()
    assert isinstance(json.loads(captured.out), dict)
    assert "hello" in captured.err


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "poisson", "nu=4", "width=16", "--method", "lm", "--max-iterations", "1", "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")


def test_poisson_writes_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    command = [
        "solve",
        "poisson",
        "nu=4",
        "width=32",
        "--method",
        "galerkin",
        "--levels",
        "2",
        "--until",
        "rmse=1e-2",
        "--seed",
        "3",
    ]
    assert main([*command, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(set(FILES) - {"checkpoint.stage.pt", "film.gif"})
    found = record(out)
    assert found["converged"]
    assert found["rmse"] <= 1e-2
    assert found["seed"] == 3
    assert found["levels"] == len(found["level_kinds"]) == 2
    assert found["target"] == {"rmse": 1e-2}
    assert "rmse" in capsys.readouterr().out
    (out / "report.html").unlink()
    (out / "solution.png").unlink()
    assert main(["report", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(set(FILES) - {"checkpoint.stage.pt", "film.gif"})


def test_a_run_that_meets_nan_goes_on_or_stops_with_the_reason(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["solve", f"{user}:NanInTheMiddle", "--method", "lm", "--json", "--max-iterations", "200"])
    found = json.loads(capsys.readouterr().out)
    assert status in (0, 1)
    assert found["loss"] is not None
    assert found["message"]


def test_a_new_run_replaces_the_files_of_the_old_one(
    user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    asked = ["solve", "poisson", "nu=4", "width=16", "--method", "lm", "--max-iterations", "2", "--quiet"]
    assert main([*asked, *out]) == 1
    before = (tmp_path / "result.json").read_bytes()
    assert main(["solve", f"{user}:NanStart", "--method", "lm", *out]) == 2
    assert (tmp_path / "result.json").read_bytes() == before
    assert main(["solve", f"{user}:Valley", *VALLEY, "--quiet", *out]) == 0
    assert record(tmp_path)["problem"] == "mine.py:Valley"
    assert not (tmp_path / "solution.png").exists()  # of the old problem
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_uninterrupted(user: str, tmp_path: Path, number: signal.Signals) -> None:
    assert main(["solve", f"{user}:Valley", *VALLEY, "--quiet", "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "cut"
    command = [sys.executable, "-u", "-m", "multilevel_opt.cli", "solve", f"{user}:Valley", "pause=0.04", *VALLEY]
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not (line := run.stderr.readline()).startswith("iteration") or int(line.split()[1]) < 2:
            assert run.poll() is None
        run.send_signal(number)
        told = run.stderr.read()
        assert run.wait(60) == 130
    assert f"mlopt resume {out}" in told
    assert "Traceback" not in told
    assert (out / "checkpoint.pt").exists()
    assert record(out)["status"] == "interrupted"
    assert 0 < len(history(out)) < len(history(tmp_path / "whole"))
    assert main(["resume", str(out), "--quiet"]) == 0
    assert history(out) == history(tmp_path / "whole")
    assert record(out)["converged"]
    assert (out / "report.html").exists()


@pytest.mark.parametrize("method", ["lm", "galerkin"])
def test_a_run_stopped_by_its_limit_goes_on_under_a_new_one(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = ["solve", "poisson", "nu=4", "width=16", "init=normal", "--method", method, "--quiet"]
    assert main([*problem, "--max-iterations", "6", "--out", str(tmp_path / "whole")]) == 1
    assert main([*problem, "--max-iterations", "3", "--out", str(tmp_path / "cut")]) == 1
    assert main(["resume", str(tmp_path / "cut"), "--quiet"]) == 1
    assert "raise --max-iterations" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "cut"), "--max-iterations", "6", "--quiet"]) == 1
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    timed = {"seconds", "seconds_setup", "peak_memory_bytes"}
    cut, whole = record(tmp_path / "cut"), record(tmp_path / "whole")
    assert {k: v for k, v in cut.items() if k not in timed} == {k: v for k, v in whole.items() if k not in timed}


def test_a_finished_run_is_left_alone(user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", f"{user}:Valley", *VALLEY, "--quiet", "--out", str(tmp_path)]) == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert main(["resume", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert "nothing to resume: the run has ended" in captured.err
    assert json.loads(captured.out) == record(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_killed_run_without_checkpoint_starts_again(user: str, tmp_path: Path) -> None:
    assert main(["solve", f"{user}:Valley", *VALLEY, "--quiet", "--out", str(tmp_path)]) == 0
    whole = history(tmp_path)
    for name in FILES:
        if name != "run.json":
            (tmp_path / name).unlink(missing_ok=True)
    assert main(["resume", str(tmp_path), "--quiet"]) == 0
    assert history(tmp_path) == whole


def test_a_checkpoint_of_another_problem_is_refused(
    user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["solve", f"{user}:Valley", "--method", "lm", "--max-iterations", "3", "--quiet", "--out", str(tmp_path)])
        == 1
    )
    described = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(described | {"assignments": ["n=5"]}), encoding="utf-8")
    assert_refused(["resume", str(tmp_path), "--max-iterations", "6", "--quiet"], "resume the same problem", capsys)


def test_problems_are_listed_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["problems"]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line and not line.startswith((" ", "'"))]
    assert "test functions of any size (partially separable)" in headings
    assert len(headings) < len(lines) / 5
    assert any(line.startswith("  poisson ") for line in lines)
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  ") and bool(line.strip()) for line in lines) == len(catalogue.available())


def test_one_problem_is_described(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["problems", "dixmaan"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("n=1500", "number of variables", "letter=a", "Source: CUTEst", "Minimum 1"))
    assert main(["problems", f"{user}:Valley"]) == 0
    assert "pause=0.0" in capsys.readouterr().out
    assert main(["problems", "nothing"]) == 2


PLAIN = """
import torch

class Bowl:
    \"\"\"A bowl with its bottom at one.\"\"\"

    def __init__(self, n: int = 3):
        self.x0 = [0.0] * n

    def objective(self, x):
        return ((x - 1) ** 2).sum() + ((x - 1) ** 4).sum()
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plain") / "bowl.py"
    path.write_text(PLAIN, encoding="utf-8")
    return f"{path}:Bowl"


DRAWN = {"checkpoint.stage.pt", "film.gif", "points.png", "solution.npz", "solution.png"}


def test_a_plain_class_is_a_problem(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["solve", plain, "n=5", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("bowl.py:Bowl by auto (tr2): 5 unknowns\n  parameters     n=5\nconverged")
    assert sorted(path.name for path in out.iterdir()) == sorted(set(FILES) - DRAWN)
    found = record(out)
    assert found["method"] == json.loads((out / "run.json").read_text(encoding="utf-8"))["method"] == "auto"
    assert found["chosen"] == {"method": "tr2", "why": "it has no residual"}
    assert found["parameters"] == {"n": 5}
    assert found["n_residuals"] is None
    assert found["metrics"] == {}
    assert main(["check", plain]) == 0
    assert main(["report", str(out)]) == 0


def test_a_problem_with_residuals_is_solved_by_lm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "woods", "n=8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"]["method"] == "lm"
    assert found["n_residuals"] == 12
    assert abs(found["metrics"]["gap"]) < 1e-12


def test_a_target_may_be_a_metric_of_the_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "tointgss", "n=10", "--until", "gap=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["gap"] <= 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("arwhead --method lm", "method 'lm' needs a residual, and arwhead has none: use one of ar1"),
        ("arwhead --method galerkin", "needs a residual"),
        ("arwhead n=10 --method tr2 --levels 3", "offers no hierarchy"),
        ("arwhead --levels 2", "offers no hierarchy"),
        ("arwhead n=0", "n >= 2"),
        ("fit loss=l3", "choose one of l2, l1"),
    ],
)
def test_what_does_not_fit_is_one_sentence(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(["solve", *words.split(), "--quiet"], told, capsys)


def test_listing_starts_without_drawing() -> None:
    """Start-up stays low: nothing that only pictures, reports or graphs need is imported."""
    code = (
        "import sys, multilevel_opt.cli; print([m for m in ('matplotlib', 'jinja2', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_check_prints_numbers_and_passes(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{user}:Valley"]) == 0
    out = capsys.readouterr().out
    assert "pass" in out
    assert "FAIL" not in out


@pytest.mark.parametrize("curvature", [None, "gauss-newton", "bfgs", "sr1", "lbfgs", "lsr1"])
def test_the_curvature_is_chosen_and_recorded(curvature: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["solve", "poisson", "nu=2", "width=6", "--method", "tr2", "--max-iterations", "4", "--json", "--quiet"]
    assert main([*words, "--curvature", curvature] if curvature else words) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["curvature"] == (curvature or "exact")
    secant = curvature not in (None, "gauss-newton")
    assert (record["evaluations"]["hvp"] == [0]) == secant
    assert record["loss"] < math.inf


def test_a_run_with_pairs_is_resumed_with_its_curvature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["solve", "poisson", "nu=2", "width=6", "--method", "lm", "--curvature", "lbfgs", "--json", "--quiet"]
    assert main([*words, "--max-iterations", "8"]) == 1
    whole = json.loads(capsys.readouterr().out)
    assert main([*words, "--max-iterations", "4", "--out", str(tmp_path)]) == 1
    capsys.readouterr()
    assert main(["resume", str(tmp_path), "--max-iterations", "8", "--json", "--quiet"]) == 1
    resumed = json.loads(capsys.readouterr().out)
    assert (resumed["loss"], resumed["curvature"]) == (whole["loss"], "lbfgs")
    assert "--curvature lbfgs" in Spec.read(tmp_path / "run.json").command


def test_cite_prints_bibtex_of_what_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "rlm"]) == 0
    rlm = capsys.readouterr().out
    assert "10.1080/10556788.2020.1775828" in rlm
    assert "PyAMG" in rlm
    assert main(["cite", "lm"]) == 0
    assert capsys.readouterr().out.count("@") == 1


def test_every_curvature_that_learns_can_be_cited() -> None:
    learn_nothing = {"exact", "gauss-newton"}
    assert set(citations.CURVATURES) == set(CURVATURES) - learn_nothing


def test_cite_adds_the_works_of_a_curvature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "tr2", "--curvature", "lbfgs"]) == 0
    text = capsys.readouterr().out
    assert "10.1007/BF01582063" in text
    assert "10.1137/0720042" in text


def test_every_method_can_be_cited(capsys: pytest.CaptureFixture[str]) -> None:
    from multilevel_opt import citations
    from multilevel_opt.solve import METHODS, TRAINERS

    assert set(citations.METHODS) == set(METHODS)
    assert set(citations.TRAINERS) == set(TRAINERS)
    tables = citations.METHODS, citations.TRAINERS, citations.COARSENINGS, citations.CURVATURES
    used = {key for table in tables for keys in table.values() for key in keys}
    assert used == set(citations.WORKS)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m multilevel_opt.cli cite rlm | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.stderr == ""
