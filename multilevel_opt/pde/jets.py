"""One hidden layer and all partial derivatives of any order that travel through it, forwards and back.

For h = σ(a) the formula of Faà di Bruno gives the derivative of a multi-index α, a sum over the partitions π of
its factors into blocks B (Hardy, Electron. J. Combin. 13, 2006):

    ∂^α h = Σ_k σ^(k)(a) F_αk,    F_αk = Σ over π with k blocks of Π ∂^B a

    u_xxx:  F₁ = a_xxx    F₂ = 3 a_x a_xx    F₃ = a_x³

so a set of derivatives closed under taking parts travels by itself. Backwards, with adjoints h̄_α,

    ā = σ' h̄ + Σ_α h̄_α Σ_k σ^(k+1) F_αk        ā_β = Σ_α h̄_α Σ_k σ^(k) ∂F_αk/∂(∂^β a)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from multilevel_opt.pde.activations import Activation
from multilevel_opt.pde.layers import Weights
from multilevel_opt.pde.terms import Needs, order_of, partial

Product = tuple[int, tuple[int, ...]]
Rules = tuple[tuple[Product, ...], ...]


def partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    """Every partition of a sequence into blocks, those of equal items told apart."""
    if not items:
        yield []
        return
    head, *rest = items
    for blocks in partitions(rest):
        yield [[head], *blocks]
        for k, block in enumerate(blocks):
            yield [*blocks[:k], [head, *block], *blocks[k + 1 :]]


@lru_cache(maxsize=128)
def rules_of(needs: Needs) -> Rules:
    """For every carried channel but the value: its products (how often they occur, their factors as channels)."""
    carried = needs.carried
    found = []
    for term in carried.terms[1:]:
        products = Counter(
            tuple(sorted(carried.index(partial(*block)) for block in blocks)) for blocks in partitions(term[0])
        )
        found.append(tuple((times, factors) for factors, times in products.items()))
    return tuple(found)


@dataclass(frozen=True)
class JetLayer:
    """A layer with r neurons and C channels.

    Attributes:
        weight: (r, n_in).
        inputs: stacked channels of the layer below, (C, m, n_in); the points alone, (1, m, d), for a first layer.
        jet: ∂^β a for every channel: (m, r), or (r,) where it is constant, or None where it is zero.
        sigma: σ(a), σ'(a), ..., each (m, r).
        needs: the terms that are read of the network.
        skip: whether the inputs are added to the outputs.
    """

    weight: Tensor
    inputs: Tensor
    jet: Sequence[Tensor | None]
    sigma: list[Tensor]
    needs: Needs
    skip: bool = False

    @classmethod
    def on_points(cls, layer: Weights, z: Tensor, sigma: Activation, needs: Needs, more: int) -> JetLayer:
        """The first layer, on the points z (m, d); ``more`` derivatives of σ than the forward pass needs."""
        weight, bias = layer
        a = torch.addmm(bias, z, weight.T)
        higher = [weight[:, term[0][0]] if order_of(term) == 1 else None for term in needs.carried.terms[1:]]
        return cls(weight, z[None], [a, *higher], sigma.derivatives(a, needs.order + more), needs)

    @classmethod
    def on_channels(
        cls, layer: Weights, inputs: Tensor, sigma: Activation, needs: Needs, more: int, skip: bool
    ) -> JetLayer:
        """A layer on stacked channels (C, m, n_in)."""
        weight, bias = layer
        a, *higher = (inputs @ weight.T).unbind()
        a = a + bias
        return cls(weight, inputs, [a, *higher], sigma.derivatives(a, needs.order + more), needs, skip)

    @cached_property
    def factors(self) -> list[dict[int, Tensor]]:
        """F_αk by k, for every channel but the value."""
        found = []
        for products in rules_of(self.needs):
            sums: dict[int, Tensor] = {}
            for times, channels in products:
                product = self._product(channels, times)
                if product is not None:
                    k = len(channels)
                    sums[k] = sums[k] + product if k in sums else product
            found.append(sums)
        return found

    @cached_property
    def outputs(self) -> Tensor:
        """Stacked channels (C, m, r) that this layer hands on."""
        out = torch.stack([self.sigma[0], *(self._bent(sums, 0) for sums in self.factors)])
        return out + self.inputs if self.skip else out

    def adjoint(self, above: Tensor) -> Tensor:
        """Adjoints (C, m, r) of ∂^β a from those of ∂^α σ(a)."""
        out = torch.zeros_like(above)
        torch.mul(above[0], self.sigma[1], out=out[0])
        for given, sums, products in zip(above[1:], self.factors, rules_of(self.needs), strict=True):
            out[0].addcmul_(given, self._bent(sums, 1))
            scaled = {k: given * self.sigma[k] for k in sums}
            for times, channels in products:
                for channel, power in Counter(channels).items():
                    others = list(channels)
                    others.remove(channel)
                    rest = self._product(others, times * power)
                    if self.jet[channel] is None or rest is None:
                        continue
                    out[channel].addcmul_(scaled[len(channels)], rest)
        return out

    def _product(self, channels: Sequence[int], times: int) -> Tensor | None:
        """``times`` Π ∂^B a, or None where a factor is zero."""
        product = None
        for channel in channels:
            factor = self.jet[channel]
            if factor is None:
                return None
            product = factor if product is None else product * factor
        if product is None:
            return self.sigma[0].new_full((), times)
        return product if times == 1 else times * product

    def _bent(self, sums: dict[int, Tensor], shift: int) -> Tensor:
        """Σ_k σ^(k + shift) F_k."""
        found = [self.sigma[k + shift] * factor for k, factor in sums.items()]
        return sum(found[1:], found[0])
