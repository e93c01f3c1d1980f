"""Random features as a start: the hidden layers as drawn, up to one factor, and the best output layer for them.

Where the residual is affine in the output layer, r = r₀ + J_o d, that layer solves one linear least-squares problem
(Huang, Zhu & Siew 2006). It is solved on J_o itself, with columns of norm one, by orthogonal transformations
(``linalg/orthogonal.py``), for one ridge and larger ones while they help. Elsewhere Gauss–Newton steps in that layer
(``output_fit.py``) lead to a point whose linearization is solved so, for the layer and not for a change of it.

How good it is depends on how steep the ridges of the first layer are: too flat, and they do not follow the solution;
too steep, and they follow it at the points of training only. So weights and biases of the first layer are tried as
drawn, then doubled and halved, and on in the direction that helps.

Factor and ridge are those of the least residual at rows that were not trained on, told as its share of what the data
leave there with an output layer of zero. Neither the solution nor a clock is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.orthogonal import OrthogonalSystem, TriangularSystem
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.output_fit import gauss_newton, unit_columns

Judge = Callable[[Tensor], float]
FARTHEST = 4  # doublings or halvings of the first layer
SAMPLE = 2  # rows for every parameter of the output layer while factors are compared
TRAINED = 0.8  # of the rows at most, where no other points are held out
WORTH = 0.1  # share of the residual, while factors are compared, from which on all rows would not make a start of it
HOPELESS = 0.5  # share of the residual from which on a fit says nothing: other ridges are not tried, but other factors
AGAIN = 0.5  # a linearization is solved once more where the last one left no more than this share of what was left
LINEARIZATIONS = 3
RIDGES = (1.0, 1e3, 1e6)  # in units of the rounding of the smallest singular values, W ε²; while they help


@dataclass(frozen=True)
class Found:
    """A start.

    Attributes:
        x: the parameters.
        share: of the residual that is left at held-out rows.
        factor: of the first layer.
        ridge: in units of W ε².
    """

    x: Tensor
    share: float
    factor: float
    ridge: float


def random_features(
    f: LeastSquares, x: Tensor, own: Tensor, judge: Judge | None = None, enough: float = 0.0, linear: bool = True
) -> Found:
    """The best output layer for the best factor of the first layer.

    Args:
        f: sum of squares of a network that knows where its parameters lie.
        x: as drawn, shape (n,).
        own: places of the output layer, int64 of shape (W,).
        judge: x -> size of the residual at rows that are not those of f; None: some rows of f are held out.
        enough: nothing more is tried where the share is at most this.
        linear: whether its residual is affine in the parameters ``own``.

    Returns:
        What was found, fitted to all rows where that is worth it; its share is not finite where no factor gives a
        finite residual.
    """
    m = sum(len(strip.order) for strip in f.residual.strips(x))
    fraction = min(1.0 if judge else TRAINED, SAMPLE * own.numel() / m)
    some, others = _parted(f, x, fraction)
    search = _Search(some, x.index_fill(0, own.to(x.device), 0.0), own, judge or _size_of(others), enough, linear)
    best = search.best()
    if fraction == 1.0 or not best.share <= max(WORTH, enough):
        return best
    return search.fitted(f, best.factor, (best.ridge,) if linear else RIDGES, best.x)


class _Search:
    """Tries factors of the first layer; ``zero`` is x with an output layer of zero."""

    def __init__(self, f: LeastSquares, zero: Tensor, own: Tensor, judge: Judge, enough: float, linear: bool) -> None:
        self._f, self._zero, self._own, self._judge = f, zero, own.to(zero.device), judge
        self._enough, self._linear = enough, linear
        assert f.layout is not None
        self._first = _first_layer(f.layout).to(zero.device)
        self._size = judge(zero)

    def best(self) -> Found:
        found = self.fitted(self._f, 1.0, RIDGES)
        for direction in (2.0, 0.5):
            factor = direction
            while found.share > self._enough and 2.0**-FARTHEST <= factor <= 2.0**FARTHEST:
                other = self.fitted(self._f, factor, RIDGES)
                if not other.share < found.share and found.share < HOPELESS:
                    break
                found, factor = min(found, other, key=lambda one: one.share), factor * direction
            if found.factor > 1.0 and found.share < HOPELESS:
                break
        return found

    def fitted(self, f: LeastSquares, factor: float, ridges: tuple[float, ...], near: Tensor | None = None) -> Found:
        """The best output layer on the rows of f; where it is not linear, from ``near``."""
        x = self._zero.clone()
        x[self._first] *= factor
        if self._linear:
            return self._solved(f, x, factor, ridges)
        x = x if near is None else near
        if not bool(torch.isfinite(f.residuals(x)).all()):
            return Found(x, float("inf"), factor, ridges[0])
        x = gauss_newton(f, x, self._own)
        found = Found(x, self._share(x), factor, ridges[0])
        for _ in range(LINEARIZATIONS if found.share < HOPELESS else 0):
            other = self._solved(f, found.x, factor, ridges)
            stalls = not other.share <= AGAIN * found.share
            found = min(found, other, key=lambda one: one.share)
            if stalls or found.share <= self._enough:
                break
        return found

    def _solved(self, f: LeastSquares, x: Tensor, factor: float, ridges: tuple[float, ...]) -> Found:
        """The best output layer for the linearization at x."""
        r, columns = f.columns(x, self._own)
        if not bool(torch.isfinite(columns).all() & torch.isfinite(r).all()):
            return Found(x, float("inf"), factor, ridges[0])
        unit, scale = unit_columns(columns)
        solve = _solver(r - columns @ x[self._own], unit, f.ledger)
        found = []
        for ridge in ridges:
            y = x.index_copy(0, self._own, solve(ridge * self._own.numel() * torch.finfo(x.dtype).eps ** 2) / scale)
            found.append(Found(y, self._share(y), factor, ridge))
            if not found[-1].share < min([HOPELESS, *(one.share for one in found[:-1])]):
                break
        return min(found, key=lambda one: one.share)

    def _share(self, x: Tensor) -> float:
        """Of the residual that is left at held-out rows; infinite where that is not a number."""
        share = self._judge(x) / self._size if self._size > 0 else 0.0
        return share if share == share else float("inf")


def _solver(residual: Tensor, jacobian: Tensor, ledger: Ledger) -> Callable[[float], Tensor]:
    """Λ -> the s with the least ‖r + J s‖² + Λ‖s‖²."""
    if jacobian.shape[0] >= jacobian.shape[1]:
        return TriangularSystem(residual, jacobian, ledger).solve
    system = OrthogonalSystem(residual, jacobian, None, ledger)

    def solved(damping: float) -> Tensor:
        system.factorize(damping)
        return system.solve()

    return solved


def _first_layer(layout: Layout) -> Tensor:
    """Places of weights and biases of the first hidden layer."""
    own = [b for b in layout.blocks if b.neurons == (0,) or b.neurons == (0, None)]
    return torch.cat([torch.arange(b.start, b.start + b.size) for b in own])


def _parted(f: LeastSquares, x: Tensor, fraction: float) -> tuple[LeastSquares, LeastSquares]:
    """The same function on a fraction of its rows of every kind, and on the others of them; f itself for all."""
    if fraction == 1.0:
        return f, f
    strips = f.residual.strips(x)
    kept = [strip.kept(fraction) for strip in strips]
    pairs = list(zip(strips, kept, strict=True))
    some, others = (
        f.residual.sampled(chosen, strips)
        for chosen in (
            [s.order[:k] for s, k in pairs],
            [s.order[k:] if k < len(s.order) else s.order for s, k in pairs],
        )
    )
    return LeastSquares(some, ledger=f.ledger), LeastSquares(others, ledger=f.ledger)


def _size_of(f: LeastSquares) -> Judge:
    return lambda x: float(f.residuals(x).norm())
