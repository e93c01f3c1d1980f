"""A hierarchy: the coarse levels below an objective, finest first, printable as a table.

A level either has an objective of its own (a smaller network, fewer samples, a coarser grid), made coherent
with the level above by the law in ``coarse.py``; or none, and then it is a Galerkin level: the objective above
restricted to x + P s. Its transfer operator is fixed, or chosen anew at every visit by a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.base import Objective
from multilevel_opt.transfer.operator import TransferOperator

if TYPE_CHECKING:
    import networkx

TransferRule = Callable[[Objective, Tensor, int], TransferOperator]


@dataclass(frozen=True, eq=False)
class Level:
    """One coarse level.

    Attributes:
        transfer: P and R between the level above and this one; or None with a ``rule``.
        objective: the function of this level; None for a Galerkin level.
        rule: (objective above, its point, number of the visit) -> transfer operator.
        unknowns: size of this level.
        kind: how it was made, in a word or two.
        rows: of the residual of this level, where they differ from those above.
        held_out: the loss of rows that this level does not train on; nested iteration leaves the level where it is much
            larger than that of the level.
    """

    unknowns: int
    transfer: TransferOperator | None = None
    objective: Objective | None = None
    rule: TransferRule | None = None
    kind: str = "user"
    rows: int | None = None
    held_out: Objective | None = None

    def __post_init__(self) -> None:
        if (self.transfer is None) == (self.rule is None):
            raise InputError(
                "a level needs a transfer operator or a rule that chooses one, and not both: give one of them"
            )

    def transfer_at(self, f: Objective, x: Tensor, visit: int) -> TransferOperator:
        """The transfer operator to use at x."""
        if self.transfer is not None:
            return self.transfer
        assert self.rule is not None
        return self.rule(f, x, visit)

    @property
    def nnz(self) -> int:
        """Stored entries of P; for a chosen selection one for each unknown."""
        return self.unknowns if self.transfer is None else self.transfer.nnz


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The finest size and the levels below it.

    Attributes:
        unknowns: size of the finest level.
        levels: the coarse levels, finest first; may be empty.
        flops: what building it cost.
        notes: remarks made while building (guards, fallbacks).
        objective: the finest function, where the hierarchy was made from it.
    """

    unknowns: int
    levels: tuple[Level, ...] = ()
    flops: float = 0.0
    notes: tuple[str, ...] = field(default=())
    objective: Objective | None = None

    def __post_init__(self) -> None:
        above = self.unknowns
        for number, level in enumerate(self.levels, start=1):
            if level.transfer is not None and level.transfer.n_fine != above:
                raise ShapeError(
                    f"the prolongation to level {number} has {level.transfer.n_fine} rows, "
                    f"but the level above has {above} unknowns: give a P of shape ({above}, n_coarse)"
                )
            if level.transfer is not None and level.transfer.n_coarse != level.unknowns:
                raise ShapeError(
                    f"level {number} has {level.unknowns} unknowns, but its prolongation has {level.transfer.n_coarse} "
                    "columns: make the two numbers equal"
                )
            above = level.unknowns

    def __len__(self) -> int:
        return 1 + len(self.levels)

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    @property
    def coarser(self) -> Hierarchy:
        """The hierarchy seen from the first coarse level."""
        return Hierarchy(self.levels[0].unknowns, self.levels[1:])

    def to(self, like: Tensor) -> Hierarchy:
        """The same hierarchy with its transfer operators in the dtype and on the device of ``like``."""
        moved = (
            level if level.transfer is None else replace(level, transfer=level.transfer.to(like))
            for level in self.levels
        )
        return replace(self, levels=tuple(moved))

    @property
    def nested(self) -> bool:
        """Whether a coarse solution is a start for a finer level: all transfers are fixed and lift iterates."""
        return bool(self.levels) and all(
            level.transfer is not None and level.transfer.lift is not None for level in self.levels
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Unknowns of every level, finest first."""
        return (self.unknowns, *(level.unknowns for level in self.levels))

    def __str__(self) -> str:
        lines = ["level   unknowns     nnz(P)   complexity   coarse model"]
        rows: list[tuple[int, str, str]] = [(self.unknowns, "-", "the objective")]
        rows += [(level.unknowns, str(level.nnz), level.kind) for level in self.levels]
        for number, (unknowns, nnz, kind) in enumerate(rows):
            lines.append(f"{number:5d} {unknowns:10d} {nnz:>10} {unknowns / self.unknowns:12.3f}   {kind}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_networkx(self) -> networkx.DiGraph[Any]:
        """A directed graph with one node per level (``unknowns``, ``kind``) and one edge per transfer (``nnz``)."""
        import networkx

        graph: networkx.DiGraph[Any] = networkx.DiGraph()
        graph.add_node(0, unknowns=self.unknowns, kind="the objective")
        for number, level in enumerate(self.levels, start=1):
            graph.add_node(number, unknowns=level.unknowns, kind=level.kind)
            graph.add_edge(number - 1, number, nnz=level.nnz)
        return graph
