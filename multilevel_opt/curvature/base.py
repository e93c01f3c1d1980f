"""The seam: a curvature turns an objective and a point into a local model of the order asked for.

After an accepted step the loop takes ``taught(s, before, after)`` with the models at both ends and lets it complete
the model at the new point, so that the next step sees what was learned from this one. Models carry what can be learned
from: their gradients, and those of their elements where f has any. Curvatures that learn nothing return themselves,
and models unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, Self

from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor


class Curvature(Protocol):
    """Supplies the second form of the model.

    Attributes:
        name: in records and on the command line.
        residual: whether its models carry the residual and Jacobian that damped least squares needs.
        evaluates: whether a product with the second form evaluates derivatives of f.
        learn_from_rejected: whether the loop gives it the pairs of rejected trial points, at one gradient each.
    """

    residual: ClassVar[bool]
    evaluates: ClassVar[bool]

    @property
    def name(self) -> str: ...

    @property
    def learn_from_rejected(self) -> bool: ...

    def check(self, order: int, coherence: int) -> None:
        """Raise ``UnsupportedCombination`` where it cannot serve this order of models and of coherence."""
        ...

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        """The model of f at x of shape (n,), of degree ``order``."""
        ...

    def completed(self, model: Taylor, ledger: Ledger) -> Taylor:
        """A model made by an earlier value of this curvature, with the second form of this one.

        Args:
            model: from ``expand``.
            ledger: where products with the second form are recorded.
        """
        ...

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        """The curvature after a step s of shape (n,) between the points of two models made by ``expand``."""
        ...

    def fresh(self) -> Self:
        """The same options with nothing learned, for another function."""
        ...

    def learned(self) -> dict[str, Tensor]:
        """The tensors that change during a run, for checkpoints."""
        ...

    def restored(self, learned: Mapping[str, Tensor], unknowns: int) -> Self:
        """A copy with these tensors, for a function of so many unknowns."""
        ...


class Derived:
    """What curvatures have in common that are derivatives at the point and learn nothing."""

    residual: ClassVar[bool] = False
    evaluates: ClassVar[bool] = True
    learn_from_rejected: ClassVar[bool] = False

    def check(self, order: int, coherence: int) -> None:
        """Derivatives serve every order; what an objective lacks it says itself."""

    def completed(self, model: Taylor, ledger: Ledger) -> Taylor:
        return model

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        return self

    def fresh(self) -> Self:
        return self

    def learned(self) -> dict[str, Tensor]:
        return {}

    def restored(self, learned: Mapping[str, Tensor], unknowns: int) -> Self:
        if learned:
            raise InputError(
                "the checkpoint has the pairs of a secant curvature, this method takes none: "
                "resume with the same curvature"
            )
        return self
