"""Problems with bounds of Hock & Schittkowski (LNEMS 187, 1981), with their numbers there."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, pi, sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bounded:
    """An objective, its bounds and standard start, the value at the minimizer; and residuals where it has some."""

    f: Callable[[Tensor], Tensor]
    x0: list[float]
    lower: list[float]
    upper: list[float]
    fun: float
    residual: Callable[[Tensor], Tensor] | None = None


def _valley(x: Tensor) -> Tensor:  # Σ r² = f
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def _hs25(x: Tensor) -> Tensor:
    i = 0.01 * torch.arange(1, 100, dtype=x.dtype, device=x.device)
    u = 25 + (-50 * torch.log(i)) ** (2 / 3)
    return -i + torch.exp(-((u - x[1]) ** x[2]) / x[0])


def _wood(x: Tensor) -> Tensor:
    a, b, c, d = x
    u, v = b - 1, d - 1
    # 10.1 (u² + v²) + 19.8 u v as two squares
    return torch.stack(
        [10 * (b - a**2), 1 - a, sqrt(90) * (d - c**2), 1 - c, sqrt(10) * (u + v), (u - v) / sqrt(10)],
    )


def _squares(residual: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: (residual(x) ** 2).sum()


def _hs3(x: Tensor) -> Tensor:
    return x[1] + 1e-5 * (x[1] - x[0]) ** 2


def _hs4(x: Tensor) -> Tensor:
    return (x[0] + 1) ** 3 / 3 + x[1]


def _hs5(x: Tensor) -> Tensor:
    return torch.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1


def _hs45(x: Tensor) -> Tensor:
    return 2 - x.prod() / 120


def _hs110(x: Tensor) -> Tensor:
    return (torch.log(x - 2) ** 2 + torch.log(10 - x) ** 2).sum() - x.prod() ** 0.2


HS: dict[str, Bounded] = {
    "1": Bounded(_squares(_valley), [-2.0, 1.0], [-inf, -1.5], [inf, inf], 0.0, _valley),
    "2": Bounded(_squares(_valley), [-2.0, 1.0], [-inf, 1.5], [inf, inf], 0.0504261879, _valley),
    "3": Bounded(_hs3, [10.0, 1.0], [-inf, 0.0], [inf, inf], 0.0),
    "4": Bounded(_hs4, [1.125, 0.125], [1.0, 0.0], [inf, inf], 8 / 3),
    "5": Bounded(_hs5, [0.0, 0.0], [-1.5, -3.0], [4.0, 3.0], -(sqrt(3) / 2 + pi / 3)),
    "25": Bounded(_squares(_hs25), [100.0, 12.5, 3.0], [0.1, 0.0, 0.0], [100.0, 25.6, 5.0], 0.0, _hs25),
    "38": Bounded(_squares(_wood), [-3.0, -1.0, -3.0, -1.0], [-10.0] * 4, [10.0] * 4, 0.0, _wood),
    "45": Bounded(_hs45, [2.0] * 5, [0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], 1.0),
    "110": Bounded(_hs110, [9.0] * 10, [2.001] * 10, [9.999] * 10, -45.77846971),
}
