"""Orders of points: each once, and every beginning is spread over the domain."""

import numpy as np
import pytest
import torch

from multilevel_opt.pde.point_levels import spread


def grid(side: int) -> torch.Tensor:
    axis = torch.linspace(0, 1, side, dtype=torch.float64)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)


def circle(m: int) -> torch.Tensor:
    angle = torch.linspace(0, 2 * np.pi, m + 1, dtype=torch.float64)[:-1]
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.mark.parametrize("z", [grid(17), circle(100), torch.rand(50, 70, dtype=torch.float64), torch.zeros(5, 1)])
def test_every_point_is_taken_once(z: torch.Tensor) -> None:
    assert sorted(spread(z).tolist()) == list(range(len(z)))


def hole(z: torch.Tensor, chosen: torch.Tensor) -> float:
    """The largest distance of a point z (m, d) from the next chosen one."""
    return float(torch.cdist(z, chosen).min(dim=1).values.max())


@pytest.mark.parametrize("points", ["grid", "random"])
@pytest.mark.parametrize("k", [64, 128, 200])
def test_beginnings_leave_smaller_holes_than_random_choices(points: str, k: int) -> None:
    z = grid(32) if points == "grid" else torch.rand(1024, 2, dtype=torch.float64)
    random = [hole(z, z[torch.randperm(len(z))[:k]]) for _ in range(21)]
    assert hole(z, z[spread(z)[:k]]) < float(np.median(random))
    if points == "grid":
        assert hole(z, z[:k]) > 0.5  # the first points of a grid lie on one side


def test_beginnings_of_a_circle_leave_no_wide_gap() -> None:
    z = circle(256)
    chosen = spread(z)[:32].sort().values
    gaps = torch.diff(torch.cat([chosen, chosen[:1] + 256]))
    assert int(gaps.max()) <= 32  # 8 in the mean; neighbours on the circle may be far apart on the curve


def test_other_seeds_are_other_choices() -> None:
    z = grid(16)
    assert len({frozenset(spread(z, seed)[:64].tolist()) for seed in range(6)}) > 1
