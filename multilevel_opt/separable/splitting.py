"""Element gradients and score Jacobians of any module, without knowledge of its layers.

``ClassSplit`` uses that a sample of class k occurs in the elements of k only: one backward pass for every other class,
through the samples of class k alone, hence C − 1 passes through the batch where the elements one by one take C(C − 1).
``Generic`` differentiates every sample by itself (``torch.func``) and serves as reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from multilevel_opt.separable.jacobian import ScoreJacobian
from multilevel_opt.separable.losses import ScoreLoss, checked
from multilevel_opt.separable.structure import Partition


class Generic:
    """The Jacobian of the scores by ``vmap(jacrev)``.

    Args:
        model: any module in which no sample depends on others.
        partition: of its weights.
        chunk: samples at a time; None for all.
    """

    def __init__(self, model: nn.Module, partition: Partition, chunk: int | None = None) -> None:
        self.model, self.partition, self.chunk = model, partition, chunk

    def __call__(self, inputs: Tensor) -> ScoreJacobian:
        """The Jacobian of the scores of inputs (N, ...)."""
        names = self.partition.structure.names
        weights = {name: self.model.get_parameter(name).detach() for name in names}

        def scores(values: Mapping[str, Tensor], sample: Tensor) -> tuple[Tensor, Tensor]:
            found: Tensor = torch.func.functional_call(self.model, dict(values), (sample[None],))[0]
            return found, found

        each = torch.func.vmap(torch.func.jacrev(scores, has_aux=True), (None, 0), chunk_size=self.chunk)
        parts, c = each(weights, inputs)
        full = torch.cat([parts[name].flatten(2) for name in names], dim=2)
        own = torch.nn.functional.pad(full, (0, 1)).gather(2, self.partition.structure.own.expand(len(c), -1, -1))
        return ScoreJacobian(
            self.partition, c, own.transpose(0, 1).contiguous(), full[:, :, self.partition.structure.shared]
        )


@dataclass(frozen=True, eq=False)
class ClassSplit:
    """A loss of a batch with its element gradients, class by class.

    Attributes:
        model: any module in which no sample depends on others.
        partition: of its weights.
        loss: averaged over the samples.
        inputs: shape (N, ...).
        labels: shape (N,).
    """

    model: nn.Module
    partition: Partition
    loss: ScoreLoss
    inputs: Tensor
    labels: Tensor

    @cached_property
    def value(self) -> Tensor:
        """The mean loss, a scalar."""
        with torch.no_grad():
            scores = self.model(self.inputs)
            return self.loss(scores, checked(scores, self.labels))

    @cached_property
    def gradient(self) -> Tensor:
        """∇f, shape (n,)."""
        return self.partition.scattered(self.element_gradients)

    @cached_property
    def element_gradients(self) -> Tensor:
        """∇f_i of all elements, shape (E, n_e)."""
        part = self.partition
        total = torch.zeros(part.indices.shape, dtype=self.value.dtype, device=self.value.device)
        for label in self.labels.unique().tolist():
            chosen = (self.labels == label).nonzero()[:, 0]
            which = (part.members == label).any(1).nonzero()[:, 0] if part.members.shape[1] > 1 else slice(None)
            total[which] += self._of_class(chosen, part.members[which])
        return total

    def _of_class(self, chosen: Tensor, members: Tensor) -> Tensor:
        """Gradients of these elements by the samples of a class, in the weights of the elements."""
        part = self.partition
        parameters = [self.model.get_parameter(name) for name in part.structure.names]
        with torch.enable_grad():
            scores = self.model(self.inputs[chosen])
        labels = checked(scores, self.labels[chosen])
        found = self.loss.coefficients(scores.detach(), labels, members, part.merged) / len(self.labels)
        cotangents = scores.new_zeros(len(members), scores.shape[1], len(chosen))
        cotangents.scatter_(1, members[:, :, None].expand_as(found), found)
        rows = torch.autograd.grad(
            scores, parameters, cotangents.transpose(1, 2), is_grads_batched=True, materialize_grads=True
        )
        flat = torch.nn.functional.pad(torch.cat([row.flatten(1) for row in rows], dim=1), (0, 1))
        own = part.structure.own[members].flatten(1)
        index = torch.cat([part.structure.shared.expand(len(members), -1), own], dim=1)
        return flat.gather(1, index)
