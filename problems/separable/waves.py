"""Functions of neighbours that are not sums of squares: sines, Gaussians, humps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt import Elements, InputError
from problems.separable.base import SeparableProblem


@dataclass(frozen=True, kw_only=True)
class Cosine(SeparableProblem):
    """Cosines of pairs; many equal minima.

    Σ cos(x[i]² − x[i+1]/2).

    Source: CUTEst COSINE. Minimum −(n − 1).
    """

    def start(self) -> Tensor:
        return self.full(1.0)

    def elements(self) -> list[Elements]:
        return [Elements(self.windows([0, 1]), lambda u: torch.cos(u[:, 0] ** 2 - 0.5 * u[:, 1]))]

    def minimum(self) -> float:
        return -(self.n - 1.0)

    def minimizer(self) -> Tensor:
        return self.full((1 + sqrt(1 + 16 * pi)) / 4)  # t² − t/2 = π


@dataclass(frozen=True, kw_only=True)
class Eg2(SeparableProblem):
    """Sines with a border; flat, with many minima.

    Σ sin(x[1] + x[i]² − 1) + ½ sin(x[n]²).

    Source: CUTEst EG2. Minimum −(n − ½).
    """

    def start(self) -> Tensor:
        return self.full(0.0)

    def elements(self) -> list[Elements]:
        arrow = self.tied(self.windows([0])[:-1], 0)
        waves = Elements(arrow, lambda u: torch.sin(u[:, 1] + u[:, 0] ** 2 - 1))
        return [waves, Elements(self.windows([0])[-1:], lambda u: 0.5 * torch.sin(u[:, 0] ** 2))]

    def minimum(self) -> float:
        return -(self.n - 0.5)

    def minimizer(self) -> Tensor:
        x = self.full((-1 + sqrt(5 + 6 * pi)) / 2)  # t + t² − 1 = 3π/2
        x[-1] = sqrt(1.5 * pi)
        return x


@dataclass(frozen=True, kw_only=True)
class Genhumps(SeparableProblem):
    """A bowl with humps.

    Σ sin²(ζ x[i]) sin²(ζ x[i+1]) + 0.05 (x[i]² + x[i+1]²).

    Source: CUTEst GENHUMPS. Minimum 0 at the origin.

    Attributes:
        zeta: ζ, the density of the humps.
    """

    zeta: float = 20.0

    def start(self) -> Tensor:
        x = self.full(-506.2)
        x[0] = -506.0
        return x

    def elements(self) -> list[Elements]:
        def humps(u: Tensor) -> Tensor:
            return torch.sin(self.zeta * u).square().prod(1) + 0.05 * u.square().sum(1)

        return [Elements(self.windows([0, 1]), humps)]

    def minimum(self) -> float:
        return 0.0

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Schmvett(SeparableProblem):
    """Schmidt and Vetters' function of threes.

    Σ −1/(1 + (a − b)²) − sin((πb + c)/2) − exp(−((a + c)/b − 2)²) on consecutive threes (a, b, c).

    Source: CUTEst SCHMVETT. Minimum −3 (n − 2) at x[i] = π/(1 + π).
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.full(0.5)

    def elements(self) -> list[Elements]:
        def three(u: Tensor) -> Tensor:
            a, b, c = u.unbind(1)
            return -1 / (1 + (a - b) ** 2) - torch.sin(0.5 * (pi * b + c)) - torch.exp(-(((a + c) / b - 2) ** 2))

        return [Elements(self.windows([0, 1, 2]), three)]

    def minimum(self) -> float:
        return -3.0 * (self.n - 2)

    def minimizer(self) -> Tensor:
        return self.full(pi / (1 + pi))


@dataclass(frozen=True, kw_only=True)
class Tointgss(SeparableProblem):
    """Toint's Gaussians.

    Σ (10/(n−2) + c²) (2 − exp(−(a − b)²/(0.1 + c²))) on consecutive threes (a, b, c).

    Source: CUTEst TOINTGSS. Minimum 10 at the origin; from the standard start 10 + 10/(n−2) is reached.
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.full(3.0)

    def elements(self) -> list[Elements]:
        def three(u: Tensor) -> Tensor:
            a, b, c = u.unbind(1)
            return (10 / (self.n - 2) + c**2) * (2 - torch.exp(-((a - b) ** 2) / (0.1 + c**2)))

        return [Elements(self.windows([0, 1, 2]), three)]

    def minimum(self) -> float:
        return 10.0

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Curly(SeparableProblem):
    """Nonconvex and banded; negative curvature at the start.

    Σ q (q (q² − 20) − 0.1), q = x[i] + … + x[i+width].

    Source: CUTEst CURLY10, with its value of the minimum.

    Attributes:
        width: semi-bandwidth of the Hessian.
    """

    reported: ClassVar[Mapping[int, float]] = {1000: -1.003163e5}

    width: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.width < self.n:
            raise InputError(f"width={self.width} is out of range: give 1 to n-1={self.n - 1}")

    def start(self) -> Tensor:
        return 1e-4 * self.numbers(1, self.n) / (self.n + 1)

    def elements(self) -> list[Elements]:
        every = torch.arange(self.n, dtype=torch.int64, device=self.device)
        near = every[:, None] + torch.arange(self.width + 1, dtype=torch.int64, device=self.device)
        inside = (near < self.n).to(self.full(0.0))

        def curl(u: Tensor, inside: Tensor) -> Tensor:
            q = (inside * u).sum(1)
            return q * (q * (q**2 - 20) - 0.1)

        return [Elements(near.clamp(max=self.n - 1), curl, (inside,))]
