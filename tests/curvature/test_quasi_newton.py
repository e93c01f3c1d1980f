"""Secant curvatures as values: compact form against dense recursions, scipy and itself in a loop; what is refused."""

from functools import reduce
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg
import torch
from torch import Tensor

from multilevel_opt import AR1, AR2, BFGS, LBFGS, LSE, LSR1, SE, SR1, TR1, TR2, Cycle
from multilevel_opt.curvature.forms import CompactForm, DenseForm, to_scipy
from multilevel_opt.curvature.limited_memory import LimitedMemory
from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from tests.references import secant as reference

E, N, M = 3, 12, 5  # N > 2M: beyond 2M unknowns B has the compact form, up to there it is written out
ALL = {"bfgs": BFGS(), "sr1": SR1(), "se": SE(), "lbfgs": LBFGS(memory=M), "lsr1": LSR1(memory=M), "lse": LSE(memory=M)}
ALL |= {f"{kind.name}, renewed": kind(memory=7, renewal=7) for kind in (LBFGS, LSR1, LSE)}
POSITIVE = ("bfgs", "lbfgs", "lbfgs, renewed")
LIMITED: dict[str, Any] = {"lbfgs": (LBFGS, reference.bfgs, reference.compact_bfgs)}
LIMITED["lsr1"] = (LSR1, reference.sr1, reference.compact_sr1)


def batch(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def hessians(elements: int = E, n: int = N) -> Tensor:
    factor = batch(elements, n, n)
    return factor @ factor.mT / n + torch.eye(n, dtype=torch.float64)


def quadratic_pairs(count: int, elements: int = E, n: int = N) -> list[tuple[Tensor, Tensor]]:
    H = hessians(elements, n)
    steps = [batch(elements, n) for _ in range(count)]
    return [(s, torch.einsum("eij,ej->ei", H, s)) for s in steps]


def taught(curvature: Any, pairs: list[tuple[Tensor, Tensor]]) -> Any:
    return reduce(lambda known, pair: known.updated(*pair), pairs, curvature)


def matrix(curvature: Any, elements: int = E, n: int = N, dtype: torch.dtype = torch.float64) -> Tensor:
    return curvature.form(torch.ones(elements, n, dtype=dtype)).dense()


@pytest.mark.parametrize("memory", [M, 6])
@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("count", [1, M - 1, M, M + 3])
def test_limited_memory_equals_the_dense_recursion_and_the_formula_of_the_paper(
    name: str, count: int, memory: int
) -> None:
    kind, step, compact = LIMITED[name]
    pairs = quadratic_pairs(count)
    known = taught(kind(memory=memory), pairs)
    for e in range(E):
        kept = [(s[e].numpy(), y[e].numpy()) for s, y in pairs[-memory:]]
        gamma = float(known.store.scale[e])
        dense = reduce(lambda B, pair: step(B, *pair), kept, gamma * np.eye(N))
        S, Y = (np.stack(columns, 1) for columns in zip(*kept, strict=True))
        found = matrix(known)[e].numpy()
        np.testing.assert_allclose(found, dense, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found, compact(gamma, S, Y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("memory", "renewal"), [(6, 6), (6, 2), (8, 1)])
@pytest.mark.parametrize("name", ["lbfgs", "lsr1"])
def test_a_renewed_matrix_is_that_of_the_last_pairs_updated_since(name: str, memory: int, renewal: int) -> None:
    kind, step, _ = LIMITED[name]
    pairs = quadratic_pairs(2 * memory + 4)
    for count in (1, memory, memory + 1, len(pairs)):
        built = renewal * ((count - 1) // renewal)  # the pair with which B was built
        first = max(0, built - memory + 1)
        found = matrix(taught(kind(memory=memory, renewal=renewal), pairs[:count]))
        for e in range(E):
            gamma = float(kind.update.scale(*_numbers(*pairs[built]))[e])
            kept = [(s[e].numpy(), y[e].numpy()) for s, y in pairs[first:count]]
            dense = reduce(lambda B, pair: step(B, *pair), kept, gamma * np.eye(N))
            np.testing.assert_allclose(found[e].numpy(), dense, rtol=1e-9, atol=1e-9)
    longer = matrix(taught(kind(memory=memory, renewal=renewal + 1), pairs))  # negative control
    assert float((longer - found).abs().max()) > 1e-3


def _numbers(s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sᵀy and ‖y‖ of pairs divided by ‖s‖."""
    length = s.norm(dim=1)
    return (s * y).sum(1) / length**2, y.norm(dim=1) / length


def test_an_element_that_refused_a_pair_keeps_its_matrix_when_others_are_renewed() -> None:
    pairs = quadratic_pairs(7)
    pairs[4][1][1] = -pairs[4][1][1]
    one, never = (taught(LBFGS(memory=6, renewal=r), pairs) for r in (6, 100))
    assert one.store.count.tolist() == [7, 6, 7]
    difference = (matrix(one) - matrix(never)).abs().amax((1, 2))
    assert float(difference[1]) == 0
    assert float(difference[[0, 2]].min()) > 1e-6


def test_the_recursion_and_the_formula_give_the_same_core() -> None:
    """The recursion is what L-BFGS falls back on where rounding spoils the Cholesky factorization."""
    known = taught(LBFGS(memory=M), quadratic_pairs(M - 2))
    store = known.store
    args = (store.scale, store.ratio, store.gram)
    torch.testing.assert_close(known._core(*args), LimitedMemory._core(known, *args), rtol=1e-11, atol=1e-11)


def test_the_inverse_of_lbfgs_is_that_of_scipy() -> None:
    pairs = quadratic_pairs(M + 2)
    known = taught(LBFGS(memory=M), pairs)
    v = batch(E, N)
    found = known.form(v).solve(v)
    for e in range(E):
        gamma = float(known.store.scale[e])
        S, Y = (np.stack([pair[k][e].numpy() for pair in pairs[-M:]]) for k in (0, 1))
        H = scipy.optimize.LbfgsInvHessProduct(S, Y / gamma)
        np.testing.assert_allclose(found[e].numpy(), H @ v[e].numpy() / gamma, rtol=1e-10, atol=1e-10)


def test_the_first_matrix_of_bfgs_has_the_scale_of_nocedal_and_wright() -> None:
    s, y = quadratic_pairs(1)[0]
    expected = (y * y).sum(1) / (s * y).sum(1)
    torch.testing.assert_close(LBFGS().updated(s, y).store.scale, expected)
    orthogonal = torch.linalg.qr(torch.stack([s[0], y[0], batch(N)], 1))[0][:, 2]
    for curvature in (BFGS(), LBFGS()):
        B = matrix(curvature.updated(s, y))[0]
        torch.testing.assert_close(orthogonal @ B @ orthogonal, expected[0])


@pytest.mark.parametrize("name", ALL)
def test_operations_of_a_form_are_those_of_its_matrix(name: str) -> None:
    form = taught(ALL[name], quadratic_pairs(M + 1)).form(torch.ones(E, N, dtype=torch.float64))
    B, v = form.dense(), batch(E, N)
    torch.testing.assert_close(form.matvec(v), torch.einsum("eij,ej->ei", B, v), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(form.diagonal(), B.diagonal(dim1=1, dim2=2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(B, B.mT, rtol=1e-12, atol=1e-12)
    norm = torch.linalg.matrix_norm(B, 2)
    assert bool((form.norm_bound() >= norm * (1 - 1e-12)).all())
    assert bool((form.norm_bound() <= 3 * norm).all())
    for shift in (0.0, 0.7, torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)):
        sigma = torch.as_tensor(shift, dtype=torch.float64).expand(E)
        back = torch.einsum("eij,ej->ei", B, solved := form.solve(v, shift)) + sigma[:, None] * solved
        torch.testing.assert_close(back, v, rtol=1e-9, atol=1e-9)


def test_the_norm_of_a_compact_form_is_exact_where_the_pairs_leave_a_complement() -> None:
    form = taught(LSR1(memory=3), quadratic_pairs(3)).form(torch.ones(E, N, dtype=torch.float64))
    assert isinstance(form, CompactForm)
    torch.testing.assert_close(form.norm_bound(), torch.linalg.matrix_norm(form.dense(), 2))


@pytest.mark.parametrize("name", ALL)
def test_one_element_is_a_scipy_operator_and_several_are_refused(name: str) -> None:
    known = taught(ALL[name], quadratic_pairs(4, elements=1))
    form = known.form(torch.ones(1, N, dtype=torch.float64))
    operator, v = to_scipy(form), np.arange(N, dtype=float)
    np.testing.assert_allclose(operator @ v, form.dense()[0].numpy() @ v, rtol=1e-12)
    with pytest.raises(ShapeError, match="3 elements"):
        to_scipy(DenseForm(torch.zeros(3, 2, 2, dtype=torch.float64)))


@pytest.mark.parametrize("name", ALL)
def test_the_secant_equation_holds_for_the_last_pair(name: str) -> None:
    known = ALL[name]
    for s, y in quadratic_pairs(M + 4):
        known = known.updated(s, y)
        torch.testing.assert_close(known.form(s).matvec(s), y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("curvature", [SR1(), LSR1(memory=N)], ids=["sr1", "lsr1"])
def test_sr1_has_the_hessian_of_a_quadratic_after_n_independent_steps(curvature: Any) -> None:
    sign = torch.diag(torch.tensor([-1.0, 1.0] * (N // 2), dtype=torch.float64))
    H = hessians() @ sign + sign @ hessians()
    H = H + H.mT
    for k in range(N):
        s = batch(E, N)
        curvature = curvature.updated(s, torch.einsum("eij,ej->ei", H, s))
        if k == N - 2:  # negative control: one step too few
            assert float((matrix(curvature) - H).abs().max()) > 1e-3
    torch.testing.assert_close(matrix(curvature), H, rtol=1e-7, atol=1e-7)
    assert float(torch.linalg.eigvalsh(matrix(curvature)).min()) < 0


@pytest.mark.parametrize("name", POSITIVE)
def test_bfgs_is_positive_definite_whatever_the_pairs(name: str) -> None:
    known = ALL[name]
    for _ in range(25):
        known = known.updated(batch(E, N), batch(E, N))
        assert float(torch.linalg.eigvalsh(matrix(known)).min()) > 0
    assert bool((known.store.count > M).all())


@pytest.mark.parametrize("name", ALL)
def test_a_batch_with_different_acceptance_equals_a_loop(name: str) -> None:
    pairs = [(batch(E, N), batch(E, N)) for _ in range(15)]
    pairs[2][1][1] = float("nan")
    pairs[4][0][2] = 0.0
    together = taught(ALL[name], pairs)
    assert len(set(together.store.count.tolist())) > 1
    for e in range(E):
        alone = taught(ALL[name], [(s[e], y[e]) for s, y in pairs])
        torch.testing.assert_close(matrix(alone, 1)[0], matrix(together)[e], rtol=1e-11, atol=1e-11)
        assert int(alone.store.count) == int(together.store.count[e])
        assert int(alone.store.refused) == int(together.store.refused[e])


BAD = [(0.0, 1.0), (1.0, 0.0), (1.0, float("nan")), (float("nan"), 1.0), (1.0, float("inf")), (1.0, 1e200), (1e200, 1)]


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_degenerate_pair_leaves_no_trace_but_its_count(name: str, bad: tuple[float, float], before: int) -> None:
    pairs = quadratic_pairs(before + 1)
    known, (s, y) = taught(ALL[name], pairs[:before]), pairs[-1]
    after = known.updated(bad[0] * s, bad[1] * y)
    torch.testing.assert_close(matrix(after), matrix(known), rtol=0, atol=0)
    assert after.store.refused.tolist() == [1] * E
    again = after.updated(s, y)
    torch.testing.assert_close(matrix(again), matrix(known.updated(s, y)), rtol=0, atol=0)
    assert again.store.refused.tolist() == [0] * E


@pytest.mark.parametrize("name", ALL)
def test_more_pairs_than_unknowns_and_repeated_directions_are_harmless(name: str) -> None:
    known = ALL[name]
    H = hessians(E, 2)
    for k in range(30):
        s = 10.0 ** -(k % 12) * (batch(E, 2) if k % 3 else torch.ones(E, 2, dtype=torch.float64))
        known = known.updated(s, torch.einsum("eij,ej->ei", H, s))
    torch.testing.assert_close(matrix(known, n=2) @ s[..., None], H @ s[..., None], rtol=1e-6, atol=0)
    assert float(torch.linalg.eigvalsh(matrix(known, n=2)).min()) > 0


@pytest.mark.parametrize("slope", [3.0, -3.0])
@pytest.mark.parametrize("name", ALL)
def test_an_element_of_one_unknown_satisfies_its_secant_equation(name: str, slope: float) -> None:
    """Collinear s and y, which a scaled L-SR1 refuses when it is not looked at closely."""
    known, s = ALL[name], torch.tensor([[0.5]], dtype=torch.float64)
    for factor in (1.0, 2.0):
        known = known.updated(s, factor * slope * s)
    found = float(matrix(known, 1, 1))
    indefinite = name not in POSITIVE
    assert found == pytest.approx(2 * slope if slope > 0 or indefinite else 1.0)  # 1: the norm of the gradient given


@pytest.mark.parametrize("name", ALL)
def test_scaling_the_function_scales_the_matrix(name: str) -> None:
    pairs = [(batch(E, N), batch(E, N)) for _ in range(8)]
    plain = matrix(taught(ALL[name], pairs))
    for power in (-70, 70):
        scaled = matrix(taught(ALL[name], [(s, 2.0**power * y) for s, y in pairs]))
        torch.testing.assert_close(scaled / 2.0**power, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_before_the_first_pair_the_minimizer_of_the_model_has_length_one(name: str) -> None:
    g = batch(E, N)
    step = ALL[name].form(g).solve(-g)
    torch.testing.assert_close(step, -g / g.norm(dim=1, keepdim=True))
    refused = ALL[name].updated(torch.zeros(E, N, dtype=torch.float64), g)
    torch.testing.assert_close(refused.form(g).matvec(g), g.norm(dim=1, keepdim=True) * g)


@pytest.mark.parametrize("kind", [BFGS, LBFGS])
def test_patience_resets_an_element_alone(kind: Any) -> None:
    pairs = quadratic_pairs(3)
    known = taught(kind(patience=2), pairs)
    against = pairs[0][1].clone()
    against[1] = -against[1]
    for _ in range(2):
        known = known.updated(pairs[0][0], against)
    assert known.store.count.tolist() == [5, 0, 5]
    g = batch(E, N)
    torch.testing.assert_close(known.form(g).matvec(g)[1], g[1].norm() * g[1])


@pytest.mark.parametrize("kind", [BFGS, LBFGS])
def test_damping_uses_pairs_without_curvature(kind: Any) -> None:
    pairs = [(batch(E, N), batch(E, N)) for _ in range(10)]
    damped, plain = taught(kind(damping=0.2), pairs), taught(kind(), pairs)
    assert damped.store.count.tolist() == [10] * E
    assert int(plain.store.count.sum()) < 10 * E
    assert float(torch.linalg.eigvalsh(matrix(damped)).min()) > 0


@pytest.mark.parametrize("name", ALL)
def test_single_precision(name: str) -> None:
    pairs = quadratic_pairs(4)
    narrow = taught(ALL[name], [(s.float(), y.float()) for s, y in pairs])
    found = matrix(narrow, dtype=torch.float32)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), matrix(taught(ALL[name], pairs)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_values_are_frozen_and_restored_from_their_tensors(name: str) -> None:
    curvature, pairs = ALL[name], quadratic_pairs(4, elements=1)
    known = taught(curvature, pairs)
    assert curvature.store is None
    assert curvature == known.fresh()
    back = curvature.restored(known.learned(), N)
    s, y = quadratic_pairs(1, elements=1)[0]
    for one, two in ((back, known), (back.updated(s, y), known.updated(s, y))):
        assert torch.equal(matrix(one, 1), matrix(two, 1))
    assert curvature.restored({}, N).store is None
    with pytest.raises(InputError, match="resume with the same curvature"):
        curvature.restored(known.learned(), N + 1)


def test_tensors_of_another_curvature_or_memory_are_refused() -> None:
    pairs = quadratic_pairs(2, elements=1)
    with pytest.raises(KeyError):
        LBFGS().restored(taught(BFGS(), pairs).learned(), N)
    with pytest.raises(InputError, match="same curvature"):
        LBFGS(memory=4).restored(taught(LBFGS(memory=5), pairs).learned(), N)


def test_bad_options_and_too_many_unknowns_are_refused_in_a_sentence() -> None:
    for make in (lambda: LSR1(memory=0), lambda: BFGS(damping=1.0), lambda: SR1(tolerance=-1.0)):
        with pytest.raises(InputError):
            make()
    with pytest.raises(InputError, match="use lbfgs"):
        BFGS(largest=7).form(torch.ones(1, 8, dtype=torch.float64))


@pytest.mark.parametrize("name", ALL)
def test_orders_and_coherence_that_need_derivatives_are_refused(name: str) -> None:
    for solver in (AR1, TR1):
        with pytest.raises(UnsupportedCombination, match="models of order 2, not 1"):
            solver.replace(curvature=ALL[name])
    with pytest.raises(UnsupportedCombination, match="models of order 2, not 3"):
        AR2.replace(order=3, curvature=ALL[name])
    with pytest.raises(UnsupportedCombination, match="coherence of order 2"):
        TR2.replace(curvature=ALL[name], cycle=Cycle(coherence=2))
