"""The residual of a PDE on a network: blocks of equations at points, with a fast Jacobian.

A block is an equation e(u, z) at m_b points with a weight; the residual concatenates weight · e over the
blocks. Its Jacobian has the rows

    dr_i/dx = weight · (∂e/∂value · du/dx + ∂e/∂gradient · d∇u/dx + ∂e/∂laplacian · dΔu/dx)(z_i)

with the three small factors from ``equations`` and the rest from ``operators``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.residual import Residual
from multilevel_opt.pde.equations import Block, probed
from multilevel_opt.pde.networks import MLP
from multilevel_opt.pde.operators import (
    Channels,
    Needs,
    hidden_layers,
    output,
    parameters,
    row_jacobian,
)

CACHE_ENTRIES = 2**19  # Jacobian entries written at a time on a CPU: a few MB stay in its cache
DEVICE_ENTRIES = 2**27  # the same on an accelerator, where only memory limits a chunk

HUGE_PAGES = 2**22  # bytes from which numpy asks for huge pages


class PDEResidual(Residual):
    """Weighted rows of all blocks for a network, r: R^n -> R^m.

    Args:
        network: the network.
        blocks: equations at points, all on the same device with the same dtype.
        order: a permutation of the rows of the blocks, or None.
    """

    def __init__(self, network: MLP, blocks: Sequence[Block], order: Tensor | None = None) -> None:
        self.network = network
        self.blocks = tuple(b if b.needs is not None else probed(b) for b in blocks)
        self.order = order
        self.layout = network.layout
        highest = max(_needs(b).order for b in self.blocks)
        self.channels = 1 if highest == 0 else network.inputs + highest

    @property
    def n_rows(self) -> int:
        """Number of rows m."""
        return sum(block.rows for block in self.blocks)

    def __call__(self, x: Tensor) -> Tensor:
        """r(x), shapes (n,) -> (m,); ``torch.func`` works through it."""
        rows = [b.evaluate(_add(self.network.channels(x, b.points, _needs(b)), b.offset)) for b in self._parts(x)]
        r = torch.cat(rows)
        return r if self.order is None else r[self.order]

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(r(x), J(x)) of shapes (m,) and (m, n), detached."""
        with torch.no_grad():
            x = x.detach()
            layers = parameters(x, self.network.layout)
            r, jacobian = x.new_empty(self.n_rows), _empty(self.n_rows, x)
            start = 0
            for part in self._parts(x):
                rows = slice(start, start + part.rows)
                start += part.rows
                order = _needs(part).order
                hidden = hidden_layers(layers, part.points, self.network.sigma, order, more=1)
                channels = _add(output(hidden[-1], layers[-1], _needs(part)), part.offset)
                r[rows], seeds = part.seeds(channels)
                row_jacobian(hidden, layers[-1], seeds, self.network.layout, jacobian[rows])
            return (r, jacobian) if self.order is None else (r[self.order], jacobian[self.order])

    def _parts(self, x: Tensor) -> Iterator[Block]:
        """The blocks, cut into pieces that fit the cache."""
        entries = CACHE_ENTRIES if x.device.type == "cpu" else DEVICE_ENTRIES
        step = max(32, entries // x.numel())
        for block in self.blocks:
            for low in range(0, max(1, block.rows), step):
                yield block if block.rows <= step else block.take(slice(low, low + step))

    def rows(self, ids: Tensor) -> PDEResidual:
        """The residual r(x)[ids]; only those points are evaluated.

        Raises:
            InputError: a row number is out of range.
        """
        ids = ids if self.order is None else self.order[ids]
        blocks: list[Block] = []
        places: list[Tensor] = []
        start = 0
        for block in self.blocks:
            mine = ((ids >= start) & (ids < start + block.rows)).nonzero()[:, 0]
            blocks.append(block.take(ids[mine] - start))
            places.append(mine)
            start += block.rows
        place = torch.cat(places)
        if place.numel() != ids.numel():
            raise InputError(f"row numbers must lie in 0..{start - 1}, got {int(ids.min())}..{int(ids.max())}")
        blocks = [block for block in blocks if block.rows] or blocks[:1]
        in_order = bool((place[1:] > place[:-1]).all())
        return PDEResidual(self.network, blocks, None if in_order else torch.argsort(place))

    def resized(self, widths: Sequence[int]) -> PDEResidual:
        """The same equations for a network with other hidden widths."""
        return PDEResidual(self.network.resized(widths), self.blocks, self.order)

    def subnetwork(self, x: Tensor, neurons: Tensor) -> tuple[Residual, Tensor]:
        """The residual of some neurons (k,) and the output bias, the other neurons frozen at x.

        Raises:
            UnsupportedCombination: the network has several hidden layers.
        """
        if len(self.network.widths) != 1:
            return super().subnetwork(x, neurons)
        neurons = neurons.to(x.device)
        others = torch.ones(self.network.widths[0], dtype=torch.bool, device=x.device)
        others[neurons] = False
        rest = others.nonzero()[:, 0]
        blocks = self.blocks
        if rest.numel():
            index = _neuron_parameters(self.network, rest)
            frozen = x.detach()[index].clone()
            frozen[-1] = 0.0
            net = self.network.resized((rest.numel(),))
            with torch.no_grad():
                blocks = tuple(
                    replace(b, offset=_add(net.channels(frozen, b.points, _needs(b)), b.offset)) for b in blocks
                )
        chosen = PDEResidual(self.network.resized((neurons.numel(),)), blocks, self.order)
        return chosen, _neuron_parameters(self.network, neurons)


def _needs(block: Block) -> Needs:
    assert block.needs is not None
    return block.needs


def _add(a: Channels, b: Channels | None) -> Channels:
    """Channel by channel a + b, where b is given."""
    if b is None:
        return a
    return Channels(*(p if p is None or q is None else p + q for p, q in zip(a, b, strict=True)))


def _empty(rows: int, x: Tensor) -> Tensor:
    """An uninitialized (rows, n) matrix like x (n,).

    On a CPU the memory comes from numpy, which asks for huge pages: touching it first is 4 times faster.
    """
    size = rows * x.numel() * x.element_size()
    if x.device.type != "cpu" or size < HUGE_PAGES:
        return x.new_empty(rows, x.numel())
    memory = torch.from_numpy(np.empty(size, dtype=np.uint8))
    return memory.view(x.dtype).view(rows, x.numel())


def _neuron_parameters(network: MLP, neurons: Tensor) -> Tensor:
    """Flat indices of some neurons of the only hidden layer, in the order of the smaller network."""
    d, r = network.inputs, network.widths[0]
    columns = torch.arange(d, device=neurons.device)
    rows = (neurons[:, None] * d + columns).reshape(-1)
    last = neurons.new_full((1,), r * (d + 2))
    return torch.cat([rows, r * d + neurons, r * (d + 1) + neurons, last])
