"""The evolution problems of the gallery: their truths satisfy them, or are computed with an error that is stated."""

from math import pi

import numpy as np
import pytest
import torch
from scipy.fft import dct, idct
from scipy.integrate import solve_ivp

from multilevel_opt.errors import InputError
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import Evolution
from multilevel_opt.pde.derivatives import derivative
from problems import AllenCahn, Burgers, Convection, Heat, KdV, Reaction, Wave
from problems.etd import advanced, cosine_coefficients, reference


@pytest.mark.parametrize(
    "problem",
    [
        Convection(points=40),
        Convection(beta=3.5, points=40),
        Reaction(points=40),
        Reaction(rho=2, points=40),
        Wave(points=40),
        Wave(beta=2, points=40),
        KdV(points=40),
        KdV(fast=5, slow=3, points=40),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_truth_satisfies_equations_and_conditions(problem: Evolution) -> None:
    assert max(problem.defects().values()) < 1e-8


def test_a_wrong_truth_shows() -> None:
    class Wrong(Wave):
        def exact(self, z: torch.Tensor) -> torch.Tensor:
            return super().exact(z) + 1e-6 * z[:, 1] ** 2

    assert Wrong(points=40).defects()["the equation"] > 1e-6


@pytest.mark.parametrize("kind", [Convection, Reaction, Wave, KdV, Heat, Burgers])
def test_every_solution_starts_as_the_truth_does(kind: type[Evolution]) -> None:
    problem = kind(width=5, points=30, slabs=1)
    z = problem.cloud.initial.points
    torch.testing.assert_close(problem.solution(problem.x0, z), problem.exact(z), rtol=0, atol=1e-12)
    if kind is Wave:
        u = problem.function(problem.x0)
        assert float(derivative(lambda y: u(y)[:, None], z, (1,)).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", [Convection, Reaction, Wave, KdV, AllenCahn])
def test_rows_are_derivatives(kind: type[Evolution]) -> None:
    made = kind(points=20, width=3, slabs=1)
    r, jacobian = made.residual.linearize(made.x0)
    expected = dense_jacobian(made.residual, made.x0, len(r))
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


def test_the_cosine_series_is_that_of_the_start() -> None:
    a, k = cosine_coefficients(4000)
    x = np.linspace(-0.99, 0.99, 41)
    assert np.cos(pi * np.outer(x, k)) @ a == pytest.approx(x**2 * np.cos(pi * x), abs=1e-6)


def test_allen_cahn_agrees_with_an_implicit_method_of_lines() -> None:
    d, n, t = 2e-3, 150, 0.6
    x = (np.arange(n) + 0.5) / n
    symbol = -d * (pi * np.arange(n)) ** 2

    def slope(_: float, u: np.ndarray) -> np.ndarray:
        return idct(symbol * dct(u)) + 5 * (u - u**3)

    def slopes(_: float, u: np.ndarray) -> np.ndarray:
        return matrix + np.diag(5 - 15 * u**2)

    matrix = idct(symbol[:, None] * dct(np.eye(n), axis=0), axis=0)
    found = solve_ivp(slope, (0, t), x**2 * np.cos(pi * x), "Radau", rtol=1e-7, atol=1e-9, jac=slopes).y[:, -1]
    z = torch.stack([torch.as_tensor(x), torch.full((n,), t, dtype=torch.float64)], dim=1)
    assert reference(d, 5.0)(z).numpy() == pytest.approx(found, abs=2e-5)


def test_the_error_of_the_reference_is_what_it_says() -> None:
    truth = reference(2e-3, 5.0)
    assert truth.error < 1e-7
    times = truth.times.numpy()
    twice = advanced(2e-3, 5.0, truth.values.shape[1], times, steps=2)
    assert np.abs(twice - truth.values.numpy()).max() < 1e-8
    halfway = np.insert(times, np.arange(1, len(times)), (times[1:] + times[:-1]) / 2)
    between = advanced(2e-3, 5.0, 256, halfway)[1::2]
    x = np.linspace(-0.9, 0.9, 9)  # away from the kink, for which 256 modes are few
    for j in (20, 100, 399):
        z = torch.tensor([[place, halfway[2 * j + 1]] for place in x])
        assert truth(z).numpy() == pytest.approx(np.cos(pi * np.outer(x, np.arange(256))) @ between[j], abs=1e-6)


def test_allen_cahn_satisfies_its_equation() -> None:
    problem = AllenCahn(diffusion=2e-3, points=40, width=3)
    z = problem.interior_points[problem.interior_points[:, 1] > 0.05]
    u, u_t, u_xx = (derivative(lambda y: problem.exact(y)[:, None], z, axes)[:, 0] for axes in ((), (1,), (0, 0)))
    assert float((u_t - 2e-3 * u_xx - 5 * (u - u**3)).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Convection(beta=0), "beta must be positive, got 0"),
        (lambda: Reaction(rho=-1), "rho must be positive, got -1"),
        (lambda: Wave(beta=0), "beta must be a whole number >= 1, got 0"),
        (lambda: AllenCahn(diffusion=1e-7), "diffusion must be at least 1e-5, got 1e-07"),
        (lambda: KdV(fast=1), "speeds must satisfy fast > slow > 0, got 1 and 2"),
    ],
)
def test_bad_coefficients_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]
