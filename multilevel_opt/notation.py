"""How numbers are written for readers: the figures that matter, powers of ten, units of bytes."""

from __future__ import annotations

from math import isinf, isnan
from typing import Any

NONE = "–"


def number(value: Any) -> str:
    """A number in the figures that matter; a dash where there is none."""
    mantissa, exponent = _parts(value)
    if exponent is None:
        return mantissa
    power = f"10{str(exponent).translate(_RAISED)}"
    return power if mantissa == "1" else f"{mantissa} · {power}"


def latex_number(value: Any) -> str:
    """The same in LaTeX."""
    mantissa, exponent = _parts(value)
    if exponent is None:
        return _LATEX.get(mantissa) or f"${mantissa}$".replace("\N{NARROW NO-BREAK SPACE}", "\\,")
    power = f"10^{{{exponent}}}"
    return f"${power}$" if mantissa == "1" else f"${mantissa} \\cdot {power}$"


def in_bytes(value: Any) -> str:
    """A number of bytes in binary units."""
    if not isinstance(value, int | float):
        return NONE
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    size, k = float(value), 0
    while size >= 1024 and k + 1 < len(units):
        size, k = size / 1024, k + 1
    return f"{size:.3g} {units[k]}"


def _parts(value: Any) -> tuple[str, int | None]:
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
        return f"{value:.4g}", None
    mantissa, exponent = f"{value:.2e}".split("e")
    return mantissa.rstrip("0").rstrip("."), int(exponent)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LATEX = {NONE: "--", "∞": "$\\infty$", "−∞": "$-\\infty$"}
