"""Orders of points: each once, and every beginning is spread over the domain."""

import numpy as np
import pytest
import torch
from scipy.stats import qmc

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


@pytest.mark.parametrize("points", ["grid", "random"])
def test_beginnings_fill_the_square_more_evenly_than_random_points(points: str) -> None:
    z = grid(32) if points == "grid" else torch.rand(1024, 2, dtype=torch.float64)
    z = 0.01 + 0.98 * z
    for k in (64, 128, 200):
        chosen = z[spread(z)[:k]].numpy()
        random = [qmc.discrepancy(np.random.default_rng(s).random((k, 2))) for s in range(20)]
        assert qmc.discrepancy(chosen) < np.median(random)
        assert qmc.discrepancy(z[:k].numpy()) > qmc.discrepancy(chosen)  # a part of a grid lies on one side


def test_beginnings_of_a_circle_leave_no_wide_gap() -> None:
    z = circle(256)
    chosen = spread(z)[:32].sort().values
    gaps = torch.diff(torch.cat([chosen, chosen[:1] + 256]))
    assert int(gaps.max()) <= 32  # 8 in the mean; neighbours on the circle may be far apart on the curve


def test_another_seed_is_another_choice() -> None:
    z = grid(16)
    assert set(spread(z, 0)[:64].tolist()) != set(spread(z, 1)[:64].tolist())
