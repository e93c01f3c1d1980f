"""Quartics of neighbours, with or without a border of variables that every element sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt import ElementResiduals, Elements
from problems.separable.base import SeparableProblem, rows


@dataclass(frozen=True, kw_only=True)
class Arwhead(SeparableProblem):
    """A quartic with an arrow-head Hessian.

    Σ (x[i]² + x[n]²)² − 4x[i] + 3.

    Source: CUTEst ARWHEAD. Minimum 0 at (1, …, 1, 0).
    """

    def start(self) -> Tensor:
        return self.full(1.0)

    def elements(self) -> list[Elements]:
        arrow = self.tied(self.windows([0])[:-1], -1)
        return [Elements(arrow, lambda u: u.square().sum(1).square() - 4 * u[:, 0] + 3)]

    def minimum(self) -> float:
        return 0.0

    def minimizer(self) -> Tensor:
        x = self.full(1.0)
        x[-1] = 0.0
        return x


@dataclass(frozen=True, kw_only=True)
class Engval1(SeparableProblem):
    """A quartic of neighbouring pairs.

    Σ (x[i]² + x[i+1]²)² − 4x[i] + 3.

    Source: CUTEst ENGVAL1; V-1081 problem 27.
    """

    reported: ClassVar[Mapping[int, float]] = {2: 0.0, 1000: 1.10819e3}

    def start(self) -> Tensor:
        return self.full(2.0)

    def elements(self) -> list[Elements]:
        return [Elements(self.windows([0, 1]), lambda u: u.square().sum(1).square() - 4 * u[:, 0] + 3)]


@dataclass(frozen=True, kw_only=True)
class Edensch(SeparableProblem):
    """The extended Dennis–Schnabel function.

    16 + Σ (x[i] − 2)⁴ + (x[i] x[i+1] − 2x[i+1])² + (x[i+1] + 1)².

    Source: CUTEst EDENSCH, with its values of the minimum.
    """

    reported: ClassVar[Mapping[int, float]] = {36: 219.28, 2000: 1.20032e4}

    def start(self) -> Tensor:
        return self.full(8.0)

    def residuals(self) -> list[ElementResiduals]:
        def pair(u: Tensor) -> Tensor:
            a, b = u.unbind(1)
            return rows((a - 2) ** 2, a * b - 2 * b, b + 1)

        constant = ElementResiduals(self.windows([0])[:1], lambda u: 4 + 0 * u)
        return [constant, ElementResiduals(self.windows([0, 1]), pair)]

    def minimum(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Bdqrtic(SeparableProblem):
    """A banded quartic with a border.

    Σ (3 − 4x[i])² + (x[i]² + 2x[i+1]² + 3x[i+2]² + 4x[i+3]² + 5x[n]²)².

    Source: CUTEst BDQRTIC, with its values of the minimum.
    """

    reported: ClassVar[Mapping[int, float]] = {100: 3.78769e2, 500: 1.98101e3, 1000: 3.98382e3}

    smallest: ClassVar[int] = 5

    def start(self) -> Tensor:
        return self.full(1.0)

    def residuals(self) -> list[ElementResiduals]:
        weights = self.numbers(1, 5)
        near = self.tied(self.windows([0, 1, 2, 3])[:-1], -1)
        return [ElementResiduals(near, lambda u: rows(3 - 4 * u[:, 0], (weights * u**2).sum(1)))]

    def minimum(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Cragglvy(SeparableProblem):
    """Cragg and Levy's function on overlapping fours.

    Σ (exp a − b)⁴ + 100 (b − c)⁶ + (tan(c − d) + c − d)⁴ + a⁸ + (d − 1)² on overlapping fours (a, b, c, d).

    Source: CUTEst CRAGGLVY, with its values of the minimum; all terms are squares.
    """

    reported: ClassVar[Mapping[int, float]] = {
        4: 0.0,
        10: 1.886566,
        50: 1.5372e1,
        100: 3.2270e1,
        500: 1.6745e2,
        1000: 3.3642e2,
    }

    smallest: ClassVar[int] = 4
    multiple: ClassVar[int] = 2

    def start(self) -> Tensor:
        x = self.full(2.0)
        x[0] = 1.0
        return x

    def residuals(self) -> list[ElementResiduals]:
        def four(u: Tensor) -> Tensor:
            a, b, c, d = u.unbind(1)
            return rows((torch.exp(a) - b) ** 2, 10 * (b - c) ** 3, (torch.tan(c - d) + c - d) ** 2, a**4, d - 1)

        return [ElementResiduals(self.windows([0, 1, 2, 3], step=2), four)]

    def minimum(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Nondquar(SeparableProblem):
    """A nondiagonal quartic, singular at the minimizer.

    (x[1] − x[2])² + (x[n−1] − x[n])² + Σ (x[i] + x[i+1] + x[n])⁴.

    Source: CUTEst NONDQUAR. Minimum 0 at the origin.
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.repeated(1.0, -1.0)

    def residuals(self) -> list[ElementResiduals]:
        pairs = self.windows([0, 1])
        arrow = self.tied(pairs[:-1], -1)
        ends = ElementResiduals(pairs[[0, -1]], lambda u: u[:, :1] - u[:, 1:])
        return [ends, ElementResiduals(arrow, lambda u: u.sum(1).square()[:, None])]

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Quartc(SeparableProblem):
    """A separable quartic, singular at the minimizer.

    Σ (x[i] − i)⁴.

    Source: CUTEst QUARTC (DQRTIC). Minimum 0 at (1, 2, …, n).
    """

    smallest: ClassVar[int] = 1

    def start(self) -> Tensor:
        return self.full(2.0)

    def residuals(self) -> list[ElementResiduals]:
        places = self.numbers(1, self.n)[:, None]
        return [ElementResiduals(self.windows([0]), lambda u, i: (u - i) ** 2, (places,))]

    def minimizer(self) -> Tensor:
        return self.numbers(1, self.n)
