"""The gallery finds every differential equation by itself and makes a small page of it."""

from pathlib import Path

import pytest
from PIL import Image

from docs import gallery
from multilevel_opt import catalogue
from multilevel_opt.pde import PDEProblem


def test_every_registered_equation_is_found() -> None:
    listed = {entry.name for entry in catalogue.available() if entry.group == PDEProblem.group}
    assert set(gallery.problems()) == listed
    assert "poisson" in listed


def test_a_problem_gets_a_picture_a_row_and_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "HERE", tmp_path)
    monkeypatch.setattr(gallery, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(gallery, "PICTURES", tmp_path / "figures" / "gallery")
    gallery.main(["pendulum", "--seconds", "0.5"])
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "\n| [`pendulum`](#pendulum) | " in page
    assert "\n    mlopt solve pendulum --method auto --until relative_l2=1e-06" in page
    assert "](figures/gallery/pendulum.png)" in page
    assert "within 0.5 seconds each" in page
    picture = tmp_path / "figures" / "gallery" / "pendulum.png"
    with Image.open(picture) as image:
        assert image.width == gallery.WIDTH
    assert picture.stat().st_size < 120_000


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gallery.main(["possion"])
    assert "possion: no PDE problem of this name; choose of allen-cahn" in capsys.readouterr().err


def test_a_target_is_asked_for_where_the_truth_is_known() -> None:
    class Unknown(PDEProblem):
        """No exact solution."""

    known = gallery.problems()["poisson"]
    assert gallery.command("poisson", known, 60) == [
        "solve",
        "poisson",
        "--until",
        "relative_l2=1e-06",
        "--max-seconds",
        "60",
    ]
    assert gallery.command("x", Unknown, 60) == ["solve", "x", "--max-seconds", "60"]


def test_all_pictures_together_are_small() -> None:
    assert sum(path.stat().st_size for path in (gallery.PICTURES).glob("*.png")) < 1.5e6
