"""Performance profiles (Dolan & Moré 2002) and data profiles (Moré & Wild 2009).

With t(p, s) the cost of method s on instance p, ∞ where it failed, and |P| instances, failures of all methods included,

    performance   ρₛ(τ) = |{p : t(p, s) ≤ τ minₖ t(p, k)}| / |P|          share solved within τ times the best
    data          dₛ(α) = |{p : t(p, s) ≤ α κ(p)}| / |P|                  share solved within α units of work κ

Both are right-continuous step functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel_opt.errors import ShapeError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """The share of instances solved, as a step function, of one method.

    Attributes:
        steps: where it jumps, ascending, finite, shape (k,).
        shares: its value from there on, shape (k,).
        n: number of instances.
    """

    steps: Array
    shares: Array
    n: int

    def at(self, x: float) -> float:
        """The share of instances solved within x."""
        k = int(np.searchsorted(self.steps, x, side="right"))
        return float(self.shares[k - 1]) if k else 0.0

    @property
    def solved(self) -> float:
        """The share of instances solved at all."""
        return float(self.shares[-1]) if len(self.shares) else 0.0


def performance_profiles(costs: ArrayLike) -> list[Profile]:
    """Dolan–Moré profiles, one for each method; x is the ratio to the cheapest method.

    Args:
        costs: (instances, methods), not negative; ∞ or NaN where a method failed.
    """
    t = _checked(costs)
    best = t.min(axis=1, keepdims=True, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(t == best, 1.0, t / best)  # no ratio orders costs of 0
    return [step_function(column) for column in np.where(np.isfinite(t), ratios, np.inf).T]


def data_profiles(costs: ArrayLike, units: ArrayLike) -> list[Profile]:
    """Moré–Wild profiles, one for each method; x is the cost in units of work.

    Args:
        costs: (instances, methods), not negative; ∞ or NaN where a method failed.
        units: (instances,), positive: κ(p). Moré and Wild count evaluations in units of n + 1.
    """
    t, unit = _checked(costs), np.asarray(units, dtype=np.float64)
    if unit.shape != t.shape[:1] or not bool((unit > 0).all()):
        raise ShapeError(f"units has shape {unit.shape}: give one positive unit for each of {len(t)} instances")
    return [step_function(column / unit) for column in t.T]


def step_function(values: ArrayLike) -> Profile:
    """The share of values ≤ x as a function of x; those that are not finite never count."""
    v = np.asarray(values, dtype=np.float64)
    steps, counts = np.unique(v[np.isfinite(v)], return_counts=True)
    return Profile(steps, np.cumsum(counts) / max(len(v), 1), len(v))


def _checked(costs: ArrayLike) -> Array:
    t = np.asarray(costs, dtype=np.float64)
    if t.ndim != 2:
        raise ShapeError(f"costs has shape {t.shape}: give (instances, methods)")
    t = np.where(np.isnan(t), np.inf, t)
    if bool((t < 0).any()):
        raise ShapeError("costs has a negative entry: give costs of 0 or more")
    return t
