"""Coarse-row steps, their effective dimension, and the controller that chooses them."""

from dataclasses import replace

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.controller import Controller, Experience
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.effective import effective_dimension
from multilevel_opt.methods import METHODS
from multilevel_opt.recorder import Recorder
from problems import Poisson

F64 = {"dtype": torch.float64}


@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (9, 9), (600, 40)])
@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_the_effective_dimension_is_that_of_the_singular_values(shape: tuple[int, int], damping: float) -> None:
    jacobian = torch.randn(*shape, **F64) * 10.0 ** -torch.linspace(0, 4, shape[1], **F64)
    squares = torch.linalg.svdvals(jacobian) ** 2
    expected = float((squares / (squares + damping)).sum())
    assert effective_dimension(jacobian, damping) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_effective_dimension_is_bounded_where_nothing_can_be_factorized() -> None:
    assert effective_dimension(torch.ones(3, 8, **F64), 0.0) == 3.0
    assert effective_dimension(torch.full((3, 8), float("nan"), **F64), 1.0) == 3.0
    assert effective_dimension(torch.zeros(3, 8, **F64), 1.0) == 0.0


def wide(**changes: object) -> Poisson:
    return Poisson(**{"dim": 2, "k": 1, "width": 12, "points": 900, "seed": 1, **changes})  # type: ignore[arg-type]


def one_coarse_step() -> tuple[mlo.Multilevel, object, object, mlo.Hierarchy, Recorder, Poisson]:
    problem = wide()
    hierarchy = mlo.rows(problem.objective, problem.x0, 2)
    recorder = Recorder([Ledger(), Ledger()])
    solver = METHODS["rows"].solver
    f = solver.seen(problem.objective.counted(recorder.ledgers[0]), hierarchy)
    state = solver.init(f, problem.x0)
    state = replace(state, globalization=replace(state.globalization, weight=10.0))
    return solver, f, state, hierarchy, recorder, problem


def test_a_coarse_row_step_has_the_gradient_of_all_rows_and_the_matrix_of_some() -> None:
    solver, _, state, hierarchy, recorder, problem = one_coarse_step()
    below = hierarchy.levels[0]
    model = solver._surrogate(state, below, recorder.ledgers[1])  # type: ignore[attr-defined]
    torch.testing.assert_close(model.gradient, problem.objective.expand(problem.x0, 1).gradient)
    assert float(model.value) == pytest.approx(float(problem.objective(problem.x0)))
    _, jacobian = below.objective.residual.linearize(problem.x0)  # type: ignore[union-attr]
    v = torch.randn_like(problem.x0)
    torch.testing.assert_close(model.hvp(0 * v, v), jacobian.T @ (jacobian @ v))
    damping = 0.1
    prepared = solver.subproblem.prepare(model)
    step = prepared.solve(mlo.Regularization(power=2, weight=damping))
    unit = torch.eye(problem.x0.numel(), **F64)
    expected = -torch.linalg.solve(jacobian.T @ jacobian + damping * unit, model.gradient)
    torch.testing.assert_close(step.s, expected, rtol=1e-6, atol=1e-9)  # type: ignore[union-attr]


def test_a_coarse_row_step_decreases_f_without_the_jacobian_of_all_rows() -> None:
    solver, f, state, hierarchy, recorder, _ = one_coarse_step()
    before = recorder.ledgers[0].counts["jacobian"]
    after = solver.step(f, state, hierarchy, recorder)  # type: ignore[arg-type]
    assert recorder.history[-1].kind == "coarse"
    assert after.moved
    assert after.loss < state.loss  # type: ignore[attr-defined]
    assert recorder.ledgers[0].counts["jacobian"] == before
    assert recorder.ledgers[1].counts["jacobian"] == 1
    assert after.effective > 0


def test_too_few_rows_are_not_used() -> None:
    solver, f, state, _, recorder, _ = one_coarse_step()
    weak = replace(state.globalization, weight=1e-12)  # type: ignore[attr-defined]
    few = mlo.rows(wide().objective, wide().x0, 2, fraction=0.04)
    after = solver.step(f, replace(state, globalization=weak), few, recorder)  # type: ignore[arg-type,type-var]
    assert not after.moved
    assert "too few rows" in recorder.history[-1].note
    assert solver.step(f, after, few, recorder).moved  # type: ignore[arg-type]
    assert recorder.history[-1].kind == "taylor"


def simulated(rates: list[float], steps: int, **options: object) -> list[int]:
    """The choices of a controller where choice k brings rates[k] for a cost of one."""
    controller, known, taken = Controller(**options), None, list[int]()  # type: ignore[arg-type]
    for _ in range(steps):
        choice = controller.choose(known, (True,) * len(rates))
        known = controller.learned(known, len(rates), choice, rates[choice], 1.0)
        taken.append(choice)
    return taken


@pytest.mark.parametrize("rates", [[1.0, 3.0], [3.0, 1.0], [0.1, 1.0, 5.0]])
def test_the_controller_takes_the_best_choice_most_of_the_time(rates: list[float]) -> None:
    taken = simulated(rates, 200)
    assert taken.count(rates.index(max(rates))) > 0.75 * 200


def test_a_choice_that_loses_is_tried_ever_more_rarely() -> None:
    taken = simulated([2.0, 1.0], 400)
    assert taken[:200].count(1) > taken[200:].count(1) > 0


def test_the_controller_notices_when_a_choice_begins_to_pay() -> None:
    controller, known, taken = Controller(), None, list[int]()
    for number in range(120):
        choice = controller.choose(known, (True, True))
        gain = 1.0 if choice == 0 else (0.1 if number < 40 else 5.0)
        known = controller.learned(known, 2, choice, gain, 1.0)
        taken.append(choice)
    assert taken[20:40].count(1) <= 3
    assert taken[-20:].count(1) >= 15


def test_the_safe_choice_is_taken_regularly_and_after_every_failure() -> None:
    taken = simulated([1.0, 100.0], 100, longest=5)
    longest = max(len(run) for run in "".join(map(str, taken)).split("0"))
    assert longest == 5
    controller = Controller()
    known = controller.learned(None, 2, 1, 0.0, 1.0)
    assert known.failed
    assert controller.choose(known, (True, True)) == 0
    assert controller.choose(Experience(known.choices), (True, False)) == 0


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(mlo.InputError, match="forgetting"):
        Controller(forgetting=1.0)
