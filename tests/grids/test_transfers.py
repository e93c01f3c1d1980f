"""Transfers between grids, and coherence of coarse models on them."""

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
import problems
from multilevel_opt.coarse import coarse_model, rungs
from multilevel_opt.curvature import Exact
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Level
from multilevel_opt.ledger import Ledger
from multilevel_opt.transfer.geometric import bilinear_2d, coarse_side, energy_transfer, linear_1d
from multilevel_opt.transfer.truncation import entries


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize(("n", "dim"), [(7, 1), (8, 1), (7, 2), (10, 2), (5, 3), (6, 3)])
def test_transfers_are_products_of_lines_with_their_adjoints(n: int, dim: int, degree: int) -> None:
    transfer = energy_transfer(n, dim, degree)
    line = energy_transfer(n, 1, degree).P.dense(device="cpu")
    whole = line
    for _ in range(dim - 1):
        whole = torch.kron(whole, line)
    s, g = uniform(transfer.n_coarse), uniform(transfer.n_fine, seed=1)
    torch.testing.assert_close(transfer.prolong(s), whole @ s)
    torch.testing.assert_close(transfer.restrict(g), whole.T @ g)
    torch.testing.assert_close(transfer.P.after(g[None]), g[None] @ whole)
    assert transfer.norm() == pytest.approx(float(torch.linalg.matrix_norm(whole, 2)), rel=1e-10)
    rows, columns, values = entries(transfer.P)
    torch.testing.assert_close(torch.zeros_like(whole).index_put((rows, columns), values), whole)


@pytest.mark.parametrize("n", [7, 8, 12, 15])
def test_lifts_are_exact_for_cubics_that_vanish_at_the_ends(n: int) -> None:
    def cubic(points: int) -> Tensor:
        t = torch.arange(1, points + 1, dtype=torch.float64) / (points + 1)
        return t * (1 - t) * (2 + 3 * t)

    transfer = energy_transfer(n, 1)
    assert transfer.lift is not None
    torch.testing.assert_close(transfer.lift.matvec(cubic(coarse_side(n))), cubic(n))
    assert float((transfer.P.matvec(cubic(coarse_side(n))) - cubic(n)).abs().max()) > 1e-3  # linear: not exact


def test_nested_grids_have_the_operators_of_before() -> None:
    for new, old in ((energy_transfer(9, 1), linear_1d(9)), (energy_transfer(9, 2), bilinear_2d(9))):
        torch.testing.assert_close(new.P.dense(device="cpu"), old.P.dense(device="cpu"))
        x = uniform(new.n_fine)
        torch.testing.assert_close(new.restrict_point(x), old.restrict(x))
        assert (new.scale, old.lift) == (1.0, None)


def test_what_cannot_be_coarsened_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be coarsened"):
        problems.Bratu(n=9).hierarchy(4)
    with pytest.raises(InputError, match="degree"):
        energy_transfer(9, 2, degree=2)
    with pytest.raises(InputError, match="dim"):
        mlo.geometric(lambda n: problems.Bratu(n=n).objective, 9, 2, dim=4, energy=True)
    with pytest.raises(InputError, match="coarse model"):
        mlo.geometric(lambda n: problems.Bratu(n=n).objective, 9, 2, dim=2, energy=True, model="other")


# -- coherence --------------------------------------------------------------------------------------------------------

KINDS = {
    "Bratu": problems.Bratu,
    "MinimalSurface": problems.MinimalSurface,
    "OptimalControl": problems.OptimalControl,
    "ConvexExponential": problems.ConvexExponential,
}


def defects(problem: problems.GridProblem, coherence: int, own: bool = True) -> list[float]:
    """Relative distances of the forms 1..3 of the coarse model to those of f ∘ P."""
    hierarchy = problem.hierarchy(2)
    level = hierarchy.levels[0]
    transfer = level.transfer
    assert transfer is not None
    x = problem.x0
    model = problem.objective.expand(x, 3)
    used = level if own else Level(level.unknowns, transfer)
    mu, start = coarse_model(problem.objective, model, used, transfer, x, coherence, Exact(), Ledger())
    coarse = mu.expand(start, 3)
    directions = [uniform(start.numel(), seed=k) for k in range(2)]
    found = []
    for k in range(3):
        form = coarse.forms[k](*directions[:k])
        expected = transfer.restrict(model.forms[k](*(transfer.prolong(v) for v in directions[:k])))
        found.append(float((form - expected).norm() / expected.norm()))
    return found


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("coherence", [1, 2, 3])
@pytest.mark.parametrize("n", [11, 14])
def test_coarse_grids_are_coherent_to_the_order_asked_and_no_further(name: str, coherence: int, n: int) -> None:
    found = defects(KINDS[name](n=n, start="random", seed=2), coherence)
    assert max(found[:coherence]) < 1e-10
    assert min([*found[coherence:], 1.0]) > 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_galerkin_grids_are_coherent_to_every_order(name: str) -> None:
    assert max(defects(KINDS[name](n=11, start="random", seed=2), 1, own=False)) < 1e-10


def test_quadratic_models_of_all_levels_are_those_of_the_grids() -> None:
    problem = problems.ConvexExponential(n=15, start="smooth")
    hierarchy, model = problem.hierarchy(3), problem.objective.expand(problem.x0, 2)
    made = rungs(model, hierarchy, problem.x0, Exact(), [Ledger(), Ledger()])
    point = problem.x0
    for rung, level in zip(made, hierarchy, strict=True):
        point = rung.transfer.restrict_point(point)
        assert level.objective is not None
        v = uniform(level.unknowns)
        torch.testing.assert_close(rung.model.forms[1](v), level.objective.expand(point, 2).forms[1](v))
    galerkin = rungs(model, problem.hierarchy(3, "galerkin"), problem.x0, Exact(), [Ledger(), Ledger()])
    P = galerkin[0].transfer.P.dense(device="cpu") @ galerkin[1].transfer.P.dense(device="cpu")
    assert model.second is not None
    v = uniform(9)
    torch.testing.assert_close(galerkin[1].model.forms[1](v), P.T @ (model.second.matrix() @ (P @ v)))
