"""Trust-region training by elements of a partially separable loss (Raynaud & Orban 2022: their solver PUS).

    min gᵀs + ½ sᵀBs,  ‖s‖ ≤ Δ,     B = Σ_i U_iᵀ B_i U_i,     ρ = (f(w) − f(w + s)) / (−gᵀs − ½ sᵀBs)

on a mini-batch, by truncated conjugate gradients. A step with ρ > 10⁻³ is accepted; Δ doubles where ρ ≥ 0.75 and
‖s‖ > 0.8Δ, and is halved where ρ ≤ 10⁻³. The matrices B_i are those of ``element_curvature``.

The decrease is a mean over the samples of the batch, known up to its standard error. ``doubt`` standard errors are
given to a step before it is rejected, and taken off before the radius grows; 0 is the published rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError
from multilevel_opt.linalg.krylov import CGResult, steihaug
from multilevel_opt.objective.batch import Batch
from multilevel_opt.optim.element_curvature import CURVATURES
from multilevel_opt.optim.safe import Closure, Safe, Value
from multilevel_opt.separable.elements import PartitionedLoss
from multilevel_opt.separable.jacobian import BatchDerivatives
from multilevel_opt.separable.losses import ScoreLoss

ACCEPT, ENLARGE, NEAR, GROW, SHRINK = 1e-3, 0.75, 0.8, 2.0, 0.5  # published


@dataclass(frozen=True, eq=False)
class _Parts(Value):
    """A loss and its gradient with what they are made of."""

    derivatives: BatchDerivatives
    flat: Tensor
    samples: Tensor  # the loss of every sample


class Partitioned(Safe):
    """Partitioned trust-region training.

    Args:
        model: a module with partially separable scores.
        curvature: a key of ``element_curvature.CURVATURES``: "pggn", "plbfgs", "plsr1" or "plse".
        lr: factor on the steps; below 1 small batches are trusted less.
        memory: pairs that a secant matrix keeps.
        radius: Δ at the start.
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
        if curvature not in CURVATURES:
            raise InputError(f"unknown curvature {curvature!r}: choose one of {', '.join(CURVATURES)}")
        if not isinstance(model, nn.Module):
            raise InputError(f"Partitioned traces a module, got {type(model).__name__}: give the module itself")
        super().__init__(model, lr, **options)
        self.start, self.largest, self.forcing = radius, largest, forcing
        self.max_products, self.doubt, self.radius = max_products, doubt, radius
        self._model, self._losses = model, dict[ScoreLoss, PartitionedLoss]()
        self._make = partial(CURVATURES[curvature], memory)
        self.curvature = self._make()

    def forget(self) -> None:
        self.radius, self._losses, self.curvature = self.start, {}, self._make()

    def memory(self) -> dict[str, Any]:
        return {"radius": self.radius, "curvature": self.curvature.state()}

    def remember(self, memory: dict[str, Any]) -> None:
        self.radius = memory["radius"]
        self.curvature.restore(memory["curvature"])

    def evaluate(self, closure: Closure) -> Value:
        loss = self._loss(closure)
        self.counts["gradients"] += 1
        derivatives = loss(closure.inputs, closure.targets)  # type: ignore[attr-defined]
        assert isinstance(derivatives, BatchDerivatives)
        samples = loss.loss.values(derivatives.jacobian.scores, derivatives.labels)
        flat = derivatives.gradient
        value, norm = torch.stack([samples.mean(), flat.norm()]).tolist()
        parts = torch.split(flat, [p.numel() for p in self.weights])
        gradient = [part.reshape(p.shape) for part, p in zip(parts, self.weights, strict=True)]
        return _Parts(value, gradient, norm, derivatives, flat, samples)

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        return [-g for g in self.clipped(value)]

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        assert isinstance(value, _Parts)
        if value.norm == 0.0:
            return {"reason": "the gradient is zero: nothing to do", "accepted": True}
        gradient = torch.cat([g.reshape(-1) for g in self.clipped(value)])
        found = self._solved(gradient, value)
        t = self.rates[0]  # the model is one group
        predicted = -float(t * (gradient @ found.step) + 0.5 * t * t * (found.step @ found.product))
        before = [p.detach().clone() for p in self.weights]
        parts = torch.split(found.step, [p.numel() for p in self.weights])
        moved = self.move([part.reshape(p.shape) for part, p in zip(parts, before, strict=True)])
        ratio, error = self._ratio(closure, value, predicted) if moved else (float("nan"), 0.0)
        accepted = ratio + self.doubt * error > ACCEPT
        if not accepted and moved:
            torch._foreach_copy_(self.weights, before)
        if accepted and self.curvature.learns:
            self._teach(closure, value, before)
        damping = self.radius
        self._adapt(ratio, self.doubt * error, float(found.step.norm()))
        return {"accepted": accepted, "ratio": ratio, "damping": damping, "reason": _reason(accepted, ratio)}

    def _solved(self, gradient: Tensor, value: _Parts) -> CGResult:
        smallest = sqrt(torch.finfo(gradient.dtype).eps)
        return steihaug(
            self.curvature.product(value.derivatives.jacobian.partition, value.derivatives),
            gradient,
            radius=self.radius,
            tol=max(smallest, min(self.forcing, sqrt(value.norm))),
            max_products=self.max_products,
        )

    def _teach(self, closure: Closure, value: _Parts, before: list[Tensor]) -> None:
        """A pair for each element: both gradients of the same samples."""
        again = self.evaluate_again(closure)
        if not again.finite:
            return
        assert isinstance(again, _Parts)
        partition = value.derivatives.jacobian.partition
        s = torch.cat([(p - old).reshape(-1) for p, old in zip(self.weights, before, strict=True)])
        y = again.derivatives.element_gradients - value.derivatives.element_gradients
        learned = self.curvature.taught(partition, s, y)
        self.counts["pairs_accepted"] += learned
        self.counts["pairs_rejected"] += partition.count - learned

    def _ratio(self, closure: Closure, value: _Parts, predicted: float) -> tuple[float, float]:
        """ρ, and its standard error."""
        self.counts["losses"] += 1
        with self._replay:
            scores = self._model(closure.inputs)  # type: ignore[attr-defined]
        decrease = value.samples - self._loss(closure).loss.values(scores, value.derivatives.labels)
        mean, spread = torch.stack([decrease.mean(), decrease.std(correction=0)]).tolist()
        if not (isfinite(mean) and predicted > 0):
            return float("nan"), 0.0
        return mean / predicted, spread / sqrt(len(decrease)) / predicted

    def _adapt(self, ratio: float, doubt: float, length: float) -> None:
        if not ratio + doubt > ACCEPT:
            self.radius *= SHRINK
        elif ratio - doubt >= ENLARGE and length > NEAR * self.radius:
            self.radius = min(self.largest, GROW * self.radius)

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


def _named(closure: Any, loss: Any) -> str:
    if not isinstance(closure, Batch):
        return "a closure without samples"
    return f"the loss {getattr(loss, '__name__', type(loss).__name__)}"


def _reason(accepted: bool, ratio: float) -> str:
    if accepted:
        return "moved"
    return "the loss after the step was not finite: it was taken back" if not isfinite(ratio) else "too little decrease"
