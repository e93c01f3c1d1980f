"""What equations read of a function: its value and sums of partial derivatives, one channel each.

A *term* is a sum of partial derivatives of one order, each a sorted tuple of coordinate numbers:

    u  ((),)      ∂u/∂z₁  ((1,),)      ∂²u/∂z₀∂z₁  ((0, 1),)      Δu  ((0, 0), (1, 1))

A sum such as the Laplacian travels through a network as one channel, however many derivatives it has. Where
derivatives of order three and more are read, every partial derivative below them travels (``jets``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

Term = tuple[tuple[int, ...], ...]

VALUE: Term = ((),)


def partial(*axes: int) -> Term:
    """∂ᵏ/∂z_i∂z_j..., for example ``partial(0, 0)`` for ∂²/∂z₀²."""
    return (tuple(sorted(axes)),)


def laplacian(axes: Iterable[int]) -> Term:
    """Σ ∂²/∂z_k² over the axes."""
    return tuple((k, k) for k in axes)


def order_of(term: Term) -> int:
    """Order of the derivatives of a term; 0 for the value."""
    return len(term[0])


@dataclass(frozen=True)
class Needs:
    """The terms that an equation reads, in the order of its channels: by order, then by coordinates.

    Attributes:
        terms: without repetition.
    """

    terms: tuple[Term, ...] = (VALUE,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(sorted(set(self.terms), key=lambda term: (order_of(term), term))))

    @property
    def order(self) -> int:
        """The highest order of a derivative."""
        return max((order_of(term) for term in self.terms), default=0)

    def index(self, term: Term) -> int:
        """The channel of a term; ValueError where it is not read."""
        return self.terms.index(term)

    @cached_property
    def reads_value(self) -> bool:
        """Whether the value is read."""
        return VALUE in self.terms

    @cached_property
    def first(self) -> tuple[int, ...]:
        """The coordinates whose first derivatives are read."""
        return tuple(term[0][0] for term in self.terms if order_of(term) == 1)

    @cached_property
    def second(self) -> tuple[Term, ...]:
        """The terms of order two."""
        return tuple(term for term in self.terms if order_of(term) == 2)

    @cached_property
    def directions(self) -> tuple[int, ...]:
        """The coordinates whose first derivatives must be carried along."""
        return tuple(sorted({axis for term in self.terms for axes in term for axis in axes}))

    @cached_property
    def pairs(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every second-order term its pairs, as positions in ``directions``."""
        place = {axis: k for k, axis in enumerate(self.directions)}
        return tuple(tuple((place[i], place[j]) for i, j in term) for term in self.second)

    @cached_property
    def carried(self) -> Needs:
        """What travels: the value, all first derivatives in ``directions`` and the second-order terms.

        From order three on: all partial derivatives of those that are read, each for itself.
        """
        if self.order <= 2:
            return Needs((VALUE, *(partial(axis) for axis in self.directions), *self.second))
        every = {axes for term in self.terms for axes in term}
        return Needs(tuple((part,) for axes in every for k in range(len(axes) + 1) for part in combinations(axes, k)))

    def sources(self, term: Term) -> list[int]:
        """The carried channels whose sum is a term."""
        carried = self.carried
        return [carried.index(term)] if term in carried.terms else [carried.index((axes,)) for axes in term]

    @property
    def channels(self) -> int:
        """How many numbers per neuron travel through a network."""
        return len(self.carried.terms)

    def with_value(self) -> Needs:
        """With the value read as well."""
        return self if self.reads_value else Needs((VALUE, *self.terms))
