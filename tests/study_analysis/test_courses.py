"""Pictures of test accuracy against epochs and seconds."""

from pathlib import Path

import pytest

from multilevel_opt.study import summary
from multilevel_opt.study.courses import course_plots
from multilevel_opt.study.groups import arrange
from multilevel_opt.study.results import result_tables
from tests.references.studies import failed, record, write

COLUMNS = ["iteration", "flops", "seconds", "loss", "gradient_norm", "test_accuracy"]


def run(method: str, seed: int, accuracies: list[float | None], pace: float = 1.0) -> dict[str, object]:
    rows = [[k, 1e6 * k, pace * k, 1.0, 1.0, reached] for k, reached in enumerate(accuracies)]
    last = next(reached for reached in reversed(accuracies) if reached is not None)
    told = {"history": rows, "history_columns": COLUMNS, "test_accuracy": last, "target": {}}
    return record(method, seed, seconds_setup=0.5, rmse=None, **told)


RUNS = [
    *(run("Adam", seed, [0.1, 0.5 + 0.1 * seed, 0.7], pace=1.0 + seed) for seed in range(3)),
    run("PLSR1", 0, [0.1, None, 0.8, 0.9]),
    failed("PLSR1", 1, target={}),
]


def test_the_median_of_an_epoch_is_drawn_against_epochs_and_seconds() -> None:
    drawn = {plot.name: plot for plot in course_plots(arrange(RUNS))}
    assert list(drawn) == ["course-1-test-accuracy-iteration", "course-1-test-accuracy-seconds"]
    adam, plsr1 = drawn["course-1-test-accuracy-iteration"].series
    assert adam.x.tolist() == [0, 1, 2]
    assert adam.y.tolist() == pytest.approx([0.1, 0.6, 0.7])
    assert (adam.low[1], adam.high[1]) == pytest.approx((0.55, 0.65))
    assert (plsr1.x.tolist(), plsr1.y.tolist()) == ([0, 2, 3], [0.1, 0.8, 0.9])
    seconds = drawn["course-1-test-accuracy-seconds"].series[0]
    assert seconds.x.tolist() == pytest.approx([0.5, 2.5, 4.5])  # medians, set-up included
    assert not drawn["course-1-test-accuracy-seconds"].log_x


def test_studies_without_tests_have_no_such_picture_and_no_such_column() -> None:
    study = arrange([record()])
    assert course_plots(study) == []
    assert "test accuracy" not in [column.heading for column in result_tables(study)[0].columns]


def test_the_report_has_the_pictures_and_the_column(tmp_path: Path) -> None:
    write(tmp_path, [*RUNS, record("LM", 0, width=64)])
    page = summary.write(tmp_path).read_text(encoding="utf-8")
    assert "test accuracy" in page
    assert (tmp_path / "pictures" / "course-1-test-accuracy-seconds.png").stat().st_size > 1000
    assert "0.7" in (tmp_path / "tables" / "results.md").read_text(encoding="utf-8")
