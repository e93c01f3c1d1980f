"""The matrix form of the inverse limited-memory BFGS matrix equals the recursion that defines it."""

import pytest
import torch
from torch import Tensor

from multilevel_opt import InputError
from multilevel_opt.curvature.inverse import InversePairs


def pairs(count: int, n: int = 12) -> list[tuple[Tensor, Tensor]]:
    root = torch.randn(n, n, dtype=torch.float64)
    hessian = root @ root.mT / n + 0.1 * torch.eye(n, dtype=torch.float64)
    steps = [torch.randn(n, dtype=torch.float64) * 10.0 ** (-k) for k in range(count)]
    return [(s, hessian @ s) for s in steps]


def by_recursion(known: list[tuple[Tensor, Tensor]]) -> Tensor:
    """H by one BFGS update for every pair, from γI with γ of the newest."""
    s, y = known[-1]
    h = torch.eye(len(s), dtype=s.dtype) * float(s @ y) / float(y @ y)
    for s, y in known:
        rho = 1 / float(s @ y)
        left = torch.eye(len(s), dtype=s.dtype) - rho * torch.outer(s, y)
        h = left @ h @ left.mT + rho * torch.outer(s, s)
    return h


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_the_matrix_form_is_the_recursion_over_the_newest_pairs(count: int) -> None:
    h, known = InversePairs(5), pairs(count)
    for s, y in known:
        h.append(s, y)
    expected = by_recursion(known[-5:])
    torch.testing.assert_close(h.product(torch.eye(12, dtype=torch.float64)), expected, rtol=1e-9, atol=1e-11)
    s, y = known[-1]
    torch.testing.assert_close(h.product(y), s, rtol=1e-10, atol=1e-14)  # the secant equation
    assert count == 1 or not torch.allclose(expected, by_recursion(known[-5:][::-1]))  # the order matters


def test_a_state_is_restored() -> None:
    h, again = InversePairs(3), InversePairs(3)
    for s, y in pairs(4):
        h.append(s, y)
    again.restore(h.state())
    v = torch.randn(12, dtype=torch.float64)
    assert torch.equal(h.product(v), again.product(v))
    h.clear()
    assert torch.equal(h.product(v), v)
    with pytest.raises(InputError, match="give 1 or more"):
        InversePairs(0)
