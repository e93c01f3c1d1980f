"""What a run returns: scipy's vocabulary, plus what happened on every level.

``Status`` says why a run stopped, in a sentence; ``Event`` is one iteration of one level; ``Result`` is the
whole run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

from multilevel_opt.errors import NotConverged
from multilevel_opt.ledger import Ledger
from multilevel_opt.markup import card


class Status(Enum):
    """Why a run stopped."""

    GRADIENT = "the gradient norm fell below its tolerance"
    TARGET = "the target was reached"
    MAX_ITERATIONS = "the iteration limit was reached"
    MAX_SECONDS = "the time limit was reached"
    USER = "the callback asked to stop"
    STALLED = "no step decreases the objective any further in this precision"
    NON_FINITE = "every step tried led to a point where the objective or its derivative is not finite"
    UNBOUNDED = "the objective appears to be unbounded below"
    INTERRUPTED = "the run was interrupted"
    EPOCHS = "all epochs were trained"

    @property
    def converged(self) -> bool:
        """Whether the stop is a success."""
        return self in (Status.GRADIENT, Status.TARGET, Status.EPOCHS)


@dataclass(frozen=True)
class Event:
    """One iteration of one level.

    Attributes:
        level: 0 is the finest.
        iteration: its number on that level, from 1, over the whole run.
        kind: "taylor", "coarse" or "output" (the output layer alone); "epoch" in a training.
        accepted: whether the iterate moved.
        loss: objective after the iteration (of the coarse model on coarse levels).
        gradient_norm: ‖∇f‖ after the iteration.
        scalar: regularization weight or trust-region radius after the iteration.
        ratio: gain ratio of the last trial.
        trials: trial points evaluated.
        flops: of all levels so far.
        seconds: of solving so far.
        metrics: error measures on the finest level.
        note: a remark, for example why a trial was rejected.
    """

    level: int
    iteration: int
    kind: str
    accepted: bool
    loss: float
    gradient_norm: float
    scalar: float
    ratio: float
    trials: int
    flops: float = 0.0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for records and checkpoints."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Result:
    """Outcome of a run.

    Attributes:
        x: the iterate that converged, otherwise the best point seen, shape (n,).
        fun: f(x).
        grad: ∇f at the last iterate, shape (n,).
        status: why the run stopped.
        message: the same in a sentence, with the numbers that decided.
        nit: iterations on the finest level.
        history: every iteration of every level, in order.
        ledgers: counts of every level, finest first.
        sizes: unknowns of every level, finest first.
        seconds: time spent solving, without monitors and callbacks.
        linear_algebra: how the steps of the finest level were computed.
        metrics: last values of the error measures.
        gradient_norm: ‖∇f‖ at the last iterate; with bounds, of the projected gradient P(x − ∇f) − x.
    """

    x: Tensor
    fun: float
    grad: Tensor
    status: Status
    message: str
    nit: int
    history: tuple[Event, ...]
    ledgers: tuple[Ledger, ...]
    sizes: tuple[int, ...]
    seconds: float
    linear_algebra: str
    metrics: Mapping[str, float]
    gradient_norm: float

    @property
    def success(self) -> bool:
        """Whether a tolerance or target was reached."""
        return self.status.converged

    @property
    def flops(self) -> float:
        """Floating-point operations of all levels."""
        return sum(ledger.flops for ledger in self.ledgers)

    @property
    def nfev(self) -> int:
        """Objective or residual evaluations on the finest level."""
        counts = self.ledgers[0].counts
        return counts["function"] + counts["residual"]

    @property
    def njev(self) -> int:
        """Gradient evaluations (expansions) on the finest level."""
        return self.ledgers[0].counts["gradient"]

    @property
    def iterations_per_level(self) -> tuple[int, ...]:
        """Iterations of every level, finest first."""
        return tuple(sum(event.level == level for event in self.history) for level in range(len(self.sizes)))

    @property
    def coarse_steps(self) -> tuple[int, int]:
        """(coarse steps tried on the finest level, of which rejected)."""
        tried = [event for event in self.history if event.level == 0 and event.kind == "coarse"]
        return len(tried), sum(not event.accepted for event in tried)

    def raise_for_status(self) -> Result:
        """This result, or ``NotConverged`` with the reason."""
        if not self.success:
            raise NotConverged(self.message)
        return self

    def plot(self, path: str | Path) -> Path:
        """Draw loss and error measures against iterations, flops and seconds into ``path`` (PNG or PDF)."""
        from multilevel_opt.pictures import convergence_picture

        return convergence_picture(self.history, Path(path))

    def _repr_html_(self) -> str:
        """The result as a notebook shows it."""
        facts = {"loss": self.fun, "gradient norm": float(self.grad.norm()), **self.metrics}
        counts = " / ".join(map(str, self.iterations_per_level))
        calls = {"evaluations of the function": self.nfev, "evaluations of the gradient": self.njev}
        costs = {"iterations, finest level first": counts, **calls, "flops": self.flops, "seconds": self.seconds}
        return card("converged" if self.success else "stopped", self.message, facts | costs)

    def __str__(self) -> str:
        tried, rejected = self.coarse_steps
        metrics = "".join(f"\n  {name:<14} {value:.3e}" for name, value in self.metrics.items())
        coarse = f"\n  coarse steps   {tried} tried, {rejected} rejected" if tried else ""
        return (
            f"{'converged' if self.success else 'stopped'}: {self.message}\n"
            f"  loss           {self.fun:.6e}\n"
            f"  gradient norm  {self.gradient_norm:.3e}{metrics}\n"
            f"  iterations     {' / '.join(map(str, self.iterations_per_level))} (finest level first){coarse}\n"
            f"  evaluations    {self.nfev} of the function, {self.njev} of the gradient\n"
            f"  flops          {self.flops:.3e}\n"
            f"  seconds        {self.seconds:.2f}\n"
            f"  steps by       {self.linear_algebra}"
        )
