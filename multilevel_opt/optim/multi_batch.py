"""Multi-batch L-BFGS (Berahas, Nocedal & Takáč 2016): both gradients of a pair are of the samples two batches share.

    w⁺ = w − lr H g_S,   s = w⁺ − w,   y = g_O(w⁺) − g_O(w),   O = the samples of S that the next batch has too.

g_O(w) and g_O(w⁺) are parts of the gradients of the two steps, so a pair costs no evaluation. A closure that shares
nothing with the next one is evaluated a second time after the step (full overlap), with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.curvature.inverse import InversePairs
from multilevel_opt.errors import InputError
from multilevel_opt.optim.pairs import RULES
from multilevel_opt.optim.safe import Closure, Parameters, Safe, Value


@dataclass(frozen=True, eq=False)
class _Split(Value):
    """A gradient with its parts on the rows carried over and on those shared with the next batch, flat, or None."""

    carried: Tensor | None = None
    shared: Tensor | None = None


class MultiBatchLBFGS(Safe):
    """L-BFGS on mini-batches that overlap.

    Args:
        parameters: as for ``Safe``.
        lr: step length, constant; the smaller the batches, the smaller it must be.
        memory: pairs.
        pairs: a key of ``pairs.RULES``: "cautious" or "damped".
        **options: as for ``Safe``.

    ``step`` takes any closure. A ``Batch`` whose ``carried`` and ``shared`` say which rows it has in common with its
    neighbours (those of ``OverlapSampler`` do) makes pairs for nothing; any other costs a second gradient.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self, parameters: Parameters, lr: float = 0.1, *, memory: int = 10, pairs: str = "cautious", **options: Any
    ) -> None:
        if pairs not in RULES:
            raise InputError(f"unknown rule {pairs!r} for pairs: choose one of {', '.join(RULES)}")
        super().__init__(parameters, lr, **options)
        self.inverse, self.pairs = InversePairs(memory), pairs
        self.forget()

    def forget(self) -> None:
        self.inverse.clear()
        self._before: list[Tensor] = []  # w, g_O(w), and what tells which samples O are

    def evaluate(self, closure: Closure) -> Value:
        parts = getattr(closure, "parts", (None, None, None))
        if parts[0] is None and parts[2] is None:
            return super().evaluate(closure)
        rows = [(part, len(part) / len(closure)) for part in parts if part is not None]  # type: ignore[arg-type]
        values = {id(part): super(MultiBatchLBFGS, self).evaluate(part) for part, _ in rows}
        self.counts["gradients"] -= len(rows) - 1
        loss = sum(share * values[id(part)].loss for part, share in rows)
        gradient = [torch.zeros_like(p) for p in self.weights]
        for part, share in rows:
            torch._foreach_add_(gradient, values[id(part)].gradient, alpha=share)
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient))))
        ends = (None if part is None else flat(values[id(part)].gradient) for part in (parts[0], parts[2]))
        return _Split(loss, gradient, norm, *ends)

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        w = flat(self.weights)
        self._learn_overlap(closure, value, w)
        shared = getattr(value, "shared", None)
        self._before = [w, shared, *closure.parts[2].key] if shared is not None else []  # type: ignore[attr-defined]
        gradient = flat(self.clipped(value))
        d = self.inverse.product(gradient)
        if self.inverse.count == 0:  # as torch's LBFGS: a first step of length one at most
            d = d * min(1.0, 1.0 / max(float(gradient.abs().sum()), 1e-300))
        return [-part.reshape(p.shape) for p, part in zip(self.weights, self._split(d), strict=True)]

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        before = [p.detach().clone() for p in self.weights] if getattr(value, "shared", None) is None else None
        outcome = super().advance(closure, value)
        if before is None or not outcome["accepted"]:
            return outcome
        again = self.evaluate_again(closure)
        if not again.finite:
            torch._foreach_copy_(self.weights, before)
            self.forget()
            return {"reason": "the loss after the step was not finite: it was taken back", "accepted": False}
        s = flat(self.weights) - flat(before)
        expected = -float(flat(value.gradient) @ s)
        self._take(s, flat(again.gradient) - flat(value.gradient))
        return {**outcome, "ratio": (value.loss - again.loss) / expected if isfinite(expected) and expected else 0.0}

    def _learn_overlap(self, closure: Closure, value: Value, w: Tensor) -> None:
        carried = getattr(value, "carried", None)
        if not self._before or carried is None:
            return
        w_before, gradient, *samples = self._before
        same = map(torch.equal, samples, closure.parts[0].key)  # type: ignore[attr-defined]
        if not all(same):
            self.counts["pairs_rejected"] += 1
            return
        self._take(w - w_before, carried - gradient)

    def _take(self, s: Tensor, y: Tensor) -> None:
        pair, was_damped = RULES[self.pairs](self.inverse, s, y)
        self.counts["pairs_damped"] += was_damped
        self.counts["pairs_rejected" if pair is None else "pairs_accepted"] += 1
        if pair is not None:
            self.inverse.append(*pair)

    def _split(self, v: Tensor) -> list[Tensor]:
        return list(torch.split(v, [p.numel() for p in self.weights]))

    def memory(self) -> dict[str, Any]:
        return {"inverse": self.inverse.state(), "before": list(self._before)}

    def remember(self, memory: dict[str, Any]) -> None:
        self.inverse.restore(memory["inverse"])
        self._before = [part.clone() for part in memory["before"]]


def flat(tensors: list[Tensor]) -> Tensor:
    """One vector of all entries, a copy."""
    return torch.cat([t.detach().reshape(-1) for t in tensors])
