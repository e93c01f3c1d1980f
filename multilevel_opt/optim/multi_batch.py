"""Multi-batch L-BFGS (Berahas, Nocedal & Takáč 2016): both gradients of a pair are of the samples two batches share.

    w⁺ = w − lr H g_S,   s = w⁺ − w,   y = g_O(w⁺) − g_O(w),   O = the samples of S that the next batch has too.

g_O(w) and g_O(w⁺) are parts of the gradients of the two steps, so a pair costs no evaluation. A closure that shares
nothing with the next one is evaluated a second time after the step (full overlap), with the same random numbers.

Batches may grow where the gradients of their parts are mostly noise, see ``progressive``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from operator import mul
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.curvature.inverse import InversePairs
from multilevel_opt.errors import InputError
from multilevel_opt.optim.closure import differentiated
from multilevel_opt.optim.flat import Flat, Shelf
from multilevel_opt.optim.pairs import RULES
from multilevel_opt.optim.progressive import NormTest
from multilevel_opt.optim.safe import Closure, Parameters, Safe, Value


@dataclass(frozen=True, eq=False)
class _Split(Value):
    """A gradient, also as a vector, with its parts on the rows carried over and on those shared with the next batch."""

    whole: Flat
    carried: Flat | None
    shared: Flat | None


@dataclass(frozen=True, eq=False)
class _Before:
    """Weights, their gradient on the shared rows, and what tells which rows these are."""

    w: Flat
    gradient: Flat
    rows: list[Tensor]


class MultiBatchLBFGS(Safe):
    """L-BFGS on mini-batches that overlap.

    Args:
        parameters: as for ``Safe``.
        lr: step length, constant; the smaller the batches, the smaller it must be.
        memory: pairs.
        pairs: a key of ``pairs.RULES``: "cautious" or "damped".
        progressive: θ of the test by which ``batch_size`` lets batches grow, 0.5 for example; 0: it does not.
        **options: as for ``Safe``.

    ``step`` takes any closure. A ``Batch`` whose ``carried`` and ``shared`` say which rows it has in common with its
    neighbours (those of ``OverlapSampler`` do) makes pairs for nothing; any other costs a second gradient.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.1,
        *,
        memory: int = 10,
        pairs: str = "cautious",
        progressive: float = 0.0,
        **options: Any,
    ) -> None:
        if pairs not in RULES:
            raise InputError(f"unknown rule {pairs!r} for pairs: choose one of {', '.join(RULES)}")
        super().__init__(parameters, lr, **options)
        self.inverse, self.pairs, self._shelf = InversePairs(memory), pairs, Shelf()
        self.test = NormTest(progressive)
        self.forget()

    def forget(self) -> None:
        self.inverse.clear()
        self._shelf.clear()
        self.test.clear()
        self._before: _Before | None = None
        self._whole: Flat | None = None
        self._d: Flat | None = None

    def evaluate(self, closure: Closure) -> Value:
        parts = getattr(closure, "parts", (None, None, None))
        if parts[0] is None and parts[2] is None:
            return super().evaluate(closure)
        self.counts["gradients"] += 1
        weights, losses, shares = self.weights, [], []
        ends: list[Flat | None] = []
        whole = self._whole = self._whole or Flat(weights)
        whole.vector.zero_()
        for part in parts:
            ends.append(None)
            if part is not None:
                loss, gradient = differentiated(part, weights)
                losses.append(loss)
                shares.append(len(part) / len(closure))  # type: ignore[arg-type]
                torch._foreach_add_(whole.views, gradient, alpha=shares[-1])
                ends[-1] = self._shelf.take(weights).filled(gradient) if part is not parts[1] else None
        *found, norm = torch.stack([*losses, torch.linalg.vector_norm(whole.vector).to(losses[0])]).tolist()
        gradient = [view.to(p.dtype) for view, p in zip(whole.views, weights, strict=True)]
        loss = sum(map(mul, shares, found))
        return _Split(loss, gradient, norm, whole, ends[0], ends[2])

    def evaluate_again(self, closure: Closure) -> Value:
        self._whole = None  # the first evaluation may still be needed
        return super().evaluate_again(closure)

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        carried, shared = getattr(value, "carried", None), getattr(value, "shared", None)
        self._learn_overlap(closure, carried)
        weights, self._before = self.weights, None
        if shared is not None:
            key = closure.parts[2].key  # type: ignore[attr-defined]
            self._before = _Before(self._shelf.take(weights).filled(weights), shared, key)
        if self.test.theta and carried is not None and shared is not None:
            self._test(closure, value)
        gradient, clipped = getattr(value, "whole", None), self.clipped(value)
        if gradient is None or self.clip is not None:
            gradient = Flat(weights).filled(clipped)
        self._shelf.give(carried)
        self._d = self._d or Flat(weights)
        d = self.inverse.product(gradient.vector, self._d.vector)
        # as torch's LBFGS: a first step of length one at most
        d *= -1.0 if self.inverse.count else -min(1.0, 1.0 / max(float(gradient.vector.abs().sum()), 1e-300))
        return self._d.views

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        before = None if getattr(value, "shared", None) else self._shelf.take(self.weights).filled(self.weights)
        outcome = super().advance(closure, value)
        if before is None or not outcome["accepted"]:
            return outcome
        again = self.evaluate_again(closure)
        if not again.finite:
            torch._foreach_copy_(self.weights, before.views)
            self.forget()
            return {"reason": "the loss after the step was not finite: it was taken back", "accepted": False}
        s, y = before, self._shelf.take(self.weights).filled(value.gradient)
        torch._foreach_sub_(s.views, self.weights)
        expected = float(y.vector @ s.vector)
        torch._foreach_sub_(y.views, again.gradient)
        self._take(s, y)
        return {**outcome, "ratio": (value.loss - again.loss) / expected if isfinite(expected) and expected else 0.0}

    def _learn_overlap(self, closure: Closure, carried: Flat | None) -> None:
        before = self._before
        if before is None or carried is None:
            return
        if not all(map(torch.equal, before.rows, closure.parts[0].key)):  # type: ignore[attr-defined]
            self.counts["pairs_rejected"] += 1
            return
        torch._foreach_sub_(before.w.views, self.weights)
        before.gradient.vector.sub_(carried.vector)
        self._take(before.w, before.gradient)

    def _test(self, closure: Any, value: Any) -> None:
        """Show the test the squares of the mean gradients of the batch and of its parts."""
        vectors = [one.vector for one in (value.whole, value.carried, value.shared)]
        gram = torch.stack([torch.stack([u @ v for v in vectors]) for u in vectors]).double().cpu()
        rows = [closure.carried, closure.shared]
        parts = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        own = len(closure) - sum(rows)
        if own:
            rows.append(own)
            parts.append([len(closure) / own, -closure.carried / own, -closure.shared / own])
        mixed = torch.tensor(parts, dtype=gram.dtype)
        self.test.see(rows, (mixed @ gram @ mixed.mT).diagonal().tolist(), float(gram[0, 0]))

    def batch_size(self, size: int) -> int:
        """The rows that the next batch should have, after one of ``size``: more where the test asks for it."""
        return self.test.size(size)

    def _take(self, s: Flat, y: Flat) -> None:
        """Learn from a pair, both of whose vectors may have the other sign; they are not needed any more."""
        pair, was_damped = RULES[self.pairs](self.inverse, s.vector, y.vector)
        self.counts["pairs_damped"] += was_damped
        self.counts["pairs_rejected" if pair is None else "pairs_accepted"] += 1
        if pair is not None:
            self.inverse.append(*pair)
        self._shelf.give(s, y)

    def memory(self) -> dict[str, Any]:
        held = self._before
        return {
            "inverse": self.inverse.state(),
            "test": self.test.state(),
            "before": [] if held is None else [held.w.vector, held.gradient.vector, *held.rows],
        }

    def remember(self, memory: dict[str, Any]) -> None:
        self.forget()
        self.inverse.restore(memory["inverse"])
        self.test.restore(memory["test"])
        if memory["before"]:
            w, gradient, *rows = memory["before"]
            ends = Flat(self.weights), Flat(self.weights)
            for end, vector in zip(ends, (w, gradient), strict=True):
                end.vector.copy_(vector)
            self._before = _Before(*ends, [part.clone() for part in rows])
