"""Partitioned curvature: against the assembled dense matrices, on one and several levels, saved, refused."""

from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt import BFGS, LBFGS, LSE, LSR1, SE, SR1, Elements, PartiallySeparable, Partitioned
from multilevel_opt.curvature.forms import upright
from multilevel_opt.curvature.quasi_newton import QuasiNewton
from multilevel_opt.linalg.operator import Dense
from problems.separable import Arwhead, ChainedRosenbrock
from problems.surface_elements import MinimalSurfaceElements

N = 12
UPDATES: dict[str, QuasiNewton] = {
    "bfgs": BFGS(),
    "sr1": SR1(),
    "se": SE(),
    "lbfgs": LBFGS(memory=3),
    "lsr1": LSR1(memory=3),
    "lse": LSE(memory=3),
    "damped": LBFGS(memory=3, damping=0.2),
    "lbfgs-renewed": LBFGS(memory=6, renewal=2),
    "lsr1-renewed": LSR1(memory=6, renewal=2),
    "lse-renewed": LSE(memory=6, renewal=3),
    "lbfgs-wide": LBFGS(memory=1),
    "lsr1-wide": LSR1(memory=1),
}


def table(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64, device="cpu")


def waves(u: Tensor) -> Tensor:
    return torch.cos(u).sum(1) + u.square().sum(1) ** 2 + u[:, 0] * u[:, -1]


def groups() -> list[Elements]:
    chain = Elements(
        torch.arange(N - 1)[:, None] + torch.arange(2), lambda u: (u[:, 1] - u[:, 0] ** 2) ** 2, convex=False
    )
    convex = Elements(table((0, 5, 11), (3, 1, 7), (2, 2, 9)), lambda u: torch.exp(u).sum(1), convex=True)
    wide = Elements(torch.stack([torch.randperm(N) for _ in range(3)]), waves)
    affine = Elements(table((4, 8), (6, 10)), lambda u: 3 * u[:, 0] - u[:, 1])
    return [chain, convex, wide, affine]


def vector(n: int = N) -> Tensor:
    return 0.5 * torch.randn(n, dtype=torch.float64)


def path(f: mlo.Objective, curvature: Partitioned, x: Tensor, steps: list[Tensor]) -> tuple[Any, mlo.Taylor]:
    """The curvature and the model after these steps."""
    model = curvature.expand(f, x, 2)
    for s in steps:
        after = curvature.expand(f, x + s, 2)
        curvature, x = curvature.taught(s, model, after), x + s
        model = curvature.completed(after, f.ledger)
    return curvature, model


def assembled(f: PartiallySeparable, update: QuasiNewton, x: Tensor, steps: list[Tensor]) -> Tensor:
    """Σ Uᵢᵀ Bᵢ Uᵢ with every element taught alone, row by row in memory, by the curvature for one vector."""
    total = torch.zeros(f.n, f.n, dtype=torch.float64)
    points = reduce(lambda known, s: [*known, known[-1] + s], steps, [x])
    for number, group in enumerate(f.groups):
        slopes = [f.element_gradients(point)[number].contiguous() for point in points]
        for i, row in enumerate(group.indices):
            known = update
            U = torch.nn.functional.one_hot(row, f.n).double()
            last = None
            for k, s in enumerate(steps):
                y = slopes[k + 1][i] - slopes[k][i]
                if float(y.norm()) == 0:
                    last = 0.0
                    continue
                known = known.updated((U @ s)[None], y[None])
                last = float(y.norm() / (U @ s).norm())
            unit = torch.zeros(1, len(row), dtype=torch.float64)
            unit[0, 0] = float(slopes[-1][i].norm()) if last is None else last
            total += U.T @ known.form(unit).dense()[0] @ U
    return total


@pytest.mark.parametrize("small", [32, 1])
@pytest.mark.parametrize("name", UPDATES)
def test_it_is_the_assembled_matrix(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multilevel_opt.objective.batches.SMALL", small)
    f, x, steps = PartiallySeparable(groups(), N), vector(), [vector() for _ in range(6)]
    curvature, model = path(f, Partitioned(UPDATES[name]), x, steps)
    expected = assembled(f, UPDATES[name], x, steps)
    B, v = curvature.form(model), vector()
    torch.testing.assert_close(model.hvp(torch.zeros_like(v), v), expected @ v, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(B.dense(), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.hessian(), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(B.diagonal(), expected.diagonal(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(B.to_scipy() @ v.numpy(), (expected @ v).numpy(), rtol=1e-10, atol=1e-10)
    if small == 32:
        np.testing.assert_allclose(B.to_sparse().toarray(), expected.numpy(), rtol=1e-10, atol=1e-10)
    else:
        with pytest.raises(mlo.UnsupportedCombination, match="more than 32 variables"):
            B.to_sparse()
    assert float(torch.linalg.matrix_norm(expected, 2)) <= float(B.norm_bound()) * (1 + 1e-12)
    shift = 2 * float(B.norm_bound())
    solution = torch.linalg.solve(expected + shift * torch.eye(N), v)
    torch.testing.assert_close(B.solve(v, shift), solution, rtol=1e-10, atol=1e-10)
    monkeypatch.setattr("multilevel_opt.curvature.partitioned_form.DIRECT", 0)
    torch.testing.assert_close(B.solve(v, shift), solution, rtol=1e-8, atol=1e-10)
    if float(torch.linalg.eigvalsh(expected)[0]) < 0:  # conjugate gradients say so
        assert bool(torch.isnan(B.solve(v, 0.0)).all()) or torch.allclose(expected @ B.solve(v, 0.0), v, atol=1e-5)


def chain(n: int) -> PartiallySeparable:
    """A chain, its variables in no order."""
    at = torch.randperm(n)
    bends = Elements(at[torch.arange(n - 2)[:, None] + torch.arange(3)], waves)
    return PartiallySeparable([bends, Elements(at[:1, None], lambda u: u[:, 0] ** 2)], n)


@pytest.mark.parametrize("name", ["bfgs", "lsr1", "lse"])
def test_a_chain_is_solved_within_its_band(name: str) -> None:
    f, x, steps = chain(40), vector(40), [vector(40) for _ in range(4)]
    curvature, model = path(f, Partitioned(UPDATES[name]), x, steps)
    B, v, expected = curvature.form(model), vector(40), model.hessian()
    shift = max(0.0, 0.1 - float(torch.linalg.eigvalsh(expected)[0]))
    found = B.factored(v, shift)
    assert found is not None
    torch.testing.assert_close(
        found, torch.linalg.solve(expected + shift * torch.eye(40, dtype=v.dtype), v), rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(B.solve(v, shift), found)
    assert B.factored(v, -2 * float(B.norm_bound())) is None


def test_steps_by_factors_are_those_of_conjugate_gradients_or_better_than_cauchys() -> None:
    f, x = chain(40), vector(40)
    _, model = path(f, Partitioned(BFGS()), x, [0.3 * vector(40) for _ in range(4)])
    by_products = mlo.Taylor(model.value, (model.forms[0], model.forms[1].products))  # type: ignore[attr-defined]
    one, two = (mlo.Steihaug(forcing=1e-13).prepare(made) for made in (model, by_products))
    far, near = mlo.TrustRegion(radius=1e3), mlo.TrustRegion(radius=0.1)
    step, other = one.solve(far), two.solve(far)
    assert step is not None
    assert other is not None
    torch.testing.assert_close(step.s, other.s, rtol=1e-6, atol=1e-8)
    assert step.predicted == pytest.approx(other.predicted, rel=1e-8)
    step, g = one.solve(near), model.gradient
    assert step is not None
    assert step.on_boundary
    assert float(step.s.norm()) == pytest.approx(0.1, rel=1e-12)
    cauchy = -g * min(0.1 / float(g.norm()), float(g @ g) / float(g @ model.forms[1](g)))
    assert step.predicted >= float(model.value - model(cauchy)) * (1 - 1e-12)
    assert step.predicted == pytest.approx(float(model.value - model(step.s)), rel=1e-9)
    assert "factorization" in mlo.Steihaug().describe(model)
    assert "factorization" not in mlo.Steihaug().describe(by_products)


def err(f: PartiallySeparable, x: Tensor) -> mlo.Taylor:
    """A model whose elements have learned matrices of either sign."""
    curvature, model = path(f, Partitioned(SR1()), x, [vector(f.n) for _ in range(4)])
    lowest = min(float(torch.linalg.eigvalsh(group.matrices.store.matrix).min()) for group in curvature.known)
    assert lowest < 0
    assert float(torch.linalg.eigvalsh(model.hessian())[0]) < 0
    return model


@pytest.mark.parametrize("banded", [True, False])
def test_a_matrix_that_errs_is_exchanged_for_one_above_it_without_negative_curvature(banded: bool) -> None:
    concave = [Elements(g.indices, lambda u, g=g: -g.function(u)) for g in groups()[:3]]
    f = chain(40) if banded else PartiallySeparable(concave, N)
    model = err(f, vector(f.n))
    B, second = model.hessian(), model.forms[1].upright()  # type: ignore[attr-defined]
    turned = mlo.Taylor(model.value, (model.forms[0], second))
    U = turned.hessian()
    assert float(torch.linalg.eigvalsh(U)[0]) >= -1e-12 * float(U.abs().max())
    assert float(torch.linalg.eigvalsh(U - B)[0]) >= -1e-10 * float(U.abs().max())
    step = mlo.Steihaug(forcing=1e-10).prepare(model).solve(mlo.TrustRegion(radius=0.5))
    assert step is not None
    assert float(step.s.norm()) <= 0.5 * (1 + 1e-12)
    assert step.predicted == pytest.approx(float(turned.value - turned(step.s)), rel=1e-9)
    g = model.gradient
    cauchy = -g * min(0.5 / float(g.norm()), float(g @ g) / float(g @ U @ g))
    assert step.predicted >= float(turned.value - turned(cauchy)) * (1 - 1e-9)
    assert step.predicted <= float(model.value - model(step.s)) * (1 + 1e-9)  # the model of B promises no less
    plain = mlo.Taylor(model.value, (model.forms[0], model.forms[1].products))  # type: ignore[attr-defined]
    far = mlo.Steihaug(forcing=1e-10).prepare(plain).solve(mlo.TrustRegion(radius=0.5))
    assert far is not None
    assert far.on_boundary  # without another form negative curvature is followed to the boundary


def test_upright_matrices_are_those_given_where_these_are_positive_definite() -> None:
    factor = torch.randn(7, 4, 4, dtype=torch.float64)
    definite = factor @ factor.mT + 0.1 * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(upright(definite), definite, rtol=1e-10, atol=1e-10)
    pivots = torch.tensor([2.0, -3.0, 0.5, -1.0], dtype=torch.float64)
    L = factor.tril(-1) + torch.eye(4, dtype=torch.float64)
    found = upright(L @ torch.diag(pivots) @ L.mT)
    torch.testing.assert_close(found, L @ torch.diag(pivots.abs()) @ L.mT, rtol=1e-8, atol=1e-8)
    awkward = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert bool(torch.isfinite(upright(awkward)).all())
    assert float(torch.linalg.eigvalsh(upright(awkward)[0] - awkward[0])[0]) >= -1e-8
    assert float(upright(awkward)[1].abs().max()) < 1e-300


def test_sr1_does_not_fail_for_single_elements_that_err() -> None:
    """On the minimal surface a third of the steps was refused, and there were twenty times as many as of BFGS."""
    problem = MinimalSurfaceElements(n=15)
    stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(60)
    found = mlo.minimize(problem.objective, problem.x0, mlo.with_curvature(mlo.TR2, mlo.CURVATURES["plsr1"]), stop=stop)
    assert found.success


@pytest.mark.parametrize("name", [name for name in UPDATES if name != "damped"])
def test_every_element_satisfies_its_secant_equation(name: str) -> None:
    f, x, steps = PartiallySeparable(groups()[1:3], N), vector(), [vector(), vector()]
    curvature, _ = path(f, Partitioned(UPDATES[name]), x, steps)
    points = [x + steps[0], x + steps[0] + steps[1]]
    before, after = (f.incidence.joined(f.element_gradients(point)) for point in points)
    for s, learned, old, new in zip(f.incidence.gathered(steps[1]), curvature.known, before, after, strict=True):
        y = new - old
        used = learned.matrices.store.refused == 0
        assert bool(used.any())
        product = learned.matrices.form(y).matvec(s)
        torch.testing.assert_close(product[used], y[used], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["plbfgs", "plsr1", "plse", "pbfgs", "psr1", "pse", "pcs"])
@pytest.mark.parametrize("factor", [100.0, 2.0**-40])
def test_the_iterates_do_not_depend_on_the_scale_of_f(name: str, factor: float) -> None:
    def run(scale: float) -> mlo.Result:
        f = PartiallySeparable([Elements(g.indices, lambda u, g=g: scale * g.function(u)) for g in groups()[:3]], N)
        solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name]).replace(subproblem=mlo.Steihaug(forcing=1e-8))
        return mlo.minimize(f, start, solver, stop=mlo.MaxIterations(8))

    torch.manual_seed(3)
    start = vector()
    torch.manual_seed(4)
    plain = run(1.0)
    torch.manual_seed(4)
    scaled = run(factor)
    assert len(plain.history) == len(scaled.history)
    torch.testing.assert_close(scaled.x, plain.x, rtol=1e-6, atol=1e-6)


def test_an_affine_element_gets_no_curvature_and_a_still_one_keeps_its_own() -> None:
    affine = Elements(table((0,)), lambda u: 5 * u[:, 0])
    square = Elements(table((1,)), lambda u: u[:, 0] ** 2)
    f = PartiallySeparable([affine, square], 2)
    both, first = torch.ones(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    curvature, model = path(f, Partitioned(SR1(patience=2)), both, [both] + [first] * 5)
    torch.testing.assert_close(curvature.form(model).dense(), torch.diag(torch.tensor([0.0, 2.0], dtype=torch.float64)))


def test_convex_groups_may_have_an_update_of_their_own() -> None:
    f, x, steps = PartiallySeparable(groups(), N), vector(), [3 * vector() for _ in range(4)]
    curvature, _ = path(f, Partitioned(SR1(), convex=BFGS()), x, steps)
    assert curvature.name == "pcs"
    assert [batch.groups for batch in f.incidence.batches] == [(2, 0, 3), (1,)]
    assert [type(batch.matrices) for batch in curvature.known] == [SR1, BFGS]
    assert float(torch.linalg.eigvalsh(curvature.known[1].matrices.store.matrix).min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["plbfgs", "plsr1", "plse", "pbfgs", "psr1", "pse", "pcs"])
def test_runs_converge_in_both_precisions(name: str, dtype: torch.dtype) -> None:
    problem = Arwhead(n=50, dtype=str(dtype).removeprefix("torch."))
    for solver in (mlo.TR2, mlo.AR2)[: 2 if dtype == torch.float64 else 1]:
        chosen = mlo.with_curvature(solver, mlo.CURVATURES[name])
        found = mlo.minimize(problem.objective, problem.x0, chosen, stop=mlo.GradientNorm(1e-3) | mlo.MaxIterations(60))
        assert found.success
        assert found.x.dtype == dtype
        assert found.ledgers[0].counts["hvp"] == 0


@pytest.mark.parametrize("name", ["plsr1", "pbfgs"])
def test_sums_of_squares_have_elements_too(name: str) -> None:
    problem = ChainedRosenbrock(n=10)
    chosen = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name])
    found = mlo.minimize(problem.objective, problem.x0, chosen, stop=mlo.GradientNorm(1e-6) | mlo.MaxIterations(200))
    assert found.success


def test_a_galerkin_level_learns_from_the_same_elements() -> None:
    f, x, steps = PartiallySeparable(groups(), N), vector(), [vector(5) for _ in range(4)]
    P = torch.linalg.qr(torch.randn(N, 5, dtype=torch.float64))[0]
    pulled, start = f.pullback(x, mlo.TransferOperator(Dense(P)))
    coarse, model = path(pulled, Partitioned(SR1()), start, steps)
    _, fine = path(f, Partitioned(SR1()), x, [P @ s for s in steps])
    torch.testing.assert_close(model.hessian(), P.T @ fine.hessian() @ P, rtol=1e-10, atol=1e-10)
    assert float(torch.linalg.matrix_norm(model.hessian(), 2)) <= float(coarse.form(model).norm_bound()) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["plse", "pcs"])
def test_two_levels(name: str) -> None:
    problem = Arwhead(n=40)
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name])
    hierarchy = mlo.random_subspace(problem.x0, 2)
    stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(60)
    found = mlo.minimize(problem.objective, problem.x0, solver, hierarchy=hierarchy, stop=stop)
    assert found.success
    assert {event.level for event in found.history} == {0, 1}


@pytest.mark.parametrize("name", ["plbfgs", "plsr1", "plse", "pse", "pcs"])
def test_what_was_learned_is_restored_from_its_tensors(name: str) -> None:
    f, x, steps = PartiallySeparable(groups(), N), vector(), [vector() for _ in range(5)]
    fresh = mlo.CURVATURES[name]
    known, model = path(f, fresh, x, steps)  # type: ignore[arg-type]
    back = fresh.restored({key: t.clone() for key, t in known.learned().items()}, N)
    after = known.expand(f, x + sum(steps) + 0.1, 2)
    s = torch.full_like(x, 0.1)
    one, two = (c.taught(s, model, after).completed(after, f.ledger).hessian() for c in (known, back))
    assert torch.equal(one, two)
    other = PartiallySeparable(groups()[:2], N)
    with pytest.raises(mlo.InputError, match="those of other elements"):
        back.form(other.expand(x, 1))


@pytest.mark.parametrize("case", ["plbfgs", "plse", "pcs", "psr1 on two levels"])
def test_interrupted_and_resumed_equals_uninterrupted(case: str, tmp_path: Path) -> None:
    name, *levels = case.split(" on ")
    problem = MinimalSurfaceElements(n=7, boundary="waves", height=2.0)
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES[name])

    def solve(limit: int, **options: Any) -> mlo.Result:
        hierarchy = problem.hierarchy(1 + len(levels))
        stop = mlo.MaxIterations(limit)
        return mlo.minimize(problem.objective, problem.x0, solver, hierarchy=hierarchy, stop=stop, **options)

    file = tmp_path / "run.pt"
    whole = solve(8)
    solve(4, checkpoint=file)
    again = solve(8, checkpoint=file, resume=True)
    assert torch.equal(again.x, whole.x)
    assert [event.loss for event in again.history] == [event.loss for event in whole.history]


def test_what_has_no_elements_is_refused_in_a_sentence() -> None:
    f, x = mlo.Function(lambda z: z.square().sum()), vector()
    solver = mlo.with_curvature(mlo.TR2, mlo.CURVATURES["plsr1"])
    with pytest.raises(
        mlo.UnsupportedCombination, match="learns from the gradients of elements, and Function has none"
    ):
        mlo.minimize(f, x, solver)
    with pytest.raises(mlo.UnsupportedCombination, match="has none"):
        mlo.minimize(PartiallySeparable(groups(), N) + f, x, solver)
    with pytest.raises(mlo.InputError, match="curvature of one element"):
        Partitioned(mlo.Exact())  # type: ignore[arg-type]
    with pytest.raises(mlo.UnsupportedCombination, match="models of order 2"):
        mlo.TR1.replace(curvature=mlo.CURVATURES["plsr1"])
