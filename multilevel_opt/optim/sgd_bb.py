"""SGD whose learning rate comes from the Barzilai–Borwein quotient of whole epochs (Tan, Ma, Dai & Qian 2016).

With m steps to an epoch, x_k the weights after epoch k, and ĝ the exponential mean of the gradients, β = 10/m,

    ĝ ← β g + (1 − β) ĝ,   s = x_k − x_{k−1},   y = ĝ_k − ĝ_{k−1},   η = ‖s‖² / (m (|sᵀy| + ε‖s‖²)),

smoothed by the geometric mean of all η_j φ(j) with φ(k) = k + 1:

    C_k = C_{k−1}^{(k−2)/(k−1)} (η φ(k))^{1/(k−1)},   η_k = C_k / φ(k).

ε > 0 is the stabilized form. The quotient is taken in the metric of the learning rates of the groups, so that it is
a factor on all of them, and a schedule of learning rates acts on top of it.
"""

from __future__ import annotations

from math import exp, isfinite, log
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.optim.safe import Closure, Parameters, Safe, Value


class SGDBB(Safe):
    """SGD with Barzilai–Borwein learning rates.

    Args:
        parameters: as for ``Safe``.
        lr: learning rate of the first two epochs.
        epoch: m, steps to an epoch.
        stabilization: ε in units of 1/lr, so that the factor on the learning rate is at most 1/ε; 0: as published.
        smoothed: whether the geometric mean is taken.
        decay: whether φ(k) = k + 1; otherwise φ = 1, for losses whose steps need not shrink.
        growth: the factor on the learning rate changes by at most this in an epoch.
        limits: smallest and largest factor.
        **options: as for ``Safe``.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.1,
        *,
        epoch: int,
        stabilization: float = 0.0,
        smoothed: bool = True,
        decay: bool = True,
        growth: float = 10.0,
        limits: tuple[float, float] = (1e-4, 1e4),
        **options: Any,
    ) -> None:
        if epoch < 1 or stabilization < 0 or not growth > 1 or not 0 < limits[0] <= 1 <= limits[1]:
            raise InputError(
                f"epoch={epoch}, stabilization={stabilization}, growth={growth}, limits={limits} is out of range: give "
                "at least one step, no negative stabilization, a growth above 1, and limits around 1"
            )
        super().__init__(parameters, lr, **options)
        self.epoch, self.stabilization, self.smoothed, self.decay = epoch, stabilization, smoothed, decay
        self.growth, self.limits = growth, limits
        self._base = [float(group["lr"]) for group in self.param_groups]
        self.forget()

    def forget(self) -> None:
        self.factor, self._logs, self._k, self._i = 1.0, 0.0, 0, 0
        self._mean: list[Tensor] = []
        self._before: tuple[list[Tensor], list[Tensor]] | None = None

    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        return list(torch._foreach_mul(self.clipped(value), -self.factor))

    def learn(self, closure: Closure, value: Value) -> None:
        beta = min(1.0, 10.0 / self.epoch)
        if not self._mean:
            self._mean = [torch.zeros_like(g) for g in value.gradient]
        torch._foreach_lerp_(self._mean, value.gradient, beta)
        self._i += 1
        if self._i == self.epoch:
            self._end_of_epoch()

    def _end_of_epoch(self) -> None:
        self._i = 0
        now = [p.detach().clone() for p in self.weights], [g.clone() for g in self._mean]
        if self._before is not None:
            self._k += 1
            self._learn_rate(torch._foreach_sub(now[0], self._before[0]), torch._foreach_sub(now[1], self._before[1]))
        self._before = now

    def _learn_rate(self, s: Any, y: Any) -> None:
        """The factor of the next epoch, from the weights and mean gradients of the last two."""
        rates = self._initial_rates()
        ss = sum(float(a.double().square().sum()) / rate for a, rate in zip(s, rates, strict=True))
        sy = sum(float((a.double() * b.double()).sum()) for a, b in zip(s, y, strict=True))
        size = self.epoch * abs(sy) + self.stabilization * ss
        if not (0 < ss < float("inf") and 0 < size < float("inf")):
            self.counts["pairs_rejected"] += 1
            return
        self.counts["pairs_accepted"] += 1
        phi = self._k + 2.0 if self.decay else 1.0
        self._logs += log(ss / size * phi)
        wanted = exp(self._logs / self._k) / phi if self.smoothed else ss / size
        lowest, highest = max(self.limits[0], self.factor / self.growth), min(self.limits[1], self.factor * self.growth)
        self.factor = min(max(wanted if isfinite(wanted) else 1.0, lowest), highest)

    def _initial_rates(self) -> list[float]:
        groups = zip(self.param_groups, self._base, strict=True)
        return [base for group, base in groups for p in group["params"] if p.requires_grad]

    def memory(self) -> dict[str, Any]:
        before = [] if self._before is None else [list(part) for part in self._before]
        numbers = {"factor": self.factor, "logs": self._logs, "k": self._k, "i": self._i}
        return {**numbers, "base": list(self._base), "mean": list(self._mean), "before": before}

    def remember(self, memory: dict[str, Any]) -> None:
        self.factor, self._logs = memory["factor"], memory["logs"]
        self._k, self._i, self._base = memory["k"], memory["i"], list(memory["base"])
        self._mean = [g.clone() for g in memory["mean"]]
        before = [[part.clone() for part in parts] for parts in memory["before"]]
        self._before = (before[0], before[1]) if before else None
