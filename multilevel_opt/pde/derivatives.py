"""Derivatives of any order of any torch function of points.

The slow and general path: an order costs a factor of about two, and memory for every derivative. Nested forward
differentiation serves exact solutions, networks of the user's own, and transforms that are not affine under
derivatives of order three and more. Embeddings and output transforms are needed once, at fixed points, and of few
outputs: nested reverse sweeps give them all partial derivatives of an output at once. They also spare the first
forward sweep of a process, for which torch 2.13 loads its compiler, more than a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from multilevel_opt.pde.terms import Needs

Function = Callable[[Tensor], Tensor]


def derivative(function: Function, z: Tensor, axes: tuple[int, ...]) -> Tensor:
    """∂ᵏf/∂z_i∂z_j... at z (m, d) for f row by row, (m, d) -> (m, K); shape (m, K)."""
    if not axes:
        return function(z)
    unit = torch.zeros_like(z)
    unit[:, axes[0]] = 1.0
    return cast(Tensor, torch.func.jvp(lambda y: derivative(function, y, axes[1:]), (z,), (unit,))[1])


def channels_of(function: Function, z: Tensor, needs: Needs) -> Tensor:
    """The terms of ``needs`` for f, (m, d) -> (m, K), at z (m, d); shape (R, m, K).

    Differentiable by every transform of ``torch.func`` where f is.
    """
    rows = []
    for term in needs.terms:
        parts = [times * derivative(function, z, axes) for axes, times in Counter(term).items()]
        rows.append(sum(parts[1:], parts[0]))
    return torch.stack(rows) if rows else function(z)[None][:0]


def channels_at(function: Function, z: Tensor, needs: Needs) -> Tensor:
    """What ``channels_of`` returns, by nested reverse sweeps: numbers, no function of z any more."""
    with torch.enable_grad():
        y = z.detach().clone().requires_grad_()
        values = function(y)
        slopes: dict[tuple[int, ...], Tensor] = {}

        def slope(axes: tuple[int, ...]) -> Tensor:
            """The gradients (m, K, d) of the derivative along ``axes``."""
            if axes not in slopes:
                columns = partial(axes).unbind(1)
                slopes[axes] = torch.stack([_gradient(column, y) for column in columns], dim=1)
            return slopes[axes]

        def partial(axes: tuple[int, ...]) -> Tensor:
            return values if not axes else slope(axes[:-1])[:, :, axes[-1]]

        rows = []
        for term in needs.terms:
            parts = [times * partial(tuple(sorted(axes))) for axes, times in Counter(term).items()]
            rows.append(sum(parts[1:], parts[0]))
    return torch.stack(rows).detach() if rows else values.detach()[None][:0]


def _gradient(column: Tensor, y: Tensor) -> Tensor:
    """Of every entry of a column (m,), with respect to its own point: (m, d)."""
    if not column.requires_grad:
        return torch.zeros_like(y)
    (found,) = torch.autograd.grad(column.sum(), y, create_graph=True, materialize_grads=True)
    return found
