"""Chains of small valleys: sums of squares whose elements overlap in a variable or two, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multilevel_opt import ElementResiduals
from problems.separable.base import SeparableProblem, rows


def _valley(u: Tensor) -> Tensor:
    """10 (b − a²), 1 − a."""
    a, b = u.unbind(1)
    return rows(10 * (b - a**2), 1 - a)


@dataclass(frozen=True, kw_only=True)
class ChainedRosenbrock(SeparableProblem):
    """Rosenbrock's bent valley as a chain; n=2 is the classic one.

    Σ 100 (x[i+1] − x[i]²)² + (1 − x[i])².

    Source: V-767 problem 1, MGH 1 (n=2). Minimum 0 at (1, …, 1); a local one near 3.99 is reached from many starts.
    """

    def start(self) -> Tensor:
        return self.repeated(-1.2, 1.0)

    def residuals(self) -> list[ElementResiduals]:
        return [ElementResiduals(self.windows([0, 1]), _valley)]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class ExtendedRosenbrock(ChainedRosenbrock):
    """Rosenbrock's function on disjoint pairs of variables.

    Source: MGH 21. Minimum 0 at (1, …, 1).
    """

    multiple: ClassVar[int] = 2

    def residuals(self) -> list[ElementResiduals]:
        return [ElementResiduals(self.windows([0, 1], step=2), _valley)]


@dataclass(frozen=True, kw_only=True)
class Fletchcr(ChainedRosenbrock):
    """The chained Rosenbrock valley from the origin.

    Source: CUTEst FLETCHCR. Minimum 0 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Genrose(SeparableProblem):
    """Nash's generalized Rosenbrock function.

    1 + Σ 100 (x[i] − x[i−1]²)² + (x[i] − 1)².

    Source: CUTEst GENROSE; the constant 1 is kept as a residual. Minimum 1 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.numbers(1, self.n) / (self.n + 1)

    def residuals(self) -> list[ElementResiduals]:
        constant = ElementResiduals(self.windows([0])[:1], lambda u: 1 + 0 * u)
        return [constant, ElementResiduals(self.windows([0, 1]), lambda u: rows(_valley(u)[:, 0], u[:, 1] - 1))]

    def minimum(self) -> float:
        return 1.0

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Extrosnb(SeparableProblem):
    """A chain of valleys held at one end only, very flat.

    (x[1] − 1)² + Σ 100 (x[i] − x[i−1]²)².

    Source: CUTEst EXTROSNB. Minimum 0 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.full(-1.0)

    def residuals(self) -> list[ElementResiduals]:
        chain = ElementResiduals(self.windows([0, 1]), lambda u: _valley(u)[:, :1])
        return [ElementResiduals(self.windows([0])[:1], lambda u: u - 1), chain]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Nondia(SeparableProblem):
    """Shanno's nondiagonal function; arrow-head Hessian.

    (x[1] − 1)² + Σ 100 (x[1] − x[i]²)².

    Source: CUTEst NONDIA. Minimum 0 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.full(-1.0)

    def residuals(self) -> list[ElementResiduals]:
        arrow = self.tied(self.windows([0])[:-1], 0)
        head = ElementResiduals(self.windows([0])[:1], lambda u: u - 1)
        return [head, ElementResiduals(arrow, lambda u: 10 * (u[:, 1:] - u[:, :1] ** 2))]

    def minimum(self) -> float:
        return 0.0

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Liarwhd(SeparableProblem):
    """A simplified NONDIA with a well-conditioned end.

    Σ 4 (x[i]² − x[1])² + (x[i] − 1)².

    Source: CUTEst LIARWHD. Minimum 0 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.full(4.0)

    def residuals(self) -> list[ElementResiduals]:
        arrow = self.tied(self.windows([0]), 0)
        return [ElementResiduals(arrow, lambda u: rows(2 * (u[:, 0] ** 2 - u[:, 1]), u[:, 0] - 1))]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Tquartic(SeparableProblem):
    """A quartic with many equal minima.

    (x[1] − 1)² + Σ (x[1]² − x[i+1]²)².

    Source: CUTEst TQUARTIC. Minimum 0 at (1, …, 1).
    """

    def start(self) -> Tensor:
        return self.full(0.1)

    def residuals(self) -> list[ElementResiduals]:
        arrow = self.tied(self.windows([1]), 0)
        head = ElementResiduals(self.windows([0])[:1], lambda u: u - 1)
        return [head, ElementResiduals(arrow, lambda u: u[:, 1:] ** 2 - u[:, :1] ** 2)]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Freuroth(SeparableProblem):
    """Freudenstein and Roth's function on consecutive pairs of variables.

    Source: CUTEst FREUROTH, with its values of the local minimum that is reached from the standard start; MGH 2 (n=2).
    """

    reported: ClassVar[Mapping[int, float]] = {
        2: 48.98425,
        10: 1.0141e3,
        50: 5.8810e3,
        100: 1.1965e4,
        500: 6.0634e4,
        1000: 1.2147e5,
    }

    def start(self) -> Tensor:
        x = self.full(0.0)
        x[:2] = self.repeated(0.5, -2.0)[:2]
        return x

    def residuals(self) -> list[ElementResiduals]:
        def pair(u: Tensor) -> Tensor:
            a, b = u.unbind(1)
            return rows(-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b)

        return [ElementResiduals(self.windows([0, 1]), pair)]

    def minimum(self) -> None:
        return None
