"""Where training stands: the level of the loss, its scatter, and the best weights so far.

The losses ℓ of the batches scatter, so the level μ is their exponential mean, and d that of |ℓ − μ|. A loss is
suspicious when it lies above all that was seen in the first place,

    ℓ − μ* > (μ₁ − μ*) + 10 d

with μ* the level of the best weights and μ₁ the first. Weights are better only where that is not chance,

    μ + d/√N < μ* − d/√N*,

with N and N* the losses in either mean, and where as many losses as the mean remembers were seen since the weights last
went back, twice as many after every time: one lucky sample proves nothing. Whether the weights or the samples are to
blame for a suspicious loss is seen by evaluating the same samples at the best weights, see ``blames``. All rules are
unchanged when a·ℓ + b takes the place of ℓ, a > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import Any

import torch
from torch import Tensor

LONGEST = 16.0  # windows of patience, at most
SCATTERS = 10.0  # so many scatters above the first level is suspicious
BLAME = 0.5  # at the best weights the same samples have less than this fraction of the excess


class Watch:
    """Level, scatter and best.

    Args:
        tensors: the weights and buffers that are kept.
        smoothing: weight of the past in the level; 0 where every step has the same samples.
    """

    def __init__(self, tensors: Sequence[Tensor], smoothing: float) -> None:
        self.tensors, self.smoothing = list(tensors), smoothing
        self.kept: list[Tensor] = []
        self.level, self.scatter, self.weight = nan, 0.0, 0.0
        self.first, self.best, self.best_step, self.best_weight = nan, inf, 0, 1.0
        self.calm, self.patience = 0, 1.0  # losses seen since the weights went back; how many that must be, in windows

    @property
    def known(self) -> bool:
        """Whether there are weights to go back to."""
        return bool(self.kept)

    def suspicious(self, loss: float) -> bool:
        """Whether a loss is not finite, or above what was seen at first."""
        return not isfinite(loss) or (self.known and loss > self.first + SCATTERS * self.scatter)

    def blames(self, loss: float, loss_at_best: float) -> bool:
        """Whether the weights are to blame for a loss, given that of the same samples at the best weights."""
        if not isfinite(loss_at_best):
            return False
        return not isfinite(loss) or loss_at_best - self.best < BLAME * (loss - self.best)

    def ceiling(self, loss: float) -> float:
        """How high the loss of the same samples may be after a step.

        Momentum, and other samples, may raise it for a while; not half of the way back to the first losses.
        """
        return max(loss, 0.5 * (self.level + self.first)) if self.known else loss

    def see(self, loss: float, step: int) -> None:
        """Take an accepted loss of the present weights into account, and keep them if they are the best."""
        if not self.known:
            self.first = loss
        self.calm += 1
        change = loss - self.level if self.weight else 0.0
        if self.scatter > 0.0:  # one outlier is no more than a large scatter
            change = min(max(change, -SCATTERS * self.scatter), SCATTERS * self.scatter)
        self.weight = 1.0 + self.smoothing * self.weight
        self.level = loss if self.weight == 1.0 else self.level + change / self.weight
        self.scatter += (abs(change) - self.scatter) / self.weight if self.weight > 1.0 else 0.0
        if not self.known or self._better(loss):
            self.best, self.best_step, self.best_weight = self.level, step, self.weight
            self.patience = max(1.0, 0.5 * self.patience)
            self._keep()

    def _better(self, loss: float) -> bool:
        """Whether the present weights are better than the best, beyond the scatter of both means."""
        if self.calm * (1.0 - self.smoothing) < self.patience:
            return False
        doubt = self.scatter * (self.weight**-0.5 + self.best_weight**-0.5)
        return loss <= self.level + self.scatter and self.level + doubt < self.best

    def punish(self) -> None:
        """Be more patient: the weights were to blame."""
        self.calm, self.patience = 0, min(LONGEST, 2.0 * self.patience)

    def go_back(self) -> None:
        """Write the best weights into the tensors."""
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, self.kept)
        self.level, self.weight = self.best, self.best_weight

    def state(self) -> dict[str, Any]:
        """Plain numbers and tensors."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {"kept": list(self.kept), **numbers}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        self.kept = [kept.to(own).clone() for own, kept in zip(self.tensors, state["kept"], strict=False)]
        for name in _NUMBERS:
            setattr(self, name, state[name])

    def _keep(self) -> None:
        if not self.kept:
            self.kept = [torch.empty_like(tensor, memory_format=torch.preserve_format) for tensor in self.tensors]
        with torch.no_grad():
            torch._foreach_copy_(self.kept, [tensor.detach() for tensor in self.tensors])


_NUMBERS = ("level", "scatter", "weight", "first", "best", "best_step", "best_weight", "calm", "patience")
