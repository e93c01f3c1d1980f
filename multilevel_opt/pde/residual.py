"""The residual of a PDE on a network: blocks of equations at points, with a fast Jacobian.

The parameter vector x holds those of the network, then the unknown scalars, each divided by its scale. A
block is an equation e(u, z) at m_b points with a weight; the residual concatenates weight · e over the blocks,
equation by equation. A row of its Jacobian is

    dr_i/dx = weight · Σ ∂e/∂channel · d channel(z_i)/dx

with the few factors ∂e/∂channel from ``equations`` and the rest from ``sites`` and ``adjoints``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.layout import Block as ParameterBlock
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.residual import Residual, Strip
from multilevel_opt.pde.constraints import Transform
from multilevel_opt.pde.equations import Block, probed
from multilevel_opt.pde.fields import Frame, named
from multilevel_opt.pde.networks import MLP, Network
from multilevel_opt.pde.point_levels import spread
from multilevel_opt.pde.sites import Transformed, site_of
from multilevel_opt.transfer.blocks import places

CACHE_ENTRIES = 2**19  # Jacobian entries written at a time on a CPU: a few MB stay in its cache
DEVICE_ENTRIES = 2**27  # the same on an accelerator, where only memory limits a chunk

HUGE_PAGES = 2**22  # bytes from which numpy asks for huge pages


class Supply(Protocol):
    """Where a residual gets rows that it does not have; ``refinement.Points`` is one."""

    def held_out(self) -> PDEResidual:
        """Rows that are not trained on."""
        ...

    def refined(self, residual: PDEResidual, x: Tensor, seed: int) -> PDEResidual | None:
        """The residual with more rows, chosen at x."""
        ...


class PDEResidual(Residual):
    """Weighted rows of all blocks for a network, r: R^n -> R^m.

    Args:
        network: the network.
        blocks: equations at points, all on the same device with the same dtype.
        order: a permutation of the rows of the blocks, or None.
        frame: names; None: x, y, z and one function u.
        transform: u = transform(z, n) from points (m, d) and network outputs (m, K), or None.
        scales: of the unknown scalars, whose values are scale · x.

    Raises:
        InputError: an equation, a network and their names do not fit; see ``probed`` and ``site_of``.
    """

    def __init__(
        self,
        network: Network,
        blocks: Sequence[Block],
        order: Tensor | None = None,
        *,
        frame: Frame | None = None,
        transform: Transform | None = None,
        scales: Sequence[float] = (),
    ) -> None:
        self.network, self.order, self.scales = network, order, tuple(scales)
        self.supply: Supply | None = None
        self.frame = frame or Frame(named(blocks[0].points.shape[1]))
        self.blocks = tuple(b if b.sites else _prepared(b, self.frame, network, transform) for b in blocks)
        self.layout = _with_scalars(network.neurons, self.frame.unknowns)
        self.channels = max(site.channels for b in self.blocks for site in b.sites)

    @property
    def n_rows(self) -> int:
        """Number of rows m."""
        return sum(block.rows for block in self.blocks)

    def __call__(self, x: Tensor) -> Tensor:
        """r(x), shapes (n,) -> (m,); ``torch.func`` works through it."""
        rows = []
        for block in self.blocks:
            pieces = [self._rows_of(part, x) for part, _ in self._parts(block, x, 0)]
            rows.append((pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)).reshape(-1))
        r = torch.cat(rows)
        return r if self.order is None else r[self.order]

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(r(x), J(x)) of shapes (m,) and (m, n), detached."""
        with torch.no_grad():
            x = x.detach()
            r, jacobian = x.new_empty(self.n_rows), _empty(self.n_rows, x)
            start = 0
            for block in self.blocks:
                for part, places_of in self._parts(block, x, start):
                    self._write(part, x, places_of, r, jacobian)
                start += block.rows
            return (r, jacobian) if self.order is None else (r[self.order], jacobian[self.order])

    def columns(self, x: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """A piece of J is held at a time, which a network with many inputs needs."""
        with torch.no_grad():
            x, own = x.detach(), own.to(x.device)
            r, found = x.new_empty(self.n_rows), x.new_empty(self.n_rows, own.numel())
            start = 0
            for block in self.blocks:
                for part, places_of in self._parts(block, x, start):
                    m, count = part.points.shape[0], len(places_of)
                    piece, own_rows = x.new_empty(count * m, x.numel()), x.new_empty(count * m)
                    self._write(part, x, [slice(e * m, (e + 1) * m) for e in range(count)], own_rows, piece)
                    for e, place in enumerate(places_of):
                        r[place], found[place] = own_rows[e * m : (e + 1) * m], piece[e * m : (e + 1) * m, own]
                start += block.rows
            return (r, found) if self.order is None else (r[self.order], found[self.order])

    def _rows_of(self, block: Block, x: Tensor) -> Tensor:
        mine = x[: self.network.size]
        return block.evaluate([site.evaluate(mine) for site in block.sites], self._scalars(x, block.points.shape[0]))

    def _write(self, part: Block, x: Tensor, rows: Sequence[slice], r: Tensor, jacobian: Tensor) -> None:
        """The rows of one piece, and their derivatives."""
        n = self.network.size
        traced = [site.traced(x[:n]) for site in part.sites]
        found, seeds = part.seeds([channels for channels, _ in traced], self._scalars(x, part.points.shape[0]))
        for place, row, mine in zip(rows, found, seeds, strict=True):
            r[place] = row
            out = jacobian[place]
            traced[0][1](mine[0], out[:, :n])
            for (_, pull), seed in zip(traced[1:], mine[1:], strict=False):
                other = torch.empty_like(out[:, :n])
                pull(seed, other)
                out[:, :n] += other
            if self.scales:
                out[:, n:] = mine[-1] * x.new_tensor(self.scales)

    def _scalars(self, x: Tensor, m: int) -> Tensor | None:
        """Values of the unknown scalars, (m, P)."""
        if not self.scales:
            return None
        return (x[self.network.size :] * x.new_tensor(self.scales)).expand(m, -1)

    def _parts(self, block: Block, x: Tensor, start: int) -> Iterator[tuple[Block, list[slice]]]:
        """A block cut into pieces that fit the cache, with the rows of every equation."""
        entries = CACHE_ENTRIES if x.device.type == "cpu" else DEVICE_ENTRIES
        step, m = max(32, entries // x.numel()), block.points.shape[0]
        for low in range(0, max(1, m), step):
            high = min(m, low + step)
            rows = [slice(start + e * m + low, start + e * m + high) for e in range(block.count)]
            yield block if m <= step else block.take(slice(low, high)), rows

    def rows(self, ids: Tensor) -> PDEResidual:
        """The residual r(x)[ids]; only those points are evaluated.

        Raises:
            InputError: a row number is out of range.
        """
        ids = ids if self.order is None else self.order[ids]
        blocks: list[Block] = []
        where: list[Tensor] = []
        start = 0
        for block in self.blocks:
            for part in _by_equation(block):
                mine = ((ids >= start) & (ids < start + part.rows)).nonzero()[:, 0]
                blocks.append(part.take(ids[mine] - start))
                where.append(mine)
                start += part.rows
        place = torch.cat(where)
        if place.numel() != ids.numel():
            raise InputError(f"row numbers must lie in 0..{start - 1}, got {int(ids.min())}..{int(ids.max())}")
        blocks = [block for block in blocks if block.rows] or blocks[:1]
        in_order = bool((place[1:] > place[:-1]).all())
        return self._with(self.network, blocks, None if in_order else torch.argsort(place))

    def strips(self, x: Tensor, seed: int = 0) -> list[Strip]:
        """The points of every block; of conditions as many stay as keep them as dense as those of the equation."""
        return [
            Strip(spread(b.points, seed + k), 1.0 if k == 0 else 1.0 - 1.0 / b.points.shape[1])
            for k, b in enumerate(self.blocks)
        ]

    def sampled(self, ids: Sequence[Tensor], strips: Sequence[Strip]) -> PDEResidual:
        parts = [block.take(chosen.sort().values) for block, chosen in zip(self.blocks, ids, strict=True)]
        pairs = zip(parts, self.blocks, strict=True)
        shares = [(len(all_of.points) / max(len(part.points), 1)) ** 0.5 for part, all_of in pairs]
        weighted = [p.weighted([share * w for w in p.weights]) for p, share in zip(parts, shares, strict=True)]
        return self.with_blocks([block for block in weighted if block.rows] or weighted[:1])

    def held_out(self) -> PDEResidual | None:
        return None if self.supply is None else self.supply.held_out()

    def refined(self, x: Tensor, seed: int) -> PDEResidual | None:
        """More points of the equation; the conditions keep theirs."""
        return None if self.supply is None else self.supply.refined(self, x, seed)

    def resized(self, widths: Sequence[int]) -> PDEResidual:
        """The same equations for a network with other hidden widths."""
        small = self.network.resized(widths)
        blocks = []
        for block in self.blocks:
            sites = [
                replace(s, network=s.network.resized(widths) if s.network is not self.network else small)
                for s in block.sites
            ]
            blocks.append(replace(block, sites=tuple(sites)))
        return self._with(small, blocks, self.order)

    def subnetwork(self, x: Tensor, neurons: Tensor) -> tuple[Residual, Tensor]:
        """The residual of some neurons (k,), the output biases and the scalars, the other neurons frozen at x.

        Raises:
            UnsupportedCombination: the network has several hidden layers, or a transform that is not affine and
                derivatives above two.
        """
        network = self.network
        sites = [site for block in self.blocks for site in block.sites]
        whole = not isinstance(network, MLP) or network.neurons is None or len(network.widths) != 1
        if whole or any(isinstance(site.network, Transformed) for site in sites):
            return super().subnetwork(x, neurons)
        assert isinstance(network, MLP)
        assert self.layout is not None
        neurons = neurons.to(x.device)
        others = torch.ones(network.widths[0], dtype=torch.bool, device=x.device)
        others[neurons] = False
        rest = others.nonzero()[:, 0]
        chosen = network.resized((neurons.numel(),))
        blocks = tuple(replace(b, sites=tuple(replace(s, network=chosen) for s in b.sites)) for b in self.blocks)
        if rest.numel():
            frozen = x.detach()[places(network.layout, rest)].clone()
            frozen[-network.outputs :] = 0.0
            with torch.no_grad():
                blocks = tuple(_frozen(b, network.resized((rest.numel(),)), frozen) for b in blocks)
        return self._with(chosen, blocks, self.order), places(self.layout, neurons)

    def with_blocks(self, blocks: Sequence[Block]) -> PDEResidual:
        """The residual of other blocks, made for the same network and names."""
        return self._with(self.network, blocks, None)

    def _with(self, network: Network, blocks: Sequence[Block], order: Tensor | None) -> PDEResidual:
        return PDEResidual(network, blocks, order, frame=self.frame, scales=self.scales)


def _prepared(block: Block, frame: Frame, network: Network, transform: Transform | None) -> Block:
    block = probed(block, frame)
    assert block.needs is not None
    sets = [block.points] if block.partners is None else [block.points, block.partners]
    sites = tuple(site_of(network, transform, z, block.needs, len(frame.outputs)) for z in sets)
    return replace(block, sites=sites)


def _by_equation(block: Block) -> list[Block]:
    """A block for each equation."""
    if block.count == 1:
        return [block]
    assert block.only is not None
    return [replace(block, only=(e,)) for e in block.only]


def _frozen(block: Block, network: MLP, x: Tensor) -> Block:
    """The block with the channels of a frozen network added."""
    sites = [replace(site, offset=replace(site, network=network).of_network(x)) for site in block.sites]
    return replace(block, sites=tuple(sites))


def _with_scalars(layout: Layout | None, names: Sequence[str]) -> Layout | None:
    if layout is None or not names:
        return layout
    own = [ParameterBlock(name, layout.size + k, (1,), (None,)) for k, name in enumerate(names)]
    return Layout((*layout.blocks, *own), layout.widths)


def _empty(rows: int, x: Tensor) -> Tensor:
    """An uninitialized (rows, n) matrix like x (n,).

    On a CPU the memory comes from numpy, which asks for huge pages: touching it first is 4 times faster.
    """
    size = rows * x.numel() * x.element_size()
    if x.device.type != "cpu" or size < HUGE_PAGES:
        return x.new_empty(rows, x.numel())
    memory = torch.from_numpy(np.empty(size, dtype=np.uint8))
    return memory.view(x.dtype).view(rows, x.numel())
