"""Transfer beside active bounds: truncated prolongations, and bounds for coarse variables.

Variables that stay on a bound take no part in a coarse correction: their rows of P are set to zero (the truncated
basis functions of Kornhuber 1994). For the others every coarse variable gets the largest box for which the prolonged
correction cannot leave the fine one, whatever the other coarse variables do (docs/theory.md, "Bounds"; for P ≥ 0
Gratton, Mouffe, Toint & Weber-Mendonca 2008).
"""

from __future__ import annotations

from dataclasses import fields
from functools import singledispatch

import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.linalg.operator import Dense, LinearOperator, Selection, Sparse
from multilevel_opt.transfer.geometric import Separable
from multilevel_opt.transfer.operator import TransferOperator


class Truncated(TransferOperator):
    """A transfer operator whose prolongation leaves some fine variables alone.

    Args:
        whole: the operator that is truncated; it still maps points.
        P: its prolongation with rows set to zero.
    """

    def __init__(self, whole: TransferOperator, P: LinearOperator) -> None:
        points = whole.points if whole.points is not None else _Restriction(whole)
        inherited = {field.name: getattr(whole, field.name) for field in fields(whole)}
        for name, value in (inherited | {"P": P, "points": points, "neurons": None}).items():
            object.__setattr__(self, name, value)


class _Restriction(LinearOperator):
    """R of a transfer operator, as a map of points."""

    def __init__(self, transfer: TransferOperator) -> None:
        self._transfer = transfer
        self.shape, self.nnz = (transfer.n_coarse, transfer.n_fine), transfer.nnz

    def matvec(self, v: Tensor) -> Tensor:
        return self._transfer.restrict(v)

    def rmatvec(self, w: Tensor) -> Tensor:
        return self._transfer.scale * self._transfer.prolong(w)

    def after(self, dense: Tensor) -> Tensor:
        return torch.stack([self.rmatvec(row) for row in dense])


def truncated(transfer: TransferOperator, kept: Tensor) -> TransferOperator:
    """The transfer operator without the fine variables that are not kept (bool, shape (n,)).

    A selection stays whole: there every fine variable has a coarse one of its own, with its own bounds.

    Raises:
        UnsupportedCombination: the prolongation is given by functions.
    """
    P = transfer.P if bool(kept.all()) else _kept(transfer.P, kept)
    return transfer if P is transfer.P else Truncated(transfer, P)


def coarse_bounds(P: LinearOperator, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of a coarse step s, shape (n_c,), for which lower ≤ P s ≤ upper.

    Args:
        P: the prolongation, shape (n, n_c).
        lower: of the fine step, shape (n,), ≤ 0.
        upper: of the fine step, shape (n,), ≥ 0.

    Variable i shares its room among the coarse variables of its row, in equal parts r = upper/Σⱼ|Pᵢⱼ|: then
    Pᵢⱼ sⱼ ≤ |Pᵢⱼ| r for all j gives (P s)ᵢ ≤ upper, for entries of either sign.
    """
    rows, columns, values = entries(P)
    values = values.to(lower)
    share = torch.zeros_like(lower).index_add(0, rows, values.abs())[rows]
    above, below = upper[rows] / share, lower[rows] / share
    positive = values > 0
    high = torch.where(positive, above, -below)
    low = torch.where(positive, below, -above)
    size = P.shape[1]
    coarse_low = lower.new_full((size,), -torch.inf).scatter_reduce(0, columns, low, "amax")
    coarse_high = lower.new_full((size,), torch.inf).scatter_reduce(0, columns, high, "amin")
    untouched = torch.ones_like(coarse_low).index_fill(0, columns, 0.0) > 0  # a column without entries moves nothing
    zero = torch.zeros_like(coarse_low)
    return torch.where(untouched, zero, coarse_low), torch.where(untouched, zero, coarse_high)


@singledispatch
def entries(operator: LinearOperator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of the non-zero entries, each of shape (nnz,)."""
    raise UnsupportedCombination(
        f"bounds on several levels need the entries of the prolongation, which a {type(operator).__name__} does not "
        "have: give P as a torch, numpy or scipy sparse matrix, or solve on one level"
    )


@entries.register
def _(operator: Dense) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = torch.nonzero(operator.matrix, as_tuple=True)
    return rows, columns, operator.matrix[rows, columns]


@entries.register
def _(operator: Sparse) -> tuple[Tensor, Tensor, Tensor]:
    stored = operator.values != 0
    return operator.rows[stored], operator.columns[stored], operator.values[stored]


@entries.register
def _(operator: Selection) -> tuple[Tensor, Tensor, Tensor]:
    columns = torch.arange(operator.indices.numel(), device=operator.indices.device)
    return operator.indices, columns, torch.ones(operator.indices.numel(), dtype=torch.float64, device=columns.device)


@entries.register
def _(operator: Separable) -> tuple[Tensor, Tensor, Tensor]:
    return entries(operator.sparse())


@singledispatch
def _kept(operator: LinearOperator, kept: Tensor) -> LinearOperator:
    """The operator with the other rows set to zero."""
    entries(operator)  # refuses what has none
    return operator


@_kept.register
def _(operator: Selection, kept: Tensor) -> LinearOperator:
    return operator


@_kept.register
def _(operator: Dense, kept: Tensor) -> LinearOperator:
    return Dense(operator.matrix * kept[:, None])


@_kept.register
def _(operator: Sparse, kept: Tensor) -> LinearOperator:
    matrix = operator.scipy_matrix().tocoo()
    stays = kept.cpu().numpy()[matrix.row]
    cut = scipy.sparse.coo_array((matrix.data[stays], (matrix.row[stays], matrix.col[stays])), shape=operator.shape)
    return Sparse(cut, operator.values)


@_kept.register
def _(operator: Separable, kept: Tensor) -> LinearOperator:
    return _kept(operator.sparse(kept.device), kept)
