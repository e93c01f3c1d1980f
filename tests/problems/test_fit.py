"""Function fitting: the losses are those of the talk, held-out errors are honest, and every method applies."""

import math

import numpy as np
import pytest
import torch

from multilevel_opt import InputError, LeastSquares, RowLoss, check, solve
from problems.fit import LOSSES, TARGETS, Fit

SMALL = {"nu": 6.0, "width": 24}


@pytest.mark.parametrize("target", TARGETS)
def test_samples_lie_on_the_target(target: str) -> None:
    problem = Fit(target=target, **SMALL)
    z = problem.samples
    assert z.shape[1] == TARGETS[target].dim
    assert float(z.min()) == 0.0
    assert float(z.max()) == 1.0
    torch.testing.assert_close(problem.data, TARGETS[target].value(z, 6.0))
    assert problem.objective(problem.x0).isfinite()


def test_values_of_targets() -> None:
    z, c = torch.tensor([[0.25]], dtype=torch.float64), torch.tensor([[0.25, 0.5]], dtype=torch.float64)
    assert float(TARGETS["cos"].value(z, 6.0)) == pytest.approx(math.cos(1.5))
    assert float(TARGETS["step"].value(z, 6.0)) == pytest.approx(math.tanh(-1.5))
    assert float(TARGETS["polynomial"].value(z, 6.0)) == pytest.approx(np.polynomial.legendre.Legendre.basis(5)(-0.5))
    assert float(TARGETS["waves"].value(c, 6.0)) == pytest.approx(math.cos(1.5) * math.sin(3.0))
    assert float(TARGETS["bump"].value(c, 6.0)) == pytest.approx(math.exp(-6 / 16) - 0.5)


def test_losses_are_the_means_of_the_talk() -> None:
    problems = {name: Fit(loss=name, noise=0.1, delta=1e-6, **SMALL) for name in LOSSES}
    x = problems["l2"].x0
    u, y = problems["l2"].solution(x, problems["l2"].samples).numpy(), problems["l2"].data.numpy()
    expected = {
        "l2": 0.5 * np.mean((y - u) ** 2),
        "l1": np.mean(np.abs(y - u)),
        "talk-logistic": np.mean(1 / (1 + np.exp(y - u))),
        "logistic": np.mean(np.log1p(np.exp(-np.sign(y) * u))),
    }
    for name, problem in problems.items():
        assert float(problem.objective(x)) == pytest.approx(expected[name], abs=1e-6)
    assert isinstance(problems["l2"].objective, LeastSquares)
    assert isinstance(problems["l1"].objective, RowLoss)


def test_the_smoothed_loss_is_near_the_absolute_value() -> None:
    exact, x = Fit(loss="l1", delta=1e-12, **SMALL), Fit(**SMALL).x0
    for delta in (1e-1, 1e-3):
        gap = float(exact.objective(x)) - float(Fit(loss="l1", delta=delta, **SMALL).objective(x))
        assert 0 < gap <= delta


@pytest.mark.parametrize(
    ("name", "formula"), [("half-tanh", lambda z: np.tanh(z / 2)), ("logistic", lambda z: 1 / (1 + np.exp(-z)))]
)
def test_activations_of_the_talk(name: str, formula: object) -> None:
    problem = Fit(activation=name, width=1, points=5)
    x = torch.tensor([2.0, -0.5, 1.0, 0.0], dtype=torch.float64)  # w, b, v, d
    z = problem.samples[:, 0].numpy()
    np.testing.assert_allclose(problem.solution(x, problem.samples).numpy(), formula(2 * z - 0.5))  # type: ignore[operator]


def test_held_out_points_are_no_samples() -> None:
    problem = Fit(noise=0.2, points=15, nu=4.0, width=60)
    found = solve(problem, "lm", max_iterations=200).result
    assert found.metrics["train_rmse"] < 0.02  # fits the noise
    assert found.metrics["rmse"] > 5 * found.metrics["train_rmse"]  # and the held-out error says so


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("loss", ["l2", "l1"])
@pytest.mark.parametrize("method", ["lm", "galerkin"])
def test_a_cosine_is_fitted(method: str, loss: str, seed: int) -> None:
    problem = Fit(nu=8.0, width=48, loss=loss, seed=seed)
    run = solve(problem, method, until={"rmse": 1e-3}, max_iterations=300)
    assert run.result.success


@pytest.mark.parametrize("method", ["lm", "galerkin", "tr2", "ar2"])
def test_classes_are_learned(method: str) -> None:
    problem = Fit(loss="logistic", **SMALL)
    found = solve(problem, method, max_iterations=30).result
    assert found.fun < float(problem.objective(problem.x0))
    assert found.metrics["train_error_rate"] <= 0.1


def test_levels_are_subnetworks_for_every_loss() -> None:
    for loss in ("l2", "l1", "logistic"):
        run = solve(Fit(loss=loss, init="normal", width=120, nu=10.0), "galerkin", max_iterations=15)
        assert "neurons" in run.record["level_kinds"][1]
        assert run.result.coarse_steps[1] == 0  # Galerkin steps are accepted
    deep = solve(Fit(loss="l1", depth=2, **SMALL), "galerkin", max_iterations=3)
    assert "random" in deep.record["level_kinds"][1]


def test_the_literal_logistic_loss_runs_away() -> None:
    """The erratum: the infimum is at minus infinity."""
    problem = Fit(loss="talk-logistic", **SMALL)
    found = solve(problem, "tr2", max_iterations=60).result
    assert found.fun < 1e-3
    assert found.metrics["rmse"] > 1


def test_laws_hold() -> None:
    for loss in ("l2", "l1", "logistic"):
        assert all(law.passed for law in check.report(Fit(loss=loss, delta=0.1, **SMALL)))


@pytest.mark.parametrize(
    "options",
    [
        {"target": "x"},
        {"loss": "x"},
        {"activation": "x"},
        {"nu": 0.0},
        {"width": 0},
        {"noise": -1.0},
        {"dtype": "half"},
    ],
)
def test_what_there_is_not_is_told(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Fit(**options)
