"""How numbers are written for readers: the figures that matter, powers of ten, units of bytes."""

from __future__ import annotations

import re
from math import floor, isinf, isnan, log10
from typing import Any

NONE = "–"
FAR = 100.0  # times the power of ten of a number: where an end of its interval gets a power of its own


def number(value: Any, digits: int = 4) -> str:
    """A number in the figures that matter; a dash where there is none."""
    mantissa, exponent = _parts(value, digits)
    return _times_power(mantissa, exponent)


def with_ends(middle: Any, low: Any, high: Any) -> str:
    """``1.2 [0.9, 1.4] · 10⁻³``: a number, its interval, and the power of ten of the number for all where it fits."""
    power = _parts(middle, 3)[1]
    scaled = [_parts(_scaled(value, power), 3) for value in (middle, low, high)]
    far = power is not None and any(not isinf(end) and abs(_scaled(end, power)) >= FAR for end in (low, high))
    if far or any(exponent is not None for _, exponent in scaled):
        scaled, power = [(number(value, 3), None) for value in (middle, low, high)], None
    texts = [text for text, _ in scaled]
    return _times_power(texts[0] if len(set(texts)) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]", power)


def latex(text: str) -> str:
    """Text in which nothing is a command of LaTeX; powers of ten, ∞ and × in mathematics."""
    escaped = re.sub(r"[\\{}$&#_%~^<>|]", lambda found: _ESCAPED[found.group()], text)
    powers = re.sub(r"10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda found: f"$10^{{{found.group(1).translate(_LOWERED)}}}$", escaped)
    return re.sub("[−–≤≥∞·‖τνσ\N{NARROW NO-BREAK SPACE}]", lambda found: _SIGNS[found.group()], powers)


def in_bytes(value: Any) -> str:
    """A number of bytes in binary units."""
    if not isinstance(value, int | float):
        return NONE
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    size, k = float(value), 0
    while size >= 1024 and k + 1 < len(units):
        size, k = size / 1024, k + 1
    return f"{size:.3g} {units[k]}"


def _parts(value: Any, digits: int) -> tuple[str, int | None]:
    """The digits of a number and the power of ten that they are multiplied by; None where there is none."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return NONE, None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value), None
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), None
    if isinf(value):
        return ("∞" if value > 0 else "−∞"), None
    if value == 0 or 1e-2 <= abs(value) < 1e5:
        return _plain(value, digits), None
    mantissa, exponent = f"{value:.2e}".split("e")
    return mantissa.rstrip("0").rstrip("."), int(exponent)


def _plain(value: float, digits: int) -> str:
    """Digits without a power of ten; whole ones are not rounded away."""
    decimals = max(0, digits - 1 - floor(log10(abs(value)))) if value else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: Any, power: int | None) -> Any:
    return value if power is None or value is None else value / 10.0**power


def _times_power(text: str, power: int | None) -> str:
    if power is None:
        return text
    raised = f"10{str(power).translate(_RAISED)}"
    return raised if text == "1" else f"{text} · {raised}"


_DIGITS, _HIGH = "-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED, _LOWERED = str.maketrans(_DIGITS, _HIGH), str.maketrans(_HIGH, _DIGITS)
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}
_SIGNS = {
    "−": "$-$",
    "–": "--",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "‖": r"$\|$",
    "τ": r"$\tau$",
    "ν": r"$\nu$",
    "σ": r"$\sigma$",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
}
