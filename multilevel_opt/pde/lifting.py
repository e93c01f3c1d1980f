"""Boundary values of a box that hold exactly: u = g + b N with b zero on every face and g equal to the values there.

    b(z) = Πₖ 4 (zₖ − lowₖ)(highₖ − zₖ) / (highₖ − lowₖ)²
    g    = Σ_S (−1)^(|S|+1) P_S v      over the non-empty sets S of coordinates

P_S interpolates v between opposite faces, linearly in the coordinates of S and at their ends only, so that g
needs no value inside: transfinite interpolation (Gordon & Hall, Numer. Math. 21, 1973). With such an output
transform no boundary points are left, and no weight between them and the equation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product

import torch
from torch import Tensor

from multilevel_opt.errors import InputError

Sides = Sequence[tuple[float, float]]
Value = float | Callable[[Tensor], Tensor]


def with_boundary(z: Tensor, n: Tensor, sides: Sides, value: Value = 0.0) -> Tensor:
    """The functions g + b N at points of a box, for ``PDEProblem.transform``.

    Args:
        z: points (m, d).
        n: outputs N of the network, (m, K).
        sides: (low, high) of every coordinate.
        value: of every function on the boundary, a number or z (m, d) -> (m,), called on the boundary only.

    Returns:
        (m, K).

    Raises:
        InputError: another number of sides than coordinates.
    """
    if z.shape[1] != len(sides):
        raise InputError(f"points of {z.shape[1]} coordinates, but {len(sides)} sides: give a side for each")
    return extended(z, sides, value)[:, None] + bubble(z, sides)[:, None] * n


def bubble(z: Tensor, sides: Sides) -> Tensor:
    """The factor b at the points z (m, d), (m,): zero on every face of the box, one in its middle."""
    low, high = z.new_tensor(sides).unbind(1)
    return (4.0 * (z - low) * (high - z) / (high - low) ** 2).prod(1)


def extended(z: Tensor, sides: Sides, value: Value) -> Tensor:
    """The extension g at the points z (m, d), (m,); a sum of 3^d − 1 values of the boundary."""
    if not callable(value):
        return torch.full_like(z[:, 0], value)
    total = torch.zeros_like(z[:, 0])
    for size in range(1, len(sides) + 1):
        for axes in combinations(range(len(sides)), size):
            total = total - (-1.0) ** size * _between_faces(z, sides, axes, value)
    return total


def _between_faces(z: Tensor, sides: Sides, axes: Sequence[int], value: Callable[[Tensor], Tensor]) -> Tensor:
    """P_S v: the values at all ends of the coordinates of S, weighted by how near they are."""
    total = torch.zeros_like(z[:, 0])
    for ends in product((0, 1), repeat=len(axes)):
        columns, weight = list(z.unbind(1)), torch.ones_like(z[:, 0])
        for axis, end in zip(axes, ends, strict=True):
            low, high = sides[axis]
            share = (z[:, axis] - low) / (high - low)
            weight = weight * (share if end else 1.0 - share)
            columns[axis] = torch.full_like(z[:, axis], sides[axis][end])
        total = total + weight * value(torch.stack(columns, dim=1))
    return total
