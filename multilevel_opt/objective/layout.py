"""Where the parameters of a network lie in the flat vector, and which neurons they belong to.

Algebraic coarsening works on neurons, not on parameters: a prolongation between neurons of one hidden
layer is extended to every parameter block that touches that layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod


@dataclass(frozen=True)
class Block:
    """One parameter tensor inside the flat vector.

    Attributes:
        name: for example ``layer1.weight``.
        start: offset of its first entry.
        shape: its shape, row-major.
        neurons: for each axis the index of the hidden layer whose neurons it counts, or None.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    neurons: tuple[int | None, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """All blocks of a network in flat order.

    Attributes:
        blocks: the parameter blocks, contiguous and in order.
        widths: number of neurons of every hidden layer.
    """

    blocks: tuple[Block, ...]
    widths: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(block.size for block in self.blocks)


def mlp_layout(inputs: int, widths: tuple[int, ...], outputs: int = 1) -> Layout:
    """Layout of a fully connected network: weight (out, in), bias (out,) for every layer in turn."""
    sizes = (inputs, *widths, outputs)
    blocks: list[Block] = []
    start = 0
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        before = layer - 1 if layer > 0 else None
        after = layer if layer < len(widths) else None
        for kind, shape, neurons in (
            ("weight", (n_out, n_in), (after, before)),
            ("bias", (n_out,), (after,)),
        ):
            block = Block(f"layer{layer}.{kind}", start, shape, neurons)
            blocks.append(block)
            start += block.size
    return Layout(tuple(blocks), tuple(widths))
