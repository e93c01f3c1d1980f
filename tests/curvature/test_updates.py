"""The update formulas: equality with scipy, secant equation, symmetry, inverses, pairs that must change nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from multilevel_opt.curvature.pairs import Pair, dot, unit_pairs
from multilevel_opt.curvature.updates import (
    BFGSUpdate,
    SEUpdate,
    SR1Update,
    bfgs,
    bfgs_inverse,
    damped,
    sr1,
    sr1_inverse,
)

E, N = 5, 6
Update = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
UPDATES: dict[str, Update] = {"bfgs": bfgs, "sr1": sr1}
DIRECT: dict[str, tuple[Update, Update]] = {"bfgs": (bfgs, bfgs_inverse), "sr1": (sr1, sr1_inverse)}
STRATEGY = {"bfgs": scipy.optimize.BFGS, "sr1": scipy.optimize.SR1}


def batch(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def positive() -> Tensor:
    factor = batch(E, N, N)
    return factor @ factor.mT + torch.eye(N, dtype=torch.float64)


def curved_pairs() -> tuple[Tensor, Tensor]:
    s = batch(E, N)
    return s, torch.einsum("eij,ej->ei", positive(), s)


def times(B: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("eij,ej->ei", B, v)


@pytest.mark.parametrize("name", UPDATES)
def test_updates_equal_those_of_scipy_element_by_element(name: str) -> None:
    scale = 2.5
    known = [STRATEGY[name](init_scale=scale) for _ in range(E)]
    for strategy in known:
        strategy.initialize(N, "hess")
    B = scale * torch.eye(N, dtype=torch.float64).expand(E, N, N)
    for _ in range(4):
        s, y = curved_pairs()
        B, done = UPDATES[name](B, s, y)
        assert bool(done.all())
        for e, strategy in enumerate(known):
            strategy.update(s[e].numpy(), y[e].numpy())
            np.testing.assert_allclose(B[e].numpy(), strategy.get_matrix(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", UPDATES)
def test_the_secant_equation_holds_and_symmetry_stays(name: str) -> None:
    B = positive()
    for _ in range(5):
        s, y = curved_pairs()
        B, _ = UPDATES[name](B, s, y)
        torch.testing.assert_close(times(B, s), y, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(B, B.mT, rtol=1e-12, atol=1e-12)


def test_bfgs_stays_positive_definite_and_sr1_need_not() -> None:
    B, indefinite = positive(), positive()
    for _ in range(30):
        s, y = batch(E, N), batch(E, N)
        (B, good), (indefinite, _) = bfgs(B, s, y), sr1(indefinite, s, y)
        assert torch.equal(good, dot(s, y) > 1e-8 * s.norm(dim=1) * y.norm(dim=1))
        assert float(torch.linalg.eigvalsh(B).min()) > 0
    assert float(torch.linalg.eigvalsh(indefinite).min()) < 0  # negative control: the pairs are of no convex function


@pytest.mark.parametrize("name", DIRECT)
def test_an_inverse_update_is_the_inverse_of_the_update(name: str) -> None:
    B = positive()
    H = torch.linalg.inv(B)
    s, y = curved_pairs()
    direct, inverse = DIRECT[name]
    product = direct(B, s, y)[0] @ inverse(H, s, y)[0]
    torch.testing.assert_close(product, torch.eye(N, dtype=torch.float64).expand(E, N, N), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["bfgs", "sr1", "bfgs_inverse", "sr1_inverse"])
@pytest.mark.parametrize("factor", [1e-60, 1e60])
def test_the_length_of_the_step_and_the_scale_of_the_function_do_not_matter(name: str, factor: float) -> None:
    update = {"bfgs": bfgs, "sr1": sr1, "bfgs_inverse": bfgs_inverse, "sr1_inverse": sr1_inverse}[name]
    B, (s, y) = positive(), curved_pairs()
    expected, done = update(B, s, y)
    for changed, scale in (
        (update(B, factor * s, factor * y), 1.0),
        (update(factor * B, s, factor * y) if "inverse" not in name else update(factor * B, factor * s, y), factor),
    ):
        assert torch.equal(changed[1], done)
        torch.testing.assert_close(changed[0] / scale, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("update", [bfgs, sr1, bfgs_inverse, sr1_inverse])
def test_a_batch_equals_a_loop(update: Update) -> None:
    B, s, y = positive(), batch(E, N), batch(E, N)
    together, done = update(B, s, y)
    for e in range(E):
        alone, good = update(B[e : e + 1], s[e : e + 1], y[e : e + 1])
        torch.testing.assert_close(together[e : e + 1], alone, rtol=1e-13, atol=1e-13)
        assert bool(good[0]) == bool(done[e])
    if update in (bfgs, bfgs_inverse):
        assert 0 < int(done.sum()) < E  # elements with different acceptance


BAD = {
    "s = 0": (0.0, 1.0),
    "y = 0": (1.0, 0.0),
    "s nan": (float("nan"), 1.0),
    "y nan": (1.0, float("nan")),
    "y inf": (1.0, float("inf")),
    "y'y overflows": (1.0, 1e200),
    "s's overflows": (1e200, 1.0),
    "s's underflows": (1e-300, 1.0),
}


@pytest.mark.parametrize("update", [bfgs, sr1, bfgs_inverse])
@pytest.mark.parametrize("case", BAD)
def test_a_degenerate_pair_changes_its_own_element_not_at_all(update: Update, case: str) -> None:
    B, (s, y) = positive(), curved_pairs()
    expected, _ = update(B, s, y)
    s[2], y[2] = BAD[case][0] * s[2], BAD[case][1] * y[2]
    changed, done = update(B, s, y)
    assert done.tolist() == [True, True, False, True, True]
    assert torch.equal(changed[2], B[2])
    others = [0, 1, 3, 4]
    torch.testing.assert_close(changed[others], expected[others], rtol=1e-13, atol=1e-13)


def test_powell_damping_gives_curvature_where_there_is_none() -> None:
    B, s, y = positive(), batch(E, N), batch(E, N)
    c = times(B, s)
    sc = dot(s, c)
    y[0] = -c[0]
    y[1] = c[1]
    modified = damped(y, c, dot(s, y), sc, 0.2)
    assert bool((dot(s, modified) >= 0.2 * sc * (1 - 1e-12)).all())
    assert float(dot(s, y)[0]) < 0
    assert torch.equal(modified[1], y[1])
    assert float(torch.linalg.eigvalsh(bfgs(B, s, modified)[0]).min()) > 0


def test_single_precision_stays_single_and_is_as_close_as_it_can_be() -> None:
    B, (s, y) = positive(), curved_pairs()
    for update in (bfgs, sr1):
        wide, narrow = update(B, s, y)[0], update(B.float(), s.float(), y.float())[0]
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), wide, rtol=1e-3, atol=1e-3 * float(wide.abs().max()))


@pytest.mark.parametrize("update", [BFGSUpdate(), SR1Update(), SEUpdate()], ids=lambda u: type(u).__name__)
def test_pairs_that_are_surely_safe_pass_the_tests_of_all_elements(update: BFGSUpdate | SR1Update | SEUpdate) -> None:
    B, (steps, changes) = positive(), curved_pairs()

    def pair_of(y: Tensor) -> Pair:
        s, change = unit_pairs(steps, y)
        return Pair.of(s, change, times(B, s))

    pair, every = pair_of(changes), torch.ones(E, dtype=torch.bool)
    assert update.surely(pair, 1e-8)
    assert bool(update.admits(pair, 1e-8).all())
    assert not bool(update.satisfied(pair, 1e-8).any())
    at_once, masked = B.clone(), B.clone()
    update.apply(at_once, pair, 1e-8, None)
    update.apply(masked, pair, 1e-8, every)
    assert torch.equal(at_once, masked)
    spoilt = [torch.zeros(N), torch.full((N,), torch.nan), torch.full((N,), torch.inf), 1e200 * changes[2]]
    spoilt += [times(B, steps)[2]] if isinstance(update, SR1Update) else [-changes[2]]  # negative controls
    for y in spoilt:
        assert not update.surely(pair_of(changes.index_copy(0, torch.tensor([2]), y.double()[None])), 1e-8)
