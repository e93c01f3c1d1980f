"""Which of several kinds of step to take next, from what each brought for its cost so far.

A choice k is credited with the decrease of log f per cost (seconds, or flops where a run must be reproducible) of its
steps, the last of them counting most,

    rate_k = D_k / C_k,   D_k ← γ D_k + log f(x)/f(x⁺),   C_k ← γ C_k + cost.

The choice of the highest rate is taken. Another one is tried again when it has been idle for a while, which doubles
every time that it loses. Choice 0 is the safe one: it is taken after every step of another that failed, and after
``longest`` steps of others in a row, so that a method keeps what is proved of it with choice 0 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from multilevel_opt.errors import InputError


@dataclass(frozen=True)
class Choice:
    """What is known of one choice.

    Attributes:
        decrease, cost: D and C; zero before the first step.
        idle: steps since it was taken.
        patience: idle steps after which it is tried again.
    """

    decrease: float = 0.0
    cost: float = 0.0
    idle: int = 0
    patience: int = 0

    @property
    def rate(self) -> float:
        """D/C; infinite before the first step, so that every choice is tried."""
        return self.decrease / self.cost if self.cost > 0 else float("inf")


@dataclass(frozen=True)
class Experience:
    """What is known of all choices.

    Attributes:
        choices: of every choice.
        run: steps of choices other than 0 since the last of choice 0.
        failed: whether the last step was one of those and failed.
    """

    choices: tuple[Choice, ...]
    run: int = 0
    failed: bool = False


@dataclass(frozen=True)
class Controller:
    """The rule.

    Attributes:
        seconds: cost is measured by the clock; otherwise by flops.
        forgetting: γ.
        first, last: bounds of the patience with a choice that lost.
        longest: steps of other choices than 0 in a row, at most.
    """

    seconds: bool = False
    forgetting: float = 0.5
    first: int = 4
    last: int = 64
    longest: int = 8

    def __post_init__(self) -> None:
        if not (0 <= self.forgetting < 1 and 1 <= self.first <= self.last and self.longest >= 1):
            raise InputError(f"{self} breaks 0 <= forgetting < 1, 1 <= first <= last, longest >= 1: use such values")

    def choose(self, known: Experience | None, allowed: Sequence[bool]) -> int:
        """The next choice among those allowed; choice 0 always is."""
        if known is None:
            known = Experience((Choice(),) * len(allowed))
        others = [k for k in range(1, len(allowed)) if allowed[k]]
        if not others or known.failed or known.run >= self.longest:
            return 0
        for k in (*others, 0):
            if known.choices[k].cost > 0 and known.choices[k].idle >= known.choices[k].patience > 0:
                return k
        return max((*others, 0), key=lambda k: known.choices[k].rate)

    def learned(self, known: Experience | None, count: int, taken: int, decrease: float, cost: float) -> Experience:
        """The experience after a step of choice ``taken`` that decreased log f by ``decrease`` (0: it failed)."""
        known = known or Experience((Choice(),) * count)
        gained = decrease if isfinite(decrease) else 0.0
        choices = [replace(choice, idle=choice.idle + 1) for choice in known.choices]
        mine = known.choices[taken]
        first = mine.cost == 0
        mine = replace(
            mine, decrease=self.forgetting * mine.decrease + gained, cost=self.forgetting * mine.cost + cost, idle=0
        )
        loses = mine.rate < max(choice.rate for k, choice in enumerate(known.choices) if k != taken)
        longer = self.first if first else min(self.last, 2 * max(mine.patience, self.first))
        choices[taken] = replace(mine, patience=longer if loses else self.first)
        run = 0 if taken == 0 else known.run + 1
        return Experience(tuple(choices), run, taken > 0 and gained <= 0)
