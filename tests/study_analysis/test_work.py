from math import inf

import numpy as np

from multilevel_opt.study.groups import arrange
from multilevel_opt.study.work import column, cost_curve, costs_to, decrease_costs, error_levels, trace
from tests.references.studies import COLUMNS, failed, record

ROWS = [[1, 10.0, 1.0, 9.0, 1.0, 0.5], [2, 20.0, 2.0, 4.0, 1.0, 0.7], [3, 40.0, 3.0, 1.0, None, 0.1]]
RUN = record(history=ROWS, seconds_setup=0.5)


def test_the_cost_of_an_error_is_that_of_the_first_row_at_or_below_it() -> None:
    assert costs_to(RUN, "rmse", "flops", [1.0, 0.5, 0.49, 0.1, 0.09]).tolist() == [10, 10, 40, 40, inf]


def test_seconds_include_the_set_up() -> None:
    assert costs_to(RUN, "rmse", "seconds", [0.5]).tolist() == [1.5]


def test_rows_without_a_number_are_left_out() -> None:
    costs, errors = trace(RUN, "gradient_norm", "flops")
    assert (costs.tolist(), errors.tolist()) == ([10, 20], [1.0, 1.0])


def test_a_run_without_history_reaches_nothing() -> None:
    assert column(failed(), "rmse").size == 0
    assert column(RUN, "unknown").size == 0
    assert costs_to(failed(), "rmse", "flops", [1.0]).tolist() == [inf]


def test_curves_count_failures() -> None:
    (group,) = arrange([record(seed=s, history=[[1, float(s + 1), 1.0, 1.0, 1.0, 0.1]]) for s in range(2)]).groups
    (point,) = cost_curve(group, "LM", "rmse", "flops", np.asarray([0.1]))
    assert (point.low, point.median, point.high) == (1, 1.5, 2)
    (group,) = arrange([*group.runs["LM"].values(), failed(seed=2), failed(seed=3)]).groups
    (point,) = cost_curve(group, "LM", "rmse", "flops", np.asarray([0.1]))
    assert (point.median, point.n) == (inf, 4)


def test_levels_go_from_the_largest_to_the_smallest_error() -> None:
    levels = error_levels([RUN, failed()], "rmse")
    assert (levels[0], levels[-1]) == (0.5, 0.1)
    assert (np.diff(levels) < 0).all()
    assert error_levels([failed()], "rmse").size == 0


def test_the_convergence_test_of_data_profiles_by_hand() -> None:
    worse = record("RLM", history=[[1, 5.0, 1.0, 11.0, 1.0, 0.5], [2, 7.0, 1.0, 2.0, 1.0, 0.5]])
    (group,) = arrange([RUN, worse]).groups
    # the loss starts at 11 at worst and ends at 1 at best: 10 % of the way from the best is 2
    costs, units = decrease_costs(group, ["LM", "RLM"], 0.1)
    assert costs == [[40.0, 7.0]]
    assert units == [2 * 50 * 100]
    assert decrease_costs(group, ["LM", "RLM"], 0.01)[0] == [[40.0, inf]]


def test_columns_may_come_in_any_order() -> None:
    turned = record(history=[row[::-1] for row in ROWS], history_columns=COLUMNS[::-1])
    assert column(turned, "flops").tolist() == [10, 20, 40]
