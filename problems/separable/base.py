"""What the test functions share: size, start, noise on the start, and the objective made from their elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from multilevel_opt import ElementResiduals, Elements, InputError, Objective, PartiallySeparable, SeparableSquares

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class SeparableProblem:
    """A test function of n variables, declared by its elements.

    A subclass gives ``start()`` and either ``residuals()`` (for sums of squares) or ``elements()``, and says in
    ``minimum()`` and ``minimizer()`` what the literature knows.

    Attributes:
        n: number of variables.
        start_noise: the start is moved by so many times a standard normal vector.
        seed: of that vector.
        device: of all tensors.
        dtype: ``"float64"`` or ``"float32"``.

    Raises:
        InputError: an n that the function does not have, or an unknown dtype or device.
    """

    group: ClassVar[str] = "test functions of any size (partially separable)"
    smallest: ClassVar[int] = 2
    multiple: ClassVar[int] = 1
    reported: ClassVar[Mapping[int, float]] = {}  # by n: minima in the source, to the digits printed there

    n: int = 1000
    start_noise: float = 0.0
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.n < self.smallest or self.n % self.multiple:
            several = "" if self.multiple == 1 else f" that is a multiple of {self.multiple}"
            raise InputError(f"{name} has no version with n={self.n}: give n >= {self.smallest}{several}")
        if not 0.0 <= self.start_noise < float("inf"):
            raise InputError(f"start_noise={self.start_noise} is out of range: give 0 or more")
        dtype = str(self.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
        object.__setattr__(self, "dtype", dtype)
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {self.device!r} is not available here: use 'cpu'") from error

    # What a subclass may define

    def start(self) -> Tensor:
        """The standard start, shape (n,)."""
        raise InputError(f"{type(self).__name__} has no start: define start(self)")

    def residuals(self) -> Sequence[ElementResiduals]:
        """The residuals, where f is a sum of their squares; else nothing."""
        return ()

    def elements(self) -> Sequence[Elements]:
        """The elements; by default the squares of the residuals."""
        return [part.squares for part in self.residuals()]

    def minimum(self) -> float | None:
        """The least value of f, exactly; None where it is not known."""
        return 0.0 if self.residuals() else None

    def minimizer(self) -> Tensor | None:
        """A minimizer with that value, shape (n,); None where it has no simple form."""
        return None

    # What follows

    @cached_property
    def objective(self) -> Objective:
        """f, with its residual where it is a sum of squares."""
        squares = self.residuals()
        return SeparableSquares(squares, self.n) if squares else PartiallySeparable(self.elements(), self.n)

    @cached_property
    def x0(self) -> Tensor:
        """The start with its noise, shape (n,)."""
        standard = self.start()
        if not self.start_noise:
            return standard
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        noise = torch.randn(self.n, generator=generator, dtype=torch.float64, device="cpu")
        return standard + self.start_noise * noise.to(standard)

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """``gap``: f(x) − f*, where f* is known."""
        least = self.minimum()
        if least is None:
            return {}
        plain = PartiallySeparable(self.elements(), self.n)
        return {"gap": lambda x: float(plain(x)) - least}

    @property
    def parameters(self) -> dict[str, int | float | str]:
        """All fields, as JSON takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_residuals(self) -> int | None:
        """Rows of the residual; None without one."""
        return getattr(self.objective, "n_rows", None)

    # What declarations are made of

    def full(self, value: float) -> Tensor:
        """(value, …, value)."""
        return torch.full((self.n,), value, **self._options)

    def repeated(self, *values: float) -> Tensor:
        """The values again and again, up to n numbers."""
        pattern = torch.tensor(values, **self._options)
        return pattern.repeat(-(-self.n // len(values)))[: self.n]

    def numbers(self, first: int, last: int) -> Tensor:
        """first, first + 1, …, last as floating numbers."""
        return torch.arange(first, last + 1, **self._options)

    def windows(self, offsets: Sequence[int], step: int = 1, first: int = 0) -> Tensor:
        """Rows (i + o₁, i + o₂, …) for i = first, first + step, … as long as all are below n."""
        starts = torch.arange(first, self.n - max(offsets), step, dtype=torch.int64, device=self.device)
        return starts[:, None] + torch.tensor(offsets, dtype=torch.int64, device=self.device)

    def tied(self, windows: Tensor, *variables: int) -> Tensor:
        """The windows with the same further variables in every row; a negative number counts from the end."""
        fixed = torch.tensor([v % self.n for v in variables], dtype=torch.int64, device=self.device)
        return torch.cat([windows, fixed.expand(len(windows), -1)], dim=1)

    @property
    def _options(self) -> dict[str, Any]:
        return {"dtype": DTYPES[self.dtype], "device": self.device}


def rows(*columns: Tensor) -> Tensor:
    """Columns (E,) side by side, shape (E, k)."""
    return torch.stack(columns, dim=1)
