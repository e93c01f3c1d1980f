"""Every problem of the gallery: its truth satisfies it, its rows are derivatives, a short run reduces the error."""

from math import asinh

import mpmath
import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.errors import InputError
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import PDEProblem
from problems import Burgers, Heat, Kovasznay, Liouville, Pendulum, PoissonHoles
from problems.burgers import cole_hopf

PROBLEMS = [
    Heat,
    Burgers,
    Kovasznay,
    Liouville,
    Pendulum,
    PoissonHoles,
]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_truth_satisfies_equations_and_conditions(problem: type[PDEProblem]) -> None:
    assert max(problem(points=50, width=3, seed=5).defects().values()) < 1e-8


@pytest.mark.parametrize(
    "problem",
    [
        Heat(a=0.03, k=2, until=2.0, points=40),
        Burgers(viscosity=0.1, points=40),
        Kovasznay(reynolds=7, points=20),
        Liouville(c=0.3, q=9, points=40),
        Pendulum(omega=0, k=1, a=-3, points=40),
        PoissonHoles(radius=0.35, points=40),
    ],
    ids=lambda p: type(p).__name__,
)
def test_so_it_does_for_other_coefficients(problem: PDEProblem) -> None:
    assert max(problem.defects().values()) < 1e-8


@pytest.mark.parametrize("problem", PROBLEMS)
def test_rows_are_derivatives(problem: type[PDEProblem]) -> None:
    made = problem(points=30, width=4)
    r, jacobian = made.residual.linearize(made.x0)
    expected = dense_jacobian(made.residual, made.x0, len(r))
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "problem",
    [Heat(k=1, depth=2, width=12, points=100), Liouville(points=100, width=12), Pendulum(k=2, width=20, points=40)],
    ids=lambda p: type(p).__name__,
)
def test_a_short_run_reduces_the_error(problem: PDEProblem) -> None:
    result = mlo.solve(problem, "lm", until={"relative_l2": 1e-2}, max_iterations=60).result
    assert result.success


@pytest.mark.parametrize(
    "problem",
    [Liouville(depth=1, width=8, points=30), Kovasznay(depth=1, width=8, points=20), Heat(depth=2, width=5, points=30)],
    ids=lambda p: type(p).__name__,
)
def test_levels_and_derivatives_obey_their_laws(problem: PDEProblem) -> None:
    findings = mlo.check.report(problem)
    assert [finding for finding in findings if not finding.passed] == []
    assert any("AMG" in finding.name for finding in findings)


@pytest.mark.parametrize(("x", "t"), [(0.3, 0.2), (-0.02, 0.9), (0.005, 1.0), (0.7, 0.01)])
def test_cole_hopf_agrees_with_adaptive_quadrature(x: float, t: float) -> None:
    nu = 0.01 / torch.pi
    mpmath.mp.dps = 40
    wide = 13 * mpmath.sqrt(4 * nu * t)

    def integrand(s: mpmath.mpf, factor: mpmath.mpf) -> mpmath.mpf:
        exponent = -mpmath.cos(mpmath.pi * (x - s)) / (2 * mpmath.pi * nu) - s * s / (4 * nu * t)
        return factor * mpmath.exp(exponent)

    nodes = mpmath.linspace(-wide, wide, 61)
    top = mpmath.quad(lambda s: integrand(s, mpmath.sin(mpmath.pi * (x - s))), nodes)
    bottom = mpmath.quad(lambda s: integrand(s, mpmath.mpf(1)), nodes)
    found = cole_hopf(torch.tensor([[x, t]], dtype=torch.float64), nu)
    assert float(found) == pytest.approx(float(-top / bottom), abs=1e-11)


def test_the_shock_gets_points_as_it_is_thin() -> None:
    inside = (Burgers(points=900).interior_points[:, 0].abs() < 0.1 / torch.pi).double().mean()
    assert float(inside) == pytest.approx(asinh(1) / asinh(10 * torch.pi), abs=0.02)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Heat(a=-1), "a, k and until must be positive"),
        (lambda: Burgers(viscosity=0), "viscosity must be positive, got 0"),
        (lambda: Kovasznay(reynolds=0), "reynolds must be positive, got 0"),
        (lambda: Liouville(q=0), "c and q must be positive"),
        (lambda: Pendulum(k=0), "omega must be >= 0 and k >= 1"),
        (lambda: PoissonHoles(radius=0.4), "radius must lie between 0 and 0.4, got 0.4"),
    ],
)
def test_bad_coefficients_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]
