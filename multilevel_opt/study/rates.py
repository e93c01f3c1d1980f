"""How fast: the order of convergence of a sequence, and the exponent of a power law, with intervals.

Order of convergence. For errors e₀ > e₁ > … with eₖ₊₁ ≈ C eₖᵖ the logarithms yₖ = log eₖ obey yₖ₊₁ = a + p yₖ. Least
squares is biased towards 0 here, since the noise of eₖ enters both sides. The index k is free of noise, and as
an instrument (Wald 1940; two-stage least squares) it gives

    p̂ = Σ (k − k̄) yₖ₊₁ / Σ (k − k̄) yₖ,      s.e. = s ‖k − k̄‖ / |Σ (k − k̄) yₖ|,      s² = Σ uₖ² / (N − 2)

with the residuals u of the fit, and an interval by Student's t with N − 2 degrees of freedom. Several sequences share
p and s and have an intercept each.

Power law. log c = log C + a log n by ordinary least squares (``scipy.stats.linregress``) and Student's t with N − 2
degrees of freedom. Where sizes are repeated, an F test of the lack of fit says whether the law bends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

LAST = 10  # steps of a sequence that count, at most: the asymptotic ones
FEWEST = 3  # steps, or different sizes, without which there is no estimate


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        n: observations that it rests on.
        remark: what to know before quoting it; empty if nothing.
    """

    value: float
    low: float
    high: float
    n: int
    remark: str = ""

    def covers(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low <= value <= self.high


def asymptotic(errors: ArrayLike, floor: float = 0.0, last: int = LAST) -> Array:
    """The end of a sequence that tells of its order: strictly decreasing, down to its smallest value.

    Args:
        errors: (N,), of any sign and finiteness; what follows the smallest one that counts is stagnation, and dropped.
        floor: errors at or below it are rounding, and dropped.
        last: steps that count, at most.

    Returns:
        At most ``last + 1`` positive errors, strictly decreasing.
    """
    e = np.asarray(errors, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(e) | (e <= max(floor, 0.0)))
    e = e[: bad[0]] if bad.size else e
    if not e.size:
        return e
    e = e[: int(e.argmin()) + 1]
    rises = np.flatnonzero(np.diff(e) >= 0)
    start = int(rises[-1]) + 1 if rises.size else 0
    return e[max(start, len(e) - 1 - last) :]


def order_of_convergence(sequences: Sequence[ArrayLike], level: float = 0.95) -> Estimate | None:
    """The order p in eₖ₊₁ ≈ C eₖᵖ, with its interval.

    Args:
        sequences: of errors, each positive and strictly decreasing, see ``asymptotic``; those of fewer than three
            steps are left out.
        level: of confidence.

    Returns:
        None where no sequence is long enough.
    """
    logs = [np.log(np.asarray(e, dtype=np.float64)) for e in sequences if np.size(e) > FEWEST]
    if not logs:
        return None
    z = np.concatenate([_centred(np.arange(len(y) - 1.0)) for y in logs])
    before = np.concatenate([_centred(y[:-1]) for y in logs])
    after = np.concatenate([_centred(y[1:]) for y in logs])
    slope = float(z @ before)
    order = float(z @ after) / slope
    residuals = after - order * before
    freedom = len(z) - len(logs) - 1
    error = float(np.sqrt(residuals @ residuals / freedom * (z @ z))) / abs(slope)
    return _student(order, error, freedom, level, len(z))


def power_law(sizes: ArrayLike, values: ArrayLike, level: float = 0.95) -> Estimate | None:
    """The exponent a in value ≈ C · sizeᵃ, with its interval.

    Args:
        sizes: (N,).
        values: (N,); pairs that are not both positive and finite are left out.
        level: of confidence.

    Returns:
        None for fewer than three different sizes. ``remark`` says where the law bends.
    """
    n, c = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    good = np.isfinite(n) & np.isfinite(c) & (n > 0) & (c > 0)
    x, y = np.log(n[good]), np.log(c[good])
    if len(np.unique(x)) < FEWEST:
        return None
    fit = stats.linregress(x, y)
    found = _student(float(fit.slope), float(fit.stderr), len(x) - 2, level, len(x))
    bends = lack_of_fit(x, y) < 1 - level
    remark = "bends: not one power of the size over this range" if bends else ""
    return Estimate(found.value, found.low, found.high, found.n, remark)


def lack_of_fit(x: Array, y: Array) -> float:
    """Significance of the departure of y(x) from a line, by the F test against the means at repeated x.

    1 where x is not repeated, so that there is nothing to test against.
    """
    points, where = np.unique(x, return_inverse=True)
    freedom, within = len(points) - 2, len(x) - len(points)
    if freedom < 1 or within < 1:
        return 1.0
    means = np.bincount(where, y) / np.bincount(where)
    fit = stats.linregress(x, y)
    pure = float(((y - means[where]) ** 2).sum())
    lack = float(((means[where] - fit.intercept - fit.slope * x) ** 2).sum())
    rounding = 1e-20 * float(y @ y)
    if lack <= rounding:
        return 1.0
    return float(stats.f.sf(lack / freedom / (pure / within), freedom, within)) if pure > rounding else 0.0


def _centred(values: Array) -> Array:
    return np.asarray(values - values.mean())


def _student(value: float, error: float, freedom: int, level: float, n: int) -> Estimate:
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, n)
