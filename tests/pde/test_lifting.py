"""Boundary values of a box by an output transform."""

import pytest
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Box, with_boundary
from multilevel_opt.pde.lifting import bubble, extended

SIDES = ((-1.0, 2.0), (0.0, 0.5), (1.0, 4.0))


def wavy(z: Tensor) -> Tensor:
    return torch.sin(z.sum(1)) + z.prod(1) ** 2


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_values_hold_on_every_face_whatever_the_network_gives(dim: int) -> None:
    z = torch.as_tensor(Box(SIDES[:dim]).boundary(60, "sobol", 0)[0])
    u = with_boundary(z, torch.randn(len(z), 2, dtype=z.dtype), SIDES[:dim], wavy)
    torch.testing.assert_close(u, wavy(z)[:, None].expand(-1, 2), rtol=1e-13, atol=1e-13)


def test_inside_the_network_is_free_and_no_value_is_asked_for() -> None:
    z = torch.as_tensor(Box(SIDES).interior(50, "sobol", 0))
    low, high = z.new_tensor(SIDES).unbind(1)

    def only_outside(y: Tensor) -> Tensor:
        assert bool(((y == low) | (y == high)).any(1).all())
        return wavy(y)

    zero, one = (with_boundary(z, torch.full((len(z), 1), n, dtype=z.dtype), SIDES, only_outside) for n in (0.0, 1.0))
    assert float((one - zero).min()) > 0
    torch.testing.assert_close((one - zero)[:, 0], bubble(z, SIDES))
    assert float(bubble((low + high)[None] / 2, SIDES)) == pytest.approx(1.0)


def test_the_extension_is_exact_for_sums_and_products_of_lines() -> None:
    z = torch.as_tensor(Box(SIDES).interior(50, "sobol", 0))
    straight = lambda y: (1 + y[:, 0]) * (2 - y[:, 1]) * y[:, 2]  # noqa: E731
    torch.testing.assert_close(extended(z, SIDES, straight), straight(z))
    one_of_three = lambda y: torch.exp(y[:, 0]) * y[:, 1]  # noqa: E731
    torch.testing.assert_close(extended(z, SIDES, one_of_three), one_of_three(z))
    assert float((extended(z, SIDES, lambda y: y.square().prod(1)) - z.square().prod(1)).abs().max()) > 0.1


def test_a_side_too_few_is_told() -> None:
    with pytest.raises(InputError, match="3 coordinates, but 2 sides: give a side for each"):
        with_boundary(torch.zeros(4, 3), torch.zeros(4, 1), SIDES[:2])
