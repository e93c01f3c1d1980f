"""The partially separable loss of a torch module: one object from module to element gradients.

loss = PartitionedLoss(model, images[:2], loss="softplus")
batch = loss(images, labels)
batch.value, batch.gradient, batch.element_gradients, batch.gauss_newton(v)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from multilevel_opt.separable.branches import Branches
from multilevel_opt.separable.jacobian import BatchDerivatives, ScoreJacobian
from multilevel_opt.separable.losses import ScoreLoss, loss_of
from multilevel_opt.separable.splitting import ClassSplit, Generic
from multilevel_opt.separable.structure import Partition
from multilevel_opt.separable.tracing import trace

Jacobians = Callable[[Tensor], ScoreJacobian]

JACOBIANS: dict[str, Callable[[nn.Module, Partition], Jacobians]] = {
    "branches": Branches,
    "whole": lambda model, partition: Branches(model, partition, whole=True),
    "generic": Generic,
}
METHODS = ("auto", *JACOBIANS, "classes")


class PartitionedLoss:
    """The loss of a module with its structure.

    Args:
        model: takes inputs (N, ...) to scores (N, C).
        inputs: some samples, of which only shape, dtype and device matter.
        loss: a name in ``LOSSES``, or a ``ScoreLoss``; ``nll`` has no elements, but a Gauss-Newton matrix.
        method: how derivatives are made. ``branches`` and ``whole`` for separable layers (``Branches``); ``generic`` by
            ``vmap(jacrev)``; ``classes`` by ``ClassSplit``, which has no Gauss-Newton matrix; ``auto``: the first of
            these that agrees with ``generic`` on random samples, otherwise ``generic``.
        merged: one element for each pair of scores, not two.

    Attributes:
        partition: elements and their weights.
        method: the one chosen.

    Raises:
        InputError: a module that is not partially separable, an unknown loss or method.
        UnsupportedCombination: layers that the method does not cover.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        loss: str | ScoreLoss = "exp",
        method: str = "auto",
        merged: bool = True,
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method={method} is unknown: choose one of {', '.join(METHODS)}")
        self.model, self.loss = model, loss_of(loss)
        self.partition = trace(model, inputs).partition(self.loss.parts or 2, merged)
        self.method = _best(model, self.partition, inputs) if method == "auto" else method
        self._jacobian = JACOBIANS[self.method](model, self.partition) if self.method in JACOBIANS else None

    def __call__(self, inputs: Tensor, labels: Tensor) -> BatchDerivatives | ClassSplit:
        """Value and derivatives of the mean loss of a batch, each computed when asked for.

        Raises:
            InputError: labels that do not fit the scores.
            ShapeError: no sample.
        """
        if not len(inputs):
            raise ShapeError("a batch without samples has no loss: give at least one sample")
        if self._jacobian is None:
            return ClassSplit(self.model, self.partition, self.loss, inputs, labels)
        return BatchDerivatives(self._jacobian(inputs), self.loss, labels)


def _best(model: nn.Module, partition: Partition, inputs: Tensor) -> str:
    """The first method that agrees with the reference."""
    probe: Any = copy.deepcopy(model).double().eval()
    sample = torch.randn(2, *inputs.shape[1:], generator=torch.Generator(device="cpu").manual_seed(0), device="cpu")
    sample = sample.to(inputs.device, torch.float64)
    exact = Generic(probe, partition)(sample)
    for name in ("branches", "whole"):
        try:
            found = JACOBIANS[name](probe, partition)(sample)
        except UnsupportedCombination:
            break
        pairs = ((found.own, exact.own), (found.shared, exact.shared))
        if all(torch.allclose(a, b, rtol=1e-7, atol=1e-9 * float(b.abs().sum() + 1)) for a, b in pairs):
            return name
    return "generic"
