"""The residuals r(x) of the 35 problems of Moré, Garbow & Hillstrom (ACM TOMS 7, 1981), in the order of the paper.

Each takes x of shape (n,) and returns r of shape (m,); all are built of operations that torch differentiates in
every mode. Numbers of rows that the paper leaves free: 10 (problems 6 and 12), 99 (11), 13 (18), 20 (16), 2n (32–34).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import torch
from torch import Tensor

BARD = (0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)
GAUSSIAN = (0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989)
MEYER = (34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872)
KOWALIK_Y = (0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
KOWALIK_U = (4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)
OSBORNE_1 = (
    *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751),
    *(0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490),
    *(0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406),
)
OSBORNE_2 = (
    *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608),
    *(0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661),
    *(0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428),
    *(0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559),
    *(0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054),
)


def _vector(values: Sequence[float], x: Tensor) -> Tensor:
    return torch.tensor(values, dtype=x.dtype, device=x.device)


def _count(first: int, last: int, x: Tensor) -> Tensor:
    """The numbers first, …, last."""
    return torch.arange(first, last + 1, dtype=x.dtype, device=x.device)


def rosenbrock(x: Tensor) -> Tensor:
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def freudenstein_roth(x: Tensor) -> Tensor:
    a, b = x[0], x[1]
    return torch.stack([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def powell_badly_scaled(x: Tensor) -> Tensor:
    return torch.stack([1e4 * x[0] * x[1] - 1, torch.exp(-x[0]) + torch.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x: Tensor) -> Tensor:
    return torch.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x: Tensor) -> Tensor:
    return torch.stack([y - x[0] * (1 - x[1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


def jennrich_sampson(x: Tensor) -> Tensor:
    i = _count(1, 10, x)
    return 2 + 2 * i - torch.exp(i * x[0]) - torch.exp(i * x[1])


def helical_valley(x: Tensor) -> Tensor:
    turn = torch.where((x[0] < 0) & (x[1] < 0), 1.0, 0.0).to(x)  # the cut of the paper: the half line x₁ = 0, x₂ < 0
    theta = torch.atan2(x[1], x[0]) / (2 * pi) + turn
    return torch.stack([10 * (x[2] - 10 * theta), 10 * (torch.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def bard(x: Tensor) -> Tensor:
    u = _count(1, 15, x)
    v = 16 - u
    return _vector(BARD, x) - (x[0] + u / (v * x[1] + torch.minimum(u, v) * x[2]))


def gaussian(x: Tensor) -> Tensor:
    t = (8 - _count(1, 15, x)) / 2
    return x[0] * torch.exp(-x[1] * (t - x[2]) ** 2 / 2) - _vector((*GAUSSIAN, *GAUSSIAN[-2::-1]), x)


def meyer(x: Tensor) -> Tensor:
    t = 45 + 5 * _count(1, 16, x)
    return x[0] * torch.exp(x[1] / (t + x[2])) - _vector(MEYER, x)


def gulf(x: Tensor) -> Tensor:
    t = _count(1, 99, x) / 100
    y = 25 + (-50 * torch.log(t)) ** (2 / 3)
    return torch.exp(-(torch.abs(y - x[1]) ** x[2]) / x[0]) - t


def box(x: Tensor) -> Tensor:
    t = _count(1, 10, x) / 10
    return torch.exp(-t * x[0]) - torch.exp(-t * x[1]) - x[2] * (torch.exp(-t) - torch.exp(-10 * t))


def wood(x: Tensor) -> Tensor:
    a, b, c, d = x[0], x[1], x[2], x[3]
    rows = [10 * (b - a**2), 1 - a, sqrt(90) * (d - c**2), 1 - c, sqrt(10) * (b + d - 2), (b - d) / sqrt(10)]
    return torch.stack(rows)


def kowalik_osborne(x: Tensor) -> Tensor:
    u = _vector(KOWALIK_U, x)
    return _vector(KOWALIK_Y, x) - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x: Tensor) -> Tensor:
    t = _count(1, 20, x) / 5
    return (x[0] + t * x[1] - torch.exp(t)) ** 2 + (x[2] + x[3] * torch.sin(t) - torch.cos(t)) ** 2


def osborne_1(x: Tensor) -> Tensor:
    t = 10 * _count(0, 32, x)
    return _vector(OSBORNE_1, x) - (x[0] + x[1] * torch.exp(-t * x[3]) + x[2] * torch.exp(-t * x[4]))


def biggs(x: Tensor) -> Tensor:
    t = _count(1, 13, x) / 10
    y = torch.exp(-t) - 5 * torch.exp(-10 * t) + 3 * torch.exp(-4 * t)
    return x[2] * torch.exp(-t * x[0]) - x[3] * torch.exp(-t * x[1]) + x[5] * torch.exp(-t * x[4]) - y


def osborne_2(x: Tensor) -> Tensor:
    t = _count(0, 64, x) / 10
    model = x[0] * torch.exp(-t * x[4])
    for k in (1, 2, 3):
        model = model + x[k] * torch.exp(-((t - x[k + 7]) ** 2) * x[k + 4])
    return _vector(OSBORNE_2, x) - model


def watson(x: Tensor) -> Tensor:
    t = _count(1, 29, x)[:, None] / 29
    j = _count(0, x.numel() - 1, x)
    slope = (t ** (j[1:] - 1)) @ (j[1:] * x[1:])
    value = (t**j) @ x
    return torch.cat([slope - value**2 - 1, x[:1], (x[1] - x[0] ** 2 - 1)[None]])


def extended_rosenbrock(x: Tensor) -> Tensor:
    odd, even = x[0::2], x[1::2]
    return torch.stack([10 * (even - odd**2), 1 - odd], 1).reshape(-1)


def extended_powell_singular(x: Tensor) -> Tensor:
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    rows = [a + 10 * b, sqrt(5) * (c - d), (b - 2 * c) ** 2, sqrt(10) * (a - d) ** 2]
    return torch.stack(rows, 1).reshape(-1)


def penalty_1(x: Tensor) -> Tensor:
    return torch.cat([sqrt(1e-5) * (x - 1), (x @ x - 0.25)[None]])


def penalty_2(x: Tensor) -> Tensor:
    n = x.numel()
    i = _count(2, n, x)
    y = torch.exp(i / 10) + torch.exp((i - 1) / 10)
    e = torch.exp(x / 10)
    weighted = _count(1, n, x).flip(0) @ x**2 - 1
    edge = e.new_full((), -0.1).exp()
    return torch.cat([x[:1] - 0.2, sqrt(1e-5) * (e[1:] + e[:-1] - y), sqrt(1e-5) * (e[1:] - edge), weighted[None]])


def variably_dimensioned(x: Tensor) -> Tensor:
    total = _count(1, x.numel(), x) @ (x - 1)
    return torch.cat([x - 1, total[None], total[None] ** 2])


def trigonometric(x: Tensor) -> Tensor:
    n = x.numel()
    return n - torch.cos(x).sum() + _count(1, n, x) * (1 - torch.cos(x)) - torch.sin(x)


def brown_almost_linear(x: Tensor) -> Tensor:
    n = x.numel()
    return torch.cat([x[:-1] + x.sum() - (n + 1), (x.prod() - 1)[None]])


def discrete_boundary_value(x: Tensor) -> Tensor:
    n = x.numel()
    h = 1 / (n + 1)
    return 2 * x - _behind(x) - _ahead(x) + h**2 * (x + h * _count(1, n, x) + 1) ** 3 / 2


def discrete_integral_equation(x: Tensor) -> Tensor:
    n = x.numel()
    h = 1 / (n + 1)
    t = h * _count(1, n, x)
    cube = (x + t + 1) ** 3
    below = torch.cumsum(t * cube, 0)
    weighted = (1 - t) * cube
    return x + h * ((1 - t) * below + t * (weighted.sum() - torch.cumsum(weighted, 0))) / 2


def broyden_tridiagonal(x: Tensor) -> Tensor:
    return (3 - 2 * x) * x - _behind(x) - 2 * _ahead(x) + 1


def broyden_banded(x: Tensor) -> Tensor:
    n = x.numel()
    row, column = _count(1, n, x)[:, None], _count(1, n, x)[None, :]
    band = ((column >= row - 5) & (column <= row + 1) & (column != row)).to(x)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


def linear_full_rank(x: Tensor) -> Tensor:
    n = x.numel()
    common = -2 / (2 * n) * x.sum() - 1
    return torch.cat([x + common, common.repeat(n)])


def linear_rank_1(x: Tensor) -> Tensor:
    n = x.numel()
    return _count(1, 2 * n, x) * (_count(1, n, x) @ x) - 1


def linear_rank_1_zero_columns(x: Tensor) -> Tensor:
    n = x.numel()
    factor = torch.cat([x.new_zeros(1), _count(1, 2 * n - 2, x), x.new_zeros(1)])
    return factor * (_count(2, n - 1, x) @ x[1:-1]) - 1


def chebyquad(x: Tensor) -> Tensor:
    n = x.numel()
    y = 2 * x - 1
    before, now = torch.ones_like(y), y
    means = [now.mean()]
    for _ in range(n - 1):
        before, now = now, 2 * y * now - before
        means.append(now.mean())
    integrals = [0.0 if i % 2 else -1 / (i * i - 1) for i in range(1, n + 1)]
    return torch.stack(means) - _vector(integrals, x)


def _behind(x: Tensor) -> Tensor:
    """x_{i−1}, with zero before the first."""
    return torch.cat([x.new_zeros(1), x[:-1]])


def _ahead(x: Tensor) -> Tensor:
    """x_{i+1}, with zero after the last."""
    return torch.cat([x[1:], x.new_zeros(1)])
