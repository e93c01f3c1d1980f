"""Nonlinear equations as sums of squares, and sums of squares in which one element sees every variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multilevel_opt import ElementResiduals
from problems.separable.base import SeparableProblem


@dataclass(frozen=True, kw_only=True)
class BroydenTridiagonal(SeparableProblem):
    """Broyden's tridiagonal equations.

    Σ ((3 − 2x[i]) x[i] − x[i−1] − 2x[i+1] + 1)².

    Source: MGH 30; CUTEst BROYDN3D. Minimum 0.
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.full(-1.0)

    def residuals(self) -> list[ElementResiduals]:
        def own(a: Tensor) -> Tensor:
            return (3 - 2 * a) * a + 1

        inner = ElementResiduals(self.windows([0, 1, 2]), lambda u: (own(u[:, 1]) - u[:, 0] - 2 * u[:, 2])[:, None])
        first = ElementResiduals(self.windows([0, 1])[:1], lambda u: (own(u[:, 0]) - 2 * u[:, 1])[:, None])
        last = ElementResiduals(self.windows([0, 1])[-1:], lambda u: (own(u[:, 1]) - u[:, 0])[:, None])
        return [first, inner, last]


@dataclass(frozen=True, kw_only=True)
class BroydenBanded(SeparableProblem):
    """Broyden's banded equations.

    Σ (x[i] (2 + 5x[i]²) + 1 − Σ x[j] (1 + x[j]))², j from i−5 to i+1.

    Source: MGH 31; CUTEst BROYDNBD. Minimum 0.
    """

    smallest: ClassVar[int] = 7

    def start(self) -> Tensor:
        return self.full(-1.0)

    def residuals(self) -> list[ElementResiduals]:
        every = torch.arange(self.n, dtype=torch.int64, device=self.device)
        near = every[:, None] + torch.arange(-5, 2, dtype=torch.int64, device=self.device)
        inside = (near >= 0) & (near < self.n) & (near != every[:, None])
        index = torch.cat([every[:, None], near.clamp(0, self.n - 1)], dim=1)

        def equation(u: Tensor, counts: Tensor) -> Tensor:
            own, others = u[:, 0], u[:, 1:]
            return (own * (2 + 5 * own**2) + 1 - (counts * others * (1 + others)).sum(1))[:, None]

        return [ElementResiduals(index, equation, (inside.to(self.full(0.0)),))]


@dataclass(frozen=True, kw_only=True)
class Morebv(SeparableProblem):
    """A boundary value problem by differences.

    Σ (2x[i] − x[i−1] − x[i+1] + h² (x[i] + ih + 1)³ / 2)².

    Source: MGH 28; CUTEst MOREBV. Minimum 0; the start lies close to it, in the flat part of a badly scaled valley.
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        t = self.numbers(1, self.n) / (self.n + 1)
        return t * (t - 1)

    def residuals(self) -> list[ElementResiduals]:
        h = 1.0 / (self.n + 1)
        t = h * self.numbers(1, self.n)

        def own(a: Tensor, t: Tensor) -> Tensor:
            return 2 * a + 0.5 * h**2 * (a + t + 1) ** 3

        ends = torch.stack([self.windows([0, 1])[0], self.windows([0, 1])[-1].flip(0)])
        inner = ElementResiduals(
            self.windows([0, 1, 2]), lambda u, t: (own(u[:, 1], t) - u[:, 0] - u[:, 2])[:, None], (t[1:-1],)
        )
        outer = ElementResiduals(ends, lambda u, t: (own(u[:, 0], t) - u[:, 1])[:, None], (t[[0, -1]],))
        return [inner, outer]


@dataclass(frozen=True, kw_only=True)
class Sinquad(SeparableProblem):
    """Sines and squares with a border; flat near the end.

    (x[1] − 1)⁴ + Σ (sin(x[i] − x[n]) − x[1]² + x[i]²)² + (x[n]² − x[1]²)².

    Source: CUTEst SINQUAD (SINQUAD2); the first term is the square of (x[1] − 1)². Minimum 0 at (1, …, 1).
    """

    smallest: ClassVar[int] = 3

    def start(self) -> Tensor:
        return self.full(0.1)

    def residuals(self) -> list[ElementResiduals]:
        middle = self.tied(self.windows([1])[:-1], 0, -1)

        def wave(u: Tensor) -> Tensor:
            a, first, last = u.unbind(1)
            return (torch.sin(a - last) - first**2 + a**2)[:, None]

        head = ElementResiduals(self.windows([0])[:1], lambda u: (u - 1) ** 2)
        ends = ElementResiduals(self.windows([0, self.n - 1]), lambda u: u[:, 1:] ** 2 - u[:, :1] ** 2)
        return [head, ElementResiduals(middle, wave), ends]

    def minimizer(self) -> Tensor:
        return self.full(1.0)


@dataclass(frozen=True, kw_only=True)
class Sparsine(SeparableProblem):
    """Squares of sums of sines of scattered variables.

    ½ Σ i (sin x[i] + sin x[2i] + sin x[3i] + sin x[5i] + sin x[7i] + sin x[11i])², indices modulo n.

    Source: CUTEst SPARSINE. Minimum 0 at the origin; many local ones.
    """

    smallest: ClassVar[int] = 10

    def start(self) -> Tensor:
        return self.full(0.5)

    def residuals(self) -> list[ElementResiduals]:
        i = torch.arange(1, self.n + 1, dtype=torch.int64, device=self.device)
        far = [(k * i - 1) % self.n for k in (2, 3, 5, 7, 11)]
        root = (0.5 * self.numbers(1, self.n)).sqrt()
        index = torch.stack([i - 1, *far], dim=1)
        return [ElementResiduals(index, lambda u, w: (w * torch.sin(u).sum(1))[:, None], (root,))]

    def minimizer(self) -> Tensor:
        return self.full(0.0)


@dataclass(frozen=True, kw_only=True)
class Penalty1(SeparableProblem):
    """A penalty function; one element sees every variable.

    10⁻⁵ Σ (x[i] − 1)² + (Σ x[j]² − ¼)².

    Source: MGH 23; CUTEst PENALTY1. All components of the minimizer are equal, which gives the minimum for every n.
    """

    smallest: ClassVar[int] = 1

    def start(self) -> Tensor:
        return self.numbers(1, self.n)

    def residuals(self) -> list[ElementResiduals]:
        whole = torch.arange(self.n, dtype=torch.int64, device=self.device)[None]
        each = ElementResiduals(self.windows([0]), lambda u: 1e-5**0.5 * (u - 1))
        return [each, ElementResiduals(whole, lambda u: (u.square().sum(1) - 0.25)[:, None])]

    def minimum(self) -> float:
        return self.n * 1e-5 * (self._component() - 1) ** 2 + (self.n * self._component() ** 2 - 0.25) ** 2

    def minimizer(self) -> Tensor:
        return self.full(self._component())

    def _component(self) -> float:
        """The root of 10⁻⁵ (t − 1) + 2t (n t² − ¼) = 0 by Newton's method from the right."""
        t = 1.0
        for _ in range(100):
            t -= (1e-5 * (t - 1) + 2 * t * (self.n * t**2 - 0.25)) / (1e-5 + 6 * self.n * t**2 - 0.5)
        return t


@dataclass(frozen=True, kw_only=True)
class Power(SeparableProblem):
    """Oren's power function: one element, singular minimizer.

    (Σ i x[i]²)².

    Source: CUTEst POWER. Minimum 0 at the origin.
    """

    smallest: ClassVar[int] = 1

    def start(self) -> Tensor:
        return self.full(1.0)

    def residuals(self) -> list[ElementResiduals]:
        whole = torch.arange(self.n, dtype=torch.int64, device=self.device)[None]
        weights = self.numbers(1, self.n)[None]
        return [ElementResiduals(whole, lambda u, w: (w * u.square()).sum(1)[:, None], (weights,))]

    def minimizer(self) -> Tensor:
        return self.full(0.0)
