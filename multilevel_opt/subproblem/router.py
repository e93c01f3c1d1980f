"""Which linear algebra a damped least-squares step gets: predicted cost and memory of every way there is.

For J of shape (m, n), k = min(m, n), l = max(m, n), c derivative channels, and m_c of the rows where they can be had:

============  =========================================  ==================  ========================================
choice        flops for a model and one σ                numbers held        what it is
============  =========================================  ==================  ========================================
primal        m n² + n³/3                                mn + 2n²            Cholesky of JᵀJ + σI
dual          m² n + m³/3                                mn + 2m²            Cholesky of JJᵀ + σI
orthogonal    4(l k² − k³/3) + 20k³                      2mn + 4k²           QR and SVD of J, for every σ
coarse-rows   6c m_c n + l_c k_c² + k_c³/3 + 10c P m n   m_c n + 2k_c² + …   conjugate gradients on all rows, with
                                                                             the Cholesky factor of m_c of them
matrix-free   10c P m n                                  10 (m + n)          conjugate gradients
============  =========================================  ==================  ========================================

P is the number of products with JᵀJ: 6 with m_c = n rows and in inverse proportion to m_c, 100 without. What a run
measures corrects it: once a choice has made ``TRUSTED`` steps, its prediction is multiplied by counted over predicted
flops, so that the cheapest is chosen anew. By flops a seed reproduces a run; ``by_clock`` uses the seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from typing import Literal

import torch

from multilevel_opt.ledger import Spent
from multilevel_opt.linalg.orthogonal import orthogonal_flops

Form = Literal["primal", "dual", "orthogonal", "coarse-rows", "matrix-free"]
GIB = 2.0**30
CHEAP = 2e8  # flops up to which that is done; beyond, such dampings are left out, which loses no digit (docs/design.md)
ROUNDINGS = 10.0  # times ε‖J‖²: dampings below it are left to orthogonal transformations
PRODUCTS, COARSE_PRODUCTS = 100.0, 6.0
FEWEST = 0.125  # of n: fewer rows than that precondition nothing
TRUSTED = 3  # steps after which a measurement corrects a prediction
VECTORS = 10  # of either length that conjugate gradients hold


@dataclass(frozen=True)
class Shape:
    """What the router knows of a step.

    Attributes:
        rows, columns: m and n.
        itemsize: bytes of a number.
        budget: bytes that may be held at once.
        channels: c.
        stored: whether J is, or may be, formed.
        sampled: whether single rows of a J that is not formed can be had.
        precise: whether σ is below what a Gram matrix can see.
    """

    rows: int
    columns: int
    itemsize: int = 8
    budget: float = inf
    channels: int = 1
    stored: bool = True
    sampled: bool = False
    precise: bool = False

    @property
    def coarse(self) -> int:
        """m_c: at most 2n and half of m, and as many as fit the budget."""
        n, most = self.columns, min(2 * self.columns, self.rows // 2)
        left = self.budget / self.itemsize - VECTORS * (self.rows + n)
        if left < n:
            return 0
        if left == inf:
            return most
        wide = left / n - 2 * n
        return min(most, int(wide) if wide >= n else int((sqrt(n * n + 8 * left) - n) / 4), n if wide < n else most)


@dataclass(frozen=True)
class Candidate:
    """A line of the table.

    Attributes:
        words: in a sentence, with {k} for the order of the matrix.
        flops, bytes: as above, functions of the shape; bytes in numbers.
        order: of the matrix that is factorized; 0 for none.
        fits: whether it can be used at all, apart from memory.
        direct: exact up to rounding. Where one of these fits, iterative ones, which cost more iterations, do not count.
    """

    words: str
    flops: Callable[[Shape], float]
    numbers: Callable[[Shape], float]
    order: Callable[[Shape], int]
    fits: Callable[[Shape], bool]
    direct: bool = True


@dataclass(frozen=True)
class Plan:
    """A choice and what it costs.

    Attributes:
        form: key of ``CANDIDATES``.
        rows, columns: m and n.
        flops: predicted, for a model and one σ.
        bytes: held at once.
        why: in words.
        order: of the matrix that is factorized, 0 for none.
    """

    form: Form
    rows: int
    columns: int
    flops: float
    bytes: int
    why: str = field(default="", compare=False)
    order: int = 0

    def __str__(self) -> str:
        what = CANDIDATES[self.form].words.format(k=self.order)
        told = f"{what} (m={self.rows}, n={self.columns}, {self.flops:.2g} flops, {self.bytes / GIB:.2g} GiB)"
        return f"{told}: {self.why}" if self.why else told

    def as_dict(self) -> dict[str, float | str]:
        """For records."""
        return {"choice": self.form, "flops": self.flops, "bytes": self.bytes, "why": self.why}


def _gram(rows: int, columns: int) -> float:
    k = min(rows, columns)
    return float(max(rows, columns)) * k**2 + k**3 / 3


def _coarse_products(s: Shape) -> float:
    return COARSE_PRODUCTS * s.columns / max(s.coarse, 1)


CANDIDATES: dict[Form, Candidate] = {
    "primal": Candidate(
        "primal Cholesky {k}x{k}",
        lambda s: float(s.rows) * s.columns**2 + s.columns**3 / 3,
        lambda s: s.rows * s.columns + 2 * s.columns**2,
        lambda s: s.columns,
        lambda s: s.stored and not s.precise,
    ),
    "dual": Candidate(
        "dual Cholesky {k}x{k}",
        lambda s: float(s.rows) ** 2 * s.columns + s.rows**3 / 3,
        lambda s: s.rows * s.columns + 2 * s.rows**2,
        lambda s: s.rows,
        lambda s: s.stored and not s.precise,
    ),
    "orthogonal": Candidate(
        "QR and SVD of J, {k}x{k}",
        lambda s: orthogonal_flops(s.rows, s.columns),
        lambda s: 2 * s.rows * s.columns + 4 * min(s.rows, s.columns) ** 2,
        lambda s: min(s.rows, s.columns),
        lambda s: s.stored,
    ),
    "coarse-rows": Candidate(
        "conjugate gradients with the Cholesky factor {k}x{k} of some rows",
        lambda s: (
            6.0 * s.channels * s.coarse * s.columns
            + _gram(s.coarse, s.columns)
            + _coarse_products(s) * 10.0 * s.channels * s.rows * s.columns
        ),
        lambda s: s.coarse * s.columns + 2 * min(s.coarse, s.columns) ** 2 + VECTORS * (s.rows + s.columns),
        lambda s: min(s.coarse, s.columns),
        lambda s: s.sampled and s.coarse >= max(1.0, FEWEST * s.columns),
        direct=False,
    ),
    "matrix-free": Candidate(
        "matrix-free conjugate gradients",
        lambda s: PRODUCTS * 10.0 * s.channels * s.rows * s.columns,
        lambda s: VECTORS * (s.rows + s.columns),
        lambda s: 0,
        lambda s: True,
        direct=False,
    ),
}


def costed(form: Form, shape: Shape, why: str = "") -> Plan:
    """A choice with its flops and bytes."""
    line = CANDIDATES[form]
    held = int(line.numbers(shape)) * shape.itemsize
    return Plan(form, shape.rows, shape.columns, line.flops(shape), held, why, line.order(shape))


def route(shape: Shape, spent: Mapping[str, Spent] | None = None, by_clock: bool = False) -> Plan:
    """The cheapest choice that fits the memory budget; conjugate gradients where none does.

    Args:
        shape: of the step.
        spent: what the choices have cost so far, by name.
        by_clock: compare seconds, of choices not yet tried at the rate of the others, instead of flops.
    """
    known = spent or {}
    plans = [costed(form, shape) for form, line in CANDIDATES.items() if line.fits(shape)]
    fitting = [p for p in plans if p.bytes <= shape.budget] or plans[-1:]
    fitting = [p for p in fitting if CANDIDATES[p.form].direct] or fitting
    costs = {p.form: _corrected(p, known, by_clock) for p in fitting}
    best = min(fitting, key=lambda p: costs[p.form])
    return costed(best.form, shape, _reason(best, fitting, shape, known))


def plan(rows: int, columns: int, itemsize: int, budget: float) -> Plan:
    """The cheapest choice for J of shape (rows, columns), which may be formed, within ``budget`` bytes."""
    return route(Shape(rows, columns, itemsize, budget))


def memory_budget(device: torch.device) -> float:
    """Half of the memory that is available now on ``device`` (caches of files count as such), in bytes."""
    if device.type == "cuda":
        return 0.5 * torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 512.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 4.0 * GIB


def _corrected(p: Plan, spent: Mapping[str, Spent], by_clock: bool) -> float:
    own = spent.get(p.form)
    flops = p.flops
    if own is not None and own.steps >= TRUSTED and own.predicted > 0:
        flops *= own.flops / own.predicted
    if not by_clock:
        return flops
    timed = [s for s in spent.values() if s.steps >= TRUSTED and s.seconds > 0 and s.flops > 0]
    mine = own if own in timed else None
    rate = mine.flops / mine.seconds if mine is not None else max((s.flops / s.seconds for s in timed), default=1.0)
    return flops / rate


def _reason(best: Plan, fitting: list[Plan], shape: Shape, spent: Mapping[str, Spent]) -> str:
    if shape.precise:
        return "the damping is below the rounding of a Gram matrix"
    cholesky = costed("dual" if shape.rows < shape.columns else "primal", shape)
    over = cholesky.bytes > shape.budget
    needs = f"a {cholesky.form} Cholesky factorization would need {cholesky.bytes / GIB:.2g} GiB" if over else ""
    wrong = [s for name, s in spent.items() if name != best.form and s.steps >= TRUSTED and s.flops > s.predicted]
    measured = "others took more than predicted" if wrong and len(fitting) > 1 else ""
    return "; ".join(part for part in (needs, measured) if part) or "the cheapest"
