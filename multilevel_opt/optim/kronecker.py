"""What the optimizers with Kronecker-factored curvature share: layers, momentum, and the direction.

Each layer has the block A ⊗ G, and with the inverses of both factors, momentum M and rate lr the step is

    Ŵ ← Ŵ − lr · G⁻¹ M A⁻¹

The damping λ is split: √λ·√T for A and √λ/√T for G, with T the output positions of a convolution, 1 for a linear layer.
Parameters of no such layer, and layers that a forward pass uses twice, take steps of gradient descent with momentum.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.optim.closure import gradient_of, loss_of
from multilevel_opt.optim.layers import Layer, Pass, layers_of, watched
from multilevel_opt.optim.safe import Closure, Parameters, Safe, Value

RAISE, RELAX = 2.0, 0.7  # of the damping after a step that was taken back, and after one whose gain ratio is not POOR
POOR, GOOD = 0.25, 0.5
SLOWER, FASTER = 0.25, 2.0**0.1  # of the pace after a step that was taken back, and after one whose gain ratio is GOOD
HIGHEST = 1e8
PATIENCE = 3  # so many steps taken back in a row, and what was learned is dropped


@dataclass(frozen=True, eq=False)
class Seen(Value):
    """A loss and its gradient, with what the layers saw."""

    passes: Mapping[int, Pass] = field(default_factory=dict)


class Kronecker(Safe):
    """Base of ``KBFGS``, ``KBFGSL`` and ``KFAC``.

    Args:
        parameters: the module that is trained, in which the layers are found; or groups of its parameters, with the
            module as ``module=``.
        lr: learning rate.
        damping: λ > 0 of the start.
        momentum: weight of the past in M.
        decay: weight of the past in A.
        weight_decay: τ, of the term τ/2 ‖w‖² that is added to the loss for the direction.
        adaptive: judge every step by the same samples: where their loss is not finite, or rises half of the way back to
            the first losses, the step is taken back, the next ones are shorter and λ is raised, until the gain ratios
            are good again.
        **options: as for ``Safe``.

    Raises:
        InputError: an option out of range, or no module.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        damping: float,
        *,
        momentum: float = 0.9,
        decay: float = 0.9,
        weight_decay: float = 0.0,
        adaptive: bool = True,
        **options: Any,
    ) -> None:
        if not (0 < damping < float("inf") and weight_decay >= 0):
            raise InputError(f"damping={damping}, weight_decay={weight_decay}: give damping > 0 and weight_decay >= 0")
        if not (0 <= momentum < 1 and 0 <= decay < 1):
            raise InputError(f"momentum={momentum}, decay={decay} are out of range: give numbers from 0 to below 1")
        super().__init__(parameters, lr, **options)
        if self.module is None:
            raise InputError(
                f"{type(self).__name__} looks at layers: give the module, or module= beside its parameters"
            )
        self.momentum, self.decay, self.weight_decay, self.adaptive = momentum, decay, weight_decay, adaptive
        self.damping = self.initial_damping = damping
        self.forget()

    # What a method is.

    @abstractmethod
    def preconditioned(self, k: int, matrix: Tensor) -> Tensor:
        """G⁻¹ M A⁻¹ for the layer k, shape (d_o, d_i (+ 1))."""

    @abstractmethod
    def learn_inputs(self, k: int, seen: Pass, past: float) -> None:
        """A ← past · A + (1 − past) (1/m) Σ ĥĥᵀ for the layer k; the first time A is that of this pass."""

    @abstractmethod
    def refresh(self) -> None:
        """Make the inverses anew, for another λ."""

    def learn_batch(self, closure: Closure, value: Seen) -> None:
        """Learn from an evaluation before the step is taken, after ``learn_inputs``."""

    def learn_step(self, before: Seen, after: Seen) -> None:
        """Learn from both ends of a step that was kept, on the same samples."""

    # The common part.

    def forget(self) -> None:
        module = self.module
        assert module is not None
        self.layers: list[Layer] = layers_of(module, self.weights)
        self.positions: dict[int, int] = {}
        self._momentum: list[Tensor] = []
        self._warm = False
        self._refused = 0  # in a row

    def evaluate(self, closure: Closure) -> Seen:
        self.counts["gradients"] += 1
        return self._seen(closure, self.weights)

    def look_again(self, closure: Closure, value: Seen) -> Seen:
        """The same samples after the step."""
        return Seen(self.loss_again(closure), [], 0.0)

    def ends(self, closure: Closure) -> Seen:
        """The same samples after the step, with what the layers see and no gradient of the weights."""
        self.counts["gradients"] += 1
        with self._replay:
            return self._seen(closure, [])

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        assert isinstance(value, Seen)
        self._look(value, self.decay)
        self.learn_batch(closure, value)
        self._gather(self.clipped(value))
        d = self.direction(closure, value)
        start = [w.clone() for w in self.weights] if self.adaptive else []
        if not self.move(d):
            self.forget()
            return {"reason": "the direction was not finite: the memory was cleared", "accepted": False}
        if not self.looks_again:
            return {"reason": "moved", "accepted": True, "damping": self.damping}
        after = self.look_again(closure, value)
        if self.adaptive and not (after.finite and after.loss <= self._watch.ceiling(value.loss)):
            torch._foreach_copy_(self.weights, start)
            return self._taken_back(after)
        self._refused = 0
        ratio = self._ratio(value, after, d) if self.adaptive else nan
        self.learn_step(value, after)
        self._adapt(ratio)
        return {"reason": "moved", "accepted": True, "ratio": ratio, "damping": self.damping}

    @property
    def looks_again(self) -> bool:
        """Whether this step evaluates the closure a second time."""
        return self.adaptive

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        assert isinstance(value, Seen)
        d = [-m for m in self._momentum]
        for k in value.passes:
            layer = self.layers[k]
            layer.split(self.preconditioned(k, layer.joined(self._momentum)).neg_(), d)
        return d

    @torch.no_grad()
    def warm_up(self, closures: Iterable[Closure]) -> None:
        """Start the factors A from the mean over some batches; the weights stay."""
        for count, closure in enumerate(closures, 1):
            self._replay.begin()
            with self._replay, watched(self.layers) as calls:
                self.counts["losses"] += 1
                loss_of(closure)
            self._look(Seen(nan, [], nan, self._passes(calls, None)), 1 - 1 / count)
        self.refresh()
        self._warm = True

    def roots(self, positions: int) -> tuple[float, float]:
        """The parts of λ for A and for G, for a layer of so many positions."""
        return (self.damping * positions) ** 0.5, (self.damping / positions) ** 0.5

    def memory(self) -> dict[str, Any]:
        positions = {str(k): count for k, count in self.positions.items()}
        held = {"damping": self.damping, "momentum": list(self._momentum), "positions": positions, "warm": self._warm}
        return {**held, "refused": self._refused}

    def remember(self, memory: dict[str, Any]) -> None:
        self.forget()
        self.damping, self._warm, self._refused = (memory[name] for name in ("damping", "warm", "refused"))
        self._momentum = [m.clone() for m in memory["momentum"]]
        self.positions = {int(k): count for k, count in memory["positions"].items()}

    def _look(self, value: Seen, past: float) -> None:
        """The factors A; those of ``warm_up`` are not moved by the first step."""
        for k, seen in value.passes.items():
            self.positions[k] = seen.positions
            if not self._warm:
                self.learn_inputs(k, seen, past)
        self._warm = False

    def _gather(self, gradient: list[Tensor]) -> None:
        """M ← momentum M + (1 − momentum)(∇f + τ w)."""
        if self.weight_decay:
            gradient = list(torch._foreach_add(gradient, self.weights, alpha=self.weight_decay))
        if not self._momentum:
            self._momentum = [torch.zeros_like(g) for g in gradient]
        torch._foreach_lerp_(self._momentum, gradient, 1 - self.momentum)

    def _seen(self, closure: Closure, weights: list[Tensor]) -> Seen:
        outputs = list[Tensor]()
        with watched(self.layers) as calls:

            def noting() -> Tensor:
                loss = closure()
                if self.layers and not calls:
                    raise InputError(
                        f"{type(self).__name__} saw none of its {len(self.layers)} layers called: give the module that "
                        "the closure calls, without torch.compile"
                    )
                outputs.extend(calls[k][0][1] for k in sorted(calls))
                return loss

            loss, gradient, norm = gradient_of(noting, weights, outputs)
        passes = self._passes(calls, gradient[len(weights) :])
        return Seen(loss, gradient[: len(weights)], norm, passes)

    def _passes(
        self, calls: Mapping[int, list[tuple[Tensor, Tensor]]], slopes: Sequence[Tensor] | None
    ) -> dict[int, Pass]:
        """What the layers saw; one that is called twice has no block of this form."""
        found = {}
        for n, k in enumerate(sorted(calls)):
            h, a = (tensor.detach() for tensor in calls[k][0])
            if len(calls[k]) == 1:
                found[k] = Pass(self.layers[k], h, a, None if slopes is None else slopes[n])
        return found

    def _ratio(self, value: Seen, after: Seen, d: list[Tensor]) -> float:
        """Actual over predicted decrease; NaN where none is predicted.

        The quadratic model with B d = −M predicts −rate gᵀd + ½ rate² Mᵀd. With momentum that may be a rise.
        """
        rates = torch.tensor(self.rates, dtype=d[0].dtype, device=d[0].device)
        first = torch.stack([torch.sum(g * p) for g, p in zip(value.gradient, d, strict=True)])
        second = torch.stack([torch.sum(m * p) for m, p in zip(self._momentum, d, strict=True)])
        predicted = float(torch.sum(rates * (0.5 * rates * second - first)))
        return (value.loss - after.loss) / predicted if predicted > 0 else nan

    def _taken_back(self, after: Seen) -> Mapping[str, Any]:
        what = "rose" if isfinite(after.loss) else "was not finite"
        self.damping = min(HIGHEST, RAISE * self.damping)
        self.pace *= SLOWER
        self._momentum = []
        self._refused += 1
        if self._refused >= PATIENCE:
            self.forget()
        reason = f"the loss {what} after the step: taken back, damping raised to {self.damping:.3g}"
        return {"reason": reason, "accepted": False, "damping": self.damping}

    def _adapt(self, ratio: float) -> None:
        """λ falls back to its first value, and the pace grows."""
        if self.adaptive and ratio > POOR:
            self.damping = max(self.initial_damping, RELAX * self.damping)
        if self.adaptive and ratio > GOOD:
            self.pace = min(1.0, FASTER * self.pace)


def inverted(matrix: Tensor, shift: float) -> Tensor:
    """(matrix + shift I)⁻¹ of a positive semidefinite matrix, shape (n, n)."""
    shifted = matrix.clone()
    shifted.diagonal().add_(shift)
    factor, info = torch.linalg.cholesky_ex(shifted)
    if int(info) == 0:
        found: Tensor = torch.cholesky_inverse(factor)
        return found
    values, vectors = torch.linalg.eigh(matrix)
    spectral: Tensor = (vectors / (values.clamp_min(0.0) + shift)) @ vectors.mT
    return spectral


def mean_square(seen: Pass, past: float = 0.0, into: Tensor | None = None) -> Tensor:
    """(1/m) Σ ĥĥᵀ, shape (d, d); or, in place, past · into + (1 − past) times that."""
    if into is None:
        into = seen.inputs.new_zeros(seen.inputs.shape[1], seen.inputs.shape[1])
    return into.addmm_(seen.inputs.mT, seen.inputs, beta=past, alpha=(1 - past) / seen.samples)


def second_moment(seen: Pass, past: float, known: Tensor | None) -> Tensor:
    """Mean of ∂ℓ/∂a ∂ℓ/∂aᵀ, shape (d_o, d_o); or, in place, past · known + (1 − past) times that."""
    if known is None:
        return seen.slopes.mT @ seen.slopes / len(seen.slopes)
    return known.addmm_(seen.slopes.mT, seen.slopes, beta=past, alpha=(1 - past) / len(seen.slopes))
