"""The networks of the poster as problems."""

import pytest

import multilevel_opt as mlo
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
