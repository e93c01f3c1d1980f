"""Groups of elements side by side in batches, and elements of the same variables added up."""

from dataclasses import replace

import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt import Elements, PartiallySeparable
from multilevel_opt.objective.incidence import Incidence

N = 8
TABLES = [
    torch.tensor([[0, 1], [1, 2], [6, 7]]),
    torch.tensor([[3, 4, 5]]),
    torch.tensor([[7], [2]]),
    torch.tensor([[5, 1, 2, 0], [4, 4, 6, 3]]),
]


def randoms(*sizes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(size, dtype=torch.float64) for size in sizes]


def test_batches_gather_scatter_and_assemble_as_their_groups_do() -> None:
    both = Incidence(TABLES, N, [False, False, True, False])
    assert [batch.groups for batch in both.batches] == [(3, 1, 0), (2,)]
    assert both.convex == (False, True)
    v, *parts = randoms((N,), *(tuple(t.shape) for t in TABLES))
    joined = both.joined(parts)
    assert all(torch.equal(u, v[t]) for u, t in zip(both.views(both.gathered(v)), TABLES, strict=True))
    assert all(torch.equal(view, part) for view, part in zip(both.views(joined), parts, strict=True))
    total = sum(v.new_zeros(N).index_add(0, t.reshape(-1), p.reshape(-1)) for t, p in zip(TABLES, parts, strict=True))
    torch.testing.assert_close(both.scattered(joined), total)
    blocks = [b + b.mT for b in randoms(*((len(t), t.shape[1], t.shape[1]) for t in TABLES))]
    dense = v.new_zeros(N, N)
    for table, block in zip(TABLES, blocks, strict=True):
        for row, B in zip(table, block, strict=True):
            dense.index_put_((row[:, None], row[None, :]), B, accumulate=True)
    made = [batch.squares([blocks[k] for k in batch.groups]) for batch in both.batches]
    torch.testing.assert_close(both.assembled(made).to_dense(), dense)
    assert both.nnz == int((dense != 0).sum())


def test_steps_of_elements_are_the_differences_of_their_points() -> None:
    f = PartiallySeparable([Elements(t, lambda u: u.square().sum(1)) for t in TABLES], N)
    x, s = randoms((N,), (N,))
    (before,), (after,) = (f.expand(point, 1).parts or () for point in (x, x + s))
    found = before.steps(after, s)
    for step, other, gathered in zip(
        found, before.steps(replace(after, points=None), s), f.incidence.gathered(s), strict=True
    ):
        torch.testing.assert_close(step, gathered)
        assert torch.equal(other, gathered)


def test_a_large_group_of_small_elements_stays_alone() -> None:
    many = torch.arange(20_000)[:, None]
    found = Incidence([many, torch.arange(20).reshape(2, 10)], 20_000).batches
    assert [batch.groups for batch in found] == [(1,), (0,)]


def pairs() -> PartiallySeparable:
    def half(u: Tensor, weight: Tensor) -> Tensor:
        return weight * torch.exp(u[:, 0] - u[:, 1])

    one = Elements(torch.tensor([[0, 1], [2, 1], [1, 0], [3, 3]]), half, (torch.arange(1.0, 5).double(),))
    two = Elements(torch.tensor([[1, 2], [3, 0]]), lambda u: u[:, 0] ** 2 * u[:, 1])
    return PartiallySeparable([one, two, Elements(torch.tensor([[2]]), lambda u: u[:, 0] ** 4)], 4)


def test_merged_elements_are_the_same_function() -> None:
    f, (x, v) = pairs(), randoms((4,), (4,))
    g = mlo.merged(f)
    assert [group.count for group in g.groups] == [1, 4]  # {2}; {3}, {0, 1}, {1, 2}, {0, 3}
    ours, known = g.expand(x, 2), f.expand(x, 2)
    torch.testing.assert_close(ours.value, known.value)
    torch.testing.assert_close(ours.gradient, known.gradient)
    torch.testing.assert_close(ours.forms[1](v), known.forms[1](v))
    assert mlo.structure(g).elements == 5


def test_all_pairs_of_ten_scores_are_45_elements() -> None:
    table = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    table = table[table[:, 0] != table[:, 1]]
    f = PartiallySeparable([Elements(table, lambda u: torch.nn.functional.softplus(u[:, 1] - u[:, 0]))], 10)
    assert (f.groups[0].count, mlo.merged(f).groups[0].count) == (90, 45)
