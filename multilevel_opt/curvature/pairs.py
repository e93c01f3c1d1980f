"""Pairs of a step and a change of the gradient, in E elements: what the secant updates and their tests read of them.

Steps come with ‖s‖ = 1 (s and y divided by ‖s‖, which changes no update), so every test is relative and no product of
small numbers underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Change:
    """A gradient change along a step with ‖s‖ = 1, in E elements: what of a pair does not depend on B.

    Attributes:
        y: shape (E, k): a vector, or its coordinates.
        sy: sᵀy, shape (E,).
        length: ‖y‖, shape (E,).
        step: ‖s‖ before it was one, shape (E,), where known.
    """

    y: Tensor
    sy: Tensor
    length: Tensor
    step: Tensor | None = None

    @classmethod
    def of(cls, s: Tensor, y: Tensor, step: Tensor | None = None) -> Change:
        """From vectors of shape (E, n), ‖s‖ = 1."""
        return cls(y, dot(s, y), norm(y), step)

    @cached_property
    def plain(self) -> bool:
        """Whether all elements have moved, all gradients have changed, and no square overflows."""
        if not len(self.length):
            return False
        least, most = (float(t) for t in self.length.aminmax())
        return least > 0 and most < torch.finfo(self.length.dtype).max ** 0.5

    @cached_property
    def bounded(self) -> Tensor:
        """Whether no square overflows, bool of shape (E,)."""
        return self.length * self.length < inf

    @cached_property
    def telling(self) -> Tensor:
        """Whether the gradient has changed and no square overflows, bool of shape (E,)."""
        return (self.length > 0) & self.bounded

    @cached_property
    def weighted(self) -> Tensor:
        """y/sᵀy, shape (E, k)."""
        return self.y / self.sy[:, None]

    def convex(self, tolerance: float) -> bool:
        """Whether all elements are plain with sᵀy > ε‖y‖."""
        known: dict[float, bool] = self.__dict__.setdefault("_convex", {})
        if tolerance not in known:
            known[tolerance] = self.plain and float(self.sy.sub(self.length, alpha=tolerance).min()) > 0
        return known[tolerance]

    def curved(self, tolerance: float) -> Tensor:
        """Whether sᵀy > ε‖y‖, bool of shape (E,)."""
        known: dict[float, Tensor] = self.__dict__.setdefault("_curved", {})
        if tolerance not in known:
            known[tolerance] = (self.sy > tolerance * self.length) & self.bounded
        return known[tolerance]


@dataclass(frozen=True, eq=False)
class Pair:
    """What an update reads of a pair with ‖s‖ = 1, in E elements.

    Attributes:
        change: y.
        c: Bs, shape (E, k): a vector, or its coordinates.
        sc: sᵀBs, shape (E,).
        size: the norms, of shape (E,), of vectors (E, k) or of those with such coordinates.
    """

    change: Change
    c: Tensor
    sc: Tensor
    size: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, s: Tensor, change: Change, c: Tensor) -> Pair:
        """The pair of vectors s, y with c = Bs, all of shape (E, n)."""
        return cls(change, c, dot(s, c), norm)

    @property
    def y(self) -> Tensor:
        return self.change.y

    @property
    def sy(self) -> Tensor:
        return self.change.sy

    def convex(self, tolerance: float) -> Tensor:
        """Whether BFGS is safe, bool of shape (E,)."""
        known: dict[float, Tensor] = self.__dict__.setdefault("_convex", {})
        if tolerance not in known:
            known[tolerance] = self.change.curved(tolerance) & (self.sc > 0)
        return known[tolerance]

    @cached_property
    def gap(self) -> Tensor:
        """Of sᵀy and sᵀBs, shape (E,)."""
        return self.sy - self.sc

    @cached_property
    def rest(self) -> Tensor:
        """Y − Bs, shape (E, k)."""
        return self.y - self.c

    @cached_property
    def defect(self) -> Tensor:
        """‖y − Bs‖, shape (E,)."""
        return self.size(self.rest)


def unit_pairs(s: Tensor, y: Tensor) -> tuple[Tensor, Change]:
    """The pairs divided by ‖s‖, shapes (E, n); zero where s = y = 0."""
    length = norm(s).clamp_min_(torch.finfo(s.dtype).tiny)
    s = s / length[:, None]
    return s, Change.of(s, y / length[:, None], length)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products, (E, n) and (E, n) -> (E,)."""
    return (a * b).sum(-1)


def norm(a: Tensor) -> Tensor:
    """Euclidean norms, (E, n) -> (E,)."""
    return dot(a, a).sqrt()  # torch's own norm is many times slower where the elements lie last in memory
