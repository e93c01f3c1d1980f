from math import inf
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from multilevel_opt.study.comparisons import comparison_table, sentences
from multilevel_opt.study.groups import arrange
from multilevel_opt.study.growth import cost_growth, families, growth_table, order_table, size_of
from multilevel_opt.study.published import Published
from multilevel_opt.study.results import result_tables, results_of, saves
from multilevel_opt.study.summary import missed_table
from multilevel_opt.study.table import Table
from tests.references.studies import failed, record

COSTS = {"LM": (2.0, 4.0, 8.0, None, None), "RLM": (1.0, 8.0, None, 3.0, None)}
RECORDS = [record(method, seed, cost) for method, costs in COSTS.items() for seed, cost in enumerate(costs)]


def rows(table: Table) -> dict[str, dict[str, Any]]:
    """The cells of a table by method and column."""
    keys = [column.key for column in table.columns]
    found = [dict(zip(keys, row, strict=True)) for row in table.rows]
    return {row["method"][0]: row for row in found}


def test_a_table_counts_failures_as_infinite() -> None:
    (table,) = result_tables(arrange(RECORDS))
    found = rows(table)
    assert found["LM"]["solved"] == (3, 5)
    assert found["LM"]["iterations"] == (80.0, 40.0, inf)
    assert found["LM"]["seconds"] == (8.0, 4.0, inf)
    assert found["RLM"]["flops"] == (8e6, 3e6, inf)
    assert found["LM"]["error"] == (1e-3, 1e-3, 0.5)


def test_without_targets_a_table_tells_what_runs_spent_and_none_is_missed() -> None:
    runs = [record(m, s, None, target={}, seconds=s + 1.0) for m in ("Adam", "K-BFGS") for s in range(3)]
    runs += [record("trained", s, 1.0, target={}, status="epochs") for s in range(3)]
    study = arrange([*runs, failed("SGD", 0, target={})])
    (table,) = result_tables(study)
    found = rows(table)
    assert found["Adam"]["seconds"] == (2.0, 1.5, 2.5)
    assert found["Adam"]["iterations"] == (20.0, 20.0, 20.0)
    assert found["SGD"]["seconds"] == (inf, inf, inf)
    assert found["trained"]["iterations"] == (10.0, 10.0, 10.0)
    assert not {"solved", "save", "save_seconds"} & found["Adam"].keys()
    assert "target" not in table.notes[0].replace("no target", "")
    assert [row[1] for row in missed_table(study).rows] == [("SGD",)]
    assert not comparison_table(study).rows
    assert not sentences(study)
    (usual,) = result_tables(arrange([*runs, record("LM", 0, 1.0, target={})]))  # one that converged by itself
    assert rows(usual)["Adam"]["seconds"] == (inf, inf, inf)


def test_save_is_the_ratio_of_costs_from_the_same_start_and_zero_where_only_the_reference_succeeds() -> None:
    (table,) = result_tables(arrange(RECORDS))
    # 2/1, 4/8, only LM: 0, only RLM: infinite, neither: left out
    assert rows(table)["RLM"]["save"] == (0.0, 1.25, inf)
    assert rows(table)["LM"]["save"] == (None, None, None)
    assert saves(arrange(RECORDS).groups[0], "RLM", "LM", "flops").n == 4


def test_what_nobody_counted_is_no_failure() -> None:
    peers = [record("peer", seed, 1.0, flops=None) for seed in range(3)]
    (table,) = result_tables(arrange([*(record("LM", seed, 2.0) for seed in range(3)), *peers]))
    assert rows(table)["peer"]["flops"] == (None, None, None)
    assert rows(table)["peer"]["save"] == (None, None, None)
    assert rows(table)["peer"]["save_seconds"] == (2.0, 2.0, 2.0)


def published(**changes: Any) -> tuple[Published, ...]:
    row = {"problem": "poisson", "method": "RLM", "iterations": 193, "save": [1.2, 1.75], "source": "a talk"} | changes
    return TypeAdapter(tuple[Published, ...]).validate_python([row])


def test_published_figures_stand_below_ours() -> None:
    given = published(parameters={"nu": 5, "width": 32}, rmse=[1e-3, 1e-2])
    (table,) = result_tables(arrange(RECORDS), given)
    row = rows(table)["RLM (published)"]
    assert (row["iterations"], row["error"], row["save"]) == (
        (193, None, None),
        (None, 1e-3, 1e-2),
        (1.2, None, 1.75),
    )
    assert table.texts()[-1][:6] == ["RLM (published)", "–", "193", "[10⁻³, 0.01]", "1.2 – 1.75", "–"]
    assert "Published: a talk." in table.notes


def test_published_figures_of_other_runs_stay_out() -> None:
    for other in (published(problem="helmholtz"), published(parameters={"nu": 20}), published(parameters={"a": 1})):
        assert "RLM (published)" not in rows(result_tables(arrange(RECORDS), other)[0])


def test_three_published_saves_are_lowest_mean_and_highest() -> None:
    (table,) = result_tables(arrange(RECORDS), published(save=[1.1, 2.6, 4.3]))
    assert rows(table)["RLM (published)"]["save"] == (1.1, 2.6, 4.3)


@pytest.mark.parametrize("changes", [{"save": []}, {"save": -1}, {"iterations": "a"}, {"unknown": 1}, {"method": ""}])
def test_published_figures_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        published(**changes)


def test_all_groups_are_in_one_table_for_programs() -> None:
    study = [*RECORDS, *(record("LM", seed, 1.0, width=64) for seed in range(2))]
    table = results_of(study)
    assert [column.key for column in table.columns][:4] == ["problem", "width", "to rmse", "measure"]
    assert [row[1][0] for row in table.rows] == [32, 32, 64]


def test_comparisons_show_a_factor_and_nothing_by_chance() -> None:
    noise = [0.9, 1.1, 1.0, 1.2, 0.8, 1.05]
    fast = [record("fast", seed, 0.2 * f) for seed, f in enumerate(noise)]
    same = [record("same", seed, f) for seed, f in enumerate(reversed(noise))]
    study = arrange([*(record("LM", seed) for seed in range(6)), *fast, *same, failed("RLM", 0)])
    found = rows(comparison_table(study))
    assert found["fast"]["shown"] == ("cheaper in flops and seconds",)
    assert found["same"]["shown"] == ("no difference shown in flops and seconds",)
    assert found["RLM"]["shown"] == ("no common success in flops and seconds",)
    assert found["fast"]["save_flops"][0] == pytest.approx(5, rel=0.1)
    said = sentences(study)
    assert said[1].startswith("In flops no difference in cost shown between same and LM over the 6 of 6 starts")
    assert "In seconds: cheaper, save 5" in said[0]


def test_flops_that_nobody_counted_are_not_spoken_of() -> None:
    study = arrange([record(m, s, 1.0, flops=None if m == "peer" else 1e6) for m in ("LM", "peer") for s in range(5)])
    assert sentences(study) == [
        "In seconds no difference in cost shown between peer and LM over the 5 of 5 starts that both solve "
        "(LM costs 1 times peer [1, 1])."
    ]
    assert rows(comparison_table(study))["peer"]["shown"] == ("not known in flops; no difference shown in seconds",)


def test_a_method_that_fails_more_often_is_told() -> None:
    study = arrange(
        [record(m, seed, None if m == "RLM" and seed > 1 else 1.0) for m in ("LM", "RLM") for seed in range(9)]
    )
    row = rows(comparison_table(study))["RLM"]
    assert row["shown"] == ("LM solves more; too few pairs in flops and seconds",)
    assert (row["both"], row["only_reference"], row["only_method"], row["neither"]) == ((2,), (7,), (0,), (0,))


@pytest.mark.parametrize(
    ("item", "size"),
    [(64, 64.0), (0.5, 0.5), ("64x64", 4096.0), ("2x3x4", 24.0)]
    + [(other, None) for other in ("64", "axb", "0x3", 0, -1, True, None, "3x", "normal")],
)
def test_a_grid_is_as_large_as_it_has_points(item: Any, size: float | None) -> None:
    assert size_of(item) == size


def test_the_growth_of_cost_with_a_grid_is_the_exponent_of_its_points() -> None:
    records = [
        record(seed=s, cost=(n * n) ** 1.5, parameters={"points": f"{n}x{n}"}) for n in (8, 16, 32) for s in (0, 1)
    ]
    (family,) = families(arrange(records))
    assert [size for size, _ in family.members] == [64.0, 256.0, 1024.0]
    exponent = cost_growth(family, "LM", "flops")
    assert exponent is not None
    assert exponent.value == pytest.approx(1.5)


def test_the_growth_of_cost_is_the_exponent_of_the_parameter() -> None:
    records = [
        record("LM", seed, (width / 32) ** 1.7 * (1 + 0.01 * seed), width=width)
        for width in (32, 64, 128)
        for seed in range(3)
    ]
    study = arrange(records)
    assert [family.parameter for family in families(study)] == ["width"]
    row = rows(growth_table(study))["LM"]
    value, low, high = row["flops_exponent"]
    assert low < 1.7 < high
    assert value == pytest.approx(1.7, abs=1e-9)
    assert row["solved"] == (9, 9)
    assert row["error_exponent"] == (None, None, None)  # the error was the target


def test_the_order_of_accuracy_is_that_of_finished_runs() -> None:
    records = [
        record(target={"gradient_norm": 1e-8}, status="gradient", rmse=float(width) ** -2, width=width)
        for width in (16, 32, 64, 128)
    ]
    stopped = record(seed=1, cost=None, target={"gradient_norm": 1e-8}, width=64)
    row = rows(growth_table(arrange([*records, stopped])))["LM"]
    assert row["error_exponent"] == pytest.approx((-2, -2, -2), abs=1e-6)


def test_two_sizes_are_no_family() -> None:
    assert families(arrange([record(), record(width=64)])) == []
    assert growth_table(arrange([record(), record(width=64)])).rows == ()


def test_the_order_of_convergence_is_read_from_the_history() -> None:
    quadratic = [[k + 1, 1.0, 1.0, 1.0, 0.5 ** (2**k), 1.0] for k in range(6)]
    (row,) = order_table(arrange([record(history=quadratic)])).rows
    assert row[3] == pytest.approx((2, 2, 2), abs=1e-6)
    gaps = [[3 * k, *rest] for k, (_, *rest) in enumerate(quadratic)]
    assert order_table(arrange([record(history=gaps)])).rows == ()
    repeated = [r for r in quadratic for _ in (0, 1)]  # a rejected step leaves the gradient as it is
    numbered = [[k, *rest] for k, (_, *rest) in enumerate(repeated)]
    assert order_table(arrange([record(history=numbered)])).rows[0][3] == pytest.approx((2, 2, 2), abs=1e-6)
