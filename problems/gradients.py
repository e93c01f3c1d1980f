"""Energies of the gradient on a uniform grid of the unit square, by linear elements on two triangles for each cell.

    f(u) = (h²/2) Σ_triangles φ(|∇u|²) − h² Σ_i c u_i

The unknowns are values at the interior points, added to a fixed function with the boundary values wanted, so that
they vanish on the boundary on every grid. With t = |∇u|² and p = ∇u on a triangle the forms are

    D[a] = 2φ' p·a,   D²[a, b] = 2φ' a·b + 4φ'' (p·a)(p·b),
    D³[a, b, c] = 4φ'' [(a·b)(p·c) + (p·a)(b·c) + (p·b)(a·c)] + 8φ''' (p·a)(p·b)(p·c).

The Hessian is a stencil of seven points, made once per expansion.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

import multilevel_opt as mlo
from problems.semilinear import TRANSCENDENTAL

Density = Callable[[Tensor, int], tuple[Tensor, ...]]
Pair = tuple[Tensor, Tensor]
PER_CELL = 2 * (9 + TRANSCENDENTAL)  # two triangles: |∇u|², φ and φ' with one root, fluxes


class GradientEnergy(mlo.Objective):
    """The energy above.

    Args:
        extension: a function with the boundary values, shape (n + 2, n + 2).
        density: (t, k) -> (φ, φ', …, φ^(k)), each of the shape of t.
        load: c.
        ledger: where evaluations are recorded.
    """

    joint = True

    def __init__(
        self, extension: Tensor, density: Density, load: float = 0.0, ledger: mlo.Ledger | None = None
    ) -> None:
        super().__init__(ledger)
        self.extension, self.density, self.load = extension, density, load
        self.n = extension.shape[0] - 2
        self.h = 1 / (self.n + 1)

    def __call__(self, x: Tensor) -> Tensor:
        self.ledger.count("function", PER_CELL * x.numel())
        lower, upper = self._slopes(self._field(x))
        (value,) = self.density(_square(lower), 0)
        (other,) = self.density(_square(upper), 0)
        total: Tensor = 0.5 * self.h**2 * (value.sum() + other.sum())
        return total - self.h**2 * self.load * x.sum() if self.load else total

    def expand(self, x: Tensor, order: int) -> mlo.Taylor:
        self.ledger.count("gradient", (PER_CELL + 10) * x.numel())
        pairs = self._slopes(self._field(x))
        rates = [self.density(_square(pair), order) for pair in pairs]
        value = 0.5 * self.h**2 * (rates[0][0].sum() + rates[1][0].sum())
        fluxes = [(rate[1] * px, rate[1] * py) for rate, (px, py) in zip(rates, pairs, strict=True)]
        gradient = self.h * self._divergence(*fluxes)
        if self.load:
            value = value - self.h**2 * self.load * x.sum()
            gradient = gradient - self.h**2 * self.load
        forms: list[Callable[..., Tensor]] = [lambda: gradient]
        second = None
        if order >= 2:
            self.ledger.work(30.0 * x.numel())
            second = mlo.SecondForm(self._stencil(pairs, rates), self.ledger, x)
            forms.append(second)
        if order >= 3:
            forms.append(self._third(pairs, rates))
        return mlo.Taylor(value, tuple(forms), second=second)

    def _field(self, x: Tensor) -> Tensor:
        field = self.extension.clone()
        field[1:-1, 1:-1] += x.reshape(self.n, self.n)
        return field

    def _padded(self, x: Tensor) -> Tensor:
        field = x.new_zeros(self.n + 2, self.n + 2)
        field[1:-1, 1:-1] = x.reshape(self.n, self.n)
        return field

    def _slopes(self, field: Tensor) -> tuple[Pair, Pair]:
        """∇u on the lower and the upper triangles, each of shape (n + 1, n + 1)."""
        dx, dy = (field[1:] - field[:-1]) / self.h, (field[:, 1:] - field[:, :-1]) / self.h
        return (dx[:, :-1], dy[:-1]), (dx[:, 1:], dy[1:])

    def _divergence(self, lower: Pair, upper: Pair) -> Tensor:
        """−div of the flux, at the interior points, shape (n²,)."""
        x, y = lower[0][:, 1:] + upper[0][:, :-1], lower[1][1:] + upper[1][:-1]
        return (x[:-1] - x[1:] + y[:, :-1] - y[:, 1:]).reshape(-1)

    def _stencil(self, pairs: tuple[Pair, Pair], rates: list[tuple[Tensor, ...]]) -> mlo.Stencil:
        """Couplings of the triangle energies ½(a v_x² + 2b v_x v_y + d v_y²), summed over the triangles."""
        (a, b, d), (a2, b2, d2) = (_quadratic(pair, rate) for pair, rate in zip(pairs, rates, strict=True))
        along_x = (a + b)[:, 1:] + (a2 + b2)[:, :-1]
        along_y = (d + b)[1:] + (d2 + b2)[:-1]
        across = b + b2
        diagonal = along_x[:-1] + along_x[1:] + along_y[:, :-1] + along_y[:, 1:] - across[:-1, 1:] - across[1:, :-1]
        couplings = [
            ((1, 0), -along_x[1:-1]),
            ((0, 1), -along_y[:, 1:-1]),
            ((1, -1), across[1:-1, 1:-1]),
        ]
        return mlo.Stencil((self.n, self.n), diagonal, couplings)

    def _third(self, pairs: tuple[Pair, Pair], rates: list[tuple[Tensor, ...]]) -> Callable[..., Tensor]:
        def form(v: Tensor, w: Tensor) -> Tensor:
            self.ledger.count("hvp", 80.0 * v.numel(), times=2)
            fluxes = [
                _third_flux(p, a, b, 4 * rate[2], 8 * rate[3])
                for p, a, b, rate in zip(
                    pairs, self._slopes(self._padded(v)), self._slopes(self._padded(w)), rates, strict=True
                )
            ]
            return 0.5 * self.h * self._divergence(*fluxes)

        return form


def _square(pair: Pair) -> Tensor:
    return pair[0] * pair[0] + pair[1] * pair[1]


def _dot(p: Pair, q: Pair) -> Tensor:
    return p[0] * q[0] + p[1] * q[1]


def _quadratic(p: Pair, rate: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The coefficients of D²φ / 2 = φ'|v|² + 2φ''(p·v)² on a triangle, where ½h² cancels 1/h² from the slopes."""
    c = 2 * rate[2]
    return rate[1] + c * p[0] * p[0], c * p[0] * p[1], rate[1] + c * p[1] * p[1]


def _third_flux(p: Pair, a: Pair, b: Pair, second: Tensor, third: Tensor) -> Pair:
    pa, pb = _dot(p, a), _dot(p, b)
    along = second * _dot(a, b) + third * pa * pb
    left, right = second * pa, second * pb
    return along * p[0] + left * b[0] + right * a[0], along * p[1] + left * b[1] + right * a[1]
