"""A partially separable function equals the plain sum of its elements, to every order, and keeps its structure."""

from collections.abc import Sequence

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt import (
    ElementResiduals,
    Elements,
    Function,
    InputError,
    LeastSquares,
    PartiallySeparable,
    SeparableSquares,
    ShapeError,
    check,
)

N = 9


def table(*rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64, device="cpu")


def vector(seed: int, n: int = N) -> Tensor:
    return torch.randn(n, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float64, device="cpu")


def bump(u: Tensor, weight: Tensor) -> Tensor:
    return weight * torch.exp(-u.square().sum(1)) + torch.sin(u[:, 0] * u[:, -1])


PAIRS = Elements(table((0, 4), (4, 8), (2, 2), (7, 1)), bump, (torch.tensor([1.0, 2.0, -0.5, 3.0]).double(),))
TRIPLE = Elements(table((8, 3, 0)), lambda u: u.prod(1) ** 2)
WHOLE = Elements(torch.arange(N)[None], lambda u: torch.log(1 + u.square().sum(1)))
LINEAR = Elements(table((5,), (6,)), lambda u: 3 * u[:, 0])
GROUPS = {
    "pairs": [PAIRS],
    "overlapping": [PAIRS, TRIPLE],
    "with a full element": [TRIPLE, WHOLE],
    "linear": [LINEAR],
    "all": [PAIRS, TRIPLE, WHOLE, LINEAR],
}


def written_out(groups: Sequence[Elements], x: Tensor) -> Tensor:
    """The sum element by element."""
    total = x.new_zeros(())
    for group in groups:
        for i in range(group.count):
            total = (
                total
                + group.take(torch.tensor([i])).function(
                    x[group.indices[i]][None], *(t[i : i + 1] for t in group.data)
                )[0]
            )
    return total


@pytest.mark.parametrize("name", GROUPS)
def test_forms_are_those_of_the_plain_function(name: str) -> None:
    groups = GROUPS[name]
    x, u, v = vector(0), vector(1), vector(2)
    ours = PartiallySeparable(groups, N).expand(x, 3)
    plain = Function(lambda z: written_out(groups, z)).expand(x, 3)
    torch.testing.assert_close(ours.value, plain.value, rtol=1e-13, atol=1e-13)
    for vectors in ((), (u,), (u, v)):
        k = len(vectors)
        torch.testing.assert_close(ours.forms[k](*vectors), plain.forms[k](*vectors), rtol=1e-12, atol=1e-12)


def test_products_of_hessians_and_blocks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    f, x, v = PartiallySeparable(GROUPS["all"], N), vector(0), vector(1)
    stored = f.expand(x, 2).forms[1](v)
    monkeypatch.setattr("multilevel_opt.objective.batches.SMALL", 0)
    by_products = PartiallySeparable(GROUPS["all"], N).expand(x, 2).forms[1](v)
    torch.testing.assert_close(by_products, stored, rtol=1e-13, atol=1e-13)


def test_the_sparse_hessian_is_the_dense_one() -> None:
    f, x = PartiallySeparable(GROUPS["all"], N), vector(3)
    dense = torch.autograd.functional.hessian(f.plain, x).numpy()
    found = f.hessian(x)
    assert scipy.sparse.issparse(found)
    np.testing.assert_allclose(found.toarray(), dense, atol=1e-12)


def test_the_pattern_covers_the_hessian_and_no_more() -> None:
    f = PartiallySeparable([PAIRS, TRIPLE], N)
    dense = torch.autograd.functional.hessian(f.plain, vector(3)).numpy()
    assert ((np.abs(dense) > 1e-14) == f.pattern().toarray()).all()


def test_the_graph_joins_elements_and_their_variables() -> None:
    graph = PartiallySeparable([PAIRS, TRIPLE, LINEAR], N).graph()
    assert networkx.is_bipartite(graph)
    assert sorted(graph.neighbors(("element", 1, 0))) == [("variable", 0), ("variable", 3), ("variable", 8)]
    assert graph.degree(("element", 0, 2)) == 1  # a variable twice is one edge
    parts = [part for part in networkx.connected_components(graph) if len(part) > 1]
    assert len(parts) == 5


def test_element_gradients_and_hessians_sum_to_the_whole() -> None:
    f, x = PartiallySeparable([PAIRS, TRIPLE], N), vector(4)
    gradients, hessians = f.element_gradients(x), f.element_hessians(x)
    assert [tuple(g.shape) for g in gradients] == [(4, 2), (1, 3)]
    assert [tuple(h.shape) for h in hessians] == [(4, 2, 2), (1, 3, 3)]
    total = sum(g.scattered(part, N) for g, part in zip(f.groups, gradients, strict=True))
    torch.testing.assert_close(total, f.expand(x, 1).gradient)
    assert float(sum(v.sum() for v in f.element_values(x))) == pytest.approx(float(f(x)), rel=1e-14)


def test_taylor_errors_have_their_slopes() -> None:
    f, x = PartiallySeparable(GROUPS["all"], N), vector(5)
    for order in (1, 2, 3):
        assert check.taylor_slope(f, x, order) == pytest.approx(order + 1, abs=0.15)


def test_rows_that_see_each_other_break_the_law() -> None:
    """Negative control: a function that mixes elements has gradients that are not those of the sum."""
    mixed = Elements(PAIRS.indices, lambda u: u.square().sum(1) * u.sum())
    f, x = PartiallySeparable([mixed], N), vector(0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(f.expand(x, 2).forms[1](vector(1)), _product(f, x, vector(1)))


def _product(f: PartiallySeparable, x: Tensor, v: Tensor) -> Tensor:
    return Function(f.plain).expand(x, 2).forms[1](v)


SQUARES = [
    ElementResiduals(table((0, 1), (1, 2), (6, 6)), lambda u: torch.stack([u[:, 0] ** 2 - u[:, 1], u.sin()[:, 0]], 1)),
    ElementResiduals(table((3, 5, 8)), lambda u, c: c * u.prod(1, keepdim=True), (torch.tensor([[2.0]]).double(),)),
]


@pytest.mark.parametrize("matrix_free", [True, False])
def test_squares_are_least_squares(matrix_free: bool) -> None:
    f, x, v = SeparableSquares(SQUARES, N, matrix_free), vector(6), vector(7)
    plain = LeastSquares(lambda z: f.residual(z))
    assert f.n_rows == 7
    ours, theirs = f.expand(x, 2), plain.expand(x, 2)
    torch.testing.assert_close(ours.value, theirs.value)
    torch.testing.assert_close(ours.gradient, theirs.gradient)
    torch.testing.assert_close(ours.forms[1](v), theirs.forms[1](v))
    assert ours.normal is not None
    assert theirs.normal is not None
    torch.testing.assert_close(ours.normal.jacobian.matvec(v), theirs.normal.jacobian.matvec(v))
    torch.testing.assert_close(ours.normal.jacobian.dense(), theirs.normal.jacobian.dense())


def test_exact_curvature_of_squares_is_that_of_the_sum() -> None:
    f, x, v = SeparableSquares(SQUARES, N), vector(6), vector(7)
    plain = Function(lambda z: 0.5 * f.residual(z).square().sum()).expand(x, 2)
    ours = f.exact.expand(x, 2)
    assert float(f(x)) == pytest.approx(float(plain.value), rel=1e-14)
    torch.testing.assert_close(ours.gradient, plain.gradient)
    torch.testing.assert_close(ours.forms[1](v), plain.forms[1](v))


def test_work_is_counted() -> None:
    f, x = PartiallySeparable([PAIRS], N), vector(0)
    model = f.expand(x, 2)
    model.forms[1](x)
    first = f.ledger.flops
    model.forms[1](x)
    assert f.ledger.counts["gradient"] == 1
    assert f.ledger.counts["hvp"] == 2
    assert f.ledger.flops - first == 2 * 4 * 2**2  # the blocks are there
    assert first == (3 + 6 * 2) * 4 * 2 * 2 + 2 * 4 * 2**2


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Elements(torch.zeros(3, 2), bump), "int64"),
        (lambda: Elements(torch.zeros(3, dtype=torch.int64), bump), "one row for each element"),
        (lambda: Elements(PAIRS.indices, bump, (torch.ones(3),)), "one entry for each element"),
        (lambda: PartiallySeparable([PAIRS], 8), "below n=8"),
        (lambda: PartiallySeparable([], 8), "at least one group"),
        (lambda: PartiallySeparable([PAIRS], N)(vector(0, 5)), "9 variables"),
        (lambda: PartiallySeparable([Elements(PAIRS.indices, lambda u: u)], N)(vector(0)), "one number each"),
        (lambda: SeparableSquares([ElementResiduals(PAIRS.indices, lambda u: u.sum(1))], N), "one row for each"),
    ],
)
def test_bad_declarations_are_told(make: object, told: str) -> None:
    with pytest.raises((InputError, ShapeError), match=told):
        make()  # type: ignore[operator]
