"""The benchmarks that choose among methods and problems: what is asked for, what is counted, how ratios are taken."""

from math import inf
from typing import Any

import pytest

from benchmarks import choice, equations
from benchmarks.equations import TASKS, Task, asked, changed, counted
from multilevel_opt.auto import AUTO
from multilevel_opt.methods import METHODS


def test_tasks_are_chosen_by_words_of_their_titles() -> None:
    assert asked([]) == list(TASKS)
    assert {task.problem for task in asked(["helmholtz", "wave"])} == {"helmholtz", "wave"}
    assert [task.parameters["k"] for task in asked(["dim=2 poisson"])] == [1, 2]
    assert asked(["points=4000"], choice.SAFE) == list(choice.SAFE)
    with pytest.raises(SystemExit, match="no task is called poiss"):
        asked(["poiss"])


def test_pairs_are_counted() -> None:
    found = [{"reached": True}, {"reached": False}, {"reached": True}, {"reached": True}]
    assert counted(found).startswith("3 of 4 pairs")
    assert counted(found).endswith("75%")


def test_a_seed_changes_the_coefficient_alone_and_by_little() -> None:
    task = Task("helmholtz", 1e-6, 1.0, "wavenumber", {"dim": 2, "wavenumber": 2.0})
    first, second = (changed(task, seed) for seed in (1, 2))
    assert first != second
    for found in (first, second):
        assert found["dim"] == 2
        assert 0 < abs(found["wavenumber"] / 2.0 - 1) <= equations.CHANGE


@pytest.mark.parametrize(
    ("seconds", "limit", "ratio", "told"),
    [
        ({AUTO: 2.0, "lm": 1.0, "rows": 4.0}, 2.0, 2.0, "2.00"),
        ({AUTO: 1.0, "lm": inf}, 1.0, 1.0, "< 1.00"),
        ({AUTO: 1.0, "lm": inf}, 6.0, 1 / 6, "< 0.17"),
        ({AUTO: inf, "lm": 3.0}, 9.0, inf, "inf"),
    ],
)
def test_ratios_are_those_of_the_best_of_the_others(
    seconds: dict[str, float], limit: float, ratio: float, told: str
) -> None:
    found = choice.Compared(TASKS[0], seconds, limit)
    assert found.ratio == ratio
    assert found.row()[-1] == told


def test_the_others_get_the_median_of_auto_and_are_left_when_half_of_the_seeds_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[tuple[str, int, float]] = []

    def solved(task: Task, method: str, seed: int) -> dict[str, Any]:
        asked_for.append((method, seed, task.limit))
        seconds = {AUTO: 2.0 + seed, "lm": 9.0, "rows": 1.0}[method]
        return {"reached": seconds <= task.limit, "seconds": seconds}

    monkeypatch.setattr(choice, "solved", solved)
    found = choice.compared(Task("wave", 1e-4, 120.0), [0, 1, 2], ["lm", "rows"], 1.0)
    assert found.seconds == {AUTO: 3.0, "lm": inf, "rows": 1.0}
    assert [seed for method, seed, limit in asked_for if method == "lm"] == [0, 1]
    assert {limit for method, _, limit in asked_for if method != AUTO} == {3.0}


def test_methods_compared_exist() -> None:
    assert set(choice.METHODS) <= set(METHODS)
