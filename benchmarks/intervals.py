"""How often a 95 % interval covers the mean: our studentized bootstrap, scipy's BCa bootstrap, Student's t."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.measure import show
from multilevel_opt.study.compare import bootstrap_mean

Array = NDArray[np.float64]
SAMPLES = 1000
DRAWS: dict[str, tuple[float, Callable[[np.random.Generator, int], Array]]] = {
    "normal": (0.0, lambda random, n: random.standard_normal(n)),
    "exponential": (1.0, lambda random, n: random.exponential(size=n)),
    "Student, 3 degrees": (0.0, lambda random, n: random.standard_t(3, size=n)),
}


def run(seeds: Sequence[int]) -> None:
    rows = []
    for name, (mean, draw) in DRAWS.items():
        for n in (5, 10, 20):
            random = np.random.default_rng(seeds[0])
            samples = [draw(random, n) for _ in range(SAMPLES)]
            rows.append([name, str(n), *(covered(interval, samples, mean) for interval in INTERVALS.values())])
    show("Coverage of 95 % intervals of a mean", ("distribution", "n", *INTERVALS), rows)


def covered(interval: Callable[[Array], tuple[float, float]], samples: Sequence[Array], mean: float) -> str:
    hits = [low <= mean <= high for low, high in map(interval, samples)]
    return f"{np.mean(hits):.3f}"


def bca(sample: Array) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that it finds degenerate
        found = stats.bootstrap((sample,), np.mean, n_resamples=999, rng=0).confidence_interval
    return float(found.low), float(found.high)


def student(sample: Array) -> tuple[float, float]:
    low, high = stats.t.interval(0.95, len(sample) - 1, sample.mean(), stats.sem(sample))
    return float(low), float(high)


INTERVALS = {"studentized": lambda sample: bootstrap_mean(sample), "BCa": bca, "Student's t": student}
