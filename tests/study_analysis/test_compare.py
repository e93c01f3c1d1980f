from math import exp, inf, log, nan

import numpy as np
import pytest
from scipy import stats

from multilevel_opt.errors import ShapeError
from multilevel_opt.study import compare as module
from multilevel_opt.study.compare import bootstrap_mean, compare


def test_the_ratio_is_that_of_geometric_means() -> None:
    found = compare("a", "b", [(1.0, 2.0), (1.0, 8.0), (2.0, 8.0), (1.0, 4.0)])
    assert found.ratio == pytest.approx(4.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 4 < found.high


def test_costs_that_are_the_same_have_an_interval_of_no_width() -> None:
    found = compare("a", "b", [(2.0, 6.0)] * 5)
    assert (found.low, found.ratio, found.high) == pytest.approx((3.0, 3.0, 3.0))
    assert compare("a", "b", [(2.0, 2.0)] * 5).outcome == "no difference shown"


def test_exchanging_the_methods_inverts_the_ratio() -> None:
    pairs = [(1.0, 2.0), (1.0, 8.0), (2.0, 3.0), (1.0, 1.5), (2.0, 9.0), (inf, 1.0)]
    forth, back = compare("a", "b", pairs), compare("b", "a", [(b, a) for a, b in pairs])
    assert forth.ratio == pytest.approx(1 / back.ratio)  # type: ignore[operator]
    assert (forth.only_a, forth.only_b) == (back.only_b, back.only_a) == (0, 1)
    assert (forth.outcome, back.outcome) == ("cheaper", "dearer")


@pytest.mark.parametrize(("n", "draw"), [(5, "normal"), (10, "normal"), (10, "exponential")])
def test_the_interval_covers_the_mean_in_19_of_20_cases(n: int, draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 999)
    random = np.random.default_rng(1)
    mean = {"normal": 0.0, "exponential": 1.0}[draw]
    samples = getattr(random, draw)(size=(500, n))
    covered = [low <= mean <= high for low, high in map(bootstrap_mean, samples)]
    assert 0.91 < np.mean(covered) < 0.98


def test_the_interval_is_close_to_students_for_normal_data() -> None:
    sample = np.random.default_rng(7).standard_normal(60) + 0.3
    low, high = stats.t.interval(0.95, 59, sample.mean(), stats.sem(sample))
    assert bootstrap_mean(sample) == pytest.approx((low, high), abs=0.05)


def test_the_same_seed_gives_the_same_interval() -> None:
    sample = np.random.default_rng(8).standard_normal(9)
    assert bootstrap_mean(sample, seed=1) == bootstrap_mean(sample, seed=1)
    assert bootstrap_mean(sample, seed=1) != bootstrap_mean(sample, seed=2)


def test_failures_are_counted_and_leave_the_ratio_alone() -> None:
    pairs = [(1.0, 2.0), (1.0, 8.0), (2.0, 8.0), (1.0, 4.0)]
    found = compare("a", "b", [*pairs, (1.0, inf), (nan, 1.0), (inf, inf), (1.0, nan)])
    assert found.ratio == compare("a", "b", pairs).ratio
    assert (found.both, found.only_a, found.only_b, found.neither, found.starts) == (4, 2, 1, 1, 8)


def test_reliability_is_mcnemars_exact_test() -> None:
    found = compare("a", "b", [(1.0, inf)] * 7 + [(inf, 1.0)] + [(1.0, 1.0)] * 3)
    assert found.reliability == pytest.approx(2 * (1 + 8) / 2**8)
    assert found.more_reliable is None
    assert compare("a", "b", [(1.0, inf)] * 8).more_reliable == "a"
    assert compare("a", "b", [(inf, 1.0)] * 8).more_reliable == "b"
    assert compare("a", "b", [(1.0, 1.0)] * 8).reliability == 1


NOISE = np.random.default_rng(3).standard_normal(20)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "nothing is known of the costs of A and B"),
        ([(inf, inf)] * 3, "A and B both solve none of 3 starts, so their costs cannot be compared."),
        ([(1.0, 3.0)] * 3, "no difference shown between A and B: both solve 3 of 3 starts, too few to tell."),
        (
            [(1.0, exp(d)) for d in NOISE - NOISE.mean()],
            "no difference in cost shown between A and B over the 20 of 20",
        ),
        ([(1.0, exp(d + log(5))) for d in NOISE - NOISE.mean()], "A is 5 times ["),
        ([(exp(d + log(5)), 1.0) for d in NOISE - NOISE.mean()], "A is 5 times ["),
        ([(1.0, 2.0)] * 9 + [(inf, 1.0)] * 9, "A alone solves 0, B alone 9 (B solves more)."),
        ([(1.0, 2.0)] * 9 + [(inf, 1.0)], "A alone solves 0, B alone 1 (no difference in reliability shown)."),
    ],
)
def test_the_verdict_says_what_is_shown(pairs: list[tuple[float, float]], said: str) -> None:
    assert said in compare("A", "B", pairs).verdict


def test_cheaper_and_dearer_are_told_apart() -> None:
    pairs = [(1.0, exp(d + log(5))) for d in NOISE - NOISE.mean()]
    assert "cheaper than B" in compare("A", "B", pairs).verdict
    assert "dearer than B" in compare("A", "B", [(b, a) for a, b in pairs]).verdict


@pytest.mark.parametrize("cost", [0.0, -1.0, -inf])
def test_costs_that_have_no_logarithm_are_refused(cost: float) -> None:
    with pytest.raises(ShapeError, match="give positive costs"):
        compare("a", "b", [(1.0, cost)])
