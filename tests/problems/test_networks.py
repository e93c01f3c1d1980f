"""The networks of the poster as problems."""

from pathlib import Path

import pytest

import multilevel_opt as mlo
from multilevel_opt.cli import main
from multilevel_opt.separable import LOSSES
from problems.networks import LeNetPictures, PSNetPictures


@pytest.mark.parametrize("method", ["pggn", "plsr1", "plbfgs", "plse", "adam"])
def test_a_separable_network_learns_digits(method: str) -> None:
    problem = PSNetPictures(epochs=2, loss="exp", batch=50, activation="tanh")
    record = mlo.solve(problem, method).record
    assert record["loss"] < (3.0 if method == "pggn" else 8.9)  # 9 where all scores are equal
    assert record["test_accuracy"] > (0.5 if method == "pggn" else 0.1)
    assert record["metrics"]["test_nll"] < 2.4


def test_the_loss_is_chosen_and_the_likelihood_is_told() -> None:
    for name in LOSSES:
        problem = PSNetPictures(loss=name, rows=20)
        assert problem.samples.loss is LOSSES[name]
        assert "test_nll" in problem.metrics
    with pytest.raises(mlo.InputError, match="loss=hinge"):
        PSNetPictures(loss="hinge")


def test_lenet_is_refused_by_partitioned_methods() -> None:
    with pytest.raises(mlo.InputError, match="ends in the dense layer"):
        mlo.solve(LeNetPictures(epochs=1, rows=200, loss="exp"), "pggn")


STUDY = Path(__file__).parents[2] / "problems" / "studies" / "raynaud2022-quick.toml"


@pytest.mark.slow
def test_the_quick_study_of_the_networks_has_all_its_cells_and_its_pictures(tmp_path: Path) -> None:
    records = list(mlo.Study.from_toml(STUDY).run(jobs=2, out=tmp_path))
    assert all(record["error"] is None for record in records)
    accuracies = {(record["problem"], record["method_name"]): record["test_accuracy"] for record in records}
    assert accuracies["psnet", "GGN elements"] > accuracies["psnet", "Adam 0.0003"]
    assert main(["report", str(tmp_path)]) == 0
    assert len(list((tmp_path / "pictures").glob("course-*-test-accuracy-*.png"))) == 4
