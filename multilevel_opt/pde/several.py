"""Several networks side by side: one for every unknown function, each with inputs and sizes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.layout import Block, Layout
from multilevel_opt.pde.networks import Jets, Network, Pull
from multilevel_opt.pde.terms import Needs


@dataclass(frozen=True)
class Several(Network):
    """Networks whose outputs are joined; the parameter vector is that of the first, then of the second, ...

    A network that depends on some coordinates only has an embedding ``Columns``.

    Attributes:
        networks: at least one, all of the same number of coordinates.

    Raises:
        InputError: no networks, or networks of different inputs.
    """

    networks: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if len({net.inputs for net in self.networks}) != 1:
            raise InputError(
                f"networks side by side need the same number of coordinates, got "
                f"{[net.inputs for net in self.networks]}: choose coordinates by embedding=Columns(...)"
            )
        object.__setattr__(self, "inputs", self.networks[0].inputs)
        object.__setattr__(self, "outputs", sum(net.outputs for net in self.networks))
        object.__setattr__(self, "parts", sum(net.parts for net in self.networks))

    @property
    def size(self) -> int:
        return sum(net.size for net in self.networks)

    @property
    def neurons(self) -> Layout | None:
        found = [net.neurons for net in self.networks]
        layouts = [layout for layout in found if layout is not None]
        return joined(layouts) if len(layouts) == len(found) else None

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([net.value(y, z) for net, y, _ in self._split(x)], dim=-1)

    def jets(self, z: Tensor, needs: Needs) -> Jets:
        return tuple(jet for net in self.networks for jet in net.jets(z, needs))

    def channels(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets | None = None) -> Tensor:
        return torch.cat([net.channels(y, z, needs, jets and jets[rows]) for net, y, rows in self._split(x)], dim=-1)

    def traced(self, x: Tensor, z: Tensor, needs: Needs, jets: Jets) -> tuple[Tensor, Pull]:
        found = [net.traced(y, z, needs, jets[rows]) for net, y, rows in self._split(x)]
        outputs = _edges([net.outputs for net in self.networks])
        columns = _edges([net.size for net in self.networks])

        def pull(seeds: Tensor, out: Tensor) -> None:
            for (_, one), rows, place in zip(found, outputs, columns, strict=True):
                one(seeds[:, :, rows], out[:, place])

        return torch.cat([channels for channels, _ in found], dim=-1), pull

    def resized(self, widths: Sequence[int]) -> Several:
        made, rest = [], list(widths)
        for net in self.networks:
            count = 0 if net.neurons is None else len(net.neurons.widths)
            made.append(net.resized(rest[:count]))
            rest = rest[count:]
        return Several(tuple(made))

    def drawn(self, init: str, seed: int, frequency: float) -> Tensor:
        return torch.cat([net.drawn(init, seed + 1000 * k, frequency) for k, net in enumerate(self.networks)])

    def _split(self, x: Tensor) -> list[tuple[Network, Tensor, slice]]:
        pieces = torch.split(x, [net.size for net in self.networks])
        return list(zip(self.networks, pieces, _edges([net.parts for net in self.networks]), strict=True))


def _edges(sizes: Sequence[int]) -> list[slice]:
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return [slice(a, b) for a, b in pairwise(ends)]


def joined(layouts: Sequence[Layout]) -> Layout:
    """One layout for the parameters of several networks in turn; their hidden layers are numbered through."""
    blocks: list[Block] = []
    widths: list[int] = []
    start = 0
    for number, layout in enumerate(layouts):
        for block in layout.blocks:
            neurons = tuple(None if layer is None else layer + len(widths) for layer in block.neurons)
            blocks.append(Block(f"network{number}.{block.name}", start + block.start, block.shape, neurons))
        start += layout.size
        widths += layout.widths
    return Layout(tuple(blocks), tuple(widths))
