"""Gram matrices and damped least squares: primal = dual = dense numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg import cholesky
from multilevel_opt.linalg.cholesky import DampedSystem, factor, gram


@pytest.fixture(params=["scipy", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to the same numbers; the second is that of other devices."""
    if request.param == "torch":
        monkeypatch.setattr(cholesky, "PRODUCT", {})
    monkeypatch.setattr(cholesky, "SMALL", 64)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [0, 1, 5, 63, 64, 65, 131])
def test_gram_has_the_lower_triangle(k: int, dtype: torch.dtype) -> None:
    a = torch.randn(k, 9, dtype=torch.float64).to(dtype)
    for matrix in (a, a.T.contiguous().T, a[:, ::2]):  # the primal form hands over a transposed view
        expected = matrix.double() @ matrix.double().T
        found = gram(matrix)
        assert found.dtype == dtype
        torch.testing.assert_close(
            torch.tril(found.double()), torch.tril(expected), rtol=0.02, atol=1e-5 if dtype != torch.bfloat16 else 0.1
        )


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("k", [1, 4, 70])
def test_a_factor_reads_and_fills_the_lower_triangle(k: int, by_columns: bool, dtype: torch.dtype) -> None:
    a = torch.randn(k, k + 3, dtype=torch.float64)
    whole = a @ a.T + torch.eye(k, dtype=torch.float64)
    given = (whole.tril() + 7.0 * torch.ones_like(whole).triu(1)).to(dtype)  # above it lies anything
    found = factor(given.T.contiguous().T if by_columns else given)
    assert found is not None
    expected = torch.from_numpy(np.linalg.cholesky(whole.numpy()))
    torch.testing.assert_close(found.tril().double(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        torch.cholesky_solve(torch.ones(k, 1, dtype=dtype), found).double(),
        torch.linalg.solve(whole, torch.ones(k, 1, dtype=torch.float64)),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("where", [(0, 0), (2, 1), (4, 4)])
@pytest.mark.parametrize("what", [float("nan"), -1e9])
def test_no_factor_of_what_is_not_positive_definite(where: tuple[int, int], what: float) -> None:
    matrix = 10.0 * torch.eye(5, dtype=torch.float64)
    assert factor(matrix.clone()) is not None
    matrix[where] = what
    assert factor(matrix) is None


def system(m: int, n: int, dual: bool, linear: bool) -> tuple[DampedSystem, Tensor, Tensor, Tensor, Ledger]:
    g = torch.Generator().manual_seed(10 * m + n)
    r, J, c = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((m,), (m, n), (n,)))
    gradient = J.T @ r + (c if linear else 0.0)
    ledger = Ledger()
    return DampedSystem(r, J, c if linear else None, gradient, dual, ledger), J, r, gradient, ledger


@pytest.mark.parametrize("damping", [1e-4, 0.3, 1e3])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize(("m", "n"), [(4, 9), (9, 4), (6, 6), (1, 3), (3, 1)])
def test_primal_and_dual_steps_are_the_dense_solution(m: int, n: int, dual: bool, linear: bool, damping: float) -> None:
    damped, J, _, gradient, _ = system(m, n, dual, linear)
    assert damped.factorize(damping)
    A = J.numpy().T @ J.numpy() + damping * np.eye(n)
    expected = torch.from_numpy(np.linalg.solve(A, -gradient.numpy()))
    torch.testing.assert_close(damped.solve(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dual", [False, True])
def test_one_gram_matrix_serves_every_damping(dual: bool) -> None:
    damped, J, _, gradient, ledger = system(5, 7, dual, True)
    paid = ledger.flops
    for damping in (1.0, 1e-3, 10.0):
        assert damped.factorize(damping)
        expected = torch.linalg.solve(J.T @ J + damping * torch.eye(7, dtype=torch.float64), -gradient)
        torch.testing.assert_close(damped.solve(), expected)
    size = 5 if dual else 7
    back = 2.0 * size**2 + (2.0 * 5 * 7 if dual else 0.0)
    assert ledger.flops - paid == pytest.approx(3 * (size**3 / 3 + back))
    assert paid == pytest.approx(5 * 7 * size + (2.0 * 5 * 7 if dual else 0.0))


@pytest.mark.parametrize("dual", [False, True])
def test_correction_is_the_damped_solution_of_the_second_derivative(dual: bool) -> None:
    damped, J, _, _, _ = system(5, 7, dual, False)
    second = torch.randn(5, dtype=torch.float64)
    assert damped.factorize(0.2)
    expected = -0.5 * torch.linalg.solve(J.T @ J + 0.2 * torch.eye(7, dtype=torch.float64), J.T @ second)
    torch.testing.assert_close(damped.correct(second), expected)


def test_a_singular_matrix_is_reported() -> None:
    J = torch.ones(3, 2, dtype=torch.float64)
    damped = DampedSystem(torch.ones(3, dtype=torch.float64), J, None, J.sum(0), False, Ledger())
    assert not damped.factorize(0.0)
    assert not damped.factorize(-1.0)
    with pytest.raises(AssertionError, match="factorize"):
        damped.solve()
    assert damped.factorize(1e-6)


def test_nan_is_reported_as_singular() -> None:
    J = torch.full((3, 2), float("nan"), dtype=torch.float64)
    damped = DampedSystem(torch.ones(3, dtype=torch.float64), J, None, J.sum(0), False, Ledger())
    assert not damped.factorize(1.0)
