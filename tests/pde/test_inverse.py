"""The inverse problems and the driven cavity: truths, references, rows, and short runs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt.errors import InputError
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import PDEProblem
from problems import BurgersInverse, Cavity, ConductivityInverse
from problems.cavity import curl
from problems.cavity_lids import LIDS, convected, scraper
from problems.cavity_reference import flow

INVERSE = [BurgersInverse, ConductivityInverse]


@pytest.mark.parametrize(
    "problem",
    [
        BurgersInverse(points=50, width=3, measurements=30),
        BurgersInverse(points=50, width=3, measurements=30, viscosity=0.02, guess=0.1),
        ConductivityInverse(points=50, width=3, measurements=30),
        ConductivityInverse(points=50, width=3, measurements=30, contrast=-0.4),
    ],
)
def test_the_truth_satisfies_equation_and_data(problem: PDEProblem) -> None:
    assert max(problem.defects().values()) < 1e-8


@pytest.mark.parametrize("problem", INVERSE)
def test_noise_has_the_size_that_is_said(problem: type[BurgersInverse] | type[ConductivityInverse]) -> None:
    made = [problem(points=50, width=3, measurements=2000, noise=noise).conditions()[0] for noise in (0.0, 0.02)]
    clean, noisy = (condition.values for condition in made)  # type: ignore[attr-defined]
    assert float((noisy - clean).norm() / clean.norm()) == pytest.approx(0.02, rel=0.1)
    again = problem(points=50, width=3, measurements=2000, noise=0.02).conditions()[0]
    assert torch.equal(again.values, noisy)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "made",
    [*(problem(points=20, width=4, depth=2) for problem in INVERSE), Cavity(points=20, width=4, depth=2, lid="smooth")],
    ids=lambda p: type(p).__name__,
)
def test_rows_are_derivatives(made: PDEProblem) -> None:
    r, jacobian = made.residual.linearize(made.x0)
    expected = dense_jacobian(made.residual, made.x0, len(r))
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


def test_errors_of_parameters_vanish_at_the_truth() -> None:
    burgers = BurgersInverse(points=50, width=3, viscosity=0.01, guess=0.03)
    x = burgers.x0.clone()
    assert burgers.metrics["viscosity_error"](x) == pytest.approx(2.0)
    x[-1] = 1.0 / 3.0
    assert burgers.metrics["viscosity_error"](x) == pytest.approx(0.0, abs=1e-12)
    made = ConductivityInverse(points=50, width=3)
    x = made.x0.clone()
    x[-made.network.networks[1].size :] = 0.0  # type: ignore[attr-defined]
    truth = made.conductivity(made._test_points)
    expected = float((1.0 - truth).norm() / truth.norm())
    assert made.metrics["conductivity_error"](x) == pytest.approx(expected)


def test_a_short_run_finds_the_conductivity_roughly() -> None:
    problem = ConductivityInverse(points=100, width=8, contrast=0.5, measurements=100)
    result = mlo.solve(problem, "lm", until={"conductivity_error": 5e-2}, max_iterations=150).result
    assert result.success


@pytest.mark.parametrize("lid", LIDS)
def test_lifts_satisfy_the_conditions_on_the_walls(lid: str) -> None:
    s = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    zero, one = torch.zeros_like(s), torch.ones_like(s)
    for x, y in ((zero, s), (one, s), (s, zero), (s, one)):
        z = torch.stack([x, y], dim=1)
        speed = one if lid == "constant" else 16 * (s * (1 - s)) ** 2
        expected = torch.stack([speed * y if x is s else zero, zero], dim=1)
        torch.testing.assert_close(LIDS[lid](z, 100.0), zero, rtol=0, atol=1e-10)
        torch.testing.assert_close(curl(lambda y: LIDS[lid](y, 100.0), z), expected, rtol=0, atol=1e-9)


def laplacian(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda p: torch.func.hessian(f)(p).trace()


@pytest.mark.parametrize(("factor", "expected"), [(0.0, 0.0), (1.0, 8.0)])
def test_the_flow_in_a_corner_is_biharmonic(factor: float, expected: float) -> None:
    stream = lambda p: scraper(p[0], p[1]) + factor * p[0] ** 2 * p[1] ** 2  # noqa: E731
    found = laplacian(laplacian(stream))(torch.tensor([0.4, 0.7], dtype=torch.float64))
    assert float(found) == pytest.approx(expected, abs=1e-8)


def test_the_second_term_in_a_corner_balances_the_convection_of_the_first() -> None:
    first, second = (lambda p, f=f: f(p[0], p[1]) for f in (scraper, convected))
    point = torch.tensor([0.4, 0.7], dtype=torch.float64)
    slope, bend = torch.func.grad(first)(point), torch.func.grad(laplacian(first))(point)
    convection = slope[0] * bend[1] - slope[1] * bend[0]  # y points from the lid downwards
    assert float(laplacian(laplacian(second))(point)) == pytest.approx(float(convection), abs=1e-8)
    assert abs(float(convection)) > 0.1


@pytest.mark.slow
def test_the_cavity_agrees_with_published_extremes_of_the_velocity() -> None:
    """Marchi, Suero & Araki, J. Braz. Soc. Mech. Sci. Eng. 31 (2009), Re = 100, on the centre lines."""
    line = torch.linspace(0.05, 0.95, 901, dtype=torch.float64)
    half = torch.full_like(line, 0.5)
    found = flow(100.0, "constant")
    u = found.velocity(torch.stack([half, line], dim=1))[:, 0]
    v = found.velocity(torch.stack([line, half], dim=1))[:, 1]
    assert float(u[line < 0.9].min()) == pytest.approx(-0.21404, abs=5e-4)
    assert float(v.max()) == pytest.approx(0.17957, abs=5e-4)
    assert float(v.min()) == pytest.approx(-0.25380, abs=5e-4)


# Ghia, Ghia & Shin, J. Comput. Phys. 48 (1982), tables I and II, Re = 100: u on x = 0.5 by y, v on y = 0.5 by x
GHIA_U = {
    **{0.0547: -0.03717, 0.0625: -0.04192, 0.0703: -0.04775, 0.1016: -0.06434, 0.1719: -0.10150, 0.2813: -0.15662},
    **{0.4531: -0.21090, 0.5: -0.20581, 0.6172: -0.13641, 0.7344: 0.00332, 0.8516: 0.23151, 0.9531: 0.68717},
    **{0.9609: 0.73722, 0.9688: 0.78871, 0.9766: 0.84123},
}
GHIA_V = {
    **{0.0625: 0.09233, 0.0703: 0.10091, 0.0781: 0.10890, 0.0938: 0.12317, 0.1563: 0.16077, 0.2266: 0.17507},
    **{0.2344: 0.17527, 0.5: 0.05454, 0.8047: -0.24533, 0.8594: -0.22445, 0.9063: -0.16914, 0.9453: -0.10313},
    **{0.9531: -0.08864, 0.9609: -0.07391, 0.9688: -0.05906},
}


@pytest.mark.slow
def test_the_cavity_agrees_with_ghia() -> None:
    """Their grid of 129 points is good to 1e-2."""
    found = flow(100.0, "constant")
    for component, table in ((0, GHIA_U), (1, GHIA_V)):
        line, values = torch.tensor(list(table.items()), dtype=torch.float64).T
        half = torch.full_like(line, 0.5)
        z = torch.stack([half, line] if component == 0 else [line, half], dim=1)
        torch.testing.assert_close(found.velocity(z)[:, component], values, rtol=0, atol=1e-2)


def test_velocities_are_the_curl_of_the_stream_function() -> None:
    problem = Cavity(points=20, width=3, lid="smooth")
    z, h = torch.tensor([[0.3, 0.6], [0.7, 0.2]], dtype=torch.float64), 1e-6
    steps = h * torch.eye(2, dtype=torch.float64)
    slopes = [(problem.exact(z + step) - problem.exact(z - step)) / (2 * h) for step in steps]
    expected = torch.stack([slopes[1], -slopes[0]], 1)
    torch.testing.assert_close(problem.reference.velocity(z), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BurgersInverse(noise=-1), "noise must be at least 0, got -1"),
        (lambda: BurgersInverse(guess=0), "guess must be positive, got 0"),
        (lambda: ConductivityInverse(contrast=-1), "contrast must be above -1"),
        (lambda: ConductivityInverse(measurements=0), "measurements must be at least 1, got 0"),
        (lambda: Cavity(reynolds=-1), "reynolds must be positive, got -1"),
        (lambda: Cavity(lid="moving"), "lid 'moving' is unknown: choose one of constant, smooth"),
    ],
)
def test_bad_coefficients_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]
