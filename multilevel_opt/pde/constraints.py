"""Output transforms u = T(z, N(z)): conditions that hold exactly, whatever the parameters.

An affine transform u = A(z) + B(z) N, which most are, is a fixed linear map of the channels of N at every
point, made once from the derivatives of A and B by the product rule:

    ∂ᵢu = ∂ᵢA + ∂ᵢB N + B ∂ᵢN
    q u = q A + q B N + Σ (∂ᵢB ∂ⱼN + ∂ⱼB ∂ᵢN) + B q N        for q = Σ ∂ᵢ∂ⱼ
    ∂^α u = ∂^α A + Σ ∂^β B ∂^(α-β) N                           over the parts β of α, those of equal axes told apart

Any other transform is applied by nested forward differentiation in every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.pde.derivatives import channels_at
from multilevel_opt.pde.terms import VALUE, Needs, Term, order_of, partial

Transform = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Linear:
    """u = shift + matrix · N for the channels at m points.

    Attributes:
        shift: (R, m, K').
        matrix: (m, R K', C K).
    """

    shift: Tensor
    matrix: Tensor

    def take(self, ids: Tensor | slice) -> Linear:
        """The same at some of the points."""
        return Linear(self.shift[:, ids], self.matrix[ids])

    def apply(self, channels: Tensor) -> Tensor:
        """Channels (C, m, K) of N to channels (R, m, K') of u."""
        r, m, k = self.shift.shape
        flat = channels.permute(1, 0, 2).reshape(m, -1, 1)
        return self.shift + (self.matrix @ flat).reshape(m, r, k).permute(1, 0, 2)

    def pulled(self, seeds: Tensor, outputs: int) -> Tensor:
        """Seeds (R, m, K') of u to seeds (C, m, K) of N."""
        m = seeds.shape[1]
        flat = seeds.permute(1, 0, 2).reshape(m, 1, -1)
        return (flat @ self.matrix).reshape(m, -1, outputs).permute(1, 0, 2)


def required(needs: Needs) -> Needs:
    """What u = T(z, N) needs of N."""
    return needs.carried if needs.terms else needs


def is_affine(transform: Transform, z: Tensor, outputs: int) -> bool:
    """Whether T is affine in N at the points z (m, d), K outputs of the network.

    Raises:
        ShapeError: T does not return one row per point.
    """
    zero = z.new_zeros(len(z), outputs)
    a, b = (torch.sin(torch.arange(zero.numel(), dtype=z.dtype, device=z.device) + s).view_as(zero) for s in (1, 5))
    base = transform(z, zero)
    if base.ndim != 2 or base.shape[0] != len(z):
        raise ShapeError(
            f"transform(z, n) must return one row per point, ({len(z)}, outputs), but returned {tuple(base.shape)}: "
            "n has shape (points, outputs), so write z[:, :1] for a column"
        )
    sums = transform(z, a) + transform(z, 3.0 * b) - base
    scale = 1e3 * torch.finfo(z.dtype).eps * (1 + base.abs().max())
    return bool(((transform(z, a + 3.0 * b) - sums).abs() <= scale * (1 + sums.abs())).all())


def linear(transform: Transform, z: Tensor, needs: Needs, outputs: int) -> Linear:
    """The fixed map of an affine transform at the points z (m, d), for the terms of ``needs``."""
    inner = required(needs)
    shift = channels_at(lambda y: transform(y, y.new_zeros(len(y), outputs)), z, inner)
    columns = []
    for k in range(outputs):

        def raised(y: Tensor, k: int = k) -> Tensor:
            zero = y.new_zeros(len(y), outputs)
            return transform(y, torch.cat([zero[:, :k], torch.ones_like(y[:, :1]), zero[:, k + 1 :]], dim=1))

        columns.append(channels_at(raised, z, inner) - shift)
    factor = torch.stack(columns, dim=-1)  # (C, m, K', K)
    c, m, k_out, _ = factor.shape
    matrix = z.new_zeros(m, len(needs.terms), k_out, c, outputs)
    for r, term in enumerate(needs.terms):
        for of_factor, of_network in product_rule(term, inner):
            matrix[:, r, :, inner.index(of_network)] += factor[inner.index(of_factor)]
    kept = [shift[needs.sources(term)].sum(0) for term in needs.terms]
    shift = torch.stack(kept) if kept else shift[:0]
    return Linear(shift, matrix.reshape(m, len(needs.terms) * k_out, c * outputs))


def product_rule(term: Term, inner: Needs) -> list[tuple[Term, Term]]:
    """Pairs of terms (of B, of N) of ``inner`` whose products sum to the term of B N."""
    whole = term in inner.terms
    pairs = [(VALUE, VALUE)] if term == VALUE else [(term, VALUE), (VALUE, term)] if whole else []
    for axes in term:
        places = range(len(axes))
        for size in range(1, len(axes)) if whole else range(len(axes) + 1):
            for chosen in combinations(places, size):
                rest = [axes[k] for k in places if k not in chosen]
                pairs.append((partial(*(axes[k] for k in chosen)), partial(*rest)))
    return pairs


def general(transform: Transform, z: Tensor, channels: Tensor, needs: Needs) -> Tensor:
    """Channels (R, m, K') of T(z, N) from the channels (C, m, K) of N for ``required(needs)``, order at most 2."""
    inner = required(needs)
    n = channels[inner.index(VALUE)] if inner.terms else channels

    def unit(axis: int) -> Tensor:
        e = torch.zeros_like(z)
        e[:, axis] = 1.0
        return e

    def slope(axis: int, y: Tensor, value: Tensor) -> Tensor:
        tangents = (unit(axis), channels[inner.index(partial(axis))])
        out: Tensor = torch.func.jvp(transform, (y, value), tangents)[1]
        return out

    def bend(i: int, j: int) -> Tensor:
        tangents = (unit(j), channels[inner.index(partial(j))])
        out: Tensor = torch.func.jvp(lambda y, value: slope(i, y, value), (z, n), tangents)[1]
        return out

    rows = []
    for term in needs.terms:
        if order_of(term) == 0:
            rows.append(transform(z, n))
        elif order_of(term) == 1:
            rows.append(slope(term[0][0], z, n))
        else:
            along = torch.func.jvp(lambda value: transform(z, value), (n,), (channels[inner.index(term)],))[1]
            rows.append(sum((bend(i, j) for i, j in term), along))
    return torch.stack(rows) if rows else transform(z, z.new_zeros(len(z), channels.shape[-1]))[None][:0]
