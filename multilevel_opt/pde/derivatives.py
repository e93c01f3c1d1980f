"""Derivatives of any order of any torch function of points, by nested forward differentiation.

The slow and general path: an order costs a factor of about two, and memory for every derivative. It serves
embeddings and output transforms (once, at fixed points), exact solutions, networks of the user's own, and
transforms that are not affine under derivatives of order three and more.
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
