"""What can go wrong, as one tree.

::

    MultilevelError
    ├── InputError                 bad input, found before any long work starts (exit status 2)
    │   ├── ShapeError             a tensor of the wrong shape
    │   ├── NonFiniteError         NaN or Inf where a finite number is needed (start point, data)
    │   └── UnsupportedCombination parts that do not fit together; the message lists those that do
    └── NotConverged               raised by ``Result.raise_for_status`` alone

Every message is one sentence that names the part, the value and the remedy.
"""

from __future__ import annotations


class MultilevelError(Exception):
    """Base of all errors raised by this package."""


class InputError(MultilevelError, ValueError):
    """Bad input; nothing was computed and nothing was written."""


class ShapeError(InputError):
    """A tensor has the wrong shape."""


class NonFiniteError(InputError):
    """NaN or Inf where a finite number is needed."""


class UnsupportedCombination(InputError):
    """Parts that do not fit together."""


class NotConverged(MultilevelError):
    """The solver stopped before its target was reached."""
