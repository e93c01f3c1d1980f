from math import inf

import pytest

from multilevel_opt.study.groups import arrange, cost
from tests.references.studies import failed, record


def test_runs_are_grouped_by_problem_parameters_and_target() -> None:
    records = [
        record(method, seed, **changes)
        for changes in ({}, {"problem": "helmholtz"}, {"width": 64}, {"target": {"rmse": 1e-4}})
        for seed in (0, 1)
        for method in ("LM", "RLM")
    ]
    study = arrange(records)
    assert [group.title for group in study.groups] == [
        "poisson, width = 32",
        "helmholtz",
        "poisson, width = 64",
        "poisson, width = 32",
    ]
    assert study.groups[3].aim == "rmse ≤ 0.0001"
    assert all(group.starts == ("0", "1") for group in study.groups)
    assert study.methods == ("LM", "RLM")


def test_parameters_that_follow_from_others_do_not_tell_groups_apart() -> None:
    records = [
        record(parameters={"points": 3 * nu + 1, "boundary_weight": 0.1 * nu, "nu": nu, "width": width, "seed": 0})
        for nu in (5.0, 20.0)
        for width in (32, 64)
    ]
    assert list(arrange(records).groups[0].parameters) == ["nu", "width"]
    assert list(arrange(records, named=["boundary_weight"]).groups[0].parameters) == ["boundary_weight", "width"]


def test_of_parameters_that_tell_the_same_the_first_that_the_study_names_is_told() -> None:
    records = [record(parameters={"nu": nu, "dim": dim, "seed": 0}) for nu, dim in ((5.0, 1), (20.0, 2))]
    assert list(arrange(records, named=["dim", "nu"]).groups[0].parameters) == ["dim"]
    assert list(arrange(records, named=["nu", "dim"]).groups[0].parameters) == ["nu"]


def test_a_failed_cell_that_knows_less_joins_its_group() -> None:
    records = [record(seed=0), failed(seed=1), record(seed=0, width=64)]
    study = arrange(records)
    assert [len(group.runs["LM"]) for group in study.groups] == [2, 1]


def test_of_two_records_of_a_cell_the_later_counts() -> None:
    study = arrange([record(cost=1.0), record(cost=2.0)])
    assert cost(study.groups[0].runs["LM"]["0"], "seconds") == 2.0


def test_methods_are_told_apart_by_the_options_that_differ() -> None:
    options = [{"levels": 2, "memory": 1}, {"levels": 3, "memory": 1}]
    study = arrange([*(record("RLM", method_options=chosen) for chosen in options), record("LM")])
    assert study.methods == ("RLM (levels=2)", "RLM (levels=3)", "LM")


def test_the_reference_is_one_level_of_levenberg_marquardt() -> None:
    methods = ["RLM", "LM published", "LM"]
    assert arrange(map(record, methods)).reference == "LM"
    assert arrange(map(record, methods[:2])).reference == "LM published"
    assert arrange(map(record, methods[:1])).reference == "RLM"
    assert arrange(map(record, methods), reference="RLM").reference == "RLM"
    assert arrange([]).reference is None


def test_failure_costs_infinity_and_what_nobody_counted_is_unknown() -> None:
    assert cost(record(cost=None), "flops") == inf
    assert cost(failed(), "seconds") == inf
    assert cost(record(flops=None), "flops") is None
    assert cost(record(seconds=2.0, seconds_setup=0.5), "seconds") == 2.5
    assert cost(record(seconds=2.0, seconds_setup=None), "seconds") == 2.0


def test_what_nobody_counts_is_unknown_of_runs_that_miss_their_target_too() -> None:
    peer = [record("Adam", 0, flops=None), record("Adam", 1, None, flops=None), failed("Adam", 2)]
    study = arrange([record("LM", 0), failed("LM", 1), *peer])
    runs = study.groups[0].runs
    assert [cost(runs["Adam"][start], "flops") for start in "012"] == [None, None, None]
    assert [cost(runs["Adam"][start], "seconds") for start in "012"] == [1.0, inf, inf]
    assert cost(runs["LM"]["1"], "flops") == inf


def test_costs_are_compared_over_common_starts_only() -> None:
    study = arrange([record("LM", 0, 1.0), record("LM", 1, 2.0), record("RLM", 1, None), record("RLM", 2, 3.0)])
    assert study.groups[0].costs("seconds", ["LM", "RLM"]) == [[2.0, inf]]


@pytest.mark.parametrize("changes", [{"parameters": None}, {"seed": None}, {"target": None}, {"history": None}])
def test_what_a_record_lacks_does_no_harm(changes: dict[str, None]) -> None:
    assert len(arrange([record(**changes), record("RLM", **changes)]).groups[0].runs) == 2
