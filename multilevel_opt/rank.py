"""Levels of lower rank: layers as singular triples, W = U diag(s) Vᵀ, and the hierarchy of ranks that they give.

Factored layers are trained as they are, with a penalty that keeps U and V orthonormal, and are compressed by dropping
small triples (Yang, Tang, Wen et al. 2020). A network of rank r is a network of rank r' > r whose further triples have
s = 0: prolongation pads with zeros and leaves the function as it is, restriction drops the last triples. A convolution
is factored channel-wise, as the matrix of its output channels and everything else.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.build import from_objectives
from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.linalg.operator import Selection
from multilevel_opt.objective.module import FlatModule
from multilevel_opt.transfer.operator import TransferOperator

Closure = Callable[[nn.Module], Callable[[], Tensor]]


class Factored(nn.Module):
    """A layer with the weight U diag(s) Vᵀ.

    Args:
        layer: the layer that it stands for; its bias is taken over.
        rank: number of triples, the largest; None for all.

    Attributes:
        left: U, shape (outputs, r).
        values: s, shape (r,), not negative and in falling order at first.
        right: V, shape (inputs, r).
    """

    def __init__(self, layer: Any, rank: int | None = None) -> None:
        super().__init__()
        U, s, V = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
        r = len(s) if rank is None else min(rank, len(s))
        trained = bool(layer.weight.requires_grad)
        self.left, self.values, self.right = (
            nn.Parameter(part.contiguous(), requires_grad=trained) for part in (U[:, :r], s[:r], V[:r].mT)
        )
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone(), layer.bias.requires_grad)

    @property
    def rank(self) -> int:
        """Number of triples."""
        return len(self.values)

    @property
    def matrix(self) -> Tensor:
        """U diag(s) Vᵀ, shape (outputs, inputs)."""
        return (self.left * self.values) @ self.right.mT

    @abstractmethod
    def forward(self, h: Tensor) -> Tensor:
        """The layer applied to a batch."""

    @torch.no_grad()
    def keep(self, triples: Tensor) -> None:
        """Go on with these triples alone, int64 indices in the new order."""
        for name in ("left", "values", "right"):
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(old[..., triples].clone(), requires_grad=old.requires_grad))


class FactoredLinear(Factored):
    """Of ``nn.Linear``."""

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.linear((h @ self.right) * self.values, self.left, self.bias)


class FactoredConv2d(Factored):
    """Of ``nn.Conv2d`` without groups: a convolution with r outputs, and one with kernels of one pixel."""

    def __init__(self, layer: nn.Conv2d, rank: int | None = None) -> None:
        if layer.groups != 1 or layer.padding_mode != "zeros":
            raise InputError(
                "only convolutions without groups and with padding by zeros are factored: leave others out"
            )
        super().__init__(layer, rank)
        self.shape = tuple(layer.weight.shape[1:])
        self.options: dict[str, Any] = {
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
        }

    def forward(self, h: Tensor) -> Tensor:
        kernels = (self.right * self.values).mT.reshape(-1, *self.shape)
        found: Tensor = nn.functional.conv2d(h, kernels, **self.options)
        return nn.functional.conv2d(found, self.left[:, :, None, None], self.bias)


KINDS: Mapping[type[nn.Module], Callable[[Any, int | None], Factored]] = {
    nn.Linear: FactoredLinear,
    nn.Conv2d: FactoredConv2d,
}


def factored(module: nn.Module, rank: int | None = None) -> nn.Module:
    """A copy whose linear layers and convolutions have at most so many singular triples, the first ones if factored.

    Raises:
        InputError: ``rank`` below 1, or a convolution with groups.
    """
    if rank is not None and rank < 1:
        raise InputError(f"rank={rank} is out of range: give 1 or more, or None for all")
    made = copy.deepcopy(module)
    for layer in layers(made):
        layer.keep(torch.arange(layer.rank if rank is None else min(rank, layer.rank)))
    return _replaced(made, rank)


def layers(module: nn.Module) -> Iterator[Factored]:
    """The factored layers of a module."""
    return (part for part in module.modules() if isinstance(part, Factored))


def penalty(module: nn.Module, orthogonality: float = 1.0, sparsity: float = 0.0) -> Tensor:
    """λ_o Σ (‖UᵀU − I‖² + ‖VᵀV − I‖²)/r² + λ_s Σ ‖s‖₁/‖s‖₂, a scalar to add to a loss; raises ``InputError``."""
    terms = []
    for layer in layers(module):
        for side in (layer.left, layer.right):
            gram = side.mT @ side
            off = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            terms.append(orthogonality * off.square().sum() / layer.rank**2)
        if sparsity:
            size = torch.linalg.vector_norm(layer.values).clamp_min(torch.finfo(gram.dtype).tiny)
            terms.append(sparsity * layer.values.abs().sum() / size)
    if not terms:
        raise InputError("the module has no factored layer: make some by rank.factored(module)")
    return torch.stack(terms).sum()


def pruned(module: nn.Module, energy: float) -> nn.Module:
    """A copy without the smallest triples of each layer, as many as have Σ s² ≤ ``energy`` of all, in [0, 1).

    Raises:
        InputError: ``energy`` out of range.
    """
    if not 0 <= energy < 1:
        raise InputError(f"energy={energy} is out of range: give a number from 0 to below 1")
    made = copy.deepcopy(module)
    for layer in layers(made):
        squares, order = layer.values.detach().square().sort(descending=True)
        lost = squares.flip(0).cumsum(0).flip(0)  # by dropping this triple and all after it
        count = max(1, int((lost > energy * squares.sum()).sum()))
        layer.keep(order[:count])
    return made


def hierarchy(module: nn.Module, closure: Closure, ranks: Sequence[int]) -> tuple[list[nn.Module], Hierarchy]:
    """Networks of falling rank, finest first, and their hierarchy; x of a level is that of ``FlatModule``.

    Args:
        module: with or without factored layers.
        closure: network -> closure that returns its loss, or residual, as for ``FlatModule.objective``.
        ranks: of each level, falling.

    Raises:
        InputError: ranks that do not fall, or fewer than two.
    """
    if len(ranks) < 2 or any(a <= b for a, b in pairwise(ranks)):
        raise InputError(f"ranks={list(ranks)} do not fall: give at least two, the largest first")
    networks = [factored(module, ranks[0])]
    for rank in ranks[1:]:
        networks.append(factored(networks[-1], rank))
    objectives = [FlatModule(network).objective(closure(network)) for network in networks]
    return networks, from_objectives(objectives, [transfer(a, b) for a, b in pairwise(networks)])


def transfer(fine: nn.Module, coarse: nn.Module) -> TransferOperator:
    """Zero-padded triples, between two networks that differ in their ranks alone.

    Steps are padded with zeros; iterates with triples of the fine network whose s is zero.
    """
    mine, yours = FlatModule(fine), FlatModule(coarse)
    places = torch.arange(sum(mine.sizes)).split(mine.sizes)
    chosen, kept = [], []
    for name, where in zip(mine.names, places, strict=True):
        own, other = fine.get_parameter(name), coarse.get_parameter(name)
        table = where.reshape(own.shape)
        r = other.shape[-1]
        chosen.append(table[..., :r].reshape(-1))
        if own.ndim > 1:  # U and V of the triples with s = 0
            kept.append(table[..., r:].reshape(-1))
    like = yours.get()
    selection = Selection(torch.cat(chosen).to(like.device), sum(mine.sizes))
    return TransferOperator(selection, lift=selection, keeps=torch.cat(kept).to(like.device))


def _replaced(module: nn.Module, rank: int | None) -> nn.Module:
    """The module with plain layers replaced by factored ones."""
    if type(module) in KINDS:
        return KINDS[type(module)](module, rank)
    for name, part in list(module.named_children()):
        setattr(module, name, _replaced(part, rank))
    return module
