"""The Jacobian of the scores from few backward passes, by the structure of the network.

The own weights of the scores are disjoint, so one pass with cotangent 1 on all scores gives ∂c_j/∂(own weights of j)
for all j at once: the cotangent of a layer's output and its input are all that the gradients of single samples need
(``rules``). The shared layers need one cotangent for each score. Where the scores part, at layers with own weights and
a shared input, those cotangents come from the parts of the layer; from there C passes go through the shared layers.
Networks whose shared layers are reached in another way (a skip past those layers) get C passes through all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.separable.jacobian import ScoreJacobian
from multilevel_opt.separable.rules import RULES, Rule
from multilevel_opt.separable.structure import Partition


@dataclass(frozen=True, eq=False)
class _Call:
    """One evaluation of a layer."""

    layer: Any
    rule: Rule
    inputs: Tensor
    outputs: Tensor

    @cached_property
    def prepared(self) -> Any:
        """What gradients need of the input."""
        return self.rule.prepared(self.layer, self.inputs.detach())

    def gradients(self, cotangent: Tensor) -> list[Tensor]:
        """Gradients by the trainable parameters of the layer, in their order, each (N, entries)."""
        parts = zip((self.layer.weight, self.layer.bias), self._both(cotangent), strict=True)
        return [found for p, found in parts if p is not None and p.requires_grad]

    def _both(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        return self.rule.gradients(self.layer, self.prepared, cotangent)

    def split(self, cotangent: Tensor, classes: int) -> list[Tensor]:
        """The cotangent of the input, score by score."""
        return self.rule.split(self.layer, self.inputs, self.prepared, cotangent, classes)


class Branches:
    """Computes the ``ScoreJacobian`` of batches.

    Args:
        model: the module that was traced.
        partition: from its structure.
        whole: lead the cotangents of the shared layers through all layers, for a skip around those with own weights.

    Raises:
        UnsupportedCombination: a layer with weights that ``RULES`` has no line for, or with shared and own weights.
    """

    def __init__(self, model: nn.Module, partition: Partition, whole: bool = False) -> None:
        self.model, self.partition, self.whole = model, partition, whole
        structure = partition.structure
        uses = dict(zip(structure.names, structure.masks.sum(0).split(structure.sizes), strict=True))
        self._own: dict[nn.Module, Rule] = {}
        self._shared: dict[nn.Module, Rule] = {}
        for prefix in dict.fromkeys(name.rpartition(".")[0] for name in structure.names):
            layer = model.get_submodule(prefix)
            counts = torch.cat([uses[name] for name in structure.names if name.rpartition(".")[0] == prefix])
            table = self._own if bool((counts == 1).any()) else self._shared
            table[layer] = _rule(layer, prefix, mixed=table is self._own and bool((counts > 1).any()))
        self._columns = _Columns(partition, model, self._own, self._shared)
        self._parting: list[nn.Module] | None = None

    def __call__(self, inputs: Tensor) -> ScoreJacobian:
        """The Jacobian of the scores of inputs (N, ...).

        Raises:
            UnsupportedCombination: a layer that is evaluated not once.
        """
        with torch.enable_grad(), _recorded({**self._shared, **self._own}) as calls:
            scores = self.model(inputs)
        if len(calls) < len(self._own) + len(self._shared):
            raise UnsupportedCombination("a layer with weights is not evaluated: use the method 'classes'")
        own, shared = [calls[layer] for layer in self._own], [calls[layer] for layer in self._shared]
        cotangents = torch.autograd.grad(
            scores, [call.outputs for call in own], torch.ones_like(scores), retain_graph=True
        )
        gradients = [g for call, d in zip(own, cotangents, strict=True) for g in call.gradients(d)]
        found = scores.new_empty(*scores.shape, len(self.partition.structure.shared))
        if shared:
            by_layer = dict(zip(self._own, cotangents, strict=True))
            heads = [] if self.whole else [(calls[layer], by_layer[layer]) for layer in self._first(calls)]
            self._fill(found, scores, shared, heads)
        return ScoreJacobian(self.partition, scores.detach(), self._columns.own(gradients), found)

    def _fill(self, found: Tensor, scores: Tensor, shared: Sequence[_Call], parting: Sequence[Any]) -> None:
        """Derivatives by the shared weights, score by score."""
        classes = scores.shape[1]
        splits = [call.split(d, classes) for call, d in parting]
        heads = [call.inputs for call, _ in parting] or [scores]
        units = torch.eye(classes, dtype=scores.dtype, device=scores.device)
        for j in range(classes):
            weights = [split[j] for split in splits] or [units[j].expand_as(scores)]
            cotangents = torch.autograd.grad(heads, [call.outputs for call in shared], weights, retain_graph=True)
            parts = zip(shared, cotangents, strict=True)
            found[:, j] = self._columns.shared([g for call, d in parts for g in call.gradients(d)])

    def _first(self, calls: dict[nn.Module, _Call]) -> list[nn.Module]:
        """The layers with own weights whose input has none before it."""
        if self._parting is None:
            weights = {p for layer in self._own for p in layer.parameters(recurse=False)}
            self._parting = [layer for layer in self._own if not _reaches(calls[layer].inputs, weights)]
        return self._parting


def _rule(layer: nn.Module, name: str, mixed: bool) -> Rule:
    rule = RULES.get(type(layer))
    if rule is None or mixed or not rule.fits(layer):
        known = ", ".join(kind.__name__ for kind in RULES)
        what = "with shared and own weights" if mixed else f"({type(layer).__name__})"
        raise UnsupportedCombination(
            f"no rule gives the gradients of single samples by layer {name!r} {what}: use layers of {known}, or the "
            "method 'classes'"
        )
    return rule


@contextmanager
def _recorded(layers: dict[nn.Module, Rule]) -> Iterator[dict[nn.Module, _Call]]:
    """Keep input and output of every evaluation of these layers."""
    calls: dict[nn.Module, _Call] = {}

    def keep(layer: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        if layer in calls:
            raise UnsupportedCombination(f"{layer} is evaluated twice for a score: use the method 'classes'")
        calls[layer] = _Call(layer, layers[layer], arguments[0], outputs)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _reaches(tensor: Tensor, weights: set[nn.Parameter]) -> bool:
    """One of the weights is in the graph of the tensor."""
    stack, seen = [tensor.grad_fn], set[Any]()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) in weights:
            return True
        stack.extend(following for following, _ in node.next_functions)
    return False


class _Columns:
    """Puts gradients by layers in the order of the structure."""

    def __init__(
        self, partition: Partition, model: nn.Module, own: dict[nn.Module, Rule], shared: dict[nn.Module, Rule]
    ) -> None:
        structure = partition.structure
        starts = dict(zip(structure.names, torch.tensor([0, *structure.sizes]).cumsum(0).tolist()[:-1], strict=True))
        sizes = dict(zip(structure.names, structure.sizes, strict=True))
        prefixes = {layer: name for name, layer in model.named_modules()}

        def places(layers: dict[nn.Module, Rule]) -> list[Tensor]:
            names = [f"{prefixes[layer]}.{kind}".lstrip(".") for layer in layers for kind in ("weight", "bias")]
            return [torch.arange(starts[name], starts[name] + sizes[name]) for name in names if name in starts]

        self._classes, device = structure.classes, structure.masks.device
        blocks = [found.reshape(self._classes, -1) for found in places(own) if not len(found) % self._classes]
        expected = torch.cat(blocks, dim=1).to(device) if blocks else torch.empty(0, device=device)
        self._apart = expected.shape == structure.own.shape and bool((expected == structure.own).all())
        self._own_at = _positions(places(own), structure.own, structure.n)
        self._shared_at = _positions(places(shared), structure.shared, structure.n)
        count = len(self._shared_at)
        whole = torch.arange(count, device=device)
        self._whole = sum(len(p) for p in places(shared)) == count and bool((self._shared_at == whole).all())

    @property
    def apart(self) -> bool:
        """In every parameter the weights of a score follow those of the score before."""
        return self._apart

    def own(self, gradients: Sequence[Tensor]) -> Tensor:
        """Gradients (N, entries) of all parameters to (C, N, n_own)."""
        if self._apart:
            parts = [g.reshape(len(g), self._classes, -1).transpose(0, 1) for g in gradients]
            return torch.cat(parts, dim=2)
        flat = torch.nn.functional.pad(torch.cat(list(gradients), dim=1), (0, 1))
        return flat[:, self._own_at].transpose(0, 1).contiguous()

    def shared(self, gradients: Sequence[Tensor]) -> Tensor:
        """Gradients (N, entries) of all parameters to (N, n_shared)."""
        flat = torch.cat(list(gradients), dim=1)
        return flat if self._whole else flat[:, self._shared_at]


def _positions(places: Sequence[Tensor], wanted: Tensor, n: int) -> Tensor:
    """Where the wanted weights are in the concatenated places; past their end for the weight n."""
    index = torch.full((n + 1,), -1, device=wanted.device)
    flat = torch.cat([*places, torch.tensor([n])]).to(wanted.device)
    index[flat] = torch.arange(len(flat), device=wanted.device)
    return index[wanted]
