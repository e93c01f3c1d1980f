"""Solves within a narrow band, against dense linear algebra."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.linalg.banded import WIDEST, Band

N = 30


def matrix(width: int, order: Tensor, shift: float = 4.0) -> Tensor:
    """A symmetric matrix of this width, renumbered."""
    full = torch.randn(N, N, dtype=torch.float64)
    band = sum(torch.diag(full.diagonal(k), k) for k in range(-width, width + 1))
    symmetric = 0.5 * (band + band.T) + shift * width * torch.eye(N, dtype=torch.float64)
    return symmetric[order][:, order]


def banded(A: Tensor) -> tuple[Band | None, Tensor]:
    band = Band.of(scipy.sparse.csr_array(A.numpy()).astype(bool))
    numbers = A.new_zeros(0 if band is None else band.size)
    if band is not None:
        a, b = A.nonzero().T
        numbers[torch.from_numpy(band.slots(a.numpy(), b.numpy()))] = A[a, b]
        assert band.slots(np.array([0, N]), np.array([N, N])).tolist() == [band.size] * 2
    return band, numbers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_it_solves_as_dense_factors_do(width: int, renumbered: bool, dtype: torch.dtype) -> None:
    A = matrix(width, torch.randperm(N) if renumbered else torch.arange(N)).to(dtype)
    band, values = banded(A)
    assert band is not None
    assert band.width <= (2 * width if renumbered else width)
    v = torch.randn(N, dtype=dtype)
    found = band.solve(values.clone(), v, 0.5)
    assert found is not None
    torch.testing.assert_close(found, torch.linalg.solve(A + 0.5 * torch.eye(N, dtype=dtype), v))
    assert band.flops > 0
    torch.testing.assert_close(band.matvec(values, v), A @ v)
    assert band.nnz >= int((A != 0).sum())


def test_it_says_where_there_is_no_minimum() -> None:
    band, values = banded(matrix(2, torch.arange(N), -4.0))
    assert band is not None
    assert band.solve(values.clone(), torch.ones(N, dtype=torch.float64)) is None
    values[3] = torch.nan
    assert band.solve(values, torch.ones(N, dtype=torch.float64), 100.0) is None


def test_an_arrow_has_no_narrow_band() -> None:
    arrow = np.eye(N)
    arrow[:, 0] = arrow[0] = 1
    assert Band.of(scipy.sparse.csr_array(arrow)) is None
    assert banded(matrix(WIDEST + 1, torch.arange(N)))[0] is None
