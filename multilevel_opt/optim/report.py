"""What an optimizer says of its last step, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor

KINDS = ("accepted", "rejected", "pairs_accepted", "pairs_damped", "pairs_rejected", "gradients", "losses")


@dataclass(frozen=True)
class StepReport:
    """One call of ``step``.

    Attributes:
        step: its number, from 1.
        reason: what happened, a sentence.
        accepted: whether the weights were moved along a new direction.
        loss: of the samples of this step, before it, at the weights from which it was taken.
        gradient_norm: ‖∇f‖ there.
        ratio: actual over predicted decrease on the same samples, where the method measures it, else NaN.
        damping: λ or Δ of the method, where it has one, else NaN.
        pace: the fraction of the learning rate that was used; below 1 after steps that had to be taken back.
        pairs: (accepted, damped, rejected) secant pairs; what was damped was accepted as well.
        evaluations: gradients and losses of the whole batch in this step, a part of the batch counted as its fraction.
        seconds: of this step.
        bytes: held by the optimizer.
    """

    step: int
    reason: str
    accepted: bool
    loss: float
    gradient_norm: float
    ratio: float = nan
    damping: float = nan
    pace: float = 1.0
    pairs: tuple[int, int, int] = (0, 0, 0)
    evaluations: float = 0.0
    seconds: float = 0.0
    bytes: int = 0


def bytes_of(held: Any) -> int:
    """Bytes of the tensors in a structure."""
    if isinstance(held, Tensor):
        return held.numel() * held.element_size()
    inside = held.values() if isinstance(held, Mapping) else held if isinstance(held, list | tuple) else ()
    return sum(bytes_of(part) for part in inside)
