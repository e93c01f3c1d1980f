"""Peers minimize the same function from the same start and stop by the same rule, looked at with the clock stopped."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.study import peers as table
from multilevel_opt.study.isolation import Server
from multilevel_opt.study.peers import PEERS
from multilevel_opt.study.run import Study
from multilevel_opt.study.solvers import Task, solved, thinned
from problems import Heat, Helmholtz, Poisson

BUDGET: dict[str, Any] = {"max_iterations": 2000, "max_seconds": None, "memory": None}
FAST = [name for name, peer in PEERS.items() if peer.counted and name not in ("torch-adam", "torch-adam-lbfgs")]


def run(problem: Any, *task: Any) -> tuple[dict[str, Any], list[str], list[list[Any]]]:
    return solved(problem, Task(*task))


def small(**changes: Any) -> Poisson:
    return Poisson(nu=3.0, width=8, points=40, seed=5, **changes)


@pytest.mark.parametrize("name", FAST)
def test_a_peer_goes_from_our_start_to_our_target(name: str) -> None:
    problem = small()
    record, columns, rows = run(problem, "poisson", name, {}, {"loss": 1e-3}, BUDGET)
    first, last = (dict(zip(columns, row, strict=True)) for row in (rows[0], rows[-1]))
    start = problem.objective.expand(problem.x0, 1)
    assert first["iteration"] == 0
    assert first["loss"] == pytest.approx(float(start.value), rel=1e-12)
    assert first["gradient_norm"] == pytest.approx(float(start.gradient.norm()), rel=1e-10)
    assert first["rmse"] == problem.rmse(problem.x0)
    assert record["status"] == "target"
    assert record["loss"] == last["loss"] <= 1e-3
    assert record["iterations"] == last["iteration"] == len(rows) - 1
    assert record["flops"] is None
    assert sum(sum(counts) for counts in record["evaluations"].values()) >= record["iterations"]


def test_products_with_the_hessian_need_no_gradient_of_their_own() -> None:
    bowl: Any = SimpleNamespace(
        objective=mlo.Function(lambda x: torch.cosh(x).sum()),
        x0=torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64),
        metrics={},
        parameters={},
    )
    record, _, _ = run(bowl, "bowl", "scipy-trust-ncg", {}, {"gradient_norm": 1e-6}, BUDGET)
    assert record["evaluations"]["hvp"][0] > 0
    assert record["evaluations"]["gradient"][0] == record["iterations"] + 1


@pytest.mark.parametrize("name", ["torch-adam", "torch-adam-lbfgs", "torch-lbfgs", "scipy-bfgs", "scipy-trf"])
def test_a_peer_ends_at_the_limit_of_iterations(name: str) -> None:
    record, _, rows = run(small(), "poisson", name, {}, {"loss": 1e-30}, {**BUDGET, "max_iterations": 7})
    assert (record["status"], record["iterations"], len(rows)) == ("max_iterations", 7, 8)


def test_adam_hands_over_to_lbfgs() -> None:
    options = {"adam_iterations": 5, "learning_rate": 1e-2}
    both, columns, rows = run(small(), "poisson", "torch-adam-lbfgs", options, {"loss": 1e-3}, BUDGET)
    adam, _, alone = run(small(), "poisson", "torch-adam", {"learning_rate": 1e-2}, {}, {**BUDGET, "max_iterations": 5})
    loss = columns.index("loss")
    assert [row[loss] for row in rows[:6]] == [row[loss] for row in alone]
    assert both["converged"]
    assert not adam["converged"]


def test_a_peer_that_stops_by_itself_says_so() -> None:
    bowl: Any = SimpleNamespace(
        objective=mlo.Function(lambda x: 1 + (x - 1).square().sum()), x0=torch.rand(3), metrics={}, parameters={}
    )
    record, _, _ = run(bowl, "bowl", "scipy-bfgs", {}, {"loss": 1e-3}, BUDGET)
    assert record["status"] == "stalled"
    assert record["message"].startswith("it stopped by itself: ")
    assert not record["converged"]


def test_looking_is_not_timed() -> None:
    problem = small()

    def slow(x: torch.Tensor) -> float:
        time.sleep(0.05)
        return 1.0

    watched: Any = SimpleNamespace(
        objective=problem.objective, x0=problem.x0, metrics={"rmse": slow}, parameters={}, n_residuals=42
    )
    started = time.perf_counter()
    record, _, rows = run(watched, "slow", "scipy-bfgs", {}, {}, {**BUDGET, "max_iterations": 20})
    assert time.perf_counter() - started - record["seconds"] >= 0.05 * len(rows)


def test_a_problem_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsupportedCombination, match="needs as many residuals as parameters, got 42 and 121"):
        run(Poisson(nu=3.0, width=40, points=40), "poisson", "scipy-lm", {}, {}, BUDGET)
    function: Any = SimpleNamespace(
        objective=mlo.Function(lambda x: x @ x), x0=torch.ones(2), metrics={}, parameters={}
    )
    for name in ("scipy-trf", "torch-levenberg-marquardt"):
        with pytest.raises(UnsupportedCombination, match="minimizes least squares only, the problem is a Function"):
            run(function, "function", name, {}, {}, BUDGET)
    bounded: Any = SimpleNamespace(**vars(function), x_bounds=(torch.zeros(2), torch.ones(2)))
    with pytest.raises(UnsupportedCombination, match="the problem has bounds, which 'scipy-bfgs' does not know"):
        run(bounded, "bounded", "scipy-bfgs", {}, {}, BUDGET)
    assert run(function, "function", "scipy-lbfgsb", {}, {"loss": 1e-10}, BUDGET)[0]["converged"]


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="method 'deepxde' needs deepxde: pip install deepxde"):
        PEERS["deepxde"].settings("deepxde", {})
    assert PEERS["scipy-trf"].settings("scipy-trf", {}) == {}


def test_peers_and_their_options_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    for name, peer in PEERS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        for option, default in peer.options.items():
            shown = f'"{default}"' if isinstance(default, str) else default
            assert f"`{option}={shown}`" in row


def test_a_history_is_thinned_evenly_and_keeps_its_ends() -> None:
    rows: list[list[float | None]] = [[float(k)] for k in range(1001)]
    kept = [row[0] for row in thinned(rows)]
    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (0.0, 1000.0)
    steps = {b - a for a, b in pairwise(kept)}  # type: ignore[operator]
    assert steps <= {5.0, 6.0}
    assert thinned(rows[:200]) == rows[:200]


DEEPXDE = """
import os, sys
os.environ["DDE_BACKEND"] = "pytorch"
import deepxde, torch
from multilevel_opt.study.peer_deepxde import _model, _weights
from problems import Heat, Helmholtz, Poisson
deepxde.config.set_default_float("float64")
for problem in (
    Poisson(dim=2, width=7, points="5x6"), Poisson(nu=3.0, width=5, depth=2), Helmholtz(nu=2.0, width=6),
    Heat(width=6, points=30),
):
    model, network = _model(deepxde, problem, problem.x0)
    model.compile("adam", lr=1e-3, loss_weights=_weights(problem), verbose=0)
    model.train_state.set_data_train(*model.data.train_next_batch())
    _, losses = model._outputs_losses(True, model.train_state.X_train, model.train_state.y_train, None)
    print(repr(float(losses.sum() if hasattr(losses, "sum") else sum(losses))), file=sys.stderr)
"""


@pytest.mark.slow
def test_the_loss_of_deepxde_is_ours() -> None:
    ran = subprocess.run([sys.executable, "-c", DEEPXDE], capture_output=True, text=True, check=True)
    theirs = [float(line) for line in ran.stderr.splitlines() if line[:1].isdigit()]
    problems: list[Any] = [
        Poisson(dim=2, width=7, points="5x6"),
        Poisson(nu=3.0, width=5, depth=2),
        Helmholtz(nu=2.0, width=6),
        Heat(width=6, points=30),
    ]
    ours = [float(problem.objective(problem.x0)) for problem in problems]
    assert theirs == pytest.approx(ours, rel=1e-12)


@pytest.mark.slow
def test_deepxde_goes_from_our_start_to_our_target() -> None:
    study = Study.from_text(DEEPXDE_STUDY)
    server = Server()
    record = server.solve(study.cells[0])
    server.close()
    assert record["error"] is None
    assert record["status"] == "target"
    assert record["rmse"] <= 1e-2
    assert record["evaluations"] is None
    problem = small()
    losses = [row[record["history_columns"].index("loss")] for row in record["history"]]
    numbers = [row[0] for row in record["history"]]
    assert losses[0] == pytest.approx(float(problem.objective(problem.x0)), rel=1e-12)
    assert numbers[:21] == list(range(21))
    assert {b - a for a, b in pairwise(numbers[20:])} == {10}
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(losses[20:]))


@pytest.mark.slow
def test_nncg_goes_on_where_lbfgs_ends() -> None:
    options = "{ adam_iterations = 10, lbfgs_iterations = 20, rank = 5, cg_iterations = 50 }"
    text = DEEPXDE_STUDY.replace('"deepxde"', '"deepxde-nncg"').replace("{ adam_iterations = 20 }", options)
    server = Server()
    record = server.solve(Study.from_text(text.replace("rmse = 1e-2", "loss = 1e-30") + LIMIT).cells[0])
    server.close()
    losses = {row[0]: row[record["history_columns"].index("loss")] for row in record["history"]}
    assert record["status"] == "max_iterations"
    assert list(losses) == [*range(11), 20, 30, *range(31, 37)]
    assert losses[36] < losses[30]


LIMIT = """
[budget]
max_iterations = 36
"""
DEEPXDE_STUDY = """
name = "deepxde"
seeds = 5
until = { rmse = 1e-2 }
[[problems]]
problem = "poisson"
parameters = { nu = 3.0, width = 8, points = 40 }
[[methods]]
name = "DeepXDE"
method = "deepxde"
options = { adam_iterations = 20 }
"""
