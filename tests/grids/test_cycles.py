"""Cycles as values, nested iteration, work, and the command line on grids."""

import itertools
import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

import multilevel_opt as mlo
import problems
from multilevel_opt.cli import main
from multilevel_opt.errors import InputError
from tests.references.newton import newton

BIG_THREE = {
    "convex-exponential": problems.ConvexExponential,
    "bratu": problems.Bratu,
    "minimal-surface": problems.MinimalSurface,
}
SECOND = {"TR2": mlo.TR2, "AR2": mlo.AR2}
PLAIN = mlo.OnOneLevel(mlo.Steihaug(max_products=5))


def run(problem: problems.GridProblem, solver: mlo.Multilevel, levels: int, residual: float = 1e-6) -> mlo.Result:
    stop = mlo.GradientNorm(residual * problem.h ** (problem.dim / 2)) | mlo.MaxIterations(60)
    return mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(levels), stop=stop)


def work(result: mlo.Result, problem: problems.GridProblem) -> float:
    """Flops over those of a Hessian product."""
    second = problem.objective.expand(problem.x0, 2).second
    assert second is not None
    return result.flops / second.operator.flops


@pytest.mark.parametrize("solver", SECOND)
@pytest.mark.parametrize("name", BIG_THREE)
def test_runs_end_at_the_solution_of_newtons_method(name: str, solver: str) -> None:
    problem = BIG_THREE[name](n=15, start="random", amplitude=2.0, seed=8)
    result = run(problem, SECOND[solver], 3)
    assert result.success
    torch.testing.assert_close(result.x, newton(problem.objective, result.x), rtol=0, atol=1e-6)
    assert result.fun <= float(problem.objective(problem.x0))


@pytest.mark.parametrize("name", BIG_THREE)
def test_work_is_small_and_does_not_grow(name: str) -> None:
    spent = []
    for n, levels in ((31, 3), (127, 5)):
        problem = BIG_THREE[name](n=n, start="random", amplitude=6.0, seed=31)
        result = run(problem, mlo.TR2, levels)
        assert result.success
        spent.append(work(result, problem))
    assert spent[1] < 1.5 * spent[0]
    assert spent[1] < 150
    on_one_level = BIG_THREE[name](n=63)
    assert work(run(on_one_level, mlo.TR2, 1), on_one_level) > 2 * spent[1]  # negative control


@pytest.mark.parametrize("name", ["JournalBearing", "OptimalControl", "OptimalDesign", "MoreBV2D", "Dirichlet3D"])
def test_other_problems_are_solved(name: str) -> None:
    kind = getattr(problems, name)
    problem = kind(n=15) if kind.dim == 3 else kind(n=30)
    bounded = problem.x_bounds is not None
    assert run(problem, mlo.TR2, 3, 1e-5).success
    assert bounded == (name == "JournalBearing")


def test_far_starts_of_a_function_without_lower_bound() -> None:
    problem = problems.Bratu(n=31, start="positive", amplitude=6.0, seed=3)
    assert run(problem, mlo.TR2, 3).success  # the coarsest solve is tried again from zero
    alone = run(problem, mlo.TR2.replace(cycle=mlo.Cycle(nested=False)), 3)
    assert alone.status in (mlo.Status.UNBOUNDED, mlo.Status.MAX_ITERATIONS, mlo.Status.STALLED)


# -- cycles -----------------------------------------------------------------------------------------------------------


def fixed(shape: str, nested: bool = False, **options: int) -> mlo.Multilevel:
    cycle = mlo.Cycle(shape=shape, nested=nested, kappa=0.0, coarse_iterations=30, reduction=1e-3, **options)
    return mlo.TR2.replace(cycle=cycle, smoother=PLAIN)


@pytest.mark.parametrize(("shape", "visits"), [("V", [1, 1, 1]), ("W", [1, 2, 4]), ("F", [1, 2, 3])])
def test_cycles_visit_levels_as_often_as_they_should(shape: str, visits: list[int]) -> None:
    problem = problems.Dirichlet(n=31, start="random", seed=1)
    solver = fixed(shape, pre=2, post=1)
    cycle = replace(solver.cycle, reduction=0.0)  # so that no coarse solve ends early
    solver = solver.replace(globalization=mlo.TrustRegion(radius=1e3), cycle=cycle)
    stop = mlo.MaxIterations(4)
    result = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(4), stop=stop)
    coarse = Counter(event.level for event in result.history if event.kind == "coarse")
    taylor = Counter(event.level for event in result.history if event.kind == "taylor")
    assert [coarse[level] for level in range(3)] == visits
    assert [taylor[level] for level in range(3)] == [3 * v for v in visits]
    kinds = [event.kind for event in result.history if event.level == 0]
    assert kinds == ["taylor", "taylor", "coarse", "taylor"]


@pytest.mark.parametrize("shape", ["V", "W", "F"])
@pytest.mark.parametrize("name", BIG_THREE)
def test_cycles_with_few_steps_of_smoothing_converge(name: str, shape: str) -> None:
    problem = BIG_THREE[name](n=31, start="random", amplitude=1.0, seed=2)
    result = run(problem, fixed(shape), 4)
    assert result.success
    assert result.coarse_steps[1] <= result.coarse_steps[0] // 2


def test_cycles_of_first_order_methods_decrease() -> None:
    problem = problems.ConvexExponential(n=31)
    for solver in (mlo.TR1, mlo.AR1):
        cycle = mlo.Cycle(shape="V", coarse_iterations=20, kappa=0.0)
        result = mlo.minimize(
            problem.objective,
            problem.x0,
            solver.replace(cycle=cycle),
            hierarchy=problem.hierarchy(4),
            stop=mlo.MaxIterations(30),
        )
        losses = [event.loss for event in result.history if event.level == 0]
        assert all(b <= a + 1e-14 for a, b in itertools.pairwise(losses))  # 1e-14: the rounding of f
        assert losses[-1] < losses[0]


def test_bad_cycles_are_refused() -> None:
    with pytest.raises(InputError, match="unknown shape 'X'"):
        mlo.Cycle(shape="X")
    with pytest.raises(InputError, match="smooth nothing"):
        mlo.Cycle(shape="V", pre=0, post=0)


def test_coarse_steps_stay_in_the_ball_of_the_level_above() -> None:
    problem = problems.ConvexExponential(n=15, start="random", amplitude=6.0, seed=1)
    solver = fixed("V", pre=0, post=1).replace(globalization=mlo.TrustRegion(radius=0.5))
    stop = mlo.MaxIterations(1)
    result = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(2), stop=stop)
    assert result.history[-1].kind == "coarse"
    norm = problem.hierarchy(2).levels[0].transfer.norm()  # type: ignore[union-attr]
    assert float((result.x - problem.x0).norm()) <= 0.5 * (1 + 1e-9)  # ‖s‖ ≤ ‖P‖ ‖s_c‖
    assert max(event.scalar for event in result.history if event.level == 1) <= 0.5 / norm * (1 + 1e-9)


# -- nested iteration -------------------------------------------------------------------------------------------------


def test_nested_iteration_climbs_from_the_coarsest_level() -> None:
    problem = problems.MinimalSurface(n=31)
    result = run(problem, mlo.TR2, 3)
    levels = [event.level for event in result.history]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {0, 1, 2}
    without = run(problem, mlo.TR2.replace(cycle=mlo.Cycle(nested=False, contraction=0.5)), 3)
    assert without.history[0].level == 0
    assert without.nit > result.nit


def test_a_better_start_is_kept() -> None:
    problem = problems.ConvexExponential(n=31)
    solution = newton(problem.objective, torch.zeros_like(problem.x0))
    hierarchy = problem.hierarchy(3)
    result = mlo.minimize(problem.objective, solution, mlo.TR2, hierarchy=hierarchy, stop=mlo.GradientNorm(1e-8))
    assert result.nit == 0
    assert torch.equal(result.x, solution)


def test_time_limits_hold_on_the_way_up() -> None:
    problem = problems.MinimalSurface(n=31)
    result = mlo.minimize(
        problem.objective, problem.x0, mlo.TR2, hierarchy=problem.hierarchy(3), stop=mlo.MaxSeconds(0.0)
    )
    assert result.status is mlo.Status.MAX_SECONDS
    assert result.history == ()


def test_small_decreases_are_measured_by_gradients() -> None:
    """Where values alone decide, the same run ends further from the solution."""
    problem = problems.ConvexExponential(n=63)
    reached = {}
    for joint in (True, False):
        f = problem.energy(problem.n)
        f.joint = joint
        solver = fixed("V", nested=True)
        stop = mlo.GradientNorm(1e-12 * problem.h) | mlo.MaxIterations(60)
        result = mlo.minimize(f, problem.x0, solver, hierarchy=problem.hierarchy(4), stop=stop)
        reached[joint] = problem.residual(result.x)
    assert reached[True] < 1e-8
    assert reached[True] < 0.1 * reached[False]


# -- front ends -------------------------------------------------------------------------------------------------------


def test_the_command_line_solves_on_levels(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "solve",
        "minimal-surface",
        "n=31",
        "--method",
        "tr2",
        "--levels",
        "3",
        "--until",
        "residual=1e-6",
        "--json",
    ]
    assert main(words) == 0
    out = capsys.readouterr()
    record = json.loads(out.out)
    assert record["level_parameters"] == [961, 225, 49]
    assert "preconditioned by multigrid" in record["linear_algebra"]
    assert (
        main(["solve", "bratu", "n=15", "--method", "ar2", "--levels", "2", "--coarsening", "galerkin", "--quiet"]) == 0
    )
    assert main(["solve", "poisson", "nu=2", "width=8", "--method", "tr2", "--levels", "2"]) == 2
    assert "offers no hierarchy" in capsys.readouterr().err


def test_hierarchies_of_grids_are_printed_and_drawn() -> None:
    hierarchy = problems.Bratu(n=31).hierarchy(3)
    table = str(hierarchy).splitlines()
    assert [line.split()[1] for line in table[1:]] == ["961", "225", "49"]
    graph = hierarchy.to_networkx()
    assert [graph.nodes[level]["unknowns"] for level in graph] == [961, 225, 49]
    assert graph.edges[0, 1]["nnz"] == hierarchy.levels[0].nnz == 45**2
    moved = replace(hierarchy).to(torch.zeros(0, dtype=torch.float32))
    assert moved.nested


def test_single_precision() -> None:
    problem = problems.Bratu(n=31, dtype="float32")
    result = run(problem, mlo.TR2, 3, 1e-2)
    assert result.x.dtype == torch.float32
    assert result.success
