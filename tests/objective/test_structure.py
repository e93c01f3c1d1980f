"""Elements found from the pattern of a Jacobian, the graph in numbers and pictures, and laws of declared elements."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from typer.testing import CliRunner

import multilevel_opt as mlo
from multilevel_opt import Elements, PartiallySeparable, SparseRows, check, structure
from multilevel_opt.cli import app
from problems.separable import Arwhead, BroydenTridiagonal, ExtendedRosenbrock

N = 20


def rows(x: Tensor) -> Tensor:
    """Tridiagonal equations, and one row with the last variable and every fifth."""
    inner = (3 - 2 * x) * x + 1
    inner = inner - torch.cat([x.new_zeros(1), x[:-1]]) - 2 * torch.cat([x[1:], x.new_zeros(1)])
    return torch.cat([inner**2, (x[::5].sum() * x[-1]).square()[None]])


def point() -> Tensor:
    return torch.randn(N, dtype=torch.float64)


def jacobian(x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(rows, x)


def test_probing_finds_the_pattern_of_the_jacobian() -> None:
    f, x = SparseRows(rows, point()), point()
    assert (f.pattern.toarray() == (jacobian(x) != 0).numpy()).all()
    assert f.colors < N / 2  # what the coloring is for
    assert [table.shape for table in f.incidence.tables] == [(2, 2), (18, 3), (1, 5)]


def test_element_gradients_are_rows_of_the_jacobian() -> None:
    f, x = SparseRows(rows, point()), point()
    J = jacobian(x)
    for gradient, table, (_, number) in zip(f.element_gradients(x), f.incidence.tables, f._places, strict=True):
        torch.testing.assert_close(gradient, J[number[:, None], table], rtol=1e-12, atol=1e-12)
    model, plain = f.expand(x, 1), mlo.Function(lambda z: rows(z).sum()).expand(x, 2)
    torch.testing.assert_close(model.gradient, plain.gradient, rtol=1e-12, atol=1e-12)
    v = point()
    torch.testing.assert_close(f.expand(x, 2).forms[1](v), plain.forms[1](v), rtol=1e-12, atol=1e-12)
    assert float(f(x)) == pytest.approx(float(plain.value), rel=1e-14)


def test_a_pattern_may_be_given_and_is_verified() -> None:
    x = point()
    pattern = scipy.sparse.csr_array((jacobian(x) != 0).numpy())
    more = pattern.tolil()
    more[0, 7] = True
    assert SparseRows(rows, x, more).defect(x) < 1e-14
    fewer = pattern.tolil()
    fewer[3, 4] = False
    with pytest.raises(mlo.InputError, match="outside the pattern"):
        SparseRows(rows, x, fewer)
    with pytest.raises(mlo.ShapeError, match="give one of this shape"):
        SparseRows(rows, x, pattern[:-1])
    with pytest.raises(mlo.ShapeError, match="flatten it"):
        SparseRows(lambda z: z.sum(), x)


def test_partitioned_curvature_learns_from_rows() -> None:
    f = SparseRows(rows, -torch.ones(N, dtype=torch.float64))
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES["plsr1"])
    found = mlo.minimize(f, -torch.ones(N, dtype=torch.float64), solver, stop=mlo.GradientNorm(1e-6))
    assert found.success


def test_the_numbers_of_the_graph() -> None:
    chain = structure(PartiallySeparable(BroydenTridiagonal(n=10).elements(), 10))
    assert (chain.variables, chain.elements, chain.components, chain.overlap) == (10, 10, 1, 1.0)
    assert chain.sizes == (2, 3, 3)
    pairs = structure(PartiallySeparable(ExtendedRosenbrock(n=10).elements(), 10))
    assert (pairs.components, pairs.overlap, pairs.degrees) == (5, 0.0, (1, 1, 1))
    assert pairs.filled == pytest.approx(0.2)
    star = structure(PartiallySeparable(Arwhead(n=10).elements(), 10))
    assert star.degrees[2] == 9
    assert "9 elements of 10 variables" in str(star)


@pytest.mark.parametrize("n", [8, 300])
def test_it_is_drawn(n: int, tmp_path: Path) -> None:
    mlo.draw(PartiallySeparable(Arwhead(n=n).elements(), n), tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_tells_and_draws_it(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["problems", "arwhead", "--graph", str(tmp_path / "graph.svg")])
    assert found.exit_code == 0
    assert "connected parts" in found.output
    assert "<svg" in (tmp_path / "graph.svg").read_text(encoding="utf-8")


def test_declared_elements_are_checked() -> None:
    table = torch.arange(6).reshape(3, 2)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)

    def outcome(function: object, convex: bool = False) -> list[bool]:
        f = PartiallySeparable([Elements(table, function, convex=convex)], 6)  # type: ignore[arg-type]
        return [finding.passed for finding in check.elements(f, x)]

    assert outcome(lambda u: u.square().sum(1), convex=True) == [True, True, True]
    assert outcome(lambda u: torch.cos(u).sum(1)) == [True, True, True]
    assert outcome(lambda u: torch.cos(u).sum(1), convex=True) == [True, True, False]
    assert outcome(lambda u: u.square().sum(1) + u.mean())[1] is False
    assert np.all([finding.passed for finding in check.report(Arwhead(n=30))])
