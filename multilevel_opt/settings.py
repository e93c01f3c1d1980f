"""Options of a method by name: those that there are, with their defaults, and those that are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multilevel_opt.errors import InputError


def filled(method: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All options with defaults filled in.

    Raises:
        InputError: an option is unknown, or its value is not of the kind of the default.
    """
    for key, value in given.items():
        if key not in known:
            names = ", ".join(f"{option}={default}" for option, default in known.items()) or "none"
            raise InputError(f"unknown option {key!r} of method {method!r}: the options are {names}")
        default = known[key]
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise InputError(f"option {key}={value!r} of method {method!r} is not like its default {default!r}")
    return {**known, **given}
