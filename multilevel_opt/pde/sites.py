"""Functions at fixed points: a network, what is computed once at the points, and the transform of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.pde import constraints
from multilevel_opt.pde.constraints import Linear, Transform
from multilevel_opt.pde.networks import Jets, Network, Pull
from multilevel_opt.pde.terms import Needs


class Transformed(Network):
    """u = T(z, N(z)) as one network, for a T that is not affine and derivatives of order three and more."""

    def __init__(self, network: Network, transform: Transform) -> None:
        self.network, self.transform = network, transform
        self.inputs, self.outputs, self.parts = network.inputs, network.outputs, network.parts

    @property
    def size(self) -> int:
        return self.network.size

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        return self.transform(z, self.network.value(x, z))

    def resized(self, widths: Sequence[int]) -> Transformed:
        return Transformed(self.network.resized(widths), self.transform)


@dataclass(frozen=True)
class Site:
    """The functions at m points.

    Attributes:
        network: N.
        points: z, (m, d).
        needs: the terms that are read of u.
        jets: of the network's embeddings.
        linear: the affine transform at the points, or None.
        transform: another transform, or None.
        offset: channels (C, m, K) added to those of N (its frozen part), or None.
    """

    network: Network
    points: Tensor
    needs: Needs
    jets: Jets
    linear: Linear | None = None
    transform: Transform | None = None
    offset: Tensor | None = None

    @property
    def inner(self) -> Needs:
        """The terms that are read of N."""
        return self.needs if self.linear is None and self.transform is None else constraints.required(self.needs)

    @property
    def channels(self) -> int:
        """How many numbers per neuron travel through the network."""
        return self.inner.channels

    def take(self, ids: Tensor | slice) -> Site:
        """Some of the points."""
        return replace(
            self,
            points=self.points[ids],
            jets=tuple(None if jet is None else jet[:, ids] for jet in self.jets),
            linear=None if self.linear is None else self.linear.take(ids),
            offset=None if self.offset is None else self.offset[:, ids],
        )

    def of_network(self, x: Tensor) -> Tensor:
        """Channels (C, m, K) of N with the frozen part added; pure in x."""
        found = self.network.channels(x, self.points, self.inner, self.jets)
        return found if self.offset is None else found + self.offset

    def evaluate(self, x: Tensor) -> Tensor:
        """Channels (R, m, K') of u; pure in x."""
        return self._applied(self.of_network(x))

    def traced(self, x: Tensor) -> tuple[Tensor, Pull]:
        """Channels (R, m, K') of u, and what writes the rows d/dx Σ seeds · channels into a matrix (m, n)."""
        found, pull = self.network.traced(x, self.points, self.inner, self.jets)
        inside = found if self.offset is None else found + self.offset
        linear = self.linear
        if linear is not None:
            return linear.apply(inside), lambda seeds, out: pull(linear.pulled(seeds, inside.shape[-1]), out)
        if self.transform is None:
            return inside, pull
        with torch.enable_grad():
            leaf = inside.detach().requires_grad_()
            outside = self._applied(leaf)

        def through(seeds: Tensor, out: Tensor) -> None:
            (inner,) = torch.autograd.grad(outside, leaf, seeds, retain_graph=True, materialize_grads=True)
            pull(inner, out)

        return outside.detach(), through

    def _applied(self, channels: Tensor) -> Tensor:
        if self.linear is not None:
            return self.linear.apply(channels)
        if self.transform is not None:
            return constraints.general(self.transform, self.points, channels, self.needs)
        return channels


def site_of(network: Network, transform: Transform | None, points: Tensor, needs: Needs, outputs: int) -> Site:
    """The site of a network with an output transform at the points z (m, d).

    Args:
        network: N.
        transform: T(z, n), or None.
        points: z.
        needs: what is read of u.
        outputs: K', the number of functions.

    Raises:
        ShapeError: the network does not take such points, or gives another number of functions.
    """
    if points.shape[1] != network.inputs:
        raise ShapeError(
            f"the network has {network.inputs} inputs, but the points have {points.shape[1]} coordinates: "
            "make the network with as many inputs as the domain has coordinates"
        )
    found = network.outputs
    if transform is not None:
        found = transform(points[:1], points.new_zeros(len(points[:1]), found)).shape[-1]
    if found != outputs:
        raise ShapeError(
            f"the network with its transform gives {found} outputs for {outputs} named functions: make them agree"
        )
    if transform is None:
        return Site(network, points, needs, network.jets(points, needs))
    inner = constraints.required(needs)
    site = Site(network, points, needs, network.jets(points, inner))
    if constraints.is_affine(transform, points, network.outputs):
        return replace(site, linear=constraints.linear(transform, points, needs, network.outputs))
    if needs.order > 2:
        whole = Transformed(network, transform)
        return Site(whole, points, needs, whole.jets(points, needs))
    return replace(site, transform=transform)
