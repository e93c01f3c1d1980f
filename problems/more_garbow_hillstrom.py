"""The 35 problems of Moré, Garbow & Hillstrom (ACM TOMS 7, 1981): minimize Σ rᵢ(x)².

The table ``TABLE`` has for each problem the residual, the standard start, the size, and the minima given in the paper
(values of Σ rᵢ², the global one first), by size where they depend on it. The objective of ``MGH`` is the least-squares
function ½Σ rᵢ², so that every method applies to it; ``MGH.sum_of_squares`` is Σ rᵢ² as a plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from multilevel_opt import Function, InputError, LeastSquares
from problems import more_garbow_hillstrom_residuals as r

Start = Callable[[int], Sequence[float]]
Minima = Callable[[int], tuple[float, ...]]
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Definition:
    """One problem of the paper.

    Attributes:
        name: as given on the command line.
        residual: x of shape (n,) -> r of shape (m,).
        start: n -> the standard start.
        n: default size.
        minima: n -> values of Σ r² at known minimizers, the global one first; empty where none is known.
        step: allowed sizes are multiples of it; 0: n is fixed.
        smallest: smallest size.
    """

    name: str
    residual: Callable[[Tensor], Tensor]
    start: Start
    n: int
    minima: Minima
    step: int = 0
    smallest: int = 1

    def allows(self, n: int) -> bool:
        """Whether the problem is defined at size n."""
        return n == self.n if not self.step else n >= self.smallest and n % self.step == 0


def _fixed(name: str, residual: Callable[[Tensor], Tensor], start: Sequence[float], *minima: float) -> Definition:
    return Definition(name, residual, lambda n: start, len(start), lambda n: minima or (0.0,))


def _sized(
    name: str,
    residual: Callable[[Tensor], Tensor],
    start: Start,
    n: int,
    minima: Minima,
    step: int = 1,
    smallest: int = 2,
) -> Definition:
    return Definition(name, residual, start, n, minima, step, smallest)


def _by_size(known: Mapping[int, tuple[float, ...]], otherwise: tuple[float, ...] = ()) -> Minima:
    return lambda n: known.get(n, otherwise)


def _zero(n: int) -> tuple[float, ...]:
    return (0.0,)


def _constant(value: float) -> Start:
    return lambda n: [value] * n


def _grid(n: int) -> list[float]:
    """The points t = j/(n+1) with the value t(t − 1)."""
    return [j / (n + 1) * (j / (n + 1) - 1) for j in range(1, n + 1)]


def _powells_start(n: int) -> tuple[float, ...]:
    return (3.0, -1.0, 0.0, 1.0) * (n // 4)


def _rank_1(n: int) -> tuple[float, ...]:
    m = 2 * n
    return (m * (m - 1) / (2 * (2 * m + 1)),)


def _rank_1_zeros(n: int) -> tuple[float, ...]:
    m = 2 * n
    return ((m * m + 3 * m - 6) / (2 * (2 * m - 3)),)


OSBORNE_2_START = (1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5)
WATSON = _by_size({6: (2.287670e-3,), 9: (1.399760e-6,), 12: (4.722381e-10,), 20: (2.486310e-20,)})
PENALTY_1 = _by_size({4: (2.249978e-5,), 10: (7.087651e-5,)})
PENALTY_2 = _by_size({4: (9.376293e-6,), 10: (2.936605e-4,)})
TRIGONOMETRIC = _by_size({10: (0.0, 2.795056e-5)}, (0.0,))
CHEBYQUAD = _by_size(
    {**dict.fromkeys((2, 3, 4, 5, 6, 7, 9), (0.0,)), 8: (3.516873e-3,), 10: (4.772714e-3, 6.503955e-3)}
)

TABLE: tuple[Definition, ...] = (
    _fixed("rosenbrock", r.rosenbrock, (-1.2, 1.0)),
    _fixed("freudenstein-roth", r.freudenstein_roth, (0.5, -2.0), 0.0, 48.984254),
    _fixed("powell-badly-scaled", r.powell_badly_scaled, (0.0, 1.0)),
    _fixed("brown-badly-scaled", r.brown_badly_scaled, (1.0, 1.0)),
    _fixed("beale", r.beale, (1.0, 1.0)),
    _fixed("jennrich-sampson", r.jennrich_sampson, (0.3, 0.4), 124.362182),
    _fixed("helical-valley", r.helical_valley, (-1.0, 0.0, 0.0)),
    _fixed("bard", r.bard, (1.0, 1.0, 1.0), 8.214877e-3, 17.428690),
    _fixed("gaussian", r.gaussian, (0.4, 1.0, 0.0), 1.127933e-8),
    _fixed("meyer", r.meyer, (0.02, 4000.0, 250.0), 87.945855),
    _fixed("gulf", r.gulf, (5.0, 2.5, 0.15), 0.0, 0.038),
    _fixed("box", r.box, (0.0, 10.0, 20.0)),
    _fixed("powell-singular", r.extended_powell_singular, (3.0, -1.0, 0.0, 1.0)),
    _fixed("wood", r.wood, (-3.0, -1.0, -3.0, -1.0)),
    _fixed("kowalik-osborne", r.kowalik_osborne, (0.25, 0.39, 0.415, 0.39), 3.075056e-4, 1.027347e-3),
    _fixed("brown-dennis", r.brown_dennis, (25.0, 5.0, -5.0, -1.0), 85822.2016),
    _fixed("osborne-1", r.osborne_1, (0.5, 1.5, -1.0, 0.01, 0.02), 5.464895e-5),
    _fixed("biggs", r.biggs, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0), 0.0, 5.655650e-3),
    _fixed("osborne-2", r.osborne_2, OSBORNE_2_START, 4.013774e-2),
    _sized("watson", r.watson, _constant(0.0), 6, WATSON),
    _sized("extended-rosenbrock", r.extended_rosenbrock, lambda n: (-1.2, 1.0) * (n // 2), 10, _zero, 2),
    _sized("extended-powell-singular", r.extended_powell_singular, _powells_start, 12, _zero, 4),
    _sized("penalty-1", r.penalty_1, lambda n: range(1, n + 1), 10, PENALTY_1, smallest=1),
    _sized("penalty-2", r.penalty_2, _constant(0.5), 10, PENALTY_2),
    _sized("variably-dimensioned", r.variably_dimensioned, lambda n: [1 - j / n for j in range(1, n + 1)], 10, _zero),
    _sized("trigonometric", r.trigonometric, lambda n: [1 / n] * n, 10, TRIGONOMETRIC),
    _sized("brown-almost-linear", r.brown_almost_linear, _constant(0.5), 10, lambda n: (0.0, 1.0)),
    _sized("discrete-boundary-value", r.discrete_boundary_value, _grid, 10, _zero, smallest=1),
    _sized("discrete-integral-equation", r.discrete_integral_equation, _grid, 10, _zero, smallest=1),
    _sized("broyden-tridiagonal", r.broyden_tridiagonal, _constant(-1.0), 10, _zero, smallest=1),
    _sized("broyden-banded", r.broyden_banded, _constant(-1.0), 10, _zero, smallest=1),
    _sized("linear-full-rank", r.linear_full_rank, _constant(1.0), 10, lambda n: (float(n),), smallest=1),
    _sized("linear-rank-1", r.linear_rank_1, _constant(1.0), 10, _rank_1, smallest=1),
    _sized("linear-rank-1-zeros", r.linear_rank_1_zero_columns, _constant(1.0), 10, _rank_1_zeros, smallest=3),
    _sized("chebyquad", r.chebyquad, lambda n: [j / (n + 1) for j in range(1, n + 1)], 8, CHEBYQUAD),
)
NAMES = tuple(definition.name for definition in TABLE)


@dataclass(frozen=True, kw_only=True)
class MGH:
    """A problem of Moré, Garbow & Hillstrom: ½Σ rᵢ(x)² from a multiple of the standard start.

    Attributes:
        name: of the problem, or its number in the paper, 1 to 35.
        n: unknowns, where the problem leaves them free; None: 10 in most cases.
        start: factor on the standard start, 1, 10 or 100 in the paper; a start at 0 becomes (factor, …, factor).
        perturbation: every xᵢ of the start is moved by this fraction of max(|xᵢ|, 1) at most.
        seed: of the perturbation.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch.device.
        dtype: ``"float64"``, ``"float32"`` or the torch.dtype.

    Raises:
        InputError: an unknown problem, a size that it does not have, or a factor that is not a finite number.
    """

    name: str = "rosenbrock"
    n: int | None = None
    start: float = 1.0
    perturbation: float = 0.0
    seed: int = 0
    device: str | torch.device = "cpu"
    dtype: str | torch.dtype = "float64"

    def __post_init__(self) -> None:
        numbered = self.name.isdecimal() and 1 <= int(self.name) <= len(NAMES)
        object.__setattr__(self, "name", NAMES[int(self.name) - 1] if numbered else self.name.lower())
        if self.name not in NAMES:
            known = ", ".join(f"{k} {name}" for k, name in enumerate(NAMES, start=1))
            raise InputError(f"problem {self.name!r} is unknown: choose a name or a number of {known}")
        problem = self.definition
        object.__setattr__(self, "n", problem.n if self.n is None else self.n)
        if not problem.allows(self.size):
            sizes = f"a multiple of {problem.step}, at least {problem.smallest}" if problem.step else str(problem.n)
            raise InputError(f"n={self.n} does not fit {self.name}: give {sizes}")
        if not (isfinite(self.start) and isfinite(self.perturbation)):
            raise InputError(f"start={self.start}, perturbation={self.perturbation}: give finite numbers")
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown: choose one of {', '.join(DTYPES)}")

    @property
    def definition(self) -> Definition:
        """The line of the table."""
        return TABLE[NAMES.index(self.name)]

    @property
    def number(self) -> int:
        """The number in the paper."""
        return NAMES.index(self.name) + 1

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return self.n or 0

    @cached_property
    def objective(self) -> LeastSquares:
        """½Σ rᵢ(x)²."""
        return LeastSquares(self.definition.residual)

    @cached_property
    def sum_of_squares(self) -> Function:
        """Σ rᵢ(x)², the function of the paper, as a plain function."""
        return Function(lambda x: self.definition.residual(x).square().sum())

    @cached_property
    def x0(self) -> Tensor:
        """The start, shape (n,)."""
        standard = torch.tensor(list(self.definition.start(self.size)), dtype=torch.float64, device="cpu")
        if self.start != 1.0 and not bool(standard.any()):
            standard = torch.ones_like(standard)  # the rule of the paper's software for a start at zero
        x = self.start * standard
        if self.perturbation:
            generator = torch.Generator(device="cpu").manual_seed(self.seed)
            noise = 2 * torch.rand(self.size, generator=generator, dtype=torch.float64, device="cpu") - 1
            x = x + self.perturbation * x.abs().clamp_min(1.0) * noise
        return x.to(device=torch.device(self.device), dtype=DTYPES[str(self.dtype)])

    @property
    def minima(self) -> tuple[float, ...]:
        """Σ r² at the known minimizers, the global one first."""
        return self.definition.minima(self.size)

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        """``excess``: Σ r² above the global minimum, relative to max(that, 1); where the minimum is known."""
        if not self.minima:
            return {}
        lowest = self.minima[0]
        return {"excess": lambda x: (float(self.sum_of_squares(x)) - lowest) / max(lowest, 1.0)}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every field, as plain values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value if isinstance(value, int | float) else str(value) for name, value in values.items()}
