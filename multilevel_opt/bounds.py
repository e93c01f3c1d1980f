"""Bounds on the unknowns: where the iterates may go, as a frozen value that the loop asks.

``Everywhere`` is the whole space, ``Box`` is lower ≤ x ≤ upper. A region projects points, measures criticality by
the projected gradient P(x − g) − x, prepares models for steps inside, and gives the region of a coarse level
(docs/theory.md, "Bounds").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Subproblem
from multilevel_opt.subproblem.box import InBox
from multilevel_opt.transfer.operator import TransferOperator
from multilevel_opt.transfer.truncation import coarse_bounds, truncated


class Region(Protocol):
    """What the loop needs of the set of admissible points."""

    def nearest(self, x: Tensor) -> Tensor:
        """The projection of x, shape (n,)."""
        ...

    def moved(self, x: Tensor, s: Tensor) -> Tensor:
        """The point x + s of the region, exactly on the bounds that s reaches."""
        ...

    def projected_gradient(self, x: Tensor, gradient: Tensor) -> Tensor:
        """P(x − g) − x of shape (n,): zero where x satisfies the first-order conditions; −g where nothing bounds x."""
        ...

    def criticality(self, x: Tensor, gradient: Tensor) -> float:
        """Norm of the projected gradient at x; NaN when the gradient is not finite."""
        ...

    def prepare(self, solver: Subproblem, x: Tensor, model: Taylor) -> Prepared:
        """The model at x made ready for steps inside the region."""
        ...

    def truncated(self, transfer: TransferOperator, x: Tensor, gradient: Tensor) -> TransferOperator:
        """The transfer operator without the variables that stay where they are."""
        ...

    def coarse(self, transfer: TransferOperator, x: Tensor, start: Tensor) -> Region:
        """Where the coarse variables may go from ``start`` so that prolonged steps from x stay inside."""
        ...


@dataclass(frozen=True)
class Everywhere:
    """No bounds."""

    def nearest(self, x: Tensor) -> Tensor:
        return x

    def moved(self, x: Tensor, s: Tensor) -> Tensor:
        return x + s

    def projected_gradient(self, x: Tensor, gradient: Tensor) -> Tensor:
        return -gradient

    def criticality(self, x: Tensor, gradient: Tensor) -> float:
        return float(torch.linalg.vector_norm(gradient))

    def prepare(self, solver: Subproblem, x: Tensor, model: Taylor) -> Prepared:
        return solver.prepare(model)

    def truncated(self, transfer: TransferOperator, x: Tensor, gradient: Tensor) -> TransferOperator:
        return transfer

    def coarse(self, transfer: TransferOperator, x: Tensor, start: Tensor) -> Region:
        return self


EVERYWHERE = Everywhere()


@dataclass(frozen=True, eq=False)
class Box:
    """The points with lower ≤ x ≤ upper, for tensors of shape (n,); entries may be infinite."""

    lower: Tensor
    upper: Tensor

    def nearest(self, x: Tensor) -> Tensor:
        return torch.clamp(x, self.lower, self.upper)

    def moved(self, x: Tensor, s: Tensor) -> Tensor:
        # x + (l − x) may miss l by a rounding
        landed = torch.where(s <= self.lower - x, self.lower, self.nearest(x + s))
        return torch.where(s >= self.upper - x, self.upper, landed)

    def projected_gradient(self, x: Tensor, gradient: Tensor) -> Tensor:
        return torch.clamp(-gradient, self.lower - x, self.upper - x)

    def criticality(self, x: Tensor, gradient: Tensor) -> float:
        if not isfinite(float(gradient.norm())):
            return nan
        return float(self.projected_gradient(x, gradient).norm())

    def active(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The variables on a bound that the gradient holds there, bool of shape (n,)."""
        return ((x <= self.lower) & (gradient >= 0)) | ((x >= self.upper) & (gradient <= 0))

    def prepare(self, solver: Subproblem, x: Tensor, model: Taylor) -> Prepared:
        return InBox(solver, model, self.lower - x, self.upper - x)

    def truncated(self, transfer: TransferOperator, x: Tensor, gradient: Tensor) -> TransferOperator:
        return truncated(transfer, ~self.active(x, gradient))

    def coarse(self, transfer: TransferOperator, x: Tensor, start: Tensor) -> Box:
        # a little less, so that no rounding of P s leads outside
        shrunk = 1 - torch.finfo(x.dtype).eps ** 0.5
        room = [shrunk * (bound - x) for bound in (self.lower, self.upper)]
        lower, upper = coarse_bounds(transfer.P, *room)
        return Box(start + lower, start + upper)


def region(bounds: Any, like: Tensor) -> Region:
    """The region of a pair (lower, upper), or of a ``scipy.optimize.Bounds``.

    Args:
        bounds: each part a number or a vector of shape (n,), where None, also as an entry, stands for no bound on that
            side; None for none at all.
        like: the start point, shape (n,), which gives dtype and device.

    Raises:
        InputError: bounds of another kind, NaN, or lower > upper.
        ShapeError: a part of another shape.
    """
    if bounds is None:
        return EVERYWHERE
    pair = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") and hasattr(bounds, "ub") else bounds
    try:
        lower, upper = pair
    except (TypeError, ValueError) as error:
        raise InputError(
            f"bounds must be a pair (lower, upper) or a scipy.optimize.Bounds, got {type(bounds).__name__}: "
            "give for example bounds=(0, None)"
        ) from error
    box = Box(_part(lower, -torch.inf, like, "lower"), _part(upper, torch.inf, like, "upper"))
    empty = torch.nonzero(~((box.lower <= box.upper) & (box.lower < torch.inf) & (box.upper > -torch.inf)))[:, 0]
    if empty.numel():
        i = int(empty[0])
        raise InputError(
            f"no number lies between the lower bound {float(box.lower[i]):g} and the upper bound "
            f"{float(box.upper[i]):g} of x[{i}]: exchange or correct them"
        )
    free = torch.isinf(box.lower) & torch.isinf(box.upper)
    return EVERYWHERE if bool(free.all()) else box


def _part(value: Any, missing: float, like: Tensor, name: str) -> Tensor:
    """One side of the bounds as a tensor of shape (n,)."""
    try:
        data = value if isinstance(value, Tensor) else np.array(value, dtype=object)
        if not isinstance(data, Tensor):
            data = np.where(data == None, missing, data).astype(np.float64)  # noqa: E711 - entry by entry
        part = torch.as_tensor(data, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the {name} bounds are not numbers: give a number, a vector or None") from error
    if part.ndim > 1 or part.numel() not in (1, like.numel()):
        raise ShapeError(
            f"the {name} bounds have shape {tuple(part.shape)}, x0 has {tuple(like.shape)}: "
            "give one number or one for every variable"
        )
    if bool(torch.isnan(part).any()):
        raise InputError(f"the {name} bounds contain NaN: write None or an infinite number for no bound")
    return part.detach().expand(like.shape).clone()
