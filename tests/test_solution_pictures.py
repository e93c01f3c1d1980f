"""What pictures show: the right values at the right places, for lines, planes, slices, films and systems."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from multilevel_opt import cli, films, point_pictures, solution_pictures
from multilevel_opt.pde import Condition, Dirichlet, Disc, Domain, Field, Initial, Interval, Rectangle, Time, refined
from multilevel_opt.pde.problem import PDEProblem
from multilevel_opt.solution_values import drawable, solution_values, varying, views_of
from multilevel_opt.study import folder as folders
from problems import Heat, Kovasznay, Poisson, PoissonHoles


@dataclass(frozen=True, kw_only=True)
class Cooling(PDEProblem):
    """The heat equation in a square, with or without a hole."""

    hole: bool = True
    width: int | None = 3
    points: int | str | None = 40

    def domain(self) -> Domain:
        square = Rectangle(-1, 1, -1, 1)
        return (square - Disc((0.3, 0.0), 0.4) if self.hole else square) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - 0.05 * u.laplacian

    def exact(self, z: Tensor) -> Tensor:
        return torch.exp(-0.1 * pi**2 * z[:, 2]) * torch.sin(pi * z[:, 0]) * torch.sin(pi * z[:, 1])

    def conditions(self) -> Sequence[Condition]:
        return [Dirichlet(self.exact), Initial(self.exact)]


def values_of(problem: PDEProblem) -> dict[str, np.ndarray]:
    values = solution_values(problem, problem.x0)
    assert values is not None
    assert drawable(values)
    return values


def test_a_plane_of_space_and_time_has_time_to_the_right() -> None:
    ((view,),) = views_of(values_of(Heat(width=3, depth=1, points=20)))
    assert view.axes == ("t", "x")
    assert [len(side) for side in view.sides] == [101, 201]
    assert not view.in_space
    t, x = np.meshgrid(*view.sides, indexing="ij")
    expected = np.exp(-0.1 * pi**2 * t) * np.sin(pi * x) + 0.5 * np.exp(-0.9 * pi**2 * t) * np.sin(3 * pi * x)
    np.testing.assert_allclose(view.fields["exact"], expected, atol=1e-12)


def test_systems_have_one_view_for_each_function() -> None:
    ((u, v, p),) = views_of(values_of(Kovasznay(width=3, depth=1, points=9)))
    assert (u.name, v.name, p.name) == ("u", "v", "p")
    assert u.axes == ("x", "y")
    x, _ = np.meshgrid(*u.sides, indexing="ij")
    rate = 20 - (400 + 4 * pi**2) ** 0.5
    np.testing.assert_allclose(p.fields["exact"], 0.5 * (1 - np.exp(2 * rate * x)), atol=1e-12)
    assert solution_pictures.shape_of(u) == pytest.approx(2 / 1.5)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_slices_are_laid_where_there_is_something(k: int) -> None:
    """sin(2πz) vanishes in the middle of the cube: a slice there would show rounding."""
    views = views_of(values_of(Poisson(dim=3, k=k, width=3, points=8)))
    assert [functions[0].axes for functions in views] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert all(np.abs(functions[0].fields["exact"]).max() > 0.2 for functions in views)
    assert (views[0][0].fixed == "z = 0.5") == (k in (1, 3))


def test_five_dimensions_are_cut_too() -> None:
    views = views_of(values_of(Poisson(dim=5, k=1, width=3, points=8)))
    assert [functions[0].axes for functions in views] == [("x1", "x2"), ("x1", "x3"), ("x2", "x3")]
    assert views[0][0].fixed == "x3 = 0.5, x4 = 0.5, x5 = 0.5"


def test_a_plane_in_time_is_a_film_with_a_hole() -> None:
    values = values_of(Cooling())
    views = views_of(values)
    assert len(views) == 25
    assert films.moves(values)
    assert [round(functions[0].time or 0.0, 6) for functions in views[:3]] == [0.0, 0.041667, 0.083333]
    view = views[12][0]
    x, y = np.meshgrid(*view.sides, indexing="ij")
    hole = np.hypot(x - 0.3, y) < 0.39
    assert np.isnan(view.fields["network"][hole]).all()
    assert np.isfinite(view.fields["network"][np.hypot(x - 0.3, y) > 0.41]).all()
    stills = solution_pictures.stills(views)
    assert [functions[0].time for functions in stills] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("problem", "frames"),
    [(Heat(width=3, depth=1, points=20), 30), (Cooling(hole=False), 25)],
    ids=["line", "plane"],
)
def test_films_move(problem: PDEProblem, frames: int, tmp_path: Path) -> None:
    path = films.draw_film(values_of(problem), tmp_path / "film.gif")
    with Image.open(path) as film:
        assert film.format == "GIF"
        assert film.n_frames == frames
        assert max(film.size) < 1200
        shown = []
        for k in (0, frames - 1):
            film.seek(k)
            shown.append(np.asarray(film.convert("L"), dtype=float))
    assert np.abs(shown[0] - shown[1]).max() > 50
    assert path.stat().st_size < 2_000_000


def test_a_report_has_all_of_them(tmp_path: Path) -> None:
    words = ["solve", "heat", "width=3", "depth=1", "points=20", "--max-iterations", "1", "--out", str(tmp_path)]
    assert cli.main([*words, "--quiet"]) == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/gif;base64,") == 1
    assert {path.name for path in tmp_path.iterdir()} >= {"solution.png", "film.gif", "points.png", "convergence.png"}


def test_nothing_else_moves() -> None:
    assert not films.moves(values_of(Poisson(width=3, points=8)))
    assert not films.moves(values_of(Poisson(dim=3, width=3, points=8)))


def test_the_residual_is_that_of_the_equation() -> None:
    problem = Poisson(dim=2, k=1, width=4, points=9)
    z = problem.picture_grid()[:7]
    u = problem.function(problem.x0)
    second = torch.func.vmap(torch.func.hessian(lambda p: u(p[None])[0]))(z).diagonal(dim1=1, dim2=2).sum(1)
    expected = (-second - 2 * pi**2 * problem.exact(z)).abs()
    torch.testing.assert_close(problem.residual_at(problem.x0, z), expected)


def test_outside_the_domain_there_is_no_residual() -> None:
    problem = PoissonHoles(points=40, width=3)
    z = torch.tensor([[0.4, 0.4], [0.0, 0.0]], dtype=torch.float64)
    assert torch.isnan(problem.residual_at(problem.x0, z)).tolist() == [True, False]


def test_points_added_by_refinement_are_told_apart(tmp_path: Path) -> None:
    problem = PoissonHoles(points=80, width=3, depth=1)
    assert len(problem.training_points()["added"]) == 0
    again = refined(problem, problem.x0, "rar", points=7)
    clouds = again.training_points()
    assert [len(clouds[name]) for name in ("interior", "added")] == [80, 7]
    assert len(clouds["boundary"]) == sum(len(block.points) for block in again.residual.blocks[1:])
    assert len(refined(problem, problem.x0, "rad").training_points()["added"]) == 0
    values = values_of(again)
    assert point_pictures.has_points(values)
    assert point_pictures.draw_points(values, tmp_path / "points.png").stat().st_size > 10_000


def test_points_of_a_line_are_drawn(tmp_path: Path) -> None:
    values = values_of(Poisson(width=3, points=8))
    assert point_pictures.draw_points(values, tmp_path / "points.png").exists()


def test_all_of_it_survives_a_file(tmp_path: Path) -> None:
    values = values_of(Cooling())
    again = folders.read_solution(folders.write_solution(tmp_path / "solution.npz", values))
    assert again is not None
    assert set(again) == set(values)
    assert views_of(again)[3][0].fixed == "t = 0.125"
    assert [str(name) for name in again["coordinates"]] == ["x", "y", "t"]


def test_exact_and_network_share_a_scale_and_errors_a_logarithmic_one() -> None:
    ((view,),) = views_of(values_of(Poisson(dim=2, width=3, points=9)))
    images = solution_pictures.images(Figure(), view)
    assert images["exact"].norm is images["network"].norm
    norm = images["error"].norm
    assert norm.vmax == pytest.approx(np.nanmax(view.error))
    assert 1 < norm.vmax / norm.vmin <= 1e4 * (1 + 1e-9)


@pytest.mark.parametrize("u", [np.zeros((3, 3)), np.full((3, 3), np.nan), np.full((3, 3), 1e-30)])
def test_any_error_has_a_scale(u: np.ndarray) -> None:
    norm = solution_pictures.decades([u])
    assert 0 < norm.vmin < norm.vmax


def test_a_relative_error_is_that_of_the_view() -> None:
    problem = Poisson(dim=2, width=3, points=9)
    ((view,),) = views_of(values_of(problem))
    assert view.relative_error == pytest.approx(problem.relative_l2(problem.x0), rel=1e-9)


def test_only_one_coordinate_may_stand_still() -> None:
    z = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 3.0]])
    assert varying(z) == [0, 2]


def test_an_interval_is_a_line() -> None:
    class Plain(Cooling):
        def domain(self) -> Domain:
            return Interval(-1, 1)

        def equation(self, u: Field, z: Tensor) -> Tensor:
            return u.xx

        def exact(self, z: Tensor) -> Tensor:
            return z[:, 0]

        def conditions(self) -> Sequence[Condition]:
            return [Dirichlet(self.exact)]

    ((view,),) = views_of(values_of(Plain()))
    assert (view.axes, len(view.sides[0]), view.in_space) == (("x",), 500, True)
