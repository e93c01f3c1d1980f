"""Third derivatives: Taylor errors, symmetry, and the model that is kept as matrices."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from multilevel_opt import Function, Taylor, check
from multilevel_opt.subproblem.nested import remembered
from problems import MGH

FUNCTIONS = {
    "exp": Function(lambda x: torch.exp(x).sum() + (x[1:] * x[:-1]).square().sum()),
    "broyden-tridiagonal": MGH(name="broyden-tridiagonal").sum_of_squares,
    "wood": MGH(name="wood").sum_of_squares,
}


def point(name: str) -> Tensor:
    n = 4 if name == "wood" else 10
    return torch.linspace(-0.5, 0.8, n, dtype=torch.float64)


def model(name: str) -> Taylor:
    return FUNCTIONS[name].expand(point(name), 3)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylor_errors_fall_with_the_next_power(name: str, order: int) -> None:
    assert check.taylor_slope(FUNCTIONS[name], point(name), order) == pytest.approx(order + 1, abs=0.15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_third_form_is_symmetric(name: str) -> None:
    third = model(name).forms[2]
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(3, point(name).numel(), generator=generator, dtype=torch.float64)
    values = [float(third(vectors[i], vectors[j]) @ vectors[k]) for i, j, k in permutations(range(3))]
    assert values == pytest.approx([values[0]] * 6, rel=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_model_kept_as_matrices_is_the_same(name: str) -> None:
    plain, kept = model(name), remembered(model(name))
    generator = torch.Generator().manual_seed(6)
    for s, v in torch.randn(3, 2, point(name).numel(), generator=generator, dtype=torch.float64):
        assert float(kept(s)) == pytest.approx(float(plain(s) - plain.value), rel=1e-9)
        torch.testing.assert_close(kept.grad(s), plain.grad(s))
        torch.testing.assert_close(kept.hvp(s, v), plain.hvp(s, v))
