"""Problems solved in stages, one after another, each from the solution of the one before: time slabs are such.

The stages of a problem come from its ``stages`` (see ``problem.Stage``). Each is an ordinary problem for the ordinary
``solve``; what they bring is joined to one result and one record. Limits are shared: stage k of K gets 1/(K - k + 1)
of the iterations and seconds that are left. Errors pile up from stage to stage, so the targets of ``rmse`` and
``relative_l2`` are shared as well: a stage with its middle at the fraction s of the whole must reach s times the
target. All other targets are asked of every stage. Whether a target is reached in the end is judged by the solution
of the whole. A stage is left when its loss stagnates, or falls without a gain in the error that is asked for, which
then comes from the stages before; one that misses its share does not end the run, since the whole may still reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from multilevel_opt.account import Account
from multilevel_opt.checkpoint import load
from multilevel_opt.errors import InputError
from multilevel_opt.problem import Stage
from multilevel_opt.record import record_of, remarked
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.stopping import Progress, Stagnation

if TYPE_CHECKING:
    from multilevel_opt.solve import Run

PARTIAL = ".stage.pt"  # suffix of the checkpoint of the stage that is going on
SHARED = ("rmse", "relative_l2")  # errors that pile up from stage to stage
STUCK = Stagnation(0.1, 25)  # when to leave a stage
WINDOW = 10  # or when over so many iterations
FALL = 0.2  # the loss has fallen to this fraction
GAIN = 0.9  # and no error that is asked for to this one,
NEAR = 3.0  # which is at most so many times its target: errors far from it go up and down
ENDS = (Status.INTERRUPTED, Status.NON_FINITE)  # and the whole run with it

Solve = TypeVar("Solve", bound=Callable[..., Any])


def in_stages(solve: Solve) -> Solve:
    """``solve`` that also takes problems made of stages."""

    @wraps(solve)
    def solved(problem: Any, method: str | None = None, **options: Any) -> Run:
        if getattr(problem, "stages", None) is None:
            return solve(problem, method, **options)  # type: ignore[no-any-return]
        return _March(solve, problem, method, options).go()

    return solved  # type: ignore[return-value]


class _Watch:
    """Callback and listener of one stage."""

    def __init__(self, stage: Stage, account: Account, options: Mapping[str, Any], past: list[Event]) -> None:
        self.stage, self.account, self.past = stage, account, past
        self.targets = {k: v * stage.share for k, v in (options.get("until") or {}).items() if k in SHARED}
        self.user, self.display = options.get("callback"), options.get("listener")
        self.asked = self.given_up = False

    def callback(self, event: Event, x: Tensor) -> bool:
        self.past.append(event)
        self.asked = self.user is not None and bool(self.user(self.account.shifted(event), x))
        self.given_up = self._spoilt(event.iteration, event.metrics)
        return self.asked or self.given_up or self._stuck(event)

    def judged(self, result: Result) -> Result:
        """The result of the stage, with the true reason where it was left."""
        if not (result.success or result.status in ENDS or self.asked):
            self.given_up = self._spoilt(None, result.metrics)
        if self.asked or result.status is not Status.USER:
            return result
        message = result.message.replace(Status.USER.value, "its loss stagnates, or its error does")
        return replace(result, status=Status.STALLED, message=message)

    def _spoilt(self, iteration: int | None, metrics: Mapping[str, float]) -> bool:
        return self.stage.spoilt is not None and self.stage.spoilt(iteration, metrics)

    def _stuck(self, event: Event) -> bool:
        losses = [past.loss for past in self.past]
        if STUCK(Progress(event.iteration, event.loss, 0.0, 0.0, {}, losses=losses)) is not None:
            return True
        if len(losses) <= WINDOW or not self.targets or losses[-1] > FALL * losses[-1 - WINDOW]:
            return False
        before, now = self.past[-1 - WINDOW].metrics, event.metrics
        return all(GAIN * before[k] < now[k] < NEAR * target for k, target in self.targets.items())

    def listener(self, event: Event) -> None:
        if self.display is not None:
            self.display(self.account.shifted(event))


class _March:
    """One run through all stages."""

    def __init__(self, solve: Callable[..., Run], problem: Any, method: str | None, options: dict[str, Any]) -> None:
        self._solve, self._problem, self._method, self._options = solve, problem, method, options
        self._until: Mapping[str, float] = options.get("until") or {}
        given = options.get("checkpoint")
        self._target = None if given is None else Path(given)
        self._resuming = bool(options.get("resume"))
        if self._resuming and self._target is None:
            raise InputError("resume=True needs the checkpoint to continue from: give checkpoint=FILE")
        self._account = Account.load(self._target, problem.x0) if self._resuming and self._target else Account()

    def go(self) -> Run:
        account, over = self._account, False
        run = None
        while not over and (stage := self._problem.stages(account.rows, account.failures)) is not None:
            run, over = self._stage(stage)
        if run is None:  # resumed after the last stage: one that takes no step tells what a record says of a stage
            last = self._problem.stages(account.rows[:-1], 0)
            run = self._solve(last.problem, self._method, **self._options | self._plain(0))
        return self._whole(run, over)

    def _stage(self, stage: Stage) -> tuple[Run, bool]:
        """Solve a stage and book it; the second value says whether the whole run ends with it."""
        account, target = self._account, self._target
        partial = None if target is None else target.with_name(target.stem + PARTIAL)
        past: list[Event] = []
        if target is not None and partial is not None:
            if not self._resuming:
                partial.unlink(missing_ok=True)
                account.save(target)
            elif partial.exists():
                past = [Event(**e) for e in load(partial, stage.problem.x0)["history"] if e["level"] == 0]
        watch = _Watch(stage, account, self._options, past)
        resume = self._resuming and partial is not None and partial.exists()
        run = self._solve(stage.problem, self._method, **self._shared(stage, watch, partial, resume))
        self._resuming = False
        result = watch.judged(run.result)
        account.add(stage, result, run.record["seconds_setup"], watch.given_up)
        over = result.status in ENDS or watch.asked
        if not over and target is not None and partial is not None:
            partial.unlink(missing_ok=True)
            account.save(target)
        return run, over

    def _shared(self, stage: Stage, watch: _Watch, partial: Path | None, resume: bool) -> dict[str, Any]:
        """The options of a stage."""
        options, account = self._options, self._account
        iterations = max(0, options.get("max_iterations", 1000) - account.iterations)
        seconds = options.get("max_seconds")
        return {
            **options,
            "until": {name: value * (stage.share if name in SHARED else 1.0) for name, value in self._until.items()},
            "max_iterations": -(-iterations // stage.left),
            "max_seconds": None if seconds is None else max(1e-3, (seconds - account.seconds) / stage.left),
            "callback": watch.callback,
            "listener": watch.listener,
            "announce": None if account.reports else options.get("announce"),
            "checkpoint": partial,
            "resume": resume,
        }

    def _plain(self, iterations: int) -> dict[str, Any]:
        nothing = dict.fromkeys(("callback", "listener", "announce", "checkpoint", "until"))
        return {**nothing, "max_iterations": iterations, "resume": False}

    def _whole(self, run: Run, over: bool) -> Run:
        """The run of all stages, from the account and the last of them."""
        account, problem = self._account, self._problem
        x = problem.joined(account.rows)
        metrics = {name: measure(x) for name, measure in problem.metrics.items()}
        loss = sum(report["weight"] * report["loss"] for report in account.kept)
        gradient = torch.cat(account.gradients)
        norm = float(gradient.norm())
        status, message = self._verdict(metrics | {"loss": loss, "gradient_norm": norm}, over)
        result = replace(
            run.result,
            x=x,
            fun=loss,
            grad=gradient,
            status=status,
            message=message,
            nit=account.iterations,
            history=tuple(account.history),
            ledgers=tuple(account.ledgers),
            seconds=account.seconds,
            metrics=metrics,
            gradient_norm=norm,
        )
        one = run.record
        name = self._options.get("name") or type(problem).__name__.lower()
        method, curvature = one["method"], one["curvature"]
        result, remarks = remarked(problem, result)
        record = record_of(problem, name, method, curvature, result, run.hierarchy, account.setup, self._until, remarks)
        told = [{key: value for key, value in report.items() if key != "per_level"} for report in account.reports]
        return replace(run, result=result, record=record | {"stages": told, "chosen": one["chosen"]})

    def _verdict(self, values: Mapping[str, float], over: bool) -> tuple[Status, str]:
        """Why the whole run ended."""
        kept = self._account.kept
        last = kept[-1]
        if over:
            return Status[last["status"].upper()], f"{last['name']}: {last['message']}"
        for name, target in self._until.items():
            if values[name] <= target:
                return Status.TARGET, f"{name} {values[name]:.3g} <= {target:g} over all {len(kept)} stages"
        missed = [report for report in kept if not Status[report["status"].upper()].converged]
        first = (missed or [last])[0]
        if missed or self._until:
            status = Status[first["status"].upper()] if missed else Status.STALLED
            others = f", {len(missed) - 1} later stages as well" if len(missed) > 1 else ""
            return status, f"{first['name']} missed its target: {first['message']}{others}"
        return Status.GRADIENT, f"every stage converged; the last: {last['message']}"
