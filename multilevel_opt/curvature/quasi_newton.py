"""What all secant curvatures share: how pairs are tested, absorbed, refused and forgotten, for E elements at once.

A secant curvature never asks f for a Hessian product. After a step s with gradient change y it satisfies the
secant equation B s = y; before the first pair B = ‖g‖I, whose minimizer has length one whatever the scale of f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import SymmetricForm, all_finite, finite
from multilevel_opt.curvature.pairs import Change, Pair, norm, unit_pairs
from multilevel_opt.curvature.updates import Update, damped
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.frozen import altered
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor

Scale = Callable[[], Tensor]  # γ of shape (E,), computed where an element has no pair yet


@dataclass(frozen=True, eq=False)
class Store(ABC):
    """What E elements have learned.

    Attributes:
        count: pairs absorbed since the start or the last reset, int64 of shape (E,).
        refused: pairs refused in a row, int64 of shape (E,).
    """

    count: Tensor
    refused: Tensor

    masked: ClassVar[bool] = False  # whether an update leaves elements that do not admit it as they are, but for NaN

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """A store of the same kind with these tensors, from ``tensors``."""
        return replace(self, **tensors)

    def where(self, mask: Tensor, other: Self) -> Self:
        """This store in the elements where ``mask`` of shape (E,) holds, the other one elsewhere."""
        if bool(mask.all()):
            return self
        return self.chosen(mask, other) if bool(mask.any()) else other

    def chosen(self, mask: Tensor, other: Self) -> Self:
        """The same, tensor by tensor."""
        mine, yours = self.tensors(), other.tensors()
        return self.with_tensors(
            {name: torch.where(mask.reshape(-1, *(1,) * (t.ndim - 1)), t, yours[name]) for name, t in mine.items()}
        )

    @property
    @abstractmethod
    def form(self) -> SymmetricForm:
        """The matrices B."""

    @property
    @abstractmethod
    def changed(self) -> tuple[Tensor, ...]:
        """What an update has changed, tensors (E, ...)."""

    @cached_property
    def begun(self) -> bool:
        """Whether all elements have a pair."""
        return bool((self.count > 0).all())

    def sound(self) -> bool:
        """Whether all numbers that an update has changed are finite."""
        return all_finite(self.changed)

    def finite(self) -> Tensor:
        """The same for each element, bool of shape (E,)."""
        return torch.stack([finite(t) for t in self.changed]).all(0)


def check_secant(name: str, order: int, coherence: int) -> None:
    """Raise ``UnsupportedCombination`` where a curvature learned from gradients cannot serve."""
    if order != 2:
        raise UnsupportedCombination(
            f"{name} curvature is for models of order 2, not {order}: use it with AR2, TR2 or LM"
        )
    if coherence > 1:
        raise UnsupportedCombination(
            f"coherence of order {coherence} needs second derivatives of f, which {name} curvature does not "
            "evaluate: use coherence=1, or Exact()"
        )


@dataclass(frozen=True, kw_only=True)
class QuasiNewton(ABC):
    """A curvature learned from pairs (s, y); a frozen value, ``updated`` returns a new one.

    Attributes:
        tolerance: ε of the relative test of acceptance; None: the root of the rounding of the dtype.
        damping: φ of Powell's damping; 0 refuses pairs that fail the test instead. For BFGS kinds alone.
        patience: an element that refused so many pairs in a row forgets all it has learned; 0: never.
        learn_from_rejected: the loop evaluates the gradient at rejected trial points too, and learns from that
            pair (Byrd, Khalfan & Schnabel 1996); costs one gradient for each.
        store: what was learned, or None.
    """

    tolerance: float | None = None
    damping: float = 0.0
    patience: int = 0
    learn_from_rejected: bool = False
    store: Any = field(default=None, repr=False, compare=False)

    name: ClassVar[str]
    residual: ClassVar[bool] = False
    evaluates: ClassVar[bool] = False
    update: ClassVar[Update]

    def __post_init__(self) -> None:
        if not (0 <= (self.tolerance or 0.0) < 1 and 0 <= self.damping < 1 and self.patience >= 0):
            raise InputError(f"{self} breaks 0 <= tolerance < 1, 0 <= damping < 1 or patience >= 0: use such values")

    def check(self, order: int, coherence: int) -> None:
        check_secant(self.name, order, coherence)

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.exact.expand(x, 1)  # of least squares too: no Jacobian is needed
        return model if order == 1 else self.completed(model, f.ledger)

    def completed(self, model: Taylor, ledger: Ledger) -> Taylor:
        form = self.form(model.gradient[None])

        def hvp(v: Tensor) -> Tensor:
            ledger.work(form.flops)
            return form.matvec(v[None])[0]

        return Taylor(model.value, (model.forms[0], hvp))

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        return self.updated(s, after.gradient - before.gradient)

    def updated(self, s: Tensor, y: Tensor, told: Tensor | None = None) -> Self:
        """The curvature after the pairs (s, y), of shape (E, n), or (n,) for one element.

        Pairs that fail the test, or are not finite, change no number of their element.

        Args:
            s: steps.
            y: gradient changes.
            told: bool of shape (E,), false where a pair says nothing and does not count; None: all count.
        """
        size = s.shape[-1]
        return self.absorbed(*unit_pairs(s.reshape(-1, size), y.reshape(-1, size)), told)

    def absorbed(self, s: Tensor, change: Change, told: Tensor | None = None) -> Self:
        """The same for unit steps s, (E, n), with what is known of their gradient changes."""
        known = self.store if self.store is not None else self._empty(s)
        started = self._started(known, lambda: self.update.scale(change.sy, change.length))
        pair = Pair.of(s, change, started.form.matvec(s))
        if self.damping:
            pair = Pair.of(s, Change.of(s, damped(change.y, pair.c, pair.sy, pair.sc, self.damping)), pair.c)
        store = self._plain(known, started, s, pair) if told is None else None
        return altered(self, store=store or self._kept(self._judged(known, started, s, pair, told), s))

    def _plain(self, known: Any, started: Any, s: Tensor, pair: Pair) -> Any:
        """The store with the pairs where all are surely safe, else None."""
        if not self.update.surely(pair, self.threshold(s)):
            return None
        store = self._absorbed(started, s, pair, None)
        if not store.sound():
            return None
        return altered(store, count=known.count + 1, refused=torch.zeros_like(known.refused), begun=True)

    def _judged(self, known: Any, started: Any, s: Tensor, pair: Pair, told: Tensor | None) -> Any:
        """The store with the pairs that are safe, and the others counted."""
        satisfied = self.update.satisfied(pair, self.threshold(s))
        admitted = self.update.admits(pair, self.threshold(s)) & ~satisfied
        if told is not None:
            satisfied, admitted = satisfied & told, admitted & told
        store = self._absorbed(started, s, pair, admitted)
        if not (store.masked and store.sound()):
            admitted = admitted & store.finite()
            store = store.where(admitted, started.where(satisfied, known))
        good = admitted | satisfied
        refused = known.refused + (1 if told is None else told)
        return altered(store, count=known.count + good, refused=refused * ~good)

    def _kept(self, store: Any, s: Tensor) -> Any:
        """The store without what elements know that have lost patience."""
        lost = store.refused >= self.patience
        return self._empty(s).where(lost, store) if self.patience and bool(lost.any()) else store

    def threshold(self, like: Tensor) -> float:
        """ε of the test of acceptance in the dtype of ``like``."""
        return float(torch.finfo(like.dtype).eps) ** 0.5 if self.tolerance is None else self.tolerance

    def fresh(self) -> Self:
        """The same options with nothing learned."""
        return replace(self, store=None)

    def learned(self) -> dict[str, Tensor]:
        return {} if self.store is None else self.store.tensors()

    def restored(self, learned: Mapping[str, Tensor], unknowns: int, elements: int = 1) -> Self:
        """A copy with these tensors.

        Args:
            learned: from ``learned``.
            unknowns: n of one element.
            elements: E.

        Raises:
            KeyError: they are those of another curvature.
            InputError: they are of other sizes.
        """
        if not learned:
            return self.fresh()
        like = self._empty(next(t for t in learned.values() if t.is_floating_point()).new_zeros(elements, unknowns))
        store = like.with_tensors({name: learned[name] for name in like.tensors()})
        if any(t.shape != learned[name].shape for name, t in like.tensors().items()):
            raise InputError(
                f"the pairs of the checkpoint are not those of {self} with {unknowns} unknowns: "
                "resume with the same curvature"
            )
        return replace(self, store=store)

    def form(self, gradient: Tensor) -> SymmetricForm:
        """The matrices B at a point with element gradients of shape (E, n); γ = ‖g‖ where nothing was learned."""
        return self.begun(lambda: norm(gradient), gradient)

    def begun(self, scale: Scale, like: Tensor) -> SymmetricForm:
        """The matrices B with γ = ``scale()``, shape (E,), where nothing was learned; ``like`` is of shape (E, n)."""
        form: SymmetricForm = self._started(self.store if self.store is not None else self._empty(like), scale).form
        return form

    @abstractmethod
    def _empty(self, like: Tensor) -> Any:
        """The store before the first pair, for pairs of the shape, dtype and device of ``like``, (E, n)."""

    @abstractmethod
    def _started(self, store: Any, scale: Scale) -> Any:
        """The store with B = γI in the elements that have no pair yet; ``scale()`` is γ of shape (E,)."""

    @abstractmethod
    def _absorbed(self, store: Any, s: Tensor, pair: Pair, admitted: Tensor | None) -> Any:
        """The store after the pairs with steps s, (E, n); of use where ``admitted`` of shape (E,) holds; None: all."""
