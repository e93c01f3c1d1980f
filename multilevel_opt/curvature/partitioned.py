"""Partitioned secant curvature: one secant matrix for each element of a partially separable function.

    B = Σ Uᵢᵀ Bᵢ Uᵢ,    Bᵢ⁺ Uᵢs = ∇fᵢ(Uᵢ(x + s)) − ∇fᵢ(Uᵢx)

(Griewank & Toint 1982). Every Bᵢ learns from each step, in its few variables, so that B has the sparsity of the Hessian
and knows much more after one step than a rank-two update tells. The elements of a group are updated at once by a
batched secant curvature (``quasi_newton.py``): dense, limited-memory, BFGS, SR1 or SE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.forms import SymmetricForm
from multilevel_opt.curvature.pairs import norm, unit_pairs
from multilevel_opt.curvature.partitioned_form import PartitionedForm
from multilevel_opt.curvature.quasi_newton import QuasiNewton, check_secant
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.frozen import altered
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.parts import Difference, Parts, differences
from multilevel_opt.objective.taylor import MatrixForm, Taylor


@dataclass(frozen=True, eq=False)
class Learned:
    """What a group of elements has learned.

    Attributes:
        matrices: the secant matrices of its elements.
        guess: γ of elements without a pair, from the last one that was refused, shape (E,); NaN: none came yet.
        size: unknowns of one element.
    """

    matrices: QuasiNewton
    guess: Tensor
    size: int

    def taught(self, s: Tensor, difference: Difference) -> Learned:
        """After steps s, of shape (E, n), with these changes of the gradients."""
        s, change = unit_pairs(s, difference.y)
        assert change.step is not None
        quiet = difference.quiet(change.length * change.step)
        if change.plain and not bool(quiet.any()):
            return Learned(self.matrices.absorbed(s, change), change.length, self.size)
        guess = change.length.masked_fill(quiet, 0.0)
        matrices = self.matrices.absorbed(s, change, change.telling & ~quiet)
        known = (guess < inf) & (change.step > torch.finfo(s.dtype).tiny)  # one that did not move has not refused
        return Learned(matrices, torch.where(known, guess, self.guess), self.size)

    def scale(self, gradient: Tensor) -> Tensor:
        """γ of elements without a pair: ‖y‖/‖s‖ of one that was refused, ‖g‖ before; zero where f is affine."""
        return torch.where(torch.isnan(self.guess), norm(gradient), self.guess)


@dataclass(frozen=True)
class Partitioned:
    """Secant matrices by elements; needs an objective that has elements, such as ``PartiallySeparable``.

    Attributes:
        update: the batched secant curvature of the elements.
        convex: another one for groups declared convex (``Elements.convex``), or None.
        learn_from_rejected: learn at rejected trial points too (Byrd, Khalfan & Schnabel 1996); costs a gradient for
            each where f does not give value and gradient together, which ``PartiallySeparable`` does.
        known: what each group has learned.

    Raises:
        InputError: an update that is no secant curvature of vectors.
    """

    update: QuasiNewton
    convex: QuasiNewton | None = None
    learn_from_rejected: bool = True
    known: tuple[Learned, ...] = field(default=(), repr=False, compare=False)

    residual: ClassVar[bool] = False
    evaluates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for part in (self.update, self.convex or self.update):
            if not isinstance(part, QuasiNewton):
                raise InputError(
                    f"Partitioned takes the curvature of one element, got {part!r}: use BFGS(), SR1(), SE(), LBFGS(), "
                    "LSR1() or LSE()"
                )

    @property
    def name(self) -> str:
        """``p`` and the name of the update; ``cs`` in place of ``sr1`` where convex groups have another one."""
        return f"p{self.update.name if self.convex is None else self.update.name.replace('sr1', 'cs')}"

    def check(self, order: int, coherence: int) -> None:
        check_secant(self.name, order, coherence)

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.exact.expand(x, 1)
        if model.parts is None:
            raise UnsupportedCombination(
                f"{self.name} curvature learns from the gradients of elements, and {type(f).__name__} has none: "
                f"give a PartiallySeparable or SeparableSquares objective, or use {self.update.name} curvature"
            )
        return model if order == 1 else self.completed(model, f.ledger)

    def completed(self, model: Taylor, ledger: Ledger) -> Taylor:
        return Taylor(model.value, (model.forms[0], _second(self.form(model), ledger)), parts=model.parts)

    def form(self, model: Taylor) -> PartitionedForm:
        """B at the point of a model with parts, computed at the first use."""
        assert model.parts is not None
        known = self._split(self._learned(model.parts), model.parts)
        forms = [partial(_forms, groups, part) for groups, part in zip(known, model.parts, strict=True)]
        return PartitionedForm(model.parts, forms, model.gradient)

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        assert before.parts is not None
        assert after.parts is not None
        both = list(zip(before.parts, after.parts, strict=True))
        steps = [step for one, two in both for step in one.steps(two, s)]
        groups = zip(self._learned(before.parts), steps, differences(both), strict=True)
        return altered(self, known=tuple(group.taught(step, change) for group, step, change in groups))

    def fresh(self) -> Self:
        return replace(self, known=())

    def learned(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for number, group in enumerate(self.known):
            convex = self.convex is not None and type(group.matrices) is type(self.convex)
            found[f"{number}.guess"] = group.guess
            found[f"{number}.kind"] = torch.tensor([group.size, int(convex)], dtype=torch.int64, device="cpu")
            found |= {f"{number}.store.{name}": t for name, t in group.matrices.learned().items()}
        return found

    def restored(self, learned: Mapping[str, Tensor], unknowns: int) -> Self:
        if not learned:
            return self.fresh()
        groups: list[Learned] = []
        for number in range(1 + max(int(name.partition(".")[0]) for name in learned)):
            start, guess = f"{number}.store.", learned[f"{number}.guess"]
            own = {name.removeprefix(start): t for name, t in learned.items() if name.startswith(start)}
            size, convex = learned[f"{number}.kind"].tolist()
            kind = self.convex if convex and self.convex is not None else self.update
            groups.append(Learned(kind.restored(own, size, len(guess)), guess, size))
        return replace(self, known=tuple(groups))

    def _learned(self, parts: Sequence[Parts]) -> tuple[Learned, ...]:
        """What the groups of a function know, nothing before the first pair.

        Raises:
            InputError: what is known belongs to other elements.
        """
        kinds = [(kind, g) for part in parts for kind, g in zip(part.convex, part.gradients, strict=True)]
        if not self.known:
            return tuple(self._started(kind, g) for kind, g in kinds)
        if [(len(group.guess), group.size) for group in self.known] != [tuple(g.shape) for _, g in kinds]:
            raise InputError(
                f"the pairs of {self.name} curvature are those of other elements: resume with the same function"
            )
        return self.known

    def _started(self, convex: bool, gradient: Tensor) -> Learned:
        """A group that has learned nothing, for element gradients of shape (E, n)."""
        kind = self.convex if convex and self.convex is not None else self.update
        return Learned(kind.fresh(), gradient.new_full((len(gradient),), torch.nan), gradient.shape[1])

    def _split(self, known: Sequence[Learned], parts: Sequence[Parts]) -> list[Sequence[Learned]]:
        """The groups of each term."""
        found, start = [], 0
        for part in parts:
            found.append(known[start : start + len(part.gradients)])
            start += len(part.gradients)
        return found


def _second(B: PartitionedForm, ledger: Ledger) -> MatrixForm:
    """B as the second form of a model, its work recorded."""

    def hvp(v: Tensor) -> Tensor:
        ledger.work(B.flops)
        return B.matvec(v)

    def solve(v: Tensor) -> Tensor | None:
        ledger.work(B.solve_flops)
        return B.factored(v)

    def upright() -> MatrixForm:
        ledger.work(B.upright_flops)
        return _second(B.upright(), ledger)

    return MatrixForm(hvp, B.dense, solve if B.solve_flops else None, upright if B.upright_flops else None)


def _forms(groups: Sequence[Learned], parts: Parts) -> list[SymmetricForm]:
    """The matrices of the groups of one term."""
    pairs = zip(groups, parts.gradients, strict=True)
    return [group.matrices.begun(partial(group.scale, g), g) for group, g in pairs]
