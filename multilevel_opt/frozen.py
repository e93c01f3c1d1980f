"""Frozen values with other fields: what ``dataclasses.replace`` does, without its look at every field and its checks.

For loops that make such values in every iteration, from fields that are known to be good.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def altered(value: T, **fields: Any) -> T:
    """A copy of a dataclass with other values of some fields; what is cached beside the fields is left out."""
    other, own = object.__new__(type(value)), vars(value)
    vars(other).update({name: own[name] for name in type(value).__dataclass_fields__ if name in own})  # type: ignore[attr-defined]
    vars(other).update(fields)
    return other
