"""Reduced curvature: exact on its basis, its measured error, and use in the loop."""

import pytest
import torch

import multilevel_opt as mlo
from multilevel_opt.curvature import Reduced
from multilevel_opt.curvature.galerkin import error
from multilevel_opt.errors import InputError, UnsupportedCombination

F64 = torch.float64
N = 40


def bowl(seed=0):
    """Convex, with curvatures from 1 to 100."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=F64))[0]
    b = torch.randn(N, generator=generator, dtype=F64)
    scales = torch.logspace(0, 2, N, dtype=F64)
    return mlo.Function(lambda x: 0.5 * (scales * (q @ x) ** 2).sum() + 0.05 * (x**4).sum() - b @ x)


def test_it_is_the_hessian_on_its_basis_and_nothing_elsewhere():
    f, x = bowl(), torch.linspace(-1, 1, N, dtype=F64)
    columns = torch.eye(N, 5, dtype=F64)
    curvature = Reduced(memory=0, columns=columns)
    model, V = curvature.expand(f, x, 2), curvature.basis(f.expand(x, 1).gradient)
    H = f.expand(x, 2).hessian()
    assert torch.allclose(V.mT @ V, torch.eye(V.shape[1], dtype=F64), atol=1e-12)
    assert torch.allclose(V.mT @ model.hessian() @ V, V.mT @ H @ V, atol=1e-10)
    outside = torch.linalg.qr(torch.cat([V, torch.randn(N, 3, dtype=F64)], 1))[0][:, V.shape[1] :]
    assert float((model.hessian() @ outside).abs().max()) < 1e-10
    assert error(model, f, x, outside[:, 0]) == pytest.approx(float((H @ outside[:, 0]).norm()), rel=1e-10)


def test_the_error_vanishes_when_the_basis_is_everything():
    f, x = bowl(), torch.linspace(-1, 1, N, dtype=F64)
    s = torch.randn(N, dtype=F64)
    errors = [error(Reduced(memory=0, columns=torch.eye(N, k, dtype=F64)).expand(f, x, 2), f, x, s) for k in (5, 20, N)]
    assert errors[0] > errors[1] > 1.0
    assert errors[2] < 1e-9


@pytest.mark.parametrize("solver", [mlo.AR2, mlo.TR2], ids=["ar2", "tr2"])
def test_snapshots_make_the_solvers_converge_faster_than_the_gradient_alone(solver):
    f, x0 = bowl(1), torch.zeros(N, dtype=F64)
    stop = mlo.GradientNorm(1e-7) | mlo.MaxIterations(400)
    counts = []
    for memory in (1, 10):
        found = mlo.minimize(f, x0, mlo.with_curvature(solver, Reduced(memory=memory)), stop=stop)
        counts.append(found.nit)
        assert found.gradient_norm < 1e-6
    assert counts[1] < counts[0] < 400


def test_its_snapshots_are_stored_and_what_cannot_be_is_refused():
    s, y = torch.randn(N, dtype=F64), torch.randn(N, dtype=F64)
    curvature = Reduced(memory=2)
    for k in range(5):
        curvature = curvature.updated(s + k, y - k)
    assert curvature.snapshots.shape == (N, 4)
    assert torch.equal(curvature.restored(curvature.learned(), N).snapshots, curvature.snapshots)
    assert curvature.fresh().snapshots is None
    assert torch.equal(curvature.updated(s / 0.0, y).snapshots, curvature.snapshots)
    with pytest.raises(InputError, match="snapshots of 40 unknowns, not 3"):
        curvature.restored(curvature.learned(), 3)
    with pytest.raises(InputError, match="no basis"):
        Reduced(memory=0)
    with pytest.raises(UnsupportedCombination, match="order 2, not 3"):
        Reduced().check(3, 1)
