"""Frozen values with other fields."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from multilevel_opt.frozen import altered


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 2.0
    names: list[str] = field(default_factory=list)
    kind: ClassVar[str] = "point"

    @cached_property
    def total(self) -> float:
        return self.x + self.y


def test_it_is_what_replace_makes_and_forgets_what_was_cached() -> None:
    point = Point(1.0, names=["a"])
    assert point.total == 3.0
    other = altered(point, x=5.0)
    assert other == replace(point, x=5.0)
    assert other.total == 7.0
    assert (point.x, point.total) == (1.0, 3.0)
    assert other.names is point.names
