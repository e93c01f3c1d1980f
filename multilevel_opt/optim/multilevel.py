"""The solver behind the interface of ``torch.optim``.

    opt = multilevel_opt.optim.Multilevel(model, multilevel_opt.AR2)
    opt.step(lambda: criterion(model(X), y))

The closure returns the loss, or a vector of residuals for ``LM``, and does **not** call ``backward`` (different
from ``torch.optim.LBFGS``: the solver asks for the derivatives it needs). Each step is one iteration of the
finest level; the regularization weight or trust-region radius and the pairs of a secant curvature are carried over
(except from a step that found no decrease), the model is made anew, so the closure may use another batch every time:
both gradients of a pair are of the same batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.multilevel import Multilevel as Solver
from multilevel_opt.objective.module import FlatModule
from multilevel_opt.recorder import Recorder
from multilevel_opt.result import Event
from multilevel_opt.snapshots import levels_known, memories
from multilevel_opt.state import State


class Multilevel(torch.optim.Optimizer):
    """Any solver of the family as a torch optimizer.

    Args:
        model: the module whose trainable parameters are optimized.
        solver: for example ``AR2``, ``TR2``, or ``LM`` when the closure returns residuals.
        hierarchy: coarse levels on the flat parameter vector, or None.

    Attributes:
        last: the ``Event`` of the last step: acceptance, loss, gradient norm, ratio, trials and a remark.
    """

    def __init__(self, model: nn.Module, solver: Solver, hierarchy: Hierarchy | None = None) -> None:
        self._flat = FlatModule(model)
        super().__init__([p for p in model.parameters() if p.requires_grad], {})
        self._solver = solver
        self._hierarchy = (hierarchy or Hierarchy(sum(self._flat.sizes))).to(self._flat.get())
        self._levels: dict[str, list[Any]] = {"globalization": [], "curvature": []}
        self._pace: dict[str, Any] = {"visits": 0, "wait": 0, "interval": 0, "phase": (0.0, 0.0), "gain": 1.0}
        self.last: Event | None = None

    def step(self, closure: Any = None) -> Any:
        """One iteration; returns the loss after it (½‖r‖² for residuals), a float.

        Args:
            closure: without arguments; returns a scalar loss, or residuals of shape (m,).

        Raises:
            InputError: no closure, a closure of the wrong shape, or a loss that is not finite at the current weights.
        """
        if closure is None:
            raise InputError("step() needs a closure that returns the loss: opt.step(lambda: criterion(model(X), y))")
        state, recorder, objective = self._start(closure)
        state = self._solver.step(objective, state, self._hierarchy, recorder)
        if state.failure is None:
            self._levels = memories(state)
        self._pace = {name: getattr(state, name) for name in self._pace}
        self.last = recorder.history[-1]
        self._flat.set(state.x)
        return state.loss

    def _start(self, closure: Callable[[], Tensor]) -> tuple[State, Recorder, Any]:
        recorder = Recorder([Ledger() for _ in range(len(self._hierarchy))])
        objective = self._flat.objective(closure).counted(recorder.ledgers[0])
        kept = levels_known(self._solver, self._levels, self._hierarchy.sizes)
        state = self._solver.init(objective, self._flat.get(), kept)
        return replace(state, **self._pace), recorder, objective

    def state_dict(self) -> dict[str, Any]:
        """The solver's memory (weights are in the module's own ``state_dict``)."""
        return {"levels": self._levels, **self._pace}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self._levels = dict(state_dict["levels"])
        self._pace = {name: state_dict[name] for name in self._pace}
