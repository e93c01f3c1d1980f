"""The held-out gate: when a level fits the rows it trains on and no others, it is left.

With training loss f and the loss h of rows that were held out, a level overfits where h > overfit · f. That alone is
no reason to leave it, as long as its steps decrease both. So it is left when, besides, its last steps brought to the
held-out rows less than a share of what they brought to its own,

    log h(x_{k−w})/h(x_k) < share · log f(x_{k−w})/f(x_k).

The iterate of the smallest h goes up, not the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, log
from typing import Any

from multilevel_opt.objective.base import Objective
from multilevel_opt.snapshots import told
from multilevel_opt.state import State

SHARE = 0.1
WINDOW = 4  # steps that moved, w


class Gate:
    """Watches one solve of a level.

    Args:
        held_out: h of the level.
        overfit: ratio h/f from which on the level may be left.
        start: where the solve starts.

    Attributes:
        reason: why the level is to be left, or nothing.
    """

    def __init__(self, held_out: Objective, overfit: float, start: State) -> None:
        self._held_out, self._overfit = held_out, overfit
        self._past = [self._measured(start)]
        self._lowest = self._past[0][0], start
        self.reason = ""

    def told(self) -> dict[str, Any]:
        """What it has seen, as numbers, strings and tensors."""
        lowest, best = self._lowest
        return {"past": list(self._past), "lowest": lowest, "best": told(best), "reason": self.reason}

    @classmethod
    def restored(cls, data: Mapping[str, Any], held_out: Objective, overfit: float, best: State) -> Gate:
        """The inverse of ``told``; ``best`` is the state of its key of that name."""
        gate = cls.__new__(cls)
        gate._held_out, gate._overfit = held_out, overfit
        gate._past = [(held, loss) for held, loss in data["past"]]
        gate._lowest = data["lowest"], best
        gate.reason = data["reason"]
        return gate

    def __call__(self, state: State) -> bool:
        """Whether to leave the level after the step that led to this state."""
        if not state.moved:
            return False
        held, loss = self._measured(state)
        self._past.append((held, loss))
        if held < self._lowest[0]:
            self._lowest = held, state
        if held <= self._overfit * loss or len(self._past) <= WINDOW:
            return False
        earlier, before = self._past[-1 - WINDOW]
        if _fall(earlier, held) >= SHARE * _fall(before, loss):
            return False
        self.reason = (
            f"{WINDOW} steps from {before:.3g} to {loss:.3g} led held-out rows from {earlier:.3g} to {held:.3g}"
        )
        return True

    @property
    def last(self) -> tuple[float, float]:
        """(h, f) of the last state that moved."""
        return self._past[-1]

    @property
    def best(self) -> State:
        """The state of the lowest held-out loss."""
        return self._lowest[1]

    def _measured(self, state: State) -> tuple[float, float]:
        held = float(self._held_out(state.x))
        return (held if isfinite(held) else inf), state.loss


def _fall(before: float, after: float) -> float:
    """The decrease of a logarithm."""
    if not after > 0:
        return inf if before > 0 else 0.0
    return log(before / after) if 0 < before < inf and after < inf else -inf
