"""Two methods on the same starts: which is cheaper, by how much, and whether the data show it.

Each start gives a pair of costs. Where both methods succeed, d = log(cost of b / cost of a), and exp of its mean is
the ratio of geometric means, with a studentized bootstrap interval (Efron & Tibshirani 1993, section 12.5): of
resamples d*, t* = (mean d* − mean d) / s.e.(d*), and the interval of the mean is mean d − s.e.(d) · [t*₍₁₋α₎, t*₍α₎].
Starts where only one method succeeds say nothing of a ratio; they are counted, and McNemar's exact test (the sign
test of the discordant pairs) says whether one method solves more of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, inf, isfinite, log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from multilevel_opt.errors import ShapeError

FEWEST = 4  # pairs without which there is no interval
RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Costs of method b in units of those of method a, over the same starts: above 1, a is the cheaper one.

    Attributes:
        a: name of the method compared with.
        b: name of the method.
        ratio: geometric mean of cost(b) / cost(a) where both succeed; None where they never do.
        low: lower end of its interval, None with too few pairs.
        high: upper end.
        both: starts that both solve.
        only_a: starts that only a solves.
        only_b: starts that only b solves.
        neither: starts that neither solves.
        level: of confidence.
    """

    a: str
    b: str
    ratio: float | None
    low: float | None
    high: float | None
    both: int
    only_a: int
    only_b: int
    neither: int
    level: float = 0.95

    @property
    def reliability(self) -> float:
        """Significance of the difference in the number of starts solved, two-sided."""
        discordant = self.only_a + self.only_b
        return float(stats.binomtest(self.only_a, discordant).pvalue) if discordant else 1.0

    @property
    def starts(self) -> int:
        """Starts in all."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def more_reliable(self) -> str | None:
        """The method that solves more starts, where the difference is significant."""
        if self.reliability >= 1 - self.level:
            return None
        return self.a if self.only_a > self.only_b else self.b

    @property
    def outcome(self) -> str:
        """What is shown of the cost of a: cheaper, dearer, or nothing."""
        if not self.starts:
            return "not known"
        if self.ratio is None:
            return "no common success"
        if self.low is None or self.high is None:
            return "too few pairs"
        if self.low <= 1 <= self.high:
            return "no difference shown"
        return "cheaper" if self.low > 1 else "dearer"

    @property
    def verdict(self) -> str:
        """What the pairs show, in one sentence."""
        told = OUTCOMES[self.outcome].format(**self._words())
        if not self.only_a + self.only_b:
            return f"{told}."
        shows = f"{self.more_reliable} solves more" if self.more_reliable else "no difference in reliability shown"
        return f"{told}; {self.a} alone solves {self.only_a}, {self.b} alone {self.only_b} ({shows})."

    def _words(self) -> dict[str, str | int]:
        """What the sentences of ``OUTCOMES`` are filled with; factors are at least 1 where a difference is shown."""
        ends = [x for x in (self.low, self.ratio, self.high) if x is not None]
        factors = ends if self.outcome != "dearer" else [1 / x for x in reversed(ends)]
        names = dict(zip(("low", "ratio", "high"), (f"{x:.3g}" for x in factors), strict=False))
        return {"a": self.a, "b": self.b, "both": self.both, "starts": _starts(self.starts), **names}


OUTCOMES = {
    "not known": "nothing is known of the costs of {a} and {b} from the same starts",
    "no common success": "{a} and {b} both solve none of {starts}, so their costs cannot be compared",
    "too few pairs": "no difference shown between {a} and {b}: both solve {both} of {starts}, too few to tell",
    "no difference shown": "no difference in cost shown between {a} and {b} over the {both} of {starts} that "
    "both solve ({b} costs {ratio} times {a} [{low}, {high}])",
    "cheaper": "{a} is {ratio} times [{low}, {high}] cheaper than {b} over the {both} of {starts} both solve",
    "dearer": "{a} is {ratio} times [{low}, {high}] dearer than {b} over the {both} of {starts} both solve",
}


def compare(a: str, b: str, costs: Iterable[tuple[float, float]], level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare two methods over the same starts.

    Args:
        a: name of the method compared with.
        b: name of the method.
        costs: pairs (cost of a, cost of b), positive; ∞ or NaN where a method failed.
        level: of confidence.
        seed: of the resampling.
    """
    pairs = [(_cost(x), _cost(y)) for x, y in costs]
    logs = np.asarray([log(y / x) for x, y in pairs if isfinite(x) and isfinite(y)], dtype=np.float64)
    only_a = sum(isfinite(x) and not isfinite(y) for x, y in pairs)
    only_b = sum(isfinite(y) and not isfinite(x) for x, y in pairs)
    neither = len(pairs) - len(logs) - only_a - only_b
    interval = bootstrap_mean(logs, level, seed) if len(logs) >= FEWEST else None
    low, high = (exp(end) for end in interval) if interval is not None else (None, None)
    ratio = exp(float(logs.mean())) if len(logs) else None
    return Comparison(a, b, ratio, low, high, len(logs), only_a, only_b, neither, level)


def bootstrap_mean(values: ArrayLike, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Studentized bootstrap interval of a mean.

    Args:
        values: (n,), n ≥ 2.
        level: of confidence.
        seed: of the resampling.
    """
    d = np.asarray(values, dtype=np.float64)
    mean, error = float(d.mean()), float(stats.sem(d))
    if error <= 1e-15 * max(abs(mean), 1.0):  # all values are the same
        return mean, mean
    drawn = d[np.random.default_rng(seed).integers(len(d), size=(RESAMPLES, len(d)))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(len(d))
    t = _studentized(drawn.mean(axis=1) - mean, errors, 1e-12 * error)
    first, last = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return mean - float(last) * error, mean - float(first) * error


def _studentized(differences: NDArray[np.float64], errors: NDArray[np.float64], rounding: float) -> NDArray[np.float64]:
    """Differences over their standard errors; resamples of one value only have none, and are left out."""
    spread = errors > rounding
    return differences[spread] / errors[spread]


def _starts(n: int) -> str:
    return f"{n} start" if n == 1 else f"{n} starts"


def _cost(value: float) -> float:
    """The cost, ∞ for a failure."""
    if value != value:
        return inf
    if value <= 0:
        raise ShapeError(f"a cost is {value:g}: give positive costs, infinite where a method failed")
    return value
