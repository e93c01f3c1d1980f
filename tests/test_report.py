import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from multilevel_opt import notation, pictures
from multilevel_opt.callbacks import Forecast, Progress, duration
from multilevel_opt.errors import InputError
from multilevel_opt.result import Event
from multilevel_opt.solution_pictures import draw_solution, solution_picture
from multilevel_opt.solution_values import solution_values
from multilevel_opt.study import folder as folders
from multilevel_opt.study import report

EVENT = Event(0, 1, "taylor", True, 1.0, 2.0, 3.0, 0.5, 1, 1e6, 0.5, {"rmse": 0.1})
HISTORY = [
    replace(EVENT, level=1, metrics={}, loss=5.0),
    replace(EVENT, kind="coarse", accepted=False),
    replace(EVENT, iteration=2, loss=0.1, ratio=float("-inf"), note='a "note", with a comma', flops=2e6, seconds=1.25),
]
RECORD = {
    "schema": 1,
    "problem": "<script>alert(1)</script>",
    "parameters": {"nu": 20.0, "name": "<b>"},
    "method": "galerkin",
    "message": 'rmse 1e-4 <= 1e-3 & "more"',
    "converged": True,
    "target": {"rmse": 1e-3},
    "iterations": 2,
    "iterations_per_level": [2, 1],
    "coarse_steps": 1,
    "coarse_steps_rejected": 1,
    "evaluations": {"residual": [3, 4], "jvp": [0, 0]},
    "flops": 2e6,
    "flops_per_level": [1e6, 1e6],
    "seconds": 1.25,
    "seconds_setup": 0.5,
    "loss": 0.1,
    "gradient_norm": None,
    "rmse": 1e-4,
    "n_parameters": 1537,
    "n_residuals": 63,
    "level_parameters": [1537, 193],
    "level_kinds": ["the objective", "<i>kind</i>"],
    "level_nnz": [None, 193],
    "notes": ["a & b"],
    "linear_algebra": "dual Cholesky",
    "peak_memory_bytes": 3 * 2**30,
    "versions": {"torch": "2"},
}
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Tags with attributes, and text, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    spec = folders.Spec("poisson", ("nu=20", "name=a b"), "galerkin", until={"rmse": 1e-3}, levels=2)
    spec.write(tmp_path / "run.json")
    folders.write_json(tmp_path / "result.json", RECORD)
    folders.write_history(tmp_path / "history.csv", HISTORY)
    z = np.linspace(0, 1, 50)[:, None]
    folders.write_solution(
        tmp_path / "solution.npz", {"points": z, "network": np.cos(z[:, 0]), "exact": np.cos(z[:, 0]) + 1e-4}
    )
    return tmp_path


def test_report_has_both_pictures_inside(run: Path) -> None:
    page = Page(report.write_report(run).read_text(encoding="utf-8"))
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 2
    assert all(source is not None and source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    assert (run / "solution.png").read_bytes().startswith(PNG)
    assert (run / "convergence.png").read_bytes().startswith(PNG)


def test_report_escapes_what_it_shows(run: Path) -> None:
    text = report.write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "i", "iframe", "object", "link"})
    assert "<script>alert(1)</script> by galerkin" in page.text
    assert "a & b" in page.text


def test_report_asks_for_nothing_outside(run: Path) -> None:
    text = report.write_report(run).read_text(encoding="utf-8")
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert re.findall(r"https?://|//\w|url\(|@import", without_pictures) == []
    assert "default-src 'none'" in text


def test_report_tells_how_to_run_it_again(run: Path) -> None:
    page = Page(report.write_report(run).read_text(encoding="utf-8"))
    assert "mlopt solve poisson nu=20 'name=a b' --method galerkin --levels 2 --until rmse=0.001" in page.text


def test_report_fits_a_phone_and_the_dark(run: Path) -> None:
    text = report.write_report(run).read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


def test_report_without_a_solution_or_an_iteration(run: Path) -> None:
    (run / "solution.npz").unlink()
    folders.write_history(run / "history.csv", [])
    page = Page(report.write_report(run).read_text(encoding="utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == 1


def test_history_is_read_back_exactly(run: Path) -> None:
    assert folders.read_history(run / "history.csv") == HISTORY


@pytest.mark.parametrize("name", ["run.json", "result.json", "history.csv", "solution.npz"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff nonsense", b"[1, 2]", b'{"schema": 99}'])
def test_a_file_that_makes_no_sense_is_named(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(run / name))):
        report.write_report(run)


def test_arrays_are_never_unpickled(run: Path) -> None:
    np.savez(run / "solution.npz", points=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot read"):
        folders.read_solution(run / "solution.npz")


@pytest.mark.parametrize(
    "changes",
    [{"levels": "2"}, {"until": {"rmse": "x"}}, {"assignments": [1]}, {"max_iterations": 1.5}, {"surprise": 1}],
)
def test_a_run_with_values_of_another_type_is_refused(run: Path, changes: dict[str, object]) -> None:
    data = folders.read_json(run / "run.json")
    folders.write_json(run / "run.json", data | changes)
    with pytest.raises(InputError, match=r"run\.json"):
        folders.Spec.read(run / "run.json")


def test_a_specification_is_read_back(tmp_path: Path) -> None:
    spec = folders.Spec("a.py:A", ("n=1",), "rlm", 3, "amg", "sr1", {"rmse": 1e-3}, 7, 1.5, 2.0**30)
    assert folders.Spec.read(spec.write(tmp_path / "run.json")) == spec


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (20.0, "20"),
        (6.1000000001, "6.1"),
        (1e-3, "10⁻³"),
        (2.528e-4, "2.53 · 10⁻⁴"),
        (4.17e8, "4.17 · 10⁸"),
        ("tanh", "tanh"),
        (True, "True"),
    ],
)
def test_numbers_are_shown_in_the_figures_that_matter(value: object, shown: str) -> None:
    assert notation.number(value) == shown


class Wave:
    """A problem with a solution of one or two coordinates."""

    def __init__(self, dim: int, knows: bool = True) -> None:
        self.dim, self.knows = dim, knows

    def picture_grid(self) -> Tensor:
        axes = [torch.linspace(0, 1, 12, dtype=torch.float64)] * min(self.dim, 2)
        plane = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, min(self.dim, 2))
        return torch.cat([plane, plane.new_full((len(plane), self.dim - plane.shape[1]), 0.5)], 1)

    def solution(self, x: Tensor, z: Tensor) -> Tensor:
        return z.sum(1) * x[0]

    def exact(self, z: Tensor) -> Tensor:
        if not self.knows:
            raise InputError("Wave has no exact solution")
        return z.sum(1)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("factor", [1.0, 1.001, float("nan")])
def test_solutions_are_drawn(dim: int, knows: bool, factor: float, tmp_path: Path) -> None:
    path = tmp_path / "solution.png"
    assert solution_picture(Wave(dim, knows), torch.tensor([factor], dtype=torch.float64), path) == path
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize("dim", [1, 2])
def test_several_functions_and_holes_are_drawn(dim: int, tmp_path: Path) -> None:
    class Flow(Wave):
        def solution(self, x: Tensor, z: Tensor) -> Tensor:
            return torch.stack([z.sum(1), z.prod(1)], dim=1) * x[0]

        def exact(self, z: Tensor) -> Tensor:
            return torch.stack([z.sum(1), z.prod(1)], dim=1)

        def inside(self, z: Tensor) -> Tensor:
            return z[:, 0] < 0.7

    problem, x = Flow(dim), torch.ones(1, dtype=torch.float64)
    values = solution_values(problem, x)
    assert values is not None
    assert values["network"].shape == (12**dim, 2)
    assert np.array_equal(np.isnan(values["exact"][:, 1]), values["points"][:, 0] >= 0.7)
    assert solution_picture(problem, x, tmp_path / "flow.png") is not None
    again = folders.read_solution(folders.write_solution(tmp_path / "flow.npz", values))
    assert again is not None
    assert draw_solution(again, tmp_path / "again.png").read_bytes() == (tmp_path / "flow.png").read_bytes()


def test_a_problem_without_a_solution_has_no_picture(tmp_path: Path) -> None:
    assert solution_picture(object(), torch.zeros(1, dtype=torch.float64), tmp_path / "solution.png") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("losses", [[1.0], [0.0, -1.0], [float("nan")], [float("inf"), 1.0], [1e-300, 1e300]])
def test_any_history_can_be_drawn(losses: list[float], tmp_path: Path) -> None:
    history = [replace(EVENT, iteration=k, loss=loss, metrics={}) for k, loss in enumerate(losses, 1)]
    path = pictures.convergence_picture(history, tmp_path / "convergence.png")
    assert path.read_bytes().startswith(PNG)


def test_time_left_follows_the_decrease() -> None:
    forecast = Forecast({"rmse": 1e-6}, 1000)
    for k in range(1, 6):
        event = replace(EVENT, iteration=k, seconds=float(k), metrics={"rmse": 10.0**-k})
        forecast.see(event)
    assert forecast.to_target() == pytest.approx(1.0)
    assert forecast.share(event) == pytest.approx(4 / 5)
    assert forecast.told(event) == ", about 1.0 s left"


def test_time_left_without_a_decrease_is_that_of_the_limit() -> None:
    forecast = Forecast({"rmse": 1e-6}, None, 100.0)
    for k in range(1, 6):
        event = replace(EVENT, iteration=k, seconds=float(k))
        forecast.see(event)
    assert forecast.told(event) == ", at most 95 s left"


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress({"rmse": 1e-6}) as show:
        for k in range(1, 1001):
            show(replace(EVENT, iteration=k, seconds=0.001 * k), torch.zeros(1))
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert 2 <= len(lines) <= 4
    assert lines[-1].startswith("iteration 1000")


@pytest.mark.parametrize(("seconds", "shown"), [(1.23, "1.2 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
