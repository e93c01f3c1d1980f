"""The output layer by itself: where it lies, whether the residual is affine in it, and when the step is taken."""

import numpy as np
import pytest
import torch
from torch import Tensor

from multilevel_opt import LM, LeastSquares, MaxIterations, least_squares, solve
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.layout import mlp_layout
from multilevel_opt.output_layer import NEVER, OutputLayer, affine, output_parameters
from multilevel_opt.recorder import Recorder
from problems.helmholtz import Helmholtz
from problems.poisson import Poisson

SOLVER = LM.replace(output=OutputLayer())


def small(**options: object) -> Helmholtz:
    return Helmholtz(**{"points": 100, "width": 64, **options})  # type: ignore[arg-type]


def moved(problem: Helmholtz, judge: object = None) -> tuple[Tensor, str, bool]:
    state = SOLVER.init(problem.objective, problem.x0)
    after, outcome = OutputLayer().step(problem.objective, state, 2, judge)  # type: ignore[arg-type]
    return after.x, outcome.note, after.moved


def test_the_output_layer_is_the_last_weight_and_bias() -> None:
    layout = mlp_layout(2, (5, 7), 3)
    own = output_parameters(layout)
    assert own is not None
    assert own.tolist() == list(range(layout.size - 7 * 3 - 3, layout.size))


def test_linearity_is_found_by_evaluation() -> None:
    problem = small()
    own = output_parameters(problem.residual.layout)  # type: ignore[arg-type]
    assert own is not None
    assert affine(problem.objective, problem.x0, own)
    assert not affine(problem.objective, problem.x0, torch.arange(64))  # the hidden weights
    assert not affine(LeastSquares(lambda x: x**2), torch.ones(4, dtype=torch.float64), torch.arange(2, 4))


def test_the_step_is_the_least_squares_solution_with_moderate_weights() -> None:
    problem = small()
    x, note, accepted = moved(problem)
    own = output_parameters(problem.residual.layout)  # type: ignore[arg-type]
    assert own is not None
    assert accepted, note
    r, jacobian = problem.objective.jacobian(problem.x0)
    exact = np.linalg.lstsq(jacobian[:, own].numpy(), -r.numpy(), rcond=None)[0]
    least = np.linalg.norm(jacobian[:, own].numpy() @ exact + r.numpy())
    assert float(problem.objective.residuals(x).norm()) <= max(10 * least, 1e-10)
    assert float(x.abs().max()) < 1e3
    others = torch.ones_like(x, dtype=torch.bool)
    others[own] = False
    assert torch.equal(x[others], problem.x0[others])


@pytest.mark.parametrize("seed", [5, 6])
def test_ten_digits_by_the_same_call(seed: int) -> None:
    run = solve(small(seed=seed), "lm-features", until={"relative_l2": 1e-10}, max_iterations=20)
    assert run.record["converged"], run.record["message"]
    plain = solve(small(seed=seed), "lm", until={"relative_l2": 1e-10}, max_iterations=20)
    assert not plain.record["converged"]


def test_a_step_that_raises_the_held_out_residual_is_refused() -> None:
    x, note, accepted = moved(small(), judge=lambda x: 1.0)
    assert not accepted
    assert "held-out" in note
    assert torch.equal(x, small().x0)


def test_features_that_do_not_fit_nearly_leave_the_start_alone() -> None:
    problem = Poisson(points=200, width=16)  # too few features for ten waves
    state = SOLVER.init(problem.objective, problem.x0)
    after, outcome = OutputLayer().step(problem.objective, state, 2, None)
    assert not after.moved
    assert "does not lower the loss enough" in outcome.note


@pytest.mark.parametrize("problem", ["nonlinear", "no layout"])
def test_where_it_is_not_linear_the_run_is_that_of_lm(problem: str) -> None:
    layout = mlp_layout(1, (3,))
    A = torch.randn(12, layout.size, dtype=torch.float64)
    f = LeastSquares(lambda x: torch.sin(A @ x) - 1)
    if problem == "nonlinear":
        f.residual.layout = layout
    x0 = torch.zeros(layout.size, dtype=torch.float64)
    ours = least_squares(f, x0, SOLVER, stop=MaxIterations(6))
    plain = least_squares(f, x0, stop=MaxIterations(5))
    first, *rest = ours.history
    assert first.kind == "output"
    assert "not linear" in first.note if problem == "nonlinear" else "not known" in first.note
    assert [event.loss for event in rest] == [event.loss for event in plain.history]
    state = SOLVER.init(f, x0)
    state = SOLVER.step(f, state, Hierarchy(x0.numel()), Recorder([Ledger()]))
    assert state.wait >= NEVER - 1
