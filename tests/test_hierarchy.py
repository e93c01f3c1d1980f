"""Hierarchies: the printed table, sizes, the graph, and what is refused."""

from dataclasses import replace

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt import Function, Hierarchy, LeastSquares, Level, TransferOperator, build, neurons
from multilevel_opt.errors import InputError, NonFiniteError, ShapeError, UnsupportedCombination
from multilevel_opt.objective.base import Objective
from multilevel_opt.transfer.geometric import linear_1d
from problems import Poisson


def f(x: Tensor) -> Tensor:
    return (x**2).sum()


def test_the_table() -> None:
    hierarchy = replace(build.galerkin([linear_1d(15), linear_1d(7)]), notes=("made for a test",))
    assert str(hierarchy).splitlines() == [
        "level   unknowns     nnz(P)   complexity   coarse model",
        "    0         15          -        1.000   the objective",
        "    1          7         21        0.467   Galerkin",
        "    2          3          9        0.200   Galerkin",
        "note: made for a test",
    ]


def test_sizes_and_iteration() -> None:
    hierarchy = build.galerkin([linear_1d(15), linear_1d(7)])
    assert hierarchy.sizes == (15, 7, 3)
    assert len(hierarchy) == 3
    assert [level.unknowns for level in hierarchy] == [7, 3]
    assert hierarchy.coarser.sizes == (7, 3)
    assert hierarchy.coarser.coarser.sizes == (3,)
    assert Hierarchy(4).sizes == (4,)
    assert "4" in str(Hierarchy(4))


def test_the_graph() -> None:
    graph = build.galerkin([linear_1d(15), linear_1d(7)]).to_networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert dict(graph.nodes(data="unknowns")) == {0: 15, 1: 7, 2: 3}
    assert graph.edges[0, 1]["nnz"] == 21
    assert graph.nodes[2]["kind"] == "Galerkin"


@pytest.mark.parametrize("kind", [torch.tensor, np.array, lambda a: scipy.sparse.csr_array(np.array(a))])
def test_objectives_and_matrices_of_any_kind(kind: object) -> None:
    P = kind([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])  # type: ignore[operator]
    hierarchy = build.from_objectives([f, f], [P])
    assert hierarchy.sizes == (3, 2)
    assert isinstance(hierarchy.objective, Function)
    assert isinstance(hierarchy.levels[0].objective, Objective)
    moved = hierarchy.to(torch.zeros(0, dtype=torch.float32))
    assert moved.sizes == hierarchy.sizes
    assert moved.levels[0].transfer.prolong(torch.ones(2)).dtype == torch.float32  # type: ignore[union-attr]


def test_geometric_levels_get_their_sizes() -> None:
    asked: list[int] = []

    def make(n: int) -> Function:
        asked.append(n)
        return Function(f)

    assert build.geometric(make, 31, 3).sizes == (31, 15, 7)
    assert asked == [31, 15, 7]
    assert build.geometric(make, 7, 2, dim=2).sizes == (49, 9)


def test_levels_by_rule_are_chosen_anew_and_repeatably() -> None:
    x = torch.ones(16, dtype=torch.float64)
    level = build.random_subspace(x, 2, fraction=4, seed=5).levels[0]
    again = build.random_subspace(x, 2, fraction=4, seed=5).levels[0]
    other = build.random_subspace(x, 2, fraction=4, seed=6).levels[0]
    P = [level.transfer_at(Function(f), x, visit).P.dense(device="cpu") for visit in (0, 1)]
    assert float((P[0] - P[1]).abs().max()) > 0.1
    assert torch.equal(again.transfer_at(Function(f), x, 1).P.dense(device="cpu"), P[1])
    assert not torch.equal(other.transfer_at(Function(f), x, 1).P.dense(device="cpu"), P[1])
    torch.testing.assert_close(P[0].T @ P[0], torch.eye(4, dtype=torch.float64))
    assert level.nnz == 4


P32 = torch.ones(3, 2, dtype=torch.float64)
REFUSED = {
    "no transfers": (ShapeError, "2 objectives need 1", lambda: build.from_objectives([f, f], [])),
    "too many": (ShapeError, "got 2", lambda: build.from_objectives([f, f], [P32, P32])),
    "no objectives": (ShapeError, "0 objectives", lambda: build.from_objectives([], [])),
    "one objective": (ShapeError, "no hierarchy", lambda: build.from_objectives([f], [])),
    "wide": (ShapeError, "transpose", lambda: build.from_objectives([f, f], [P32.T])),
    "chain": (ShapeError, "give a P of shape", lambda: build.galerkin([P32, P32])),
    "list": (InputError, "got list", lambda: build.galerkin([[[1.0], [1.0]]])),
    "nan": (NonFiniteError, "NaN", lambda: build.galerkin([P32 * float("nan")])),
    "zero column": (InputError, "column 0", lambda: build.galerkin([torch.tensor([[0.0], [0.0]])])),
    "nothing": (ShapeError, "at least one", lambda: build.galerkin([])),
    "dim": (InputError, "dim=3", lambda: build.geometric(lambda n: f, 7, 2, dim=3)),
    "one level": (InputError, "levels=1", lambda: build.geometric(lambda n: f, 7, 1)),
    "even": (InputError, "odd", lambda: build.geometric(lambda n: f, 8, 2)),
    "not halved": (InputError, "odd", lambda: build.geometric(lambda n: f, 13, 4)),
    "amg without residual": (UnsupportedCombination, "Function", lambda: build.amg(Function(f), torch.ones(4), 2)),  # type: ignore[arg-type]
    "amg model": (
        InputError,
        "'wrong'",
        lambda: build.amg(LeastSquares(lambda x: x), torch.ones(4), 2, model="wrong"),
    ),
    "no network": (
        UnsupportedCombination,
        "one hidden layer",
        lambda: neurons.subnetwork(LeastSquares(lambda x: x), torch.ones(4), 2),
    ),
    "neither": (InputError, "not both", lambda: Level(3)),
    "both": (
        InputError,
        "not both",
        lambda: Level(2, TransferOperator(P32), rule=lambda f, x, k: TransferOperator(P32)),
    ),
    "columns": (ShapeError, "columns", lambda: Hierarchy(3, (Level(7, TransferOperator(P32)),))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(name: str) -> None:
    error, words, call = REFUSED[name]
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_hierarchies_of_a_network() -> None:
    problem = Poisson(nu=3, width=32, seed=0)
    n = problem.x0.numel()
    for hierarchy in (
        neurons.subnetwork(problem.objective, problem.x0, 3, fraction=4),
        build.amg(problem.objective, problem.x0, 3),
        build.amg(problem.objective, problem.x0, 2, model="network"),
    ):
        sizes = hierarchy.sizes
        assert sizes[0] == n
        assert list(sizes) == sorted(set(sizes), reverse=True)
        assert hierarchy.objective is problem.objective
        x, g = problem.x0, problem.objective
        for level in hierarchy:
            if level.transfer is not None:
                assert level.transfer.n_coarse == level.unknowns
        first = hierarchy.levels[0].transfer_at(g, x, 0)
        assert (first.n_fine, first.n_coarse) == sizes[:2]
    assert build.amg(problem.objective, problem.x0, 2).flops > 0
