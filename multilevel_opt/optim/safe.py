"""The base of the stochastic optimizers: the weights stay finite, the best are kept, and every step says what it did.

A step evaluates the closure, judges the loss (see ``watch``), asks the method for a direction, moves

    w ← w + pace · lr · d,

and lets the method learn. Where the loss is not finite, or so high that the weights must be to blame, the weights go
back to the best ones, the method forgets what it learned, and ``pace`` is divided by four; it grows again slowly.
Nothing is evaluated twice unless a loss is suspicious.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError
from multilevel_opt.optim.closure import gradient_of, loss_of
from multilevel_opt.optim.finite import all_finite
from multilevel_opt.optim.replay import Replay
from multilevel_opt.optim.report import KINDS, StepReport, bytes_of
from multilevel_opt.optim.watch import Watch

SLOWER, FASTER = 0.25, 2.0 ** (1 / 50)

Closure = Callable[[], Tensor]
Parameters = nn.Module | Iterable[Tensor] | Iterable[dict[str, Any]]
Clip = Callable[[list[Tensor]], object]


@dataclass(frozen=True, eq=False)
class Value:
    """A loss and its gradient.

    Attributes:
        loss: of the samples of the closure.
        gradient: with respect to every trainable parameter, in the order of ``Safe.weights``.
        norm: ‖gradient‖.
    """

    loss: float
    gradient: list[Tensor]
    norm: float

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are."""
        return isfinite(self.loss) and isfinite(self.norm)


class Safe(torch.optim.Optimizer, ABC):
    """Base of the optimizers that train on mini-batches.

    A subclass gives ``direction``, and overrides ``learn``, ``forget``, ``memory`` and ``remember`` where it has
    something to learn; ``advance`` where a step is more than a direction and a length.

    Args:
        parameters: a module, or what torch optimizers take: parameters, or groups of them with their own ``lr``.
        module: the module itself, where ``parameters`` are not; only of a known module are the buffers (running means)
            taken back along with the weights.
        lr: learning rate, positive.
        smoothing: weight of the past in the mean loss by which the best weights are chosen; 0 where every step has
            the same samples.
        clip: called with the parameters when their ``grad`` is set, for example
            ``lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0)``.
        **defaults: further options of the parameter groups.

    Attributes:
        last: report of the last step, or None.
        counts: since the beginning, by the names of ``report.KINDS``.
        pace: fraction of the learning rate in use.

    Raises:
        InputError: an option out of range, or nothing to train.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        *,
        module: nn.Module | None = None,
        smoothing: float = 0.9,
        clip: Clip | None = None,
        **defaults: Any,
    ) -> None:
        if not 0 < lr < float("inf"):
            raise InputError(f"lr={lr} is out of range: give a positive number")
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing={smoothing} is out of range: give a number from 0 to below 1")
        if isinstance(parameters, nn.Module):
            module, parameters = parameters, parameters.parameters()
        super().__init__(parameters, {"lr": lr, **defaults})
        self.module, self.clip, self.pace = module, clip, 1.0
        self.last: StepReport | None = None
        self.counts: dict[str, float] = dict.fromkeys(KINDS, 0)
        self._steps, self._trained = 0, list[bool]()
        everything = [p for group in self.param_groups for p in group["params"]]
        if not any(p.requires_grad for p in everything):
            raise InputError("there is no trainable parameter: set requires_grad on some")
        buffers = list(module.buffers()) if module is not None else []
        self._replay = Replay(everything[0].device, buffers)
        self._watch = Watch([*everything, *buffers], smoothing)

    # What a method is.

    @abstractmethod
    def direction(self, closure: Closure, value: Value) -> list[Tensor]:
        """Where to go, one tensor for each of ``weights``: ``-clipped(value)`` for gradient descent."""

    def learn(self, closure: Closure, value: Value) -> None:
        """Learn after a step from where ``value`` was found; the weights are the new ones."""

    def forget(self) -> None:
        """Drop what was learned: the weights went back to the best ones, or other parameters are trained now."""

    def memory(self) -> dict[str, Any]:
        """What was learned, as plain numbers and tensors."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Inverse of ``memory``."""

    def warm_up(self, closures: Iterable[Closure]) -> None:
        """Learn from the losses of some batches, those of an epoch for example; the weights stay."""

    def batch_size(self, size: int) -> int:
        """The rows that the next batches should have, after those of ``size``."""
        return size

    def advance(self, closure: Closure, value: Value) -> Mapping[str, Any]:
        """Take a step from where ``value`` was found; returns fields of ``StepReport``."""
        d = self.direction(closure, value)
        if not self.move(d):
            self.forget()
            return {"reason": "the direction was not finite: the memory was cleared", "accepted": False}
        self.learn(closure, value)
        return {"reason": "moved", "accepted": True}

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """Inside, the module has the weights to test: those of the last step, or a mean where the method keeps one."""
        yield

    # What a method may use.

    @property
    def weights(self) -> list[Tensor]:
        """The parameters that are trained now, of all groups in order."""
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    @property
    def rates(self) -> list[float]:
        """The learning rate of each of ``weights``, times ``pace``."""
        return [
            self.pace * float(group["lr"]) for group in self.param_groups for p in group["params"] if p.requires_grad
        ]

    def evaluate(self, closure: Closure) -> Value:
        """Loss and gradient at the present weights, drawing new random numbers; counted."""
        self.counts["gradients"] += 1
        return Value(*gradient_of(closure, self.weights))

    def evaluate_again(self, closure: Closure) -> Value:
        """The same with the random numbers of the first evaluation of this step, leaving buffers as they are."""
        with self._replay:
            return self.evaluate(closure)

    def loss_again(self, closure: Closure) -> float:
        """The loss alone, as in ``evaluate_again``."""
        self.counts["losses"] += 1
        with self._replay:
            return loss_of(closure)

    def clipped(self, value: Value) -> list[Tensor]:
        """The gradient after ``clip``; ``value.gradient`` stays as it is."""
        for p, g in zip(self.weights, value.gradient, strict=True):
            p.grad = g if self.clip is None else g.clone()
        if self.clip is None:
            return value.gradient
        with torch.enable_grad():
            self.clip(self.weights)
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.weights]

    def move(self, direction: list[Tensor]) -> bool:
        """Add rates · direction to the weights; False, and no change, where that is not finite."""
        steps = torch._foreach_mul(direction, self.rates)
        if not all_finite(steps):
            return False
        torch._foreach_add_(self.weights, list(steps))
        if not all_finite(self.weights):
            self._watch.go_back()
            return False
        return True

    # The step.

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; returns the loss before it, a float.

        Args:
            closure: without arguments; returns the mean loss of some samples and does not call ``backward``: a
                ``Batch``, or for example ``lambda: criterion(model(X), y)``.

        Raises:
            InputError: no closure, or one that returns no loss of these parameters.
        """
        if closure is None:
            raise InputError("step() needs a closure that returns the loss: opt.step(lambda: criterion(model(X), y))")
        began, before = time.perf_counter(), dict(self.counts)
        self._steps += 1
        self._look_at_frozen()
        self._replay.begin()
        value, blamed = self._judged(closure, self.evaluate(closure))
        if value.finite:
            self._watch.see(value.loss, self._steps)
            outcome = dict(self.advance(closure, value))
        else:
            self._replay.undo()
            outcome = {"reason": "the samples of this step give no finite loss: skipped", "accepted": False}
        if blamed:
            outcome["reason"] = f"went back to the weights of step {self._watch.best_step}; {outcome['reason']}"
        self._report(value, outcome, before, time.perf_counter() - began)
        return value.loss

    def _judged(self, closure: Closure, value: Value) -> tuple[Value, bool]:
        """The value to go on from, and whether the weights went back to the best ones."""
        suspicious = self._watch.suspicious(value.loss if value.finite else nan)
        if not suspicious or not self._watch.known:
            self.pace = min(1.0, self.pace * FASTER)
            return value, False
        here = [tensor.detach().clone() for tensor in self._watch.tensors]
        level = self._watch.level, self._watch.weight
        self._watch.go_back()
        again = self.evaluate_again(closure)
        if again.finite and self._watch.blames(value.loss if value.finite else nan, again.loss):
            self.pace *= SLOWER
            self._watch.punish()
            self.forget()
            return again, True
        torch._foreach_copy_(self._watch.tensors, here)
        self._watch.level, self._watch.weight = level
        return value, False

    def _look_at_frozen(self) -> None:
        trained = [p.requires_grad for group in self.param_groups for p in group["params"]]
        if self._trained and trained != self._trained:
            self.forget()
        self._trained = trained

    def _report(self, value: Value, outcome: dict[str, Any], before: Mapping[str, float], seconds: float) -> None:
        self.counts["accepted" if outcome["accepted"] else "rejected"] += 1
        new = {kind: self.counts[kind] - before[kind] for kind in KINDS}
        pairs = (int(new["pairs_accepted"]), int(new["pairs_damped"]), int(new["pairs_rejected"]))
        found: dict[str, Any] = {"loss": value.loss, "gradient_norm": value.norm, "pace": self.pace, "pairs": pairs}
        found |= {"evaluations": new["gradients"] + new["losses"], "seconds": seconds}
        found["bytes"] = bytes_of([self.memory(), self._watch.kept])
        self.last = StepReport(self._steps, **(found | outcome))

    @property
    def best_loss(self) -> float:
        """The lowest mean loss so far; ``inf`` before the first step."""
        return self._watch.best

    def restore_best(self) -> float:
        """Write the best weights (and buffers) into the module; returns their mean loss."""
        if self._watch.known:
            self._watch.go_back()
        return self._watch.best

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights, as plain numbers and tensors: a run goes on from it bit for bit."""
        own = {"steps": self._steps, "pace": self.pace, "counts": dict(self.counts), "trained": list(self._trained)}
        return {**super().state_dict(), "safe": own, "watch": self._watch.state(), "memory": self.memory()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``; raises ``InputError`` for that of another optimizer."""
        if not {"safe", "watch", "memory"} <= state_dict.keys():
            raise InputError(f"this is no state_dict of {type(self).__name__}: give one that it made")
        super().load_state_dict({name: state_dict[name] for name in ("state", "param_groups")})
        own = state_dict["safe"]
        self._steps, self.pace, self._trained = own["steps"], own["pace"], list(own["trained"])
        self.counts = dict(own["counts"])
        self._watch.restore(state_dict["watch"])
        self.remember(state_dict["memory"])
