"""Triangular factors solve damped least squares as numpy does, down to dampings a Gram matrix cannot see."""

import numpy as np
import pytest
import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.orthogonal import OrthogonalSystem, TriangularSystem


def system(condition: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.linalg.qr(torch.randn(k, 12, generator=generator, dtype=torch.float64))[0] for k in (30, 12))
    spread = torch.logspace(0, -np.log10(condition), 12, dtype=torch.float64)
    return torch.randn(30, generator=generator, dtype=torch.float64), (u * spread) @ v.T


@pytest.mark.parametrize("damping", [1e-20, 1e-8, 1.0])
def test_the_step_is_that_of_the_longer_system(damping: float) -> None:
    r, jacobian = system(1e4)
    ledger = Ledger()
    found = TriangularSystem(r, jacobian, ledger).solve(damping)
    below = np.concatenate([jacobian.numpy(), damping**0.5 * np.eye(12)])
    exact = np.linalg.lstsq(below, -np.concatenate([r.numpy(), np.zeros(12)]), rcond=None)[0]
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-9)
    assert ledger.flops > 0
    other = OrthogonalSystem(r, jacobian, None, ledger)
    other.factorize(damping)
    np.testing.assert_allclose(found.numpy(), other.solve().numpy(), rtol=1e-9)


def test_tiny_singular_values_are_seen_and_none_is_divided_by() -> None:
    r, jacobian = system(1e13)
    consistent = jacobian @ torch.ones(12, dtype=torch.float64)
    left = consistent + jacobian @ TriangularSystem(consistent, jacobian, Ledger()).solve(1e-30)
    assert float(left.norm()) < 1e-14
    zero = torch.zeros_like(jacobian)
    assert TriangularSystem(r, zero, Ledger()).solve(1e-20).tolist() == [0.0] * 12
