"""The coherence law: derivatives 1..k of the coarse model are those of f∘(x + P·), derivative k + 1 is not."""

import pytest
import torch
from torch import Tensor

from multilevel_opt import build, check, neurons
from multilevel_opt.coarse import coarse_model
from multilevel_opt.curvature import Curvature, Exact, GaussNewton
from multilevel_opt.hierarchy import Level
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import Product
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.transfer.operator import TransferOperator
from problems import Poisson

N, M, L = 7, 4, 2


def fine(x: Tensor) -> Tensor:
    return torch.exp(0.3 * x).sum() + (x[:-1] * x[1:] ** 2).sum()


def coarse(y: Tensor) -> Tensor:
    return torch.cos(y).sum() * y.sum() + (y**4).sum()


def coarsest(y: Tensor) -> Tensor:
    return torch.sin(y).prod() + (y**3).sum()


def fine_residual(x: Tensor) -> Tensor:
    return torch.cat([torch.sin(x), x[:3] * x[1:4] - 1])


def coarse_residual(y: Tensor) -> Tensor:
    return torch.cat([torch.exp(0.2 * y), y[:1] ** 2 - 0.5])


def transfer(n: int = N, m: int = M, scale: float = 0.6) -> TransferOperator:
    return TransferOperator(torch.randn(n, m, dtype=torch.float64), scale=scale)


def point(n: int = N) -> Tensor:
    return torch.randn(n, dtype=torch.float64)


def defects(model: Taylor, target: Taylor, transfer: TransferOperator, alpha: float) -> list[float]:
    """Relative defect of every form against α × the fine one in the directions P u, measured densely."""
    P = transfer.P.dense(device="cpu")
    found = []
    for k in range(1, min(model.order, target.order) + 1):
        directions = [torch.randn(P.shape[1], dtype=torch.float64) for _ in range(k - 1)]
        expected = alpha * (P.T @ target.forms[k - 1](*(P @ v for v in directions)))
        found.append(float((model.forms[k - 1](*directions) - expected).norm() / expected.norm()))
    return found


PAIRS: dict[str, tuple[Objective, Objective]] = {
    "functions": (Function(fine), Function(coarse)),
    "least squares": (LeastSquares(fine_residual), LeastSquares(coarse_residual)),
    "residual over function": (LeastSquares(fine_residual), Function(coarse)),
}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("pair", PAIRS)
def test_forms_up_to_the_order_agree_and_the_next_differs(pair: str, order: int) -> None:
    (f, g), t, x = PAIRS[pair], transfer(), point()
    model = f.exact.expand(x, order + 1)
    mu, start = coarse_model(f, model, Level(M, t, g), t, x, order, Exact(), Ledger())
    torch.testing.assert_close(start, t.restrict_point(x))
    found = defects(mu.exact.expand(start, order + 1), model, t, t.scale)
    assert max(found[:order]) < 1e-10
    assert found[order] > 1e-3


def test_gauss_newton_models_are_coherent_to_first_order() -> None:
    (f, g), t, x = PAIRS["least squares"], transfer(), point()
    model = GaussNewton().expand(f, x, 2)
    mu, start = coarse_model(f, model, Level(M, t, g), t, x, 1, GaussNewton(), Ledger())
    assert mu.expand(start, 2).normal is not None
    first, second = defects(mu.expand(start, 2), model, t, t.scale)
    assert first < 1e-10
    assert second > 1e-3


def test_the_correction_is_that_of_the_start_point_only() -> None:
    (f, g), t, x = PAIRS["functions"], transfer(), point()
    model = f.expand(x, 2)
    mu, start = coarse_model(f, model, Level(M, t, g), t, x, 1, Exact(), Ledger())
    assert float(mu(start)) == pytest.approx(float(g(start)))
    y = start + 0.1
    linear = t.restrict(model.gradient) - g.expand(start, 1).gradient
    assert float(mu(y)) == pytest.approx(float(g(y) + linear @ (y - start)))


def galerkin_defects(f: Objective, x: Tensor, t: TransferOperator, curvature: Curvature, order: int) -> list[float]:
    model = curvature.expand(f, x, order)
    mu, start = coarse_model(f, model, Level(t.n_coarse, t), t, x, 1, curvature, Ledger())
    return defects(curvature.expand(mu, start, order), model, t, 1.0)


def test_galerkin_levels_are_coherent_to_every_order() -> None:
    t, x = transfer(), point()
    assert max(galerkin_defects(Function(fine), x, t, Exact(), 4)) < 1e-10
    assert max(galerkin_defects(LeastSquares(fine_residual), x, t, GaussNewton(), 2)) < 1e-10
    assert max(galerkin_defects(LeastSquares(fine_residual, matrix_free=True), x, t, GaussNewton(), 2)) < 1e-10


def test_frozen_subnetworks_are_coherent_to_every_order() -> None:
    problem = Poisson(nu=2, width=12, seed=0)
    hierarchy = neurons.subnetwork(problem.objective, problem.x0, 2)
    t = hierarchy.levels[0].transfer_at(problem.objective, problem.x0, 0)
    assert max(galerkin_defects(problem.objective, problem.x0, t, GaussNewton(), 2)) < 1e-10
    assert check.coherence(hierarchy, problem.x0, 2) < 1e-8


def test_three_nested_levels_stay_coherent() -> None:
    x, first, second = point(), transfer(), transfer(M, L, 0.8)
    f = Function(fine)
    for g, h in (
        (None, None),
        (None, Function(coarsest)),
        (Function(coarse), None),
        (Function(coarse), Function(coarsest)),
    ):
        model = f.expand(x, 2)
        mu, y = coarse_model(f, model, Level(M, first, g), first, x, 2, Exact(), Ledger())
        below, z = coarse_model(mu, mu.expand(y, 2), Level(L, second, h), second, y, 2, Exact(), Ledger())
        P = TransferOperator(first.P.dense(device="cpu") @ second.P.dense(device="cpu"))
        alpha = (first.scale if g else 1.0) * (second.scale if h else 1.0)
        assert max(defects(below.expand(z, 2), model, P, alpha)) < 1e-10


def test_the_check_accepts_what_is_coherent() -> None:
    hierarchy = build.from_objectives([fine, coarse], [transfer()])
    assert check.coherence(hierarchy, point(), 3) < 1e-10
    assert check.coherence(build.galerkin([transfer()]), point(), 3, f=Function(fine)) < 1e-10
    squares = build.from_objectives(list(PAIRS["least squares"]), [transfer()])
    assert check.coherence(squares, point(), 3) < 1e-10


def broken(scale: float) -> TransferOperator:
    """R is not α Pᵀ."""
    matrix = torch.randn(N, M, dtype=torch.float64)
    return TransferOperator(Product((N, M), lambda v: matrix @ v, lambda w: scale * (matrix.T @ w)))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("scale", [1.01, 1.0 + 1e-6])
def test_the_check_sees_a_wrong_adjoint(scale: float, own: bool) -> None:
    t = broken(scale)
    hierarchy = build.from_objectives([fine, coarse], [t]) if own else build.galerkin([t])
    with pytest.raises(check.LawBroken, match="coherence of order 1 fails"):
        check.coherence(hierarchy, point(), f=Function(fine))
    assert check.adjointness(t, point()) > 1e-8


def test_the_check_sees_a_wrong_coarse_derivative() -> None:
    seen: list[int] = []

    class Drifting(Function):
        """Another derivative at every expansion."""

        def expand(self, x: Tensor, order: int) -> Taylor:
            seen.append(order)
            return super().expand(x + 1e-3 * len(seen), order)

    hierarchy = build.from_objectives([fine, Drifting(coarse)], [transfer()])
    with pytest.raises(check.LawBroken):
        check.coherence(hierarchy, point())


def test_the_check_needs_the_finest_objective() -> None:
    with pytest.raises(ValueError, match="give f="):
        check.coherence(build.galerkin([transfer()]), point())
