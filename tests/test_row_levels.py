"""Levels of fewer rows: nested, coherent, free transfers, and a gate that leaves a level that overfits."""

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.coarse import coarse_model
from multilevel_opt.curvature import GaussNewton
from multilevel_opt.gate import WINDOW, Gate
from multilevel_opt.ledger import Ledger
from multilevel_opt.methods import METHODS
from multilevel_opt.solve import solve
from problems import Kovasznay, Poisson, PoissonHoles

F64 = {"dtype": torch.float64}
STOP = mlo.GradientNorm(1e-8) | mlo.MaxIterations(40)


def square(**changes: object) -> Poisson:
    return Poisson(**{"dim": 2, "k": 1, "width": 10, "points": 256, "seed": 3, **changes})  # type: ignore[arg-type]


def line(n_rows: int = 40, n: int = 3) -> mlo.LeastSquares:
    """A curve through data with a little noise."""
    t = torch.linspace(-1, 1, n_rows, **F64)
    data = torch.exp(-t) + 0.1 * torch.sin(37 * t)
    return mlo.LeastSquares(lambda x: (x * t[:, None] ** torch.arange(n)).sum(1) + x[0] ** 2 * t - data)


def points(level: mlo.Level) -> list[set[tuple[float, ...]]]:
    blocks = level.objective.residual.blocks  # type: ignore[union-attr]
    return [set(map(tuple, block.points.tolist())) for block in blocks]


@pytest.mark.parametrize(
    "problem", [square(), Kovasznay(width=6, depth=1, points=200), PoissonHoles(width=6, points=150)]
)
def test_levels_are_nested_and_held_out_points_are_not_trained_on(problem: mlo.PDEProblem) -> None:
    hierarchy = mlo.rows(problem.objective, problem.x0, 3)
    every = above = [set(map(tuple, block.points.tolist())) for block in problem.residual.blocks]
    for level in hierarchy:
        own = points(level)
        held = [set(map(tuple, b.points.tolist())) for b in level.held_out.residual.blocks]  # type: ignore[union-attr]
        for whole, fine, coarse, other in zip(every, above, own, held, strict=True):
            assert coarse < fine
            assert not coarse & other
            assert other <= whole
        above = own
    assert [level.rows for level in hierarchy] == sorted((level.rows for level in hierarchy), reverse=True)  # type: ignore[type-var]


def test_conditions_stay_as_dense_as_the_equation() -> None:
    hierarchy = mlo.rows(square(points=1024).objective, square().x0, 3)
    (inner, boundary) = (len(found) for found in points(hierarchy.levels[1]))
    assert inner == 256
    assert boundary == pytest.approx(len(square(points=1024).boundary_points) / 2, abs=1)


def test_the_loss_of_a_level_approximates_that_of_all_rows() -> None:
    problem = square(points=1024)
    hierarchy = mlo.rows(problem.objective, problem.x0, 3)
    whole = float(problem.objective(problem.x0))
    for level in hierarchy:
        assert float(level.objective(problem.x0)) == pytest.approx(whole, rel=0.2)  # type: ignore[misc]
        assert float(level.held_out(problem.x0)) == pytest.approx(whole, rel=0.2)  # type: ignore[misc]
    unweighted = float(mlo.LeastSquares(problem.residual.rows(torch.arange(256)))(problem.x0))
    assert unweighted < 0.5 * whole  # without weights a quarter of the rows has a quarter of the loss


def test_rows_of_any_residual_are_weighted() -> None:
    f, x = line(4000), torch.ones(3, **F64)
    level = mlo.rows(f, x, 2, fraction=0.25).levels[0]
    assert level.rows == 1000
    assert float(level.objective(x)) == pytest.approx(float(f(x)), rel=0.1)  # type: ignore[misc]
    r, jacobian = level.objective.residual.linearize(x)  # type: ignore[union-attr]
    torch.testing.assert_close(level.objective.residual(x), r)  # type: ignore[union-attr]
    assert jacobian.shape == (1000, 3)


def test_only_the_points_of_a_level_are_evaluated() -> None:
    seen: list[int] = []

    class Counting(Poisson):
        def equation(self, u: mlo.pde.Field, z: Tensor) -> Tensor:
            seen.append(len(z))
            return super().equation(u, z)

    problem = Counting(dim=2, width=4, points=400)
    level = mlo.rows(problem.objective, problem.x0, 3).levels[1]
    seen.clear()
    level.objective(problem.x0)  # type: ignore[misc]
    assert seen == [100]


def test_the_coarse_model_is_coherent_and_transfers_cost_nothing() -> None:
    problem = square()
    level = mlo.rows(problem.objective, problem.x0, 2).levels[0]
    assert level.transfer is not None
    assert level.objective is not None
    assert level.nnz == 0
    assert level.transfer.norm() == 1.0
    assert level.transfer.prolong(problem.x0) is problem.x0
    model = problem.objective.expand(problem.x0, 1)
    mu, start = coarse_model(problem.objective, model, level, level.transfer, problem.x0, 1, GaussNewton(), Ledger())
    torch.testing.assert_close(mu.expand(start, 1).gradient, model.gradient)
    plain = level.objective.expand(problem.x0, 1).gradient
    assert float((plain - model.gradient).norm()) > 1e-3 * float(model.gradient.norm())


def test_one_level_is_levenberg_marquardt() -> None:
    runs = [
        solve(square(), method, levels=levels, max_iterations=15).result for method, levels in (("rows", 1), ("lm", 1))
    ]
    torch.testing.assert_close(runs[0].x, runs[1].x, rtol=0, atol=0)
    assert [event.loss for event in runs[0].history] == [event.loss for event in runs[1].history]


def test_a_deferred_jacobian_is_the_same_model() -> None:
    problem = square()
    now, later = (f.expand(problem.x0, 2) for f in (problem.objective, problem.objective.deferred()))
    v = torch.randn_like(problem.x0)
    torch.testing.assert_close(later.gradient, now.gradient)
    torch.testing.assert_close(later.hvp(0 * v, v), now.hvp(0 * v, v))


def test_the_jacobian_of_all_rows_waits_until_it_is_needed() -> None:
    f = line().deferred().counted(Ledger())
    model = f.expand(torch.ones(3, **F64), 2)
    assert (f.ledger.counts["jacobian"], f.ledger.counts["vjp"]) == (0, 1)
    assert model.normal is not None
    model.normal.jacobian.matvec(torch.ones(3, **F64))
    model.normal.jacobian.matvec(torch.ones(3, **F64))
    assert f.ledger.counts["jacobian"] == 1


def test_the_gate_leaves_a_level_that_interpolates_its_rows_and_the_record_says_why() -> None:
    f, x = line(48, 12), torch.zeros(12, **F64)
    hierarchy = mlo.rows(f, x, 3)  # 12 rows for 12 unknowns
    result = mlo.least_squares(f, x, METHODS["rows"].solver, hierarchy=hierarchy, stop=STOP)
    notes = [event.note for event in result.history if event.level == 2 and "left" in event.note]
    assert len(notes) == 1
    assert "held-out rows" in notes[0]
    cycle = METHODS["rows"].solver.cycle
    blind = METHODS["rows"].solver.replace(cycle=mlo.Cycle(**{**vars(cycle), "nested_overfit": 1e30}))
    other = mlo.least_squares(f, x, blind, hierarchy=hierarchy, stop=STOP)
    reached = [min(e.loss for e in run.history if e.level == 2) for run in (result, other)]
    assert reached[1] < 1e-10 * float(f(x)) or reached[1] < reached[0]  # without a gate it goes on to interpolation
    assert result.fun == pytest.approx(other.fun, rel=1e-6)


def test_the_gate_keeps_the_point_of_the_lowest_held_out_loss() -> None:
    held = mlo.Function(lambda x: (x[0] - 3) ** 2 + 1)
    f = mlo.Function(lambda x: torch.exp(-x[0]))
    states = [mlo.AR1.init(f, torch.tensor([float(k)], **F64)) for k in range(12)]
    gate = Gate(held, 1.3, states[0])
    left = next(k for k, state in enumerate(states[1:], 1) if gate(mlo.multilevel.replace(state, moved=True)))
    assert float(gate.best.x) == 3.0
    assert left >= WINDOW
    patient = Gate(
        mlo.Function(lambda x: 10 * torch.exp(-x[0])), 1.3, states[0]
    )  # ten times as large, and falling as fast
    assert not any(patient(mlo.multilevel.replace(state, moved=True)) for state in states)


def test_the_target_can_be_reached_on_a_coarse_level() -> None:
    run = solve(square(points=1024, width=30), "rows", levels=3, until={"relative_l2": 3e-2})
    assert run.result.success
    assert run.record["relative_l2"] <= 3e-2
    assert run.record["level_residuals"][1] < run.record["level_residuals"][0]
    assert run.record["iterations_per_level"][0] == 0


def test_a_seed_makes_a_run() -> None:
    runs = [solve(square(width=6), "rows", levels=3, until={"loss": 1.0}) for _ in range(2)]
    histories = [[(e.level, e.kind, e.loss, e.scalar) for e in run.result.history] for run in runs]
    assert histories[0] == histories[1]


def residual_of(kind: str) -> mlo.LeastSquares:
    t = torch.linspace(0, 1, 30, **F64)
    return mlo.LeastSquares(
        {
            "one row": lambda x: (x.sum() - 1).reshape(1),
            "fewer rows than unknowns": lambda x: torch.stack([x[0] - 1, x[1] * x[2] - 2]),
            "rank deficient": lambda x: (x[0] + x[1] - 1) * t,
            "zero": lambda x: 0 * x[0] * t,
            "NaN away from the start": lambda x: torch.log(x[0] + 1) * t + torch.sqrt(x[1] + 1.5) - 9,
            "huge": lambda x: 1e6 * (x[0] * t - 1),
        }[kind]
    )


@pytest.mark.parametrize(
    "kind", ["one row", "fewer rows than unknowns", "rank deficient", "zero", "NaN away from the start", "huge"]
)
@pytest.mark.parametrize("levels", [1, 4])
def test_hard_residuals_end_with_a_finite_point(kind: str, levels: int) -> None:
    f, x = residual_of(kind), torch.zeros(3, **F64)
    hierarchy = mlo.rows(f, x, levels)
    result = mlo.least_squares(f, x, METHODS["rows"].solver, hierarchy=hierarchy, stop=STOP)
    assert bool(torch.isfinite(result.x).all())
    assert result.fun <= float(f(x)) * (1 + 1e-12)
    plain = mlo.least_squares(f, x, mlo.LM, stop=STOP)
    assert result.fun <= max(1.01 * plain.fun, 1e-9 * float(f(x)) + 1e-20)


def test_what_has_no_rows_is_refused() -> None:
    with pytest.raises(mlo.UnsupportedCombination, match="least-squares objective, got Function"):
        mlo.rows(mlo.Function(lambda x: x @ x), torch.ones(2, **F64))
    with pytest.raises(mlo.InputError, match="fraction"):
        mlo.rows(line(), torch.ones(3, **F64), fraction=1.0)


def test_general_recursion_takes_row_levels_too() -> None:
    f, x = line(200), torch.zeros(3, **F64)
    result = mlo.least_squares(f, x, mlo.LM, hierarchy=mlo.rows(f, x, 2), stop=STOP)
    assert result.fun == pytest.approx(mlo.least_squares(f, x, mlo.LM, stop=STOP).fun, rel=1e-8)
