"""With the default device meta and the default dtype float16 a float64 problem on the CPU solves unchanged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt import (
    AR1,
    AR2,
    BFGS,
    LBFGS,
    LM,
    LSR1,
    RLM,
    SR1,
    TR1,
    TR2,
    Cycle,
    DampedLeastSquares,
    GradientNorm,
    Hierarchy,
    LeastSquares,
    MaxIterations,
    Multilevel,
    Result,
    build,
    check,
    minimize,
    optim,
    registry,
    solve,
    with_curvature,
)
from multilevel_opt.transfer.geometric import linear_1d
from problems import Poisson
from problems.fit import Fit
from tests.references.mgh import MGH

N = 15


@contextmanager
def hostile() -> Iterator[None]:
    """A tensor made without device or dtype is of no use here."""
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float16)
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(dtype)


def assert_unaffected(run: Callable[[], Result]) -> Result:
    """The run, after it was seen to agree to the last bit under ordinary and under hostile defaults."""
    usual = run()
    with hostile():
        found = run()
    assert found.x.dtype == torch.float64
    assert found.x.device.type == "cpu"
    assert torch.equal(found.x, usual.x)
    assert [event.loss for event in found.history] == [event.loss for event in usual.history]
    assert found.status is usual.status
    return found


def test_a_forgotten_dtype_or_device_fails_here() -> None:
    """Negative control."""
    with hostile():
        assert torch.zeros(1).device.type == "meta"
        assert torch.zeros(1, device="cpu").dtype == torch.float16

        def careless(x: Tensor) -> Tensor:
            return (x - torch.ones(2)) ** 2

        with pytest.raises((RuntimeError, NotImplementedError, ValueError)):
            minimize(LeastSquares(careless), MGH["Rosenbrock"].start, LM)


@pytest.mark.parametrize("name", ["Rosenbrock", "Box", "Wood"])
@pytest.mark.parametrize(
    "solver",
    [
        LM,
        RLM,
        AR1,
        AR2,
        TR1,
        TR2,
        LM.replace(subproblem=DampedLeastSquares(geodesic=True)),
        LM.replace(subproblem=DampedLeastSquares(form="dual")),
        LM.replace(subproblem=DampedLeastSquares(form="matrix-free")),
        with_curvature(TR2, BFGS(damping=0.2)),
        with_curvature(AR2, SR1(learn_from_rejected=True)),
        with_curvature(LM, LBFGS(memory=3)),
        with_curvature(TR2, LSR1(patience=2)),
    ],
    ids=[
        *("LM", "RLM", "AR1", "AR2", "TR1", "TR2", "geodesic", "dual", "matrix-free"),
        *("bfgs", "sr1", "lbfgs", "lsr1"),
    ],
)
def test_one_level(solver: Multilevel, name: str) -> None:
    problem = MGH[name]
    assert_unaffected(lambda: minimize(LeastSquares(problem.residual), problem.start, solver, stop=MaxIterations(25)))


def residual(u: Tensor) -> Tensor:
    end = u.new_zeros(1)
    padded = torch.cat([end, u, end])
    return 16 * (padded[2:] - 2 * u + padded[:-2]) - (torch.exp(u) + 1) / 16


def start() -> Tensor:
    return torch.linspace(-1, 1, N, dtype=torch.float64, device="cpu") ** 3


LEVELS: dict[str, Callable[[], Hierarchy]] = {
    "galerkin": lambda: build.galerkin([linear_1d(N), linear_1d(7)]),
    "random": lambda: build.random_subspace(start(), 3, fraction=2),
    "own": lambda: build.from_objectives([LeastSquares(residual), LeastSquares(residual)], [linear_1d(N)]),
    "amg": lambda: build.amg(LeastSquares(residual), start(), 2),
}


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("solver", [LM, AR2, TR2], ids=["LM", "AR2", "TR2"])
def test_several_levels(solver: Multilevel, levels: str) -> None:
    solver = solver.replace(cycle=Cycle(kappa=1e-3, coarse_iterations=3))
    result = assert_unaffected(
        lambda: minimize(LeastSquares(residual), start(), solver, hierarchy=LEVELS[levels](), stop=MaxIterations(6))
    )
    assert result.coarse_steps[0] > 0


def test_a_matrix_free_jacobian_and_higher_coherence() -> None:
    free = LeastSquares(residual, matrix_free=True)
    assert_unaffected(lambda: minimize(free, start(), LM, stop=GradientNorm(1e-6) | MaxIterations(10)))
    cycle = Cycle(kappa=1e-3, coarse_iterations=3, coherence=2)
    levels = LEVELS["own"]
    assert_unaffected(
        lambda: minimize(free, start(), AR2.replace(cycle=cycle), hierarchy=levels(), stop=MaxIterations(6))
    )


def test_the_checks_of_laws() -> None:
    with hostile():
        f = LeastSquares(residual)
        assert check.taylor_slope(f, start(), 2) == pytest.approx(3, abs=0.05)
        assert check.jacobian_adjointness(f, start()) < 1e-12
        for levels in LEVELS.values():
            hierarchy = levels()
            assert check.coherence(hierarchy, start(), 2, f=f) < 1e-10
            assert check.adjointness(hierarchy.levels[0].transfer_at(f, start(), 0), start()) < 1e-12


@pytest.mark.parametrize(
    ("method", "coarsening"),
    [("lm", None), ("rlm", "amg"), ("galerkin", "subnetwork"), ("galerkin", "amg"), ("galerkin", "random")],
)
def test_poisson(method: str, coarsening: str | None) -> None:
    def run() -> Result:
        problem = Poisson(nu=4, width=24, seed=0)
        assert problem.x0.dtype == torch.float64
        return solve(problem, method, coarsening=coarsening, max_iterations=4).result

    assert_unaffected(run)


def test_the_torch_front_end() -> None:
    losses = []
    data = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    for defaults in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(1, 4, dtype=torch.float64, device="cpu"),
            torch.nn.Tanh(),
            torch.nn.Linear(4, 1, dtype=torch.float64, device="cpu"),
        )
        opt = optim.Multilevel(model, LM)

        def closure(model: torch.nn.Module = model) -> Tensor:
            return (model(data) - data**2)[:, 0]

        with hostile() if defaults else _as_usual():
            losses.append([opt.step(closure) for _ in range(4)])
    assert losses[0] == losses[1]


@contextmanager
def _as_usual() -> Iterator[None]:
    yield


@pytest.mark.parametrize("name", ["rosenbrock", "sparsine", "broyden-banded", "dixmaan", "vareigvl", "penalty1"])
def test_test_functions(name: str) -> None:
    make = registry.load(name)
    assert_unaffected(lambda: solve(make(n=30, start_noise=0.01), max_iterations=6).result)


@pytest.mark.parametrize("curvature", ["pcs", "plbfgs", "plse"])
@pytest.mark.parametrize("name", ["minimal-surface-elements", "subdomains", "penalty1"])
def test_partitioned_curvature(name: str, curvature: str) -> None:
    make = registry.load(name)
    sizes = {"networks": 3, "width": 4} if name == "subdomains" else {"n": 40 if name == "penalty1" else 5}
    assert_unaffected(lambda: solve(make(**sizes), "tr2", curvature=curvature, max_iterations=4).result)


def test_rows_of_a_sparse_jacobian() -> None:
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES["plsr1"])

    def run() -> Result:
        x = torch.linspace(-1, 1, 9, dtype=torch.float64, device="cpu")
        f = mlo.SparseRows(lambda z: (z[1:] - z[:-1] ** 2) ** 2, x)
        return mlo.minimize(f, x, solver, stop=mlo.MaxIterations(4))

    assert_unaffected(run)


@pytest.mark.parametrize("loss", ["l2", "l1", "logistic"])
@pytest.mark.parametrize("method", ["galerkin", "tr2"])
def test_function_fitting(loss: str, method: str) -> None:
    assert_unaffected(lambda: solve(Fit(nu=5.0, width=20, noise=0.1, loss=loss), method, max_iterations=4).result)
