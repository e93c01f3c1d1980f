"""SVRG with Barzilai–Borwein learning rates (Tan, Ma, Dai & Qian 2016, algorithm 1).

Every ``inner`` steps the full gradient μ is taken at a snapshot x̃ of the weights, and between snapshots

    x ← x − η (∇f_S(x) − ∇f_S(x̃) + μ),   η = ‖s‖² / (m |sᵀy|),   s = x̃ − x̃₋,   y = μ − μ₋,

with m = inner. Two gradients of a batch for a step, and one of all samples for a snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.samples import Samples
from multilevel_opt.optim.safe import Closure, Parameters, Safe, Value


class SVRGBB(Safe):
    """Stochastic gradients of reduced variance with Barzilai–Borwein learning rates.

    Args:
        parameters: as for ``Safe``.
        samples: all samples, for the full gradients; of the same module.
        lr: learning rate until the second snapshot.
        inner: m, steps from one snapshot to the next.
        chunk: samples of the full gradient that are evaluated at once.
        growth: the factor on the learning rate changes by at most this from one snapshot to the next.
        **options: as for ``Safe``.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        parameters: Parameters,
        samples: Samples,
        lr: float = 0.1,
        *,
        inner: int,
        chunk: int = 1000,
        growth: float = 10.0,
        **options: Any,
    ) -> None:
        if inner < 1 or chunk < 1 or not growth > 1:
            raise InputError(f"inner={inner}, chunk={chunk}, growth={growth}: give 1 or more, and a growth above 1")
        super().__init__(parameters, lr, **options)
        if not {id(w) for w in self.weights} <= {id(p) for p in samples.module.parameters()}:
            raise InputError("the samples are of another module: give those of the module that is trained")
        self.samples, self.inner, self.chunk, self.growth = samples, inner, chunk, growth
        self._base = [float(group["lr"]) for group in self.param_groups]
        self.forget()

    def forget(self) -> None:
        self.factor, self._i = 1.0, 0
        self._point: list[Tensor] = []
        self._full: list[Tensor] = []

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        if self._i == 0:
            self._snapshot(len(closure) if hasattr(closure, "__len__") else self.chunk)
        self._i = (self._i + 1) % self.inner
        here = [w.detach().clone() for w in self.weights]
        torch._foreach_copy_(self.weights, self._point)
        there = self.evaluate_again(closure)
        torch._foreach_copy_(self.weights, here)
        corrected = list(torch._foreach_sub(value.gradient, there.gradient))
        torch._foreach_add_(corrected, self._full)
        return list(torch._foreach_mul(self.clipped(replace(value, gradient=corrected)), -self.factor))

    def _snapshot(self, batch: int) -> None:
        """Take the full gradient here, counted in batches, and learn the factor from the snapshot before."""
        point = [w.detach().clone() for w in self.weights]
        full = [torch.zeros_like(w) for w in self.weights]
        rows = torch.arange(len(self.samples)).split(self.chunk)
        for ids in rows:
            part = self.evaluate_again(self.samples.batch(ids))
            torch._foreach_add_(full, part.gradient, alpha=len(ids) / len(self.samples))
            self.counts["gradients"] += len(ids) / batch - 1.0
        if self._point:
            self._learn_factor(torch._foreach_sub(point, self._point), torch._foreach_sub(full, self._full))
        self._point, self._full = point, full

    def _learn_factor(self, s: Any, y: Any) -> None:
        groups = zip(self.param_groups, self._base, strict=True)
        rates = [base for group, base in groups for p in group["params"] if p.requires_grad]
        ss = sum(float(a.double().square().sum()) / rate for a, rate in zip(s, rates, strict=True))
        sy = self.inner * abs(sum(float((a.double() * b.double()).sum()) for a, b in zip(s, y, strict=True)))
        good = 0 < ss < float("inf") and 0 < sy < float("inf")
        self.counts["pairs_accepted" if good else "pairs_rejected"] += 1
        if good:
            self.factor = min(max(ss / sy, self.factor / self.growth), self.factor * self.growth)

    def memory(self) -> dict[str, Any]:
        held = {"point": list(self._point), "full": list(self._full), "base": list(self._base)}
        return {"factor": self.factor, "i": self._i, **held}

    def remember(self, memory: dict[str, Any]) -> None:
        self.factor, self._i, self._base = memory["factor"], memory["i"], list(memory["base"])
        self._point, self._full = ([t.clone() for t in memory[name]] for name in ("point", "full"))
