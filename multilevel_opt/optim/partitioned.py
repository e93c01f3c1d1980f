"""Training by elements of a partially separable loss (Raynaud & Orban 2022).

A step minimizes a quadratic model of a mini-batch with B = Σ_i U_iᵀ B_i U_i by truncated conjugate gradients. Four
tables vary independently: what B_i is (``element_curvature``), how far to go (``partitioned_steps``: a trust region or
a line search), where the next batch is evaluated (``extrapolation``: Nesterov), and which weights are tested
(``averaging``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError
from multilevel_opt.linalg.krylov import CGResult
from multilevel_opt.objective.batch import Batch
from multilevel_opt.optim.averaging import Average
from multilevel_opt.optim.element_curvature import CURVATURES
from multilevel_opt.optim.extrapolation import EXTRAPOLATIONS
from multilevel_opt.optim.finite import all_finite
from multilevel_opt.optim.partitioned_steps import STEPS, Line
from multilevel_opt.optim.safe import Closure, Safe, Value
from multilevel_opt.separable.elements import PartitionedLoss
from multilevel_opt.separable.jacobian import BatchDerivatives
from multilevel_opt.separable.losses import ScoreLoss


@dataclass(frozen=True, eq=False)
class _Parts(Value):
    """A loss and its gradient with what they are made of."""

    derivatives: BatchDerivatives
    flat: Tensor
    samples: Tensor  # the loss of every sample


class Partitioned(Safe):
    """Partitioned training.

    Args:
        model: a module with partially separable scores.
        curvature: a key of ``element_curvature.CURVATURES``: "pggn", "plbfgs", "plsr1" or "plse".
        lr: factor on the steps; below 1 small batches are trusted less.
        memory: pairs that a secant matrix keeps.
        steps: a key of ``partitioned_steps.STEPS``: "trust-region" or "line-search".
        momentum: a key of ``extrapolation.EXTRAPOLATIONS``: "none", "constant" or "adaptive".
        average: fraction of the run whose mean weights ``averaging`` gives; 0: those of the last step.
        radius: Δ at the start; of the trust region.
        largest: bound of Δ.
        forcing: relative residual at which conjugate gradients stop, at most; √‖g‖ where that is less.
        max_products: products with B in one step.
        doubt: standard errors by which the decrease is doubted.
        **options: as for ``Safe``.

    ``step`` takes a ``Batch`` whose loss is one of ``separable.LOSSES``.

    Raises:
        InputError: an option out of range, or a module that is not partially separable (at the first step).
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1.0,
        *,
        curvature: str = "pggn",
        memory: int = 5,
        steps: str = "trust-region",
        momentum: str = "none",
        average: float = 0.0,
        radius: float = 1.0,
        largest: float = 100.0,
        forcing: float = 0.1,
        max_products: int = 20,
        doubt: float = 0.0,
        **options: Any,
    ) -> None:
        if not (0 < radius <= largest < float("inf") and 0 < forcing < 1 and max_products >= 1 and doubt >= 0):
            raise InputError(
                f"radius={radius}, largest={largest}, forcing={forcing}, max_products={max_products}, doubt={doubt} is "
                "out of range: give 0 < radius <= largest, 0 < forcing < 1, products >= 1, doubt >= 0"
            )
        _known("curvature", curvature, CURVATURES)
        _known("steps", steps, STEPS)
        _known("momentum", momentum, EXTRAPOLATIONS)
        if not isinstance(model, nn.Module):
            raise InputError(f"Partitioned traces a module, got {type(model).__name__}: give the module itself")
        super().__init__(model, lr, **options)
        self.forcing, self.max_products = forcing, max_products
        self._model, self._losses = model, dict[ScoreLoss, PartitionedLoss]()
        self._make = partial(CURVATURES[curvature], memory)
        self.curvature, self.steps = self._make(), STEPS[steps](radius, largest, doubt)
        self.extrapolation, self.average = EXTRAPOLATIONS[momentum](), Average(average)

    @property
    def radius(self) -> float:
        """Δ of the trust region."""
        return self.steps.radius

    def forget(self) -> None:
        self._losses, self.curvature = {}, self._make()
        self.steps.forget()
        self.extrapolation.forget()
        self.average.forget()

    def memory(self) -> dict[str, Any]:
        return {
            "curvature": self.curvature.state(),
            "steps": self.steps.state(),
            "momentum": self.extrapolation.state(),
            "average": self.average.state(),
        }

    def remember(self, memory: dict[str, Any]) -> None:
        self.curvature.restore(memory["curvature"])
        self.steps.restore(memory["steps"])
        self.extrapolation.restore(memory["momentum"])
        self.average.restore(memory["average"])

    @contextmanager
    def averaging(self) -> Iterator[None]:
        with self.average.replacing(self.weights):
            yield

    def evaluate(self, closure: Closure) -> Value:
        loss = self._loss(closure)
        self.counts["gradients"] += 1
        derivatives = loss(closure.inputs, closure.targets)  # type: ignore[attr-defined]
        assert isinstance(derivatives, BatchDerivatives)
        samples = loss.loss.values(derivatives.jacobian.scores, derivatives.labels)
        flat = derivatives.gradient
        value, norm = torch.stack([samples.mean(), flat.norm()]).tolist()
        return _Parts(value, self._shaped(flat), norm, derivatives, flat, samples)

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        return [-g for g in self.clipped(value)]

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        assert isinstance(value, _Parts)
        if value.norm == 0.0:
            return {"reason": "the gradient is zero: nothing to do", "accepted": True}
        gradient = torch.cat([g.reshape(-1) for g in self.clipped(value)])
        found, before = self._solved(gradient, value), self._flat()
        line = Line(
            float(gradient @ found.step),
            float(found.step @ found.product),
            float(found.step.norm()),
            lambda beta: self._decrease(closure, value, before + beta * found.step),
        )
        outcome = self.steps.taken(line, self.rates[0])  # the model is one group
        reached = before + outcome.beta * found.step
        accepted = outcome.beta > 0 and self._set(reached)
        if accepted:
            if self.curvature.learns:
                self._teach(closure, value, reached - before)
            self._set(self.extrapolation.following(reached, gradient))
        else:
            self._set(before)
            self.extrapolation.forget()
        self.average.see(self.weights)
        reason = _reason(accepted, outcome.ratio)
        return {"accepted": accepted, "ratio": outcome.ratio, "damping": outcome.damping, "reason": reason}

    def _solved(self, gradient: Tensor, value: _Parts) -> CGResult:
        smallest = sqrt(torch.finfo(gradient.dtype).eps)
        product = self.curvature.product(value.derivatives.jacobian.partition, value.derivatives)
        return self.steps.direction(
            product, gradient, max(smallest, min(self.forcing, sqrt(value.norm))), self.max_products
        )

    def _teach(self, closure: Closure, value: _Parts, s: Tensor) -> None:
        """A pair for each element: both gradients of the same samples."""
        again = self.evaluate_again(closure)
        if not again.finite:
            return
        assert isinstance(again, _Parts)
        partition = value.derivatives.jacobian.partition
        y = again.derivatives.element_gradients - value.derivatives.element_gradients
        learned = self.curvature.taught(partition, s, y)
        self.counts["pairs_accepted"] += learned
        self.counts["pairs_rejected"] += partition.count - learned

    def _decrease(self, closure: Closure, value: _Parts, point: Tensor) -> tuple[float, float]:
        """f(w) − f(point), and its standard error; NaN where the loss is not finite. The weights stay at the point."""
        if not self._set(point):
            return nan, 0.0
        self.counts["losses"] += 1
        with self._replay:
            scores = self._model(closure.inputs)  # type: ignore[attr-defined]
        decrease = value.samples - self._loss(closure).loss.values(scores, value.derivatives.labels)
        mean, spread = torch.stack([decrease.mean(), decrease.std(correction=0)]).tolist()
        return (mean, spread / sqrt(len(decrease))) if isfinite(mean) else (nan, 0.0)

    def _flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.weights])

    def _shaped(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [p.numel() for p in self.weights])
        return [part.reshape(p.shape) for part, p in zip(parts, self.weights, strict=True)]

    def _set(self, flat: Tensor) -> bool:
        """Write the weights; False, and no change, where they are not finite."""
        if not all_finite([flat]):
            return False
        torch._foreach_copy_(self.weights, self._shaped(flat))
        return True

    def _loss(self, closure: Any) -> PartitionedLoss:
        """The partitioned loss of a batch, traced at the first one."""
        loss = getattr(closure, "loss", None)
        if not isinstance(closure, Batch) or not isinstance(loss, ScoreLoss):
            raise InputError(
                f"partitioned training has no elements of {_named(closure, loss)}: train psnet, or give step() a "
                "Batch(model, separable.LOSSES['softplus'], inputs, labels)"
            )
        if loss not in self._losses:
            self._losses[loss] = PartitionedLoss(self._model, closure.inputs, loss)
        return self._losses[loss]


def _known(name: str, value: str, table: Mapping[str, Any]) -> None:
    if value not in table:
        raise InputError(f"unknown {name} {value!r}: choose one of {', '.join(table)}")


def _named(closure: Any, loss: Any) -> str:
    if not isinstance(closure, Batch):
        return "a closure without samples"
    return f"the loss {getattr(loss, '__name__', type(loss).__name__)}"


def _reason(accepted: bool, ratio: float) -> str:
    if accepted:
        return "moved"
    return "the loss after the step was not finite: it was taken back" if not isfinite(ratio) else "too little decrease"
