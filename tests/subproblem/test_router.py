"""The router: every line of its table gives the same step, costs what it predicts, and keeps to the memory budget."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor

from multilevel_opt import LM, GradientNorm, LeastSquares, MaxIterations, least_squares
from multilevel_opt.globalization import Regularization
from multilevel_opt.ledger import Ledger, Spent
from multilevel_opt.linalg.cholesky import DampedSystem
from multilevel_opt.linalg.orthogonal import OrthogonalSystem
from multilevel_opt.objective.residual import Residual
from multilevel_opt.subproblem.damped_least_squares import DampedLeastSquares
from multilevel_opt.subproblem.router import CANDIDATES, Form, Shape, costed, plan, route

MIB = 2.0**20


class Linear(Residual):
    """r(x) = A x + b."""

    def __init__(self, A: Tensor, b: Tensor) -> None:
        self.A, self.b = A, b

    def __call__(self, x: Tensor) -> Tensor:
        return self.A @ x + self.b

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self(x), self.A

    def rows(self, ids: Tensor) -> Residual:
        return Linear(self.A[ids], self.b[ids])


def matrix(m: int, n: int, condition: float) -> Tensor:
    """Singular values from 1 down to 1/condition, evenly spaced in the logarithm."""
    k = min(m, n)
    u, v = (torch.linalg.qr(torch.randn(size, k, dtype=torch.float64))[0] for size in (m, n))
    return u * torch.logspace(0, -np.log10(condition), k, dtype=torch.float64) @ v.T


def reference(A: Tensor, b: Tensor, damping: float) -> Tensor:
    """numpy's least squares on [J; √Λ I]."""
    stacked = np.vstack([A.numpy(), np.sqrt(damping) * np.eye(A.shape[1])])
    return torch.from_numpy(np.linalg.lstsq(stacked, np.concatenate([-b.numpy(), np.zeros(A.shape[1])]), rcond=0)[0])


def step(form: Form, A: Tensor, b: Tensor, damping: float) -> Tensor:
    direct = CANDIDATES[form].direct
    f = LeastSquares(Linear(A, b), matrix_free=not direct)
    solver = DampedLeastSquares(form=form, forcing=1e-13, max_products=2000)
    found = solver.prepare(f.expand(torch.zeros(A.shape[1], dtype=torch.float64), 2)).solve(
        Regularization(power=2, weight=damping)
    )
    assert found is not None
    return found.s


@pytest.mark.parametrize("form", list(CANDIDATES))
@pytest.mark.parametrize(("m", "n"), [(1, 7), (12, 30), (20, 20), (80, 20)])
def test_every_line_of_the_table_gives_the_step_of_numpy(form: Form, m: int, n: int) -> None:
    A, b = matrix(m, n, 30.0), torch.randn(m, dtype=torch.float64)
    if form == "coarse-rows" and m < 2:
        pytest.skip("one row leaves none to sample")
    expected = reference(A, b, 1e-2)
    assert float((step(form, A, b, 1e-2) - expected).norm() / expected.norm()) < 1e-10


@pytest.mark.parametrize(("m", "n"), [(60, 40), (40, 60)])
def test_orthogonal_factors_are_right_where_a_gram_matrix_is_blind(m: int, n: int) -> None:
    A, b, damping = matrix(m, n, 1e10), torch.randn(m, dtype=torch.float64), 1e-18
    expected, ledger = reference(A, b, damping), Ledger()
    system = OrthogonalSystem(b, A, None, ledger)
    assert system.factorize(damping)
    assert float((system.solve() - expected).norm() / expected.norm()) < 1e-5
    blind = DampedSystem(b, A, None, A.T @ b, m < n, ledger)  # the negative control
    right = blind.factorize(damping) and float((blind.solve() - expected).norm() / expected.norm()) < 0.1
    assert not right


@pytest.mark.parametrize("wide", [False, True])
def test_a_small_damping_leaves_the_gram_matrix_and_says_so(wide: bool) -> None:
    A, b = matrix(*((40, 60) if wide else (60, 40)), 1e10), torch.randn(40 if wide else 60, dtype=torch.float64)
    f = LeastSquares(Linear(A, b))
    prepared = DampedLeastSquares().prepare(f.expand(torch.zeros(A.shape[1], dtype=torch.float64), 2))
    for damping in (1e-3, 1e-18):
        found, expected = prepared.solve(Regularization(power=2, weight=damping)), reference(A, b, damping)
        assert found is not None
        assert float((found.s - expected).norm() / expected.norm()) < 1e-5
    assert [d["choice"] for d in f.ledger.decisions] == ["dual" if wide else "primal", "orthogonal"]
    assert "below the rounding" in str(f.ledger.decisions[-1]["why"])
    tight = f.within(costed("orthogonal", Shape(*A.shape)).bytes - 1).counted(Ledger())
    prepared = DampedLeastSquares().prepare(tight.expand(torch.zeros(A.shape[1], dtype=torch.float64), 2))
    prepared.solve(Regularization(power=2, weight=1e-18))
    assert [d["choice"] for d in tight.ledger.decisions] == ["dual" if wide else "primal"]


@pytest.mark.parametrize("form", ["primal", "dual", "orthogonal"])
@pytest.mark.parametrize(("m", "n"), [(12, 30), (80, 20)])
def test_predicted_flops_and_bytes_are_those_of_the_ledger(form: Form, m: int, n: int) -> None:
    """What the prediction leaves out are products with vectors, 2·(number of entries) each, at most ten of them."""
    f = LeastSquares(Linear(matrix(m, n, 10.0), torch.ones(m, dtype=torch.float64)))
    model = f.expand(torch.zeros(n, dtype=torch.float64), 2)
    before, expected = f.ledger.flops, costed(form, Shape(m, n))
    DampedLeastSquares(form=form).prepare(model).solve(Regularization(power=2, weight=0.1))
    assert 0 <= f.ledger.flops - before - expected.flops <= 10 * 2.0 * (m * n + min(m, n) ** 2 + max(m, n) ** 2)
    size = {"primal": n, "dual": m}.get(form)
    assert f.ledger.bytes == (expected.bytes if size is None else 8 * (m * n + 2 * size**2))


def test_the_cheapest_that_fits_is_chosen() -> None:
    rows = Shape(8000, 1500, channels=4, stored=False, sampled=True)
    assert plan(60, 1500, 8, inf).form == "dual"
    assert plan(8000, 1500, 8, inf).form == "primal"
    assert plan(8000, 1500, 8, 50 * MIB).form == "matrix-free"
    assert route(replace(rows, budget=50 * MIB)).form == "coarse-rows"
    assert route(replace(rows, budget=2 * MIB)).form == "matrix-free"
    assert route(Shape(60, 1500, precise=True)).form == "orthogonal"


@pytest.mark.parametrize("budget", [1.5 * MIB, 5 * MIB, 20 * MIB, 50 * MIB, 1e12])
def test_no_choice_holds_more_than_the_budget(budget: float) -> None:
    for sampled in (False, True):
        for stored in (False, True):
            chosen = route(Shape(8000, 1500, budget=budget, stored=stored, sampled=sampled))
            assert chosen.bytes <= budget


def test_measured_cost_corrects_the_prediction() -> None:
    shape = Shape(8000, 1500, stored=False, sampled=True, budget=50 * MIB)
    first = route(shape)
    assert first.form == "coarse-rows"
    wrong = {"coarse-rows": Spent(5, 1.0, 100.0, 1.0)}
    again = route(shape, wrong)
    assert (again.form, "more than predicted" in again.why) == ("matrix-free", True)
    assert route(shape, {"coarse-rows": Spent(2, 1.0, 100.0, 1.0)}).form == "coarse-rows"  # too few to be believed
    slow = {"coarse-rows": Spent(5, 1e9, 1e9, 100.0), "matrix-free": Spent(5, 1e9, 1e9, 0.1)}
    assert route(shape, slow).form == "coarse-rows"
    assert route(shape, slow, by_clock=True).form == "matrix-free"


def test_some_rows_precondition_all_of_them() -> None:
    """With as many products, conjugate gradients alone find a part of the decrease only."""
    A, b, sigma = matrix(2000, 100, 1e8), torch.randn(2000, dtype=torch.float64), Regularization(power=2, weight=1e-9)
    f, x = LeastSquares(Linear(A, b), matrix_free=True), 0 * A[0]
    most = DampedLeastSquares().prepare(LeastSquares(f.residual).expand(x, 2)).solve(sigma)
    some = DampedLeastSquares(form="coarse-rows").prepare(f.expand(x, 2)).solve(sigma)
    products = f.ledger.counts["jvp"]
    plain = (
        DampedLeastSquares(form="matrix-free", forcing=0.0, max_products=products).prepare(f.expand(x, 2)).solve(sigma)
    )
    assert most is not None
    assert some is not None
    assert plain is not None
    assert products <= 25
    left = [1 - (step.predicted - 0.5e-9 * float(step.s @ step.s)) / (most.predicted - 0.5e-9 * float(most.s @ most.s))
            for step in (some, plain)]  # fmt: skip
    assert left[0] < 0.02
    assert left[1] > 2 * left[0]


def test_a_run_within_a_small_budget_tells_its_choice_and_keeps_to_it() -> None:
    A = matrix(600, 60, 1e3)
    result = least_squares(
        Linear(A, torch.ones(600, dtype=torch.float64)),
        torch.zeros(60, dtype=torch.float64),
        memory=150e3,
        stop=MaxIterations(5),
    )
    ledger = result.ledgers[0]
    assert ledger.decisions[0]["choice"] == "coarse-rows"
    assert "would need" in str(ledger.decisions[0]["why"])
    assert ledger.bytes <= 150e3
    assert Ledger.restored(ledger.as_dict()) == ledger


HOSTILE = {
    "one row": (lambda x: (x.sum() - 3).reshape(1), 5, "gradient"),
    "square": (lambda x: x**3 + x - 1, 6, "gradient"),
    "rank one": (lambda x: (x.sum() - 3).expand(8), 5, "gradient"),
    "solved at the start": (lambda x: x - 1, 4, "gradient"),
    "rows of size 1e6": (lambda x: 1e6 * (x**3 + x - 1), 6, "rounding"),
    "unknowns of size 1e6": (lambda x: torch.stack([1e6 * x[0] - 3, 1e-6 * x[1] - 1e-6, x[2] - 1]), 3, "gradient"),
    "not finite near the start": (lambda x: torch.sqrt(x - 1) - 2, 3, "gradient"),
    "not finite anywhere else": (lambda x: torch.where(x == 1, x, torch.nan), 3, "non_finite"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("form", [None, "orthogonal"])
def test_hostile_residuals_end_with_the_right_status(name: str, dtype: torch.dtype, form: Form | None) -> None:
    residual, n, status = HOSTILE[name]
    start = 1.0 if status == "non_finite" or name == "solved at the start" else 1.5
    solver = LM.replace(subproblem=DampedLeastSquares(form=form))
    result = least_squares(
        residual, torch.full((n,), start, dtype=dtype), solver, stop=MaxIterations(200) | GradientNorm(1e-6)
    )
    assert bool(torch.isfinite(result.x).all())
    ends = {"rounding": ("stalled", "gradient")}.get(status, (status,))  # 1e6 times the rounding is above 1e-6
    assert result.status.name.lower() in ends, result.message
    assert status == "non_finite" or result.fun < 1e-12
