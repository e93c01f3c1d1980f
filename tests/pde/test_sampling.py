import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel_opt.errors import InputError
from multilevel_opt.pde.sampling import SAMPLINGS, boundary, interior, total

BOX = [(-1.0, 3.0), (2.0, 2.5), (0.0, 1.0)]


@given(dim=st.integers(1, 3), points=st.integers(1, 200), name=st.sampled_from(sorted(SAMPLINGS)))
@settings(max_examples=30)
def test_interior_points_lie_in_the_box(dim: int, points: int, name: str) -> None:
    z = interior(BOX[:dim], points, name)
    assert z.shape == (total(points, dim, name), dim)
    low, high = torch.tensor(BOX[:dim], dtype=torch.float64).T
    assert bool(((low <= z) & (z <= high)).all())
    assert len(z.unique(dim=0)) == len(z)
    if name != "equispaced":
        assert len(z) == points


@given(dim=st.integers(1, 3), points=st.integers(1, 200))
@settings(max_examples=20)
def test_boundary_points_lie_on_the_boundary(dim: int, points: int) -> None:
    z = boundary(BOX[:dim], points)
    low, high = torch.tensor(BOX[:dim], dtype=torch.float64).T
    assert bool(((low <= z) & (z <= high)).all())
    assert bool(((z == low) | (z == high)).any(1).all())
    assert len(z.unique(dim=0)) == len(z)


def test_counts_of_the_usual_sets() -> None:
    assert torch.equal(interior([(0.0, 1.0)], 3)[:, 0], torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert torch.equal(boundary([(2.0, 5.0)], 9)[:, 0], torch.tensor([2.0, 5.0], dtype=torch.float64))
    assert len(interior(BOX[:2], "30x30")) == len(interior(BOX[:2], 900)) == 900
    assert len(boundary(BOX[:2], 900)) == 120
    assert len(interior(BOX[:2], "4x5")) == 20
    assert len(boundary(BOX[:2], "4x5")) == 18
    assert len(boundary(BOX, 1000)) == 600


@pytest.mark.parametrize("name", ["lhs", "sobol"])
def test_one_seed_one_set_of_points(name: str) -> None:
    first, same, other = (interior(BOX, 50, name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("points", ["3x3x3", "a", "", "0x4", 0, -3])
def test_bad_numbers_of_points_are_refused(points: int | str) -> None:
    with pytest.raises(InputError, match="must be a number >= 1, or 2 such numbers joined by 'x'"):
        interior(BOX[:2], points)


def test_an_unknown_sampling_lists_the_choices() -> None:
    with pytest.raises(InputError, match="sampling 'grid' is unknown: choose one of equispaced, lhs, sobol"):
        interior(BOX, 8, "grid")
