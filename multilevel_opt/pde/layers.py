"""One hidden layer and the derivatives up to order two that travel through it, forwards and back.

A hidden layer maps a = W h + b to h = σ(a). Together with h travel, as stacked channels, its first
derivatives in the directions k that are needed and the second-order terms q = Σ ∂ᵢ∂ⱼ (sums over pairs of
directions, such as a Laplacian or one mixed derivative):

    ∂ₖh = σ'(a) ∂ₖa        q h = σ'(a) q a + σ''(a) S_q,   S_q = Σ ∂ᵢa ∂ⱼa

In a first layer that takes the points themselves ∂ₖa = W[:, k] is constant and q a = 0. A layer with a skip
adds its inputs. Backwards the adjoints (h̄, ∂ₖh̄, qh̄) of its channels become those of (a, ∂ₖa, q a):

    ā = σ' h̄ + σ'' (Σ ∂ₖa ∂ₖh̄ + Σ q a qh̄) + σ''' Σ S_q qh̄
    ∂ₖā = σ' ∂ₖh̄ + σ'' Σ_q (∂S_q/∂(∂ₖa)) qh̄        qā = σ' qh̄
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multilevel_opt.pde.activations import Activation
from multilevel_opt.pde.terms import Needs

Pairs = tuple[tuple[tuple[int, int], ...], ...]
Weights = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class HiddenLayer:
    """A layer with r neurons, D directions and Q second-order terms.

    Attributes:
        weight: (r, n_in).
        inputs: stacked channels of the layer below, (C, m, n_in); the points alone, (1, m, d), for a first layer.
        first: ∂ₖa of shape (D, m, r), or (D, 1, r) where it is constant, or None.
        second: q a of shape (Q, m, r), or None where it is zero or not needed.
        square: S_q of shape (Q, m, r) or (Q, 1, r), or None.
        sigma: σ(a), σ'(a), ..., each (m, r).
        needs: the terms that are read of the network.
        skip: whether the inputs are added to the outputs.
    """

    weight: Tensor
    inputs: Tensor
    first: Tensor | None
    second: Tensor | None
    square: Tensor | None
    sigma: list[Tensor]
    needs: Needs
    skip: bool = False

    @classmethod
    def on_points(cls, layer: Weights, z: Tensor, sigma: Activation, needs: Needs, more: int) -> HiddenLayer:
        """The first layer, on the points z (m, d); ``more`` derivatives of σ than the forward pass needs."""
        weight, bias = layer
        first = chosen(weight.T, needs.directions)[:, None] if needs.directions else None
        values = sigma.derivatives(torch.addmm(bias, z, weight.T), needs.order + more)
        return cls(weight, z[None], first, None, _squares(first, needs.pairs), values, needs)

    @classmethod
    def on_channels(
        cls, layer: Weights, inputs: Tensor, sigma: Activation, needs: Needs, more: int, skip: bool
    ) -> HiddenLayer:
        """A layer on stacked channels (C, m, n_in)."""
        weight, bias = layer
        d = len(needs.directions)
        stacked = inputs @ weight.T
        first = stacked[1 : 1 + d] if d else None
        second = stacked[1 + d :] if needs.pairs else None
        values = sigma.derivatives(stacked[0] + bias, needs.order + more)
        return cls(weight, inputs, first, second, _squares(first, needs.pairs), values, needs, skip)

    @cached_property
    def outputs(self) -> Tensor:
        """Stacked channels (C, m, r) that this layer hands on."""
        parts = [self.sigma[0][None]]
        if self.first is not None:
            parts.append(self.first * self.sigma[1])
        if self.square is not None:
            bend = self.square * self.sigma[2]
            parts.append(bend if self.second is None else bend + self.second * self.sigma[1])
        out = torch.cat(parts) if len(parts) > 1 else parts[0]
        return out + self.inputs if self.skip else out

    @property
    def travels(self) -> bool:
        """Whether first derivatives differ from point to point."""
        return self.first is not None and self.first.shape[1] > 1

    def adjoint(self, above: Tensor) -> Tensor:
        """Adjoints (C, m, r) of (a, ∂ₖa, q a) from those of (σ(a), ...), in place."""
        sigma = self.sigma
        if self.first is None:
            above[0] *= sigma[1]
            return above
        d = len(self.needs.directions)
        grad, lap = above[1 : 1 + d], above[1 + d :]
        inner = (grad * self.first).sum(0)
        above[0] *= sigma[1]
        grad *= sigma[1]
        if self.square is not None:
            for q in range(len(lap)):
                above[0].addcmul_(lap[q], self.square[q] * sigma[3])
                if self.second is not None:
                    inner.addcmul_(self.second[q], lap[q])
            add_squares(grad, self.first, [row * sigma[2] for row in lap], self.needs.pairs)
            lap *= sigma[1]
        above[0].addcmul_(inner, sigma[2])
        return above


def chosen(a: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of a in that order; a itself where these are all of them."""
    return a if list(rows) == list(range(a.shape[0])) else torch.stack([a[row] for row in rows])


def _squares(first: Tensor | None, pairs: Pairs) -> Tensor | None:
    """S_q (Q, ..., r) from ∂ₖa (D, ..., r); None where there are none."""
    if first is None or not pairs:
        return None
    sums = []
    for term in pairs:
        total = first[term[0][0]] * first[term[0][1]]
        for i, j in term[1:]:
            total = total + first[i] * first[j]
        sums.append(total)
    return torch.stack(sums)


def add_squares(out: Tensor, first: Tensor, factors: Sequence[Tensor], pairs: Pairs) -> None:
    """Adds Σ_q factor_q ∂S_q/∂(∂ₖa) to the adjoints ``out`` (D, m, r)."""
    for factor, term in zip(factors, pairs, strict=True):
        for i, j in term:
            if i == j:
                out[i].addcmul_(first[i], factor, value=2.0)
            else:
                out[i].addcmul_(first[j], factor)
                out[j].addcmul_(first[i], factor)
