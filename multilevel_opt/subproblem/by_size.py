"""One solver for few unknowns, another for many."""

from __future__ import annotations

from dataclasses import dataclass

from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Subproblem


@dataclass(frozen=True)
class BySize:
    """``few`` up to ``limit`` unknowns, ``many`` beyond.

    Attributes:
        few: solver for small models.
        many: solver for large models.
        limit: largest number of unknowns for ``few``.
    """

    few: Subproblem
    many: Subproblem
    limit: int = 100

    def prepare(self, model: Taylor) -> Prepared:
        """By the solver for this number of unknowns."""
        return self.chosen(model).prepare(model)

    def describe(self, model: Taylor) -> str:
        return self.chosen(model).describe(model)

    def chosen(self, model: Taylor) -> Subproblem:
        """The solver for this number of unknowns."""
        return self.few if model.gradient.numel() <= self.limit else self.many
