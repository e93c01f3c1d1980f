"""Inverses updated by BFGS, and the damping of their pairs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multilevel_opt.curvature.double_damping import DAMPINGS, damped_step
from multilevel_opt.curvature.inverse_matrix import InverseMatrix
from multilevel_opt.curvature.updates import bfgs_inverse

F64 = torch.float64


def pairs(n, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(n, n, generator=generator, dtype=F64)
    hessian = half @ half.T + torch.eye(n, dtype=F64)
    steps = torch.randn(count, n, generator=generator, dtype=F64)
    return [(s, hessian @ s) for s in steps]


def test_the_update_is_that_of_the_secant_family():
    h = torch.eye(6, dtype=F64)
    inverse = InverseMatrix(h)
    for s, y in pairs(6, 4):
        h = bfgs_inverse(h[None], s[None], y[None])[0][0]
        inverse.append(s, y)
        torch.testing.assert_close(inverse.product(y), s, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(inverse.matrix, h, rtol=1e-10, atol=1e-10)


def test_an_impossible_pair_changes_nothing():
    inverse = InverseMatrix(torch.eye(3, dtype=F64))
    inverse.append(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64))
    assert torch.equal(inverse.matrix, torch.eye(3, dtype=F64))


@given(seed=st.integers(0, 10**6), size=st.floats(1e-3, 1e3), mu2=st.floats(0.01, 5.0))
def test_damped_pairs_keep_both_bounds(seed, size, mu2):
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(5, generator=generator, dtype=F64)
    y = size * torch.randn(5, generator=generator, dtype=F64)
    half = torch.randn(5, 5, generator=generator, dtype=F64)
    image = (half @ half.T + 0.1 * torch.eye(5, dtype=F64)) @ y
    damped, changed = damped_step(s, y, image, 0.2)
    assert bool(changed) == (not torch.equal(damped, s))
    assert float(damped @ y) >= 0.2 * float(y @ image) * (1 - 1e-9)
    shifted = DAMPINGS["shift"](damped, y, mu2)
    assert float(damped @ shifted) >= mu2 * float(damped @ damped) * (1 - 1e-9)


def test_the_published_damping_keeps_its_bound_below_one_and_breaks_down_at_one():
    s = torch.tensor([1.0, 2.0], dtype=F64)
    y = DAMPINGS["powell"](s, -s, 0.3)
    assert float(s @ y) == pytest.approx(0.3 * float(s @ s))
    orthogonal = torch.tensor([2.0, -1.0], dtype=F64)
    singular = DAMPINGS["powell"](s, s + orthogonal, 1.5)  # sᵀy = sᵀs: what is to be added has no finite weight
    assert not bool(torch.isfinite(singular).all())
    assert bool(torch.isfinite(DAMPINGS["shift"](s, s + orthogonal, 1.5)).all())
