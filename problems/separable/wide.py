"""Functions with long elements, or with elements that reach far: Dixon–Maany, NCB20B, the variational eigenvalue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt import Elements, InputError
from problems.separable.base import SeparableProblem

STRENGTHS = {"a": (0.0, 0.125), "b": (0.0625, 0.0625), "c": (0.125, 0.125), "d": (0.26, 0.26)}  # β, γ = δ
EXPONENTS = ((0, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 2), (2, 1, 1, 2))  # of A–D, E–H, I–L, M–P
LETTERS = {
    chr(ord("a") + 4 * family + member): (*strengths, exponents)
    for family, exponents in enumerate(EXPONENTS)
    for member, strengths in enumerate(STRENGTHS.values())
}


@dataclass(frozen=True, kw_only=True)
class Dixmaan(SeparableProblem):
    """Dixon and Maany's 16 functions, one for each letter.

    1 + Σ wᵃ x[i]² + β wᵇ x[i]² (x[i+1] + x[i+1]²)² + γ wᶜ x[i]² x[i+m]⁴ + δ wᵈ x[i] x[i+2m], w = i/n, m = n/3.

    Source: CUTEst DIXMAANA … DIXMAANP. Minimum 1 at the origin.

    Attributes:
        letter: a to p.
    """

    smallest: ClassVar[int] = 3
    multiple: ClassVar[int] = 3

    n: int = 1500
    letter: str = "a"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.letter.lower() not in LETTERS:
            raise InputError(f"letter={self.letter} is unknown: choose one of a to p")

    def start(self) -> Tensor:
        return self.full(2.0)

    def elements(self) -> list[Elements]:
        beta, gamma, (a, b, c, d) = LETTERS[self.letter.lower()]
        third, w = self.n // 3, self.numbers(1, self.n) / self.n
        pairs, middle, far = (self.windows([0, reach]) for reach in (1, third, 2 * third))

        def bent(u: Tensor, w: Tensor) -> Tensor:
            return w * u[:, 0] ** 2 * (u[:, 1] + u[:, 1] ** 2) ** 2

        groups = [
            Elements(self.windows([0])[:1], lambda u: 1 + 0 * u[:, 0]),
            Elements(self.windows([0]), lambda u, w: w * u[:, 0] ** 2, (w**a,)),
            Elements(middle, lambda u, w: w * u[:, 0] ** 2 * u[:, 1] ** 4, (gamma * w[: len(middle)] ** c,)),
            Elements(far, lambda u, w: w * u[:, 0] * u[:, 1], (gamma * w[: len(far)] ** d,)),
        ]
        return [*groups, Elements(pairs, bent, (beta * w[: len(pairs)] ** b,))] if beta else groups

    def minimum(self) -> float:
        return 1.0

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Ncb20b(SeparableProblem):
    """Bands of twenty with much negative curvature.

    Σ 100 x[i]⁴ + 2 + Σ (10/i) (Σ x[j]/(1 + x[j]²))² − 0.2 Σ x[j], j from i to i+19.

    Source: CUTEst NCB20B.
    """

    smallest: ClassVar[int] = 20
    reported: ClassVar[Mapping[int, float]] = {1000: 1.67601e3}

    def start(self) -> Tensor:
        return self.full(0.0)

    def elements(self) -> list[Elements]:
        windows = self.windows(range(20))
        weights = 10 / self.numbers(1, len(windows))

        def bundle(u: Tensor, w: Tensor) -> Tensor:
            return w * (u / (1 + u**2)).sum(1) ** 2 - 0.2 * u.sum(1)

        each = Elements(self.windows([0]), lambda u: 100 * u[:, 0] ** 4 + 2)
        return [each, Elements(windows, bundle, (weights,))]


@dataclass(frozen=True, kw_only=True)
class Vareigvl(SeparableProblem):
    """Auchmuty's variational eigenvalue.

    ½ ‖A x − μ x‖² + ‖x‖³/1.5 for a banded A and the variables (x, μ).

    Source: CUTEst VAREIGVL (bandwidth 6, q = 1.5). Minimum 0 at x = 0, any μ.
    """

    smallest: ClassVar[int] = 14

    def start(self) -> Tensor:
        x = self.full(1.0)
        x[-1] = 0.0
        return x

    def elements(self) -> list[Elements]:
        size, band = self.n - 1, 6
        every = torch.arange(size, dtype=torch.int64, device=self.device)
        near = every[:, None] + torch.arange(-band, band + 1, dtype=torch.int64, device=self.device)
        i, j = self.numbers(1, size)[:, None], (near + 1).to(self.full(0.0))
        entries = torch.sin(i * j) * torch.exp(-((i - j) ** 2) / size**2) * ((near >= 0) & (near < size))

        def equation(u: Tensor, a: Tensor) -> Tensor:
            x, own, mu = u[:, :-2], u[:, -2], u[:, -1]
            return 0.5 * ((a * x).sum(1) - mu * own) ** 2

        index = self.tied(torch.cat([near.clamp(0, size - 1), every[:, None]], dim=1), -1)
        norm = Elements(every[None], lambda u: u.square().sum(1) ** 1.5 / 1.5)
        return [Elements(index, equation, (entries,)), norm]

    def minimum(self) -> float:
        return 0.0

    def minimizer(self) -> Tensor:
        return self.full(0.0)
