"""Points for losses that are means over continuous noise, F(x) = E φ(x; z): quasi-random, scrambled anew each time.

Scrambled Sobol points are uniform one by one, so the mean of φ over n of them has the same expectation as over n
random ones, and for smooth φ an error of n⁻¹ to n⁻³ᐟ² in place of n⁻¹ᐟ². With a constant step, stochastic methods end
at a distance proportional to that error (Liu & Owen 2021). For mini-batches of a finite set they are no use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError

Cube = Callable[[int, int, int], Tensor]


def _sobol(count: int, dim: int, seed: int) -> Tensor:
    found: Tensor = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return found


def _random(count: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, dim, generator=generator, dtype=torch.float64)


def _normal(unit: Tensor) -> Tensor:
    edge = torch.finfo(unit.dtype).eps
    z: Tensor = torch.special.ndtri(unit.clamp(edge, 1.0 - edge))
    return z


POINTS: Mapping[str, Cube] = {"sobol": _sobol, "random": _random}
DISTRIBUTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"normal": _normal, "uniform": lambda unit: unit}


class NoiseSampler:
    """Draws points z of shape (n, d), independent from one draw to the next.

    Args:
        dim: d.
        points: a key of ``POINTS``: "sobol", best where n is a power of two, or "random".
        distribution: a key of ``DISTRIBUTIONS``: "normal" with mean 0 and variance 1, or "uniform" in (0, 1).
        seed: of all draws.

    Raises:
        InputError: an unknown name, or a dimension out of range.
    """

    def __init__(self, dim: int, *, points: str = "sobol", distribution: str = "normal", seed: int = 0) -> None:
        largest = torch.quasirandom.SobolEngine.MAXDIM
        if not 1 <= dim <= largest:
            raise InputError(f"dim={dim} is out of range: give a number from 1 to {largest}")
        for name, value, table in (("points", points, POINTS), ("distribution", distribution, DISTRIBUTIONS)):
            if value not in table:
                raise InputError(f"unknown {name} {value!r}: choose one of {', '.join(table)}")
        self.dim, self.points, self.distribution, self.seed = dim, points, distribution, seed
        self.draws = 0

    def draw(self, count: int, like: Tensor | None = None) -> Tensor:
        """The next points, shape (count, d), in the dtype and on the device of ``like`` (float64 on the CPU)."""
        if count < 1:
            raise InputError(f"count={count} is out of range: give 1 or more")
        scramble = int(np.random.SeedSequence((self.seed, self.draws)).generate_state(1)[0])
        self.draws += 1
        z = DISTRIBUTIONS[self.distribution](POINTS[self.points](count, self.dim, scramble))
        return z if like is None else z.to(like)

    def state_dict(self) -> dict[str, Any]:
        """How many draws there were."""
        return {"draws": self.draws}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.draws = state["draws"]
