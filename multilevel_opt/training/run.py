"""The loop over epochs: steps on the clock, everything else with the clock stopped.

An iteration of the record is an epoch. What is stored is taken between two steps, at the end of every epoch and every
half minute, and a run goes on from it bit for bit on the same CPU; Ctrl-C ends it at the last of these points.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from multilevel_opt.checkpoint import store
from multilevel_opt.ledger import Ledger
from multilevel_opt.optim import OverlapSampler
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.stopping import MaxSeconds, Progress, Stop, Verdict
from multilevel_opt.training import keep
from multilevel_opt.training.problem import TrainingProblem
from multilevel_opt.training.trainers import Trainer, batch_of, trained

EVERY = 30.0  # seconds between two points to go on from
PART = "a part of an epoch"


@dataclass(frozen=True)
class Watchers:
    """Who hears of a run.

    Attributes:
        callback: called as ``callback(event, x)`` after every epoch; a true value stops.
        listener: called with every event.
        checkpoint: the file to write and to go on from, or None.
    """

    callback: Callable[[Event, Tensor], Any] | None = None
    listener: Callable[[Event], None] | None = None
    checkpoint: Path | None = None


class Run:
    """One training.

    Args:
        problem: what is trained; its module is set to the first weights.
        trainer: the method.
        name: of the method.
        options: of the method.
        stop: rules looked at after every epoch; limits of seconds after every step.
        targets: whether there is one to reach, so that the last epoch alone is no success.
        watchers: who hears of it.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        trainer: Trainer,
        name: str,
        options: Mapping[str, Any],
        stop: Stop,
        targets: bool,
        watchers: Watchers,
    ) -> None:
        self.settings = trainer.settings(name, options)
        self.problem, self.trainer, self.stop, self.watchers = problem, trainer, stop, watchers
        self._over = Status.MAX_ITERATIONS if targets else Status.EPOCHS
        self.samples, self.module = problem.samples, problem.samples.module
        self.module.load_state_dict(problem.start)
        self.module.train()
        overlap = self.settings.get("overlap", 0.0)
        self.sampler = OverlapSampler(len(self.samples), problem.batch, overlap, problem.seed)
        self.opt = trainer.make(self.samples, len(self.sampler), self.settings)
        self.recorder = Recorder([Ledger()], problem.metrics, listener=watchers.listener)
        self.epoch, self.step = 0, 0
        self.best: tuple[float, dict[str, Tensor]] = (inf, problem.start)
        self._flops = 0.0

    def go(self, resume: bool) -> Result:
        """Train until a rule, the last epoch, the callback, Ctrl-C or a loss that is not finite ends it."""
        devices = [self.problem.x0.device] if self.problem.x0.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.problem.seed)
            with self.recorder.clock.paused():
                self._begin(resume)
            try:
                verdict = self._epochs()
            except KeyboardInterrupt:
                keep.restore(self, self._kept)
                verdict = Status.INTERRUPTED, f"{Status.INTERRUPTED.value} after {self.epoch} epochs"
            return self._finish(verdict)

    def _begin(self, resume: bool) -> None:
        self._flops = self._flops_of_a_gradient()
        self.recorder.measure(self.samples.x)
        self.loss = self.samples.mean_loss()
        self.losses = [self.loss]
        self.best = (self.loss, self._state())
        if resume and self.watchers.checkpoint is not None:
            keep.restore(self, keep.load(self.watchers.checkpoint, self))
        self._keep()

    def _epochs(self) -> Verdict:
        while True:
            verdict = self.stop(self._progress())
            if verdict is None and not isfinite(self.loss):
                verdict = Status.NON_FINITE, f"the loss is {self.loss} after {self.epoch} epochs"
            if verdict is None and self.epoch >= self.problem.epochs:
                verdict = self._over, f"{self.epoch} epochs, {'as asked' if self._over.converged else 'the limit'}"
            if verdict is not None:
                return verdict
            whole = self._epoch()
            with self.recorder.clock.paused():
                with self.opt.averaging():
                    event = self._record(whole)
                    over = self.watchers.callback is not None and self.watchers.callback(event, self.samples.x)
                self._keep()
                if over:
                    return Status.USER, Status.USER.value

    def _epoch(self) -> bool:
        """The steps that are left of this epoch; whether it came to its end."""
        if self.epoch == self.step == 0 and self.settings.get("warm_up"):
            self._warm_up()
        limit = min((rule.limit for rule in _parts(self.stop) if isinstance(rule, MaxSeconds)), default=inf)
        self.module.train()
        while self.step < len(self.sampler):
            before = dict(self.opt.counts)
            self.opt.step(batch_of(self.samples, self.sampler))
            self.step += 1
            self._count(before, self.sampler.size / min(self.problem.batch, len(self.samples)))
            if self.recorder.clock.seconds() > limit and self.step < len(self.sampler):
                return False
            if time.monotonic() - self._kept_at > EVERY:
                with self.recorder.clock.paused():
                    self._keep()
        self.epoch, self.step = self.epoch + 1, 0
        self.sampler.size = min(self.opt.batch_size(self.sampler.size), len(self.samples))
        return True

    def _warm_up(self) -> None:
        """Let the optimizer see all samples once before its first step."""
        before, size, count = dict(self.opt.counts), self.problem.batch, len(self.samples)
        self.opt.warm_up(self.samples.batch(range(k, min(k + size, count))) for k in range(0, count, size))
        self._count(before, 1.0)

    def _count(self, before: Mapping[str, float], larger: float) -> None:
        """Count the work of a step whose batch is so many times larger than the first."""
        gradients = self.opt.counts["gradients"] - before["gradients"]
        losses = self.opt.counts["losses"] - before["losses"]
        ledger = self.recorder.ledgers[0]
        ledger.count("gradient", larger * gradients * self._flops, times=round(gradients))
        ledger.count("function", larger * losses * self._flops / 3, times=round(losses))

    def _record(self, whole: bool) -> Event:
        x = self.samples.x
        self.loss = self.samples.mean_loss()
        metrics = self.recorder.measure(x)
        better = self.loss < self.best[0]
        if better:
            self.best = (self.loss, self._state())
        self.losses.append(self.loss)
        event = Event(
            level=0,
            iteration=self.epoch + (0 if whole else 1),
            kind="epoch",
            accepted=better,
            loss=self.loss,
            gradient_norm=self._norm(),
            scalar=float(self.opt.param_groups[0]["lr"]) * getattr(self.opt, "pace", 1.0),
            ratio=nan,
            trials=len(self.sampler),
            metrics=dict(metrics),
            note="" if whole else PART,
        )
        self.recorder.record(event)
        return self.recorder.history[-1]

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def _norm(self) -> float:
        """‖∇f‖ of the last mini-batch."""
        gradients = [p.grad for p in trained(self.module) if p.grad is not None]
        return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))) if gradients else nan

    def _progress(self) -> Progress:
        seconds = self.recorder.clock.seconds()
        return Progress(self.epoch, self.loss, inf, seconds, self.recorder.metrics, 0.0, self.losses)

    def _keep(self) -> None:
        """Make this the point to go on from, and write it."""
        self._kept: dict[str, Any] = copy.deepcopy(keep.pack(self))
        self._kept_at = time.monotonic()
        if self.watchers.checkpoint is not None:
            store(self.watchers.checkpoint, self._kept)

    def _flops_of_a_gradient(self) -> float:
        """Of the products of matrices and the convolutions in the gradient of one batch, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self.samples.loss_grad(range(min(self.problem.batch, len(self.samples))))
        return float(counter.get_total_flops())

    def _finish(self, verdict: Verdict) -> Result:
        with self.opt.averaging():
            tested = self._state()
        self.module.load_state_dict(tested)
        status, message = verdict
        if status is not Status.TARGET and not self.loss <= self.best[0]:
            self.loss = self.best[0]
            self.module.load_state_dict(self.best[1])
            with self.recorder.clock.paused():
                self.recorder.measure(self.samples.x)
        x = self.samples.x
        history = tuple(self.recorder.history)
        return Result(
            x=x,
            fun=self.loss,
            grad=torch.full_like(x, nan),
            status=status,
            message=message,
            nit=self.epoch,
            history=history,
            ledgers=tuple(replace(ledger) for ledger in self.recorder.ledgers),
            sizes=(x.numel(),),
            seconds=self.recorder.clock.seconds(),
            linear_algebra=self.trainer.summary,
            metrics=dict(self.recorder.metrics),
            gradient_norm=history[-1].gradient_norm if history else nan,
        )


def _parts(rule: Stop) -> tuple[Stop, ...]:
    return getattr(rule, "rules", (rule,))
