"""A mini-batch as a closure: it knows its samples, and which of them it shares with the batches before and after.

The rows of a batch lie in this order: ``carried`` rows that the previous batch had too, rows of its own, ``shared``
rows that the next batch will have too.

    S_k = (O_{k−1}, N_k, O_k)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]


class Batch:
    """The mean loss of some samples, called without arguments; it does not call ``backward``.

    Args:
        module: maps inputs to outputs.
        loss: (outputs, targets) -> the mean over the samples, a scalar.
        inputs: shape (k, …).
        targets: shape (k, …).
        ids: which samples these are, shape (k,), if they have numbers.
        carried: so many of the first rows were the last rows of the batch before.
        shared: so many of the last rows will be the first rows of the next batch.
        weight_decay: τ ≥ 0 of the term τ/2 ‖w‖² that is added, w all trainable parameters of the module.

    Raises:
        InputError: no sample, other numbers of inputs and targets, or more rows carried and shared than there are.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        inputs: Tensor,
        targets: Tensor,
        ids: Tensor | None = None,
        carried: int = 0,
        shared: int = 0,
        weight_decay: float = 0.0,
    ) -> None:
        if len(inputs) == 0 or len(inputs) != len(targets):
            raise InputError(f"a batch of {len(inputs)} inputs and {len(targets)} targets: give one target each")
        if min(carried, shared) < 0 or carried + shared > len(inputs):
            raise InputError(
                f"a batch of {len(inputs)} samples cannot have carried={carried} and shared={shared}: give smaller ones"
            )
        self.module, self.loss, self.inputs, self.targets, self.ids = module, loss, inputs, targets, ids
        self.carried, self.shared, self.weight_decay = carried, shared, weight_decay

    def __len__(self) -> int:
        return len(self.inputs)

    def __call__(self) -> Tensor:
        """The loss with its graph, at the weights that the module has now."""
        loss = self.loss(self.module(self.inputs), self.targets)
        return loss + penalty(self.module.parameters(), self.weight_decay) if self.weight_decay else loss

    def part(self, first: int, last: int) -> Batch:
        """The batch of the rows from ``first`` up to, but without, ``last``."""
        ids = None if self.ids is None else self.ids[first:last]
        rows = self.inputs[first:last], self.targets[first:last]
        return Batch(self.module, self.loss, *rows, ids, weight_decay=self.weight_decay)

    @property
    def parts(self) -> tuple[Batch | None, Batch | None, Batch | None]:
        """The rows carried over, those of its own, and those shared with the next batch; None where there are none."""
        edges = (0, self.carried, len(self) - self.shared, len(self))
        carried, own, shared = (self.part(a, b) if b > a else None for a, b in pairwise(edges))
        return carried, own, shared

    @property
    def key(self) -> list[Tensor]:
        """What tells which samples these are: their ids, or else inputs and targets themselves."""
        return [self.inputs, self.targets] if self.ids is None else [self.ids]


def penalty(weights: Iterable[Tensor], decay: float) -> Tensor:
    """τ/2 ‖w‖² of the trainable ones."""
    squares = [w.square().sum() for w in weights if w.requires_grad]
    return 0.5 * decay * torch.stack(squares).sum()
