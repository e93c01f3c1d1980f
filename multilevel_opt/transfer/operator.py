"""The pair (P, R) between two levels, with R = α Pᵀ.

The prolongation P: R^{n_c} -> R^n takes a coarse step to a fine one, and R = α Pᵀ takes a fine gradient to
a coarse one, so that the decrease predicted on both levels agrees (Calandra, Gratton, Riccietti, Vasseur,
arXiv 1904.04692):

    ∇f(x)ᵀ P s = (1/α) (R ∇f(x))ᵀ s.

Points are another matter: Pᵀ of a point can be far from any sensible coarse point, so a separate map
``points`` (injection, averaging) may be given for iterates, and a map ``lift`` (interpolation of higher order)
for coarse iterates that become fine ones, as in nested iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError, ShapeError
from multilevel_opt.linalg.operator import Dense, LinearOperator, Selection, Sparse

EXACT_NORM = 512
POWER_ITERATIONS = 60


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TransferOperator:
    """Prolongation, restriction, and the map for points, between n fine and n_c coarse variables.

    Attributes:
        P: the prolongation, shape (n, n_c).
        scale: α > 0 in R = α Pᵀ.
        points: map of iterates, shape (n_c, n), or None where R serves for points too.
        neurons: int64 indices of the chosen neurons where P selects whole neurons of a network with one
            hidden layer, else None.
        lift: map of coarse iterates to fine ones, shape (n, n_c), or None where nested iteration makes no sense.
        keeps: int64 indices of the fine variables that keep their values when an iterate is lifted, or None.
    """

    P: LinearOperator
    scale: float
    points: LinearOperator | None
    neurons: Tensor | None
    lift: LinearOperator | None
    keeps: Tensor | None

    def __init__(
        self,
        P: Any,
        scale: float = 1.0,
        points: Any = None,
        neurons: Tensor | None = None,
        like: Tensor | None = None,
        lift: Any = None,
        keeps: Tensor | None = None,
    ) -> None:
        """Check what is cheap to check and store.

        Args:
            P: a ``LinearOperator``, a torch matrix, a 2-D numpy array or a scipy sparse matrix, (n, n_c).
            scale: α > 0.
            points: the same kinds, shape (n_c, n).
            neurons: int64 tensor of the chosen neurons, see the class.
            like: dtype and device of an operator made from numpy or scipy (default: float64 on the CPU).
            lift: the same kinds, shape (n, n_c).
            keeps: int64 tensor of variables, see the class.

        Raises:
            ShapeError: P is no matrix, has more columns than rows or none, or a map of points does not fit.
            NonFiniteError: an entry of P or of a map of points, or α, is not finite.
            InputError: a column of P is zero, or α <= 0.
        """
        operator = as_operator(P, like)
        n, n_coarse = operator.shape
        if not 1 <= n_coarse <= n:
            raise ShapeError(f"a prolongation needs 1 to n columns, got {operator.shape}: transpose it?")
        weights = _column_weights(operator)
        if weights is not None and not bool(torch.isfinite(weights).all()):
            raise NonFiniteError("the prolongation P has NaN or infinite entries: check how it was made")
        if weights is not None and bool((weights == 0).any()):
            column = int(torch.argmin(weights))
            raise InputError(f"column {column} of P is zero, so its coarse variable has no effect: remove it")
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"the scale α in R = α Pᵀ must be positive and finite, got {scale}")
        for name, value in (("P", operator), ("scale", float(scale)), ("neurons", neurons), ("keeps", keeps)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "points", _checked_points(points, (n_coarse, n), like))
        object.__setattr__(self, "lift", _checked_points(lift, (n, n_coarse), like))

    @property
    def n_fine(self) -> int:
        """Number n of fine variables."""
        return self.P.shape[0]

    @property
    def n_coarse(self) -> int:
        """Number n_c of coarse variables."""
        return self.P.shape[1]

    @property
    def nnz(self) -> int:
        """Stored entries of P."""
        return self.P.nnz

    @property
    def same(self) -> bool:
        """Whether a lifted iterate stands for the same solution."""
        return self.keeps is not None or self.P.identity

    def prolong(self, s: Tensor) -> Tensor:
        """The fine step P s, shapes (n_c,) -> (n,); raises ``ShapeError``."""
        return self.P.matvec(_vector(s, self.n_coarse, "coarse step"))

    def restrict(self, g: Tensor) -> Tensor:
        """The coarse gradient α Pᵀ g, shapes (n,) -> (n_c,); raises ``ShapeError``."""
        coarse = self.P.rmatvec(_vector(g, self.n_fine, "fine gradient"))
        return coarse if self.scale == 1.0 else self.scale * coarse

    def restrict_point(self, x: Tensor) -> Tensor:
        """The coarse point, shapes (n,) -> (n_c,): by ``points`` if given, else R; raises ``ShapeError``."""
        if self.points is None:
            return self.restrict(x)
        return self.points.matvec(_vector(x, self.n_fine, "fine point"))

    def lifted(self, y: Tensor, above: Tensor) -> Tensor:
        """The fine iterate for the coarse iterate y (n_c,), which keeps some entries of ``above`` (n,)."""
        assert self.lift is not None
        x = self.lift.matvec(y)
        return x if self.keeps is None else x.index_copy(0, self.keeps, above[self.keeps])

    def pull_jacobian(self, jacobian: Tensor) -> Tensor:
        """J P of a dense Jacobian, shapes (m, n) -> (m, n_c); raises ``ShapeError``."""
        if jacobian.ndim != 2 or jacobian.shape[1] != self.n_fine:
            got = tuple(jacobian.shape)
            raise ShapeError(f"the Jacobian must have {self.n_fine} columns, got shape {got}")
        return self.P.after(jacobian)

    def norm(self) -> float:
        """‖P‖₂, kept after the first call.

        Exact for selections and where min(n, n_c) <= 512; otherwise a lower estimate by 60 power
        iterations from a fixed start. An operator given by two functions is asked in float64 on the CPU.
        """
        return self._norm

    @cached_property
    def _norm(self) -> float:
        return spectral_norm(self.P)

    def to(self, like: Tensor) -> TransferOperator:
        """The same operator in the dtype and on the device of ``like``; operators made of functions stay."""
        return TransferOperator(
            _moved(self.P, like),
            self.scale,
            None if self.points is None else _moved(self.points, like),
            None if self.neurons is None else self.neurons.to(like.device),
            lift=None if self.lift is None else _moved(self.lift, like),
            keeps=None if self.keeps is None else self.keeps.to(like.device),
        )

    def __repr__(self) -> str:
        kind = type(self.P).__name__.lower()
        extra = "" if self.scale == 1.0 else f", R = {self.scale:g} Pᵀ"
        extra += "" if self.points is None else ", own map for points"
        extra += "" if self.neurons is None else f", {self.neurons.numel()} neurons"
        return f"TransferOperator({self.n_fine} -> {self.n_coarse}, {kind}, nnz {self.nnz}{extra})"


def as_operator(matrix: Any, like: Tensor | None = None) -> LinearOperator:
    """A ``LinearOperator`` as it is; a torch, numpy or scipy sparse matrix wrapped.

    Args:
        matrix: what to wrap, two-dimensional.
        like: dtype and device for numpy and scipy matrices; default float64 on the CPU.

    Raises:
        ShapeError: not two-dimensional.
        InputError: of another type.
    """
    if isinstance(matrix, LinearOperator):
        return matrix
    if isinstance(matrix, Tensor):
        return Dense(matrix)
    target = torch.empty(0, dtype=torch.float64, device="cpu") if like is None else like
    if scipy.sparse.issparse(matrix):
        return Sparse(matrix, target)
    if isinstance(matrix, np.ndarray):
        return Dense(torch.as_tensor(matrix, dtype=target.dtype, device=target.device))
    raise InputError(
        f"a transfer operator needs a LinearOperator or a torch, numpy or scipy sparse matrix, "
        f"got {type(matrix).__name__}"
    )


def _checked_points(points: Any, shape: tuple[int, int], like: Tensor | None) -> LinearOperator | None:
    if points is None:
        return None
    operator = as_operator(points, like)
    if operator.shape != shape:
        raise ShapeError(f"the map of points must have shape {shape}, got {operator.shape}")
    weights = _column_weights(operator)
    if weights is not None and not bool(torch.isfinite(weights).all()):
        raise NonFiniteError("the map of points has NaN or infinite entries: check how it was made")
    return operator


def _vector(v: Tensor, size: int, what: str) -> Tensor:
    if v.shape != (size,):
        raise ShapeError(f"the {what} must have shape ({size},), got {tuple(v.shape)}")
    return v


@singledispatch
def _column_weights(operator: LinearOperator) -> Tensor | None:
    """Sum of |entries| of every column, shape (n_c,), or None where that is not cheap."""
    return None


@_column_weights.register
def _(operator: Dense) -> Tensor:
    return operator.matrix.abs().sum(0)


@_column_weights.register
def _(operator: Sparse) -> Tensor:
    weights = operator.values.new_zeros(operator.shape[1])
    return weights.index_add_(0, operator.columns, operator.values.abs())


@_column_weights.register
def _(operator: Selection) -> Tensor:
    size, index = operator.shape[0], operator.indices
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise InputError(f"a selection of {size} variables has an index outside 0..{size - 1}")
    if torch.unique(index).numel() != index.numel():
        raise InputError("a selection names a variable twice: give every index once")
    return torch.ones(index.numel(), dtype=torch.float64, device=index.device)


@singledispatch
def _moved(operator: LinearOperator, like: Tensor) -> LinearOperator:
    """The operator in the dtype and on the device of ``like``."""
    return operator


@_moved.register
def _(operator: Dense, like: Tensor) -> LinearOperator:
    return Dense(operator.matrix.to(like))


@_moved.register
def _(operator: Sparse, like: Tensor) -> LinearOperator:
    return Sparse(operator.scipy_matrix(), like)


@_moved.register
def _(operator: Selection, like: Tensor) -> LinearOperator:
    return Selection(operator.indices.to(like.device), operator.shape[0])


@singledispatch
def spectral_norm(operator: LinearOperator) -> float:
    """‖A‖₂, see ``TransferOperator.norm``."""
    return 1.0 if operator.isometric else _power_norm(operator, torch.empty(0, dtype=torch.float64, device="cpu"))


@spectral_norm.register
def _(operator: Dense) -> float:
    if min(operator.shape) <= EXACT_NORM:
        return float(torch.linalg.matrix_norm(operator.matrix, 2))
    return _power_norm(operator, operator.matrix)


@spectral_norm.register
def _(operator: Sparse) -> float:
    if operator.shape[1] <= EXACT_NORM:
        gram = operator.scipy_matrix().T @ operator.scipy_matrix()
        return float(np.sqrt(max(np.linalg.eigvalsh(gram.toarray())[-1], 0.0)))
    return _power_norm(operator, operator.values)


def _power_norm(operator: LinearOperator, like: Tensor) -> float:
    n = operator.shape[1]
    start = np.random.default_rng(0).standard_normal(n)
    v = torch.as_tensor(start / np.linalg.norm(start), dtype=like.dtype, device=like.device)
    estimate = 0.0
    for _ in range(POWER_ITERATIONS):
        image = operator.matvec(v)
        estimate = max(estimate, float(image.norm()))
        w = operator.rmatvec(image)
        v = w / w.norm().clamp_min(torch.finfo(w.dtype).tiny)
    return estimate
