"""Least-squares problems of Moré, Garbow & Hillstrom (ACM TOMS 7, 1981), with their numbers there."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reference:
    """A residual, its standard start, and Σ r² at the minimizers that are reached from there."""

    residual: Callable[[Tensor], Tensor]
    x0: list[float]
    minima: tuple[float, ...] = (0.0,)

    @property
    def start(self) -> Tensor:
        return torch.tensor(self.x0, dtype=torch.float64, device="cpu")

    def value(self, x: Tensor) -> Tensor:
        r = self.residual(x)
        return 0.5 * (r @ r)


def _rosenbrock(x: Tensor) -> Tensor:  # 1
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def _freudenstein_roth(x: Tensor) -> Tensor:  # 2
    a, b = x
    return torch.stack([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def _beale(x: Tensor) -> Tensor:  # 5
    return torch.stack([y - x[0] * (1 - x[1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


def _jennrich_sampson(x: Tensor) -> Tensor:  # 6
    i = torch.arange(1, 11, dtype=x.dtype, device=x.device)
    return 2 + 2 * i - torch.exp(i * x[0]) - torch.exp(i * x[1])


def _helical_valley(x: Tensor) -> Tensor:  # 7
    theta = torch.atan2(x[1], x[0]) / (2 * pi)
    return torch.stack([10 * (x[2] - 10 * theta), 10 * (torch.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def _bard(x: Tensor) -> Tensor:  # 8
    y = torch.tensor(
        [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39],
        dtype=x.dtype,
        device=x.device,
    )
    u = torch.arange(1, 16, dtype=x.dtype, device=x.device)
    v = 16 - u
    return y - (x[0] + u / (v * x[1] + torch.minimum(u, v) * x[2]))


def _powell_singular(x: Tensor) -> Tensor:  # 13
    a, b, c, d = x
    return torch.stack([a + 10 * b, sqrt(5) * (c - d), (b - 2 * c) ** 2, sqrt(10) * (a - d) ** 2])


def _wood(x: Tensor) -> Tensor:  # 14
    a, b, c, d = x
    return torch.stack(
        [
            10 * (b - a**2),
            1 - a,
            sqrt(90) * (d - c**2),
            1 - c,
            sqrt(10) * (b + d - 2),
            (b - d) / sqrt(10),
        ]
    )


def _kowalik_osborne(x: Tensor) -> Tensor:  # 15
    y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
    u = [4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]
    t, z = (torch.tensor(v, dtype=x.dtype, device=x.device) for v in (u, y))
    return z - x[0] * (t**2 + t * x[1]) / (t**2 + t * x[2] + x[3])


def _box(x: Tensor) -> Tensor:  # 12
    t = 0.1 * torch.arange(1, 11, dtype=x.dtype, device=x.device)
    return torch.exp(-t * x[0]) - torch.exp(-t * x[1]) - x[2] * (torch.exp(-t) - torch.exp(-10 * t))


def _broyden_tridiagonal(x: Tensor) -> Tensor:  # 30
    end = x.new_zeros(1)
    return (3 - 2 * x) * x - torch.cat([end, x[:-1]]) - 2 * torch.cat([x[1:], end]) + 1


MGH: dict[str, Reference] = {
    "Rosenbrock": Reference(_rosenbrock, [-1.2, 1.0]),
    "Freudenstein-Roth": Reference(_freudenstein_roth, [0.5, -2.0], (0.0, 48.98425)),
    "Beale": Reference(_beale, [1.0, 1.0]),
    "Jennrich-Sampson": Reference(_jennrich_sampson, [0.3, 0.4], (124.362,)),
    "helical valley": Reference(_helical_valley, [-1.0, 0.0, 0.0]),
    "Bard": Reference(_bard, [1.0, 1.0, 1.0], (8.21487e-3,)),
    "Box": Reference(_box, [0.0, 10.0, 20.0]),
    "Powell singular": Reference(_powell_singular, [3.0, -1.0, 0.0, 1.0]),
    "Wood": Reference(_wood, [-3.0, -1.0, -3.0, -1.0]),
    "Kowalik-Osborne": Reference(_kowalik_osborne, [0.25, 0.39, 0.415, 0.39], (3.07505e-4,)),
    "Broyden tridiagonal": Reference(_broyden_tridiagonal, [-1.0] * 10),
}
