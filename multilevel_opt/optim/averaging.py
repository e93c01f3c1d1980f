"""The mean of the weights over the last steps, whose noise is that of many mini-batches and not of one.

    w̄ ← w̄ + (w − w̄) / (1 + a(t − 1))

after step t: a mean whose weights grow as t^(1/a − 1), so that most of it is from the last fraction a of the run
(polynomial-decay averaging, Shamir & Zhang 2013); a = 1 is the plain mean, a = 0 the weights themselves. The mean is
evaluated, not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError


class Average:
    """The mean of some weights over the steps.

    Args:
        fraction: a; 0: no mean is kept, and the weights themselves are evaluated.

    Raises:
        InputError: a fraction out of range.
    """

    def __init__(self, fraction: float) -> None:
        if not 0 <= fraction <= 1:
            raise InputError(f"average={fraction} is out of range: give a fraction from 0 to 1")
        self.fraction = fraction
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.steps, self.mean = 0, list[Tensor]()

    @torch.no_grad()
    def see(self, weights: Sequence[Tensor]) -> None:
        """Take the weights after a step into the mean."""
        if self.fraction == 0.0:
            return
        self.steps += 1
        if not self.mean:
            self.mean = [w.detach().clone() for w in weights]
        else:
            torch._foreach_lerp_(self.mean, list(weights), 1 / (1 + self.fraction * (self.steps - 1)))

    @contextmanager
    def replacing(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the weights are the mean."""
        if not self.mean:
            yield
            return
        with torch.no_grad():
            kept = [w.detach().clone() for w in weights]
            torch._foreach_copy_(list(weights), self.mean)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(weights), kept)

    def state(self) -> dict[str, Any]:
        """What continues it, as plain numbers and tensors."""
        return {"steps": self.steps, "mean": list(self.mean)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state``."""
        self.steps, self.mean = state["steps"], [mean.clone() for mean in state["mean"]]
