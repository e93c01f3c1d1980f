"""Sums of squares of fours of variables, overlapping or not, and two quadratics."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from torch import Tensor

from multilevel_opt import ElementResiduals
from problems.separable.base import SeparableProblem, rows


def _wood(u: Tensor) -> Tensor:
    """Wood's function of four variables (MGH 14)."""
    a, b, c, d = u.unbind(1)
    far = sqrt(10.0) * (b + d - 2), sqrt(0.1) * (b - d)
    return rows(10 * (b - a**2), 1 - a, sqrt(90.0) * (d - c**2), 1 - c, *far)


def _powell(u: Tensor) -> Tensor:
    """Powell's singular function of four variables (MGH 13)."""
    a, b, c, d = u.unbind(1)
    return rows(a + 10 * b, sqrt(5.0) * (c - d), (b - 2 * c) ** 2, sqrt(10.0) * (a - d) ** 2)


@dataclass(frozen=True, kw_only=True)
class ChainedWood(SeparableProblem):
    """Wood's function on overlapping fours of variables.

    1 + Wood's function on overlapping fours (x[2i−1], x[2i], x[2i+1], x[2i+2]).

    Source: V-767 problem 2; CUTEst CHAINWOO. Minimum 1 at (1, …, 1); local ones are reached from the standard start.
    """

    smallest: ClassVar[int] = 4
    multiple: ClassVar[int] = 2

    def start(self) -> Tensor:
        x = self.full(-2.0)
        x[:4] = self.repeated(-3.0, -1.0)[:4]
        return x

    def residuals(self) -> list[ElementResiduals]:
        constant = ElementResiduals(self.windows([0])[:1], lambda u: 1 + 0 * u)
        return [constant, ElementResiduals(self.windows([0, 1, 2, 3], step=2), _wood)]

    def minimum(self) -> float:
        return 1.0

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Woods(SeparableProblem):
    """Wood's function on disjoint fours of variables.

    Source: CUTEst WOODS; MGH 14 (n=4). Minimum 0 at (1, …, 1).
    """

    smallest: ClassVar[int] = 4
    multiple: ClassVar[int] = 4

    def start(self) -> Tensor:
        return self.repeated(-3.0, -1.0)

    def residuals(self) -> list[ElementResiduals]:
        return [ElementResiduals(self.windows([0, 1, 2, 3], step=4), _wood)]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class ChainedPowell(SeparableProblem):
    """Powell's singular function on overlapping fours.

    Source: V-767 problem 3. Minimum 0 at the origin.
    """

    smallest: ClassVar[int] = 4
    multiple: ClassVar[int] = 2

    def start(self) -> Tensor:
        return self.repeated(3.0, -1.0, 0.0, 1.0)

    def residuals(self) -> list[ElementResiduals]:
        return [ElementResiduals(self.windows([0, 1, 2, 3], step=2), _powell)]

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class ExtendedPowell(ChainedPowell):
    """Powell's singular function on disjoint fours of variables.

    Source: MGH 22. Minimum 0 at the origin.
    """

    multiple: ClassVar[int] = 4

    def residuals(self) -> list[ElementResiduals]:
        return [ElementResiduals(self.windows([0, 1, 2, 3], step=4), _powell)]


@dataclass(frozen=True, kw_only=True)
class Dqdrtic(SeparableProblem):
    """A diagonal quadratic.

    Σ x[i]² + 100 x[i+1]² + 100 x[i+2]².

    Source: CUTEst DQDRTIC. Minimum 0 at the origin.
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.full(3.0)

    def residuals(self) -> list[ElementResiduals]:
        weights = self.repeated(1.0, 10.0, 10.0)[:3]
        return [ElementResiduals(self.windows([0, 1, 2]), lambda u: weights * u)]

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Tridia(SeparableProblem):
    """A tridiagonal quadratic.

    (x[1] − 1)² + Σ i (2 x[i] − x[i−1])².

    Source: CUTEst TRIDIA. Minimum 0 at x[i] = 2^(1−i).
    """

    def start(self) -> Tensor:
        return self.full(1.0)

    def residuals(self) -> list[ElementResiduals]:
        head = ElementResiduals(self.windows([0])[:1], lambda u: u - 1)
        root = self.numbers(2, self.n).sqrt()
        chain = self.windows([0, 1])
        return [head, ElementResiduals(chain, lambda u, w: (w * (2 * u[:, 1] - u[:, 0]))[:, None], (root,))]

    def minimizer(self) -> Tensor:
        return 2.0 ** (1 - self.numbers(1, self.n))
