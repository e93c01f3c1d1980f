"""The minimal surface by elements and a network in pieces: the plain functions, solved by partitioned steps."""

import pytest
import torch

import multilevel_opt as mlo
from problems.subdomains import Subdomains
from problems.surface_elements import MinimalSurfaceElements
from problems.surfaces import MinimalSurface

BASES = {"tr2": mlo.TR2, "ar2": mlo.AR2}


@pytest.mark.parametrize("boundary", ["saddle", "waves", "hump"])
def test_the_surface_by_elements_is_the_surface(boundary: str) -> None:
    x, v = torch.randn(2, 49, dtype=torch.float64)
    ours, known = (
        make(n=7, boundary=boundary).objective.expand(x, 2) for make in (MinimalSurfaceElements, MinimalSurface)
    )
    torch.testing.assert_close(ours.value, known.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(ours.gradient, known.gradient, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(ours.forms[1](v), known.forms[1](v), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", ["pcs", "plbfgs", "plse"])
def test_partitioned_steps_find_the_surface(name: str, levels: int) -> None:
    problem = MinimalSurfaceElements(n=15)
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name])
    stop = mlo.GradientNorm(1e-7) | mlo.MaxIterations(60)
    found = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(levels), stop=stop)
    known = MinimalSurface(n=15)
    exact = mlo.minimize(known.objective, known.x0, mlo.TR2, stop=mlo.GradientNorm(1e-9))
    assert found.success
    assert found.fun == pytest.approx(exact.fun, rel=1e-10)
    assert {event.level for event in found.history} == set(range(levels))


@pytest.mark.parametrize("base", ["tr2", "ar2"])
def test_partitioned_steps_take_cycles_of_three_grids(base: str) -> None:
    problem = MinimalSurfaceElements(n=15)
    solver = mlo.with_curvature(BASES[base], mlo.CURVATURES["plse"])
    stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(80)
    found = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(3), stop=stop)
    assert found.success
    assert {event.level for event in found.history} == {0, 1, 2}


def test_secant_curvature_of_one_vector_takes_cycles_on_grids() -> None:
    problem = MinimalSurface(n=15)
    solver = mlo.with_curvature(mlo.TR2, mlo.LBFGS())
    stop = mlo.GradientNorm(1e-5) | mlo.MaxIterations(100)
    assert mlo.minimize(problem.objective, problem.x0, solver, hierarchy=problem.hierarchy(2), stop=stop).success


def test_the_network_in_pieces_satisfies_its_equation() -> None:
    problem = Subdomains(networks=4, width=3, points=2)
    x0 = problem.x0 + 0.3
    (group,) = problem.residuals()
    at = group.data[0].clone().requires_grad_()
    u, one, two = problem._jet(x0[group.indices], at)
    (slope,) = torch.autograd.grad(u.sum(), at, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), at)
    torch.testing.assert_close(one, slope, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(two, bend, rtol=1e-9, atol=1e-9)
    numbers = mlo.structure(problem.objective.exact)  # type: ignore[arg-type]
    assert (numbers.elements, numbers.sizes, numbers.degrees) == (3, (20, 20, 20), (1, 1.5, 2))


def test_a_network_in_pieces_is_trained_by_partitioned_steps() -> None:
    problem = Subdomains(networks=6, width=6, points=6, frequency=3)
    start = float(problem.objective(problem.x0))
    reached = {}
    for name in ("pse", "lbfgs"):
        solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name])
        reached[name] = mlo.minimize(problem.objective, problem.x0, solver, stop=mlo.MaxIterations(60)).fun
    assert reached["pse"] < 1e-2 * start
    assert reached["pse"] < reached["lbfgs"]
    with pytest.raises(mlo.InputError, match="give at least 2"):
        Subdomains(networks=1)


@pytest.mark.parametrize(
    ("name", "base", "levels"),
    [("plbfgs", "tr2", 1), ("plsr1", "ar2", 1), ("plse", "tr2", 1), ("plse", "tr2", 2), ("plbfgs", "ar2", 2)],
)
def test_a_loss_of_an_equation_decreases_on_one_and_two_levels(name: str, base: str, levels: int) -> None:
    problem = Subdomains(networks=3, width=3, points=3, frequency=3)
    solver = mlo.with_curvature(BASES[base], mlo.CURVATURES[name])
    hierarchy = mlo.random_subspace(problem.x0, levels)
    found = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=hierarchy, stop=mlo.MaxIterations(12))
    assert found.fun < 0.5 * float(problem.objective(problem.x0))
    assert {event.level for event in found.history} == set(range(levels))
    assert found.ledgers[0].counts["hvp"] == 0
