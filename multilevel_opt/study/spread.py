"""Order statistics in which a failure counts as the worst value, so that it is never averaged away.

Costs of runs that missed their target are +∞. Quantiles are those of the extended real line: linear interpolation
between order statistics x₍ᵢ₎ (Hyndman & Fan 1996, definition 7), where an interpolation that touches ∞ is ∞.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, inf, isnan


@dataclass(frozen=True)
class Spread:
    """Order statistics of a sample; None where there is no sample.

    Attributes:
        low: minimum.
        q25: lower quartile.
        median: median.
        q75: upper quartile.
        high: maximum.
        n: size of the sample, failures included.
    """

    low: float | None
    q25: float | None
    median: float | None
    q75: float | None
    high: float | None
    n: int


def spread(values: Iterable[float]) -> Spread:
    """Order statistics of values that may be infinite; NaN counts as +∞."""
    ordered = sorted(inf if isnan(value) else value for value in values)
    if not ordered:
        return Spread(None, None, None, None, None, 0)
    low, q25, median, q75, high = (quantile(ordered, p) for p in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Spread(low, q25, median, q75, high, len(ordered))


def quantile(ordered: Sequence[float], p: float) -> float:
    """The p-quantile of ascending values, not empty: (1 − w) x₍ᵢ₎ + w x₍ᵢ₊₁₎ with (n − 1) p = i + w."""
    position = (len(ordered) - 1) * p
    i = floor(position)
    weight = position - i
    if weight == 0 or ordered[i] == ordered[i + 1]:
        return ordered[i]
    return ordered[i] + weight * (ordered[i + 1] - ordered[i])
