"""Acceptance and update of σ and Δ, their bounds, and constants that are refused."""

from math import inf, nan

import pytest
import torch

from multilevel_opt.errors import InputError
from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.objective.base import Function
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.policy import DelayedGratification, ErrorLaw, GainRatio, Interpolation, Policy, Trial
from multilevel_opt.state import Cycle
from multilevel_opt.subproblem import DampedLeastSquares


def trial(ratio: float, predicted: float = 2.0, boundary: bool = False, length: float = 0.5) -> Trial:
    return Trial(ratio * predicted, predicted, length, boundary)


NOT_FINITE = Trial(-inf, 1.0, 0.5)
X = torch.tensor([1.0, 2.0], dtype=torch.float64)


def model(matrix_free: bool = False) -> Taylor:
    J = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    return LeastSquares(lambda x: J @ x, matrix_free=matrix_free).expand(X, 2)


def test_ratio() -> None:
    assert trial(0.3).ratio == pytest.approx(0.3)
    for nothing in (Trial(1.0, 0.0, 1.0), Trial(1.0, -1.0, 1.0), Trial(1.0, nan, 1.0), NOT_FINITE):
        assert nothing.ratio == -inf


@pytest.mark.parametrize(
    ("ratio", "accepted", "factor"),
    [
        (-1.0, False, 1.5),
        (0.0, False, 1.5),
        (0.09, False, 1.5),
        (0.11, True, 0.85),
        (0.76, True, 0.5),
        (5.0, True, 0.5),
    ],
)
def test_gain_ratio(ratio: float, accepted: bool, factor: float) -> None:
    policy = GainRatio()
    assert policy.accepts(trial(ratio)) == accepted
    assert policy.factor(trial(ratio)) == factor


def test_gain_ratio_never_accepts_an_increase_that_was_predicted() -> None:
    assert not GainRatio().accepts(Trial(-1.0, -2.0, 1.0))
    assert not GainRatio().accepts(NOT_FINITE)
    assert not GainRatio().accepts(Trial(0.0, 0.0, 0.0))


@pytest.mark.parametrize(("decrease", "factor"), [(1e-30, 0.1), (1.0, 0.1), (0.0, 1.5), (-1.0, 1.5), (-inf, 1.5)])
def test_delayed_gratification(decrease: float, factor: float) -> None:
    policy = DelayedGratification()
    found = Trial(decrease, -1.0, 1.0)  # whatever was predicted
    assert policy.accepts(found) == (decrease > 0)
    assert policy.factor(found) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("found", "accepted", "factor"),
    [
        (trial(1.0), True, 0.1),
        (trial(7.0), True, 0.1),  # better than the model
        (trial(0.75), True, 1 / 6),
        (Trial(1.0, -1.0, 0.5), True, 1 / 3),  # no decrease was promised
        (trial(0.0), False, 1.5),
        (trial(-7.0), False, 2.0),
        (trial(-1e9), False, 10.0),
        (NOT_FINITE, False, 1.5),
    ],
)
def test_error_law(found: Trial, accepted: bool, factor: float) -> None:
    policy = ErrorLaw()
    assert policy.accepts(found) == accepted
    assert policy.factor(found) == pytest.approx(factor)


@pytest.mark.parametrize(("p", "beyond"), [(1, False), (2, False), (3, False), (5, True)])
def test_refusals_do_not_pass_the_edge_of_an_error_law(p: int, beyond: bool) -> None:
    """With 1 − ρ = (edge/σ)^p the search ends within a factor ``up`` of the edge for p ≤ 3, and not for p = 5."""
    edge = 40.0
    g = Regularization(power=2, weight=1.0, policy=ErrorLaw())
    while not g.accepts(found := trial(1 - (edge / g.scalar) ** p)):
        g = g.update(found)
    assert (g.scalar > 1.5 * edge) == beyond


@pytest.mark.parametrize("policy", [GainRatio(), DelayedGratification(), ErrorLaw()])
def test_weight_follows_the_policy_within_its_bounds(policy: Policy) -> None:
    g = Regularization(policy=policy, weight=2.0, power=2, minimum=0.5)
    for found in (trial(0.9), trial(0.01), trial(-1.0), NOT_FINITE):
        assert g.accepts(found) == policy.accepts(found)
        assert g.update(found).scalar == pytest.approx(max(0.5, 2.0 * policy.factor(found)))
    for _ in range(50):
        g = g.update(trial(0.9))
    assert g.scalar == 0.5


def test_weight_returns_from_its_minimum_within_the_trials_of_one_iteration() -> None:
    g = Regularization(power=2, weight=1.0, policy=DelayedGratification())
    for _ in range(1000):
        g = g.update(trial(1.0))
    assert g.scalar > 0
    for _ in range(Cycle().max_trials):
        g = g.update(NOT_FINITE)
    assert g.scalar > 1.0


def test_weight_beyond_its_maximum_is_exhausted() -> None:
    g = Regularization(weight=0.9e40, power=2)
    assert not g.exhausted
    assert g.update(NOT_FINITE).exhausted


def test_weight_of_the_first_model() -> None:
    mean = (9.0 + 16.0) / 2
    g = Regularization(power=2)
    assert not g.started
    assert g.start(model(), 2).scalar == pytest.approx(1e-4 * mean)
    r = model()
    rayleigh = float(r.gradient @ r.gradient / (2 * r.value))
    assert g.start(model(matrix_free=True), 2).scalar == pytest.approx(1e-4 * rayleigh)
    plain = Function(lambda x: x @ x).expand(X, 2)
    started = Regularization().start(plain, 2)
    length = float(X.norm())  # ∇f = 2x, ∇²f = 2I: the Cauchy point is ‖x‖ away, and the penalty has a tenth of ∇f there
    assert (started.power, started.started) == (3, True)
    assert started.scalar * length**2 == pytest.approx(0.1 * 2 * length)
    assert Regularization(power=4).start(plain, 2).power == 4
    assert (
        Regularization(weight=7.0, minimum=1e-6).start(plain, 1).memory().items()
        >= {
            "weight": 7.0,
            "power": 2.0,
            "minimum": 1e-6,
        }.items()
    )
    assert Regularization(minimum=50.0).start(plain, 1).scalar == 50.0
    flat = LeastSquares(lambda x: 0 * x).expand(X, 2)
    assert 0 < g.start(flat, 2).scalar < inf


def test_levels_keep_weights_of_their_own_unless_inherited() -> None:
    fine = Regularization(power=2, weight=3.0)
    assert not fine.coarsened(None, 2.0).started
    own = Regularization(power=2, weight=9.0)
    assert fine.coarsened(own, 2.0) is own
    assert fine.penalty(X) is None
    assert fine.after_coarse(NOT_FINITE) is fine
    published = Regularization(power=2, weight=3.0, inherited=True)
    assert published.coarsened(own, 2.0).scalar == 3.0
    penalty = published.penalty(X)
    assert penalty is not None
    assert float(penalty(X + 2)) == pytest.approx(1.5 * 8)
    assert published.after_coarse(NOT_FINITE).scalar == pytest.approx(4.5)


def test_memory_restores_both_kinds() -> None:
    for g, blank in (
        (Regularization(power=3, weight=0.25), Regularization()),
        (TrustRegion(radius=0.25), TrustRegion()),
    ):
        assert blank.restored(g.memory()) == g  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("found", "accepted", "radius"),
    [
        (trial(0.95, boundary=True), True, 2.5),
        (trial(0.95, boundary=False), True, 1.0),
        (trial(0.5, boundary=True), True, 1.0),
        (trial(0.005, length=0.5), False, 0.125),
        (trial(-3.0, length=8.0), False, 0.25),
        (Trial(-inf, 1.0, 0.5), False, 0.125),
        (Trial(-inf, 1.0, 0.0), False, 0.25),
        (Trial(-inf, nan, nan), False, 0.25),
    ],
)
def test_trust_region(found: Trial, accepted: bool, radius: float) -> None:
    g = TrustRegion(radius=1.0)
    assert g.accepts(found) == accepted
    assert g.update(found).scalar == pytest.approx(radius)
    assert g.penalty(X) is None


def test_coarse_steps_move_a_radius_of_their_own() -> None:
    g = TrustRegion(radius=1.0)
    for found in (trial(0.5, boundary=True), trial(0.95, boundary=False)):
        assert g.after_coarse(found) == g
    bad = g.after_coarse(trial(-3.0, length=0.5))
    assert (bad.scalar, bad.room(1.0), bad.room(4.0)) == (1.0, 0.125, 0.03125)
    assert bad.after_coarse(NOT_FINITE).room(1.0) < 0.125
    again = bad.after_coarse(trial(0.95, length=0.125, boundary=True))
    assert (again.scalar, again.room(1.0)) == (1.0, 0.3125)
    filled = g.after_coarse(trial(0.95, boundary=True))
    assert (filled.scalar, filled.room(1.0)) == (2.5, 2.5)
    assert g.update(trial(-3.0, length=0.5)).room(1.0) == 0.125  # until a coarse step was judged, Δ is their radius
    assert bad.update(NOT_FINITE).room(1.0) == 0.125  # from then on it is their own
    assert Regularization(weight=1.0).room(1.0) == inf


def test_radius_and_weight_go_up_through_p() -> None:
    assert TrustRegion(radius=3.0, reach=0.1).refined(2.0) == TrustRegion(radius=6.0)
    assert Regularization(weight=8.0, power=3).refined(2.0).scalar == 1.0


def test_steps_stay_in_what_is_left_of_the_ball() -> None:
    g = TrustRegion(radius=1.0)
    assert g.within(inf) is g.within(2.0) is g
    assert g.within(0.25).scalar == 0.25
    assert g.within(-1e-9).scalar > 0
    assert Regularization(weight=1.0).within(0.1).scalar == 1.0


def test_radius_stays_within_bounds() -> None:
    g = TrustRegion()
    assert not g.started
    assert g.start(Function(lambda x: x @ x).expand(X, 2), 2).scalar == pytest.approx(3 * float(X.norm()))
    assert g.start(Function(lambda x: x @ x).expand(X, 1), 1).scalar == 1.0
    g = TrustRegion(radius=1.0, maximum=2.0)
    assert g.update(trial(1.0, boundary=True)).scalar == 2.0
    for _ in range(600):
        g = g.update(NOT_FINITE)
    assert g.exhausted
    assert g.scalar > 0


def test_coarse_radius_is_that_of_the_level_above_through_p() -> None:
    g = TrustRegion(radius=1.0).coarsened(TrustRegion(radius=77.0), 4.0)
    assert g.scalar == 0.25
    assert g.update(trial(1.0, boundary=True)).scalar == 0.25  # and never grows beyond
    assert TrustRegion(radius=1e-13).coarsened(None, 1e3).exhausted


def interpolated(decrease: float, predicted: float = 2.0, slope: float = -3.0, penalty: float = 0.5) -> Trial:
    return Trial(decrease, predicted, 0.5, slope=slope, penalty=penalty, power=3)


@pytest.mark.parametrize(
    ("found", "accepted", "factor"),
    [
        (interpolated(1.9), True, 0.3 * 0.1 / 0.5),  # the fraction of (predicted - decrease) / penalty
        (interpolated(2.5), True, 0.01),  # better than the model: as far down as allowed
        (interpolated(0.2), True, 0.3 * 1.8 / 0.5),  # a poor gain may raise the weight
        (interpolated(0.01), False, 1.99 / 0.5),  # exact: between the bounds of a rejection
        (interpolated(-1e9), False, 3.0 / (3 * 0.5 * 0.3**2)),  # the step is shortened to 0.3 at most
        (Trial(-inf, 1.0, 0.0), False, 10.0),  # refused before f was evaluated
    ],
)
def test_interpolation(found: Trial, accepted: bool, factor: float) -> None:
    policy = Interpolation()
    assert policy.accepts(found) == accepted
    assert policy.factor(found) == pytest.approx(factor)


def test_interpolated_weight_makes_the_model_exact() -> None:
    """f(x + s) = T(s) + c‖s‖³ along s: after a rejection σ/3 = c, whatever σ was."""
    for sigma in (0.1, 0.3):
        predicted, c, length = 2.0, 0.25, 2.5
        found = Trial(predicted - c * length**3, predicted, length, slope=-4.0)
        g = Regularization(power=3, weight=sigma, policy=Interpolation(shortest=0.01, up=1.01))
        assert g.update(found).scalar == pytest.approx(3 * c)


BAD = [
    (Interpolation, {"eta2": 1.0}),
    (Interpolation, {"up": 1.0}),
    (Interpolation, {"trust": 1.5}),
    (Interpolation, {"down": 1.0}),
    (Interpolation, {"shortest": nan}),
    (GainRatio, {"eta1": 0.0}),
    (GainRatio, {"eta1": 0.8}),
    (GainRatio, {"eta2": 1.0}),
    (GainRatio, {"gamma2": 0.9}),
    (GainRatio, {"gamma3": 1.0}),
    (GainRatio, {"gamma1": nan}),
    (DelayedGratification, {"up": 1.0}),
    (DelayedGratification, {"down": 0.5}),
    (DelayedGratification, {"down": nan}),
    (ErrorLaw, {"up": 1.0}),
    (ErrorLaw, {"most": 1.2}),
    (ErrorLaw, {"margin": 0.5}),
    (ErrorLaw, {"down": 2.0}),
    (ErrorLaw, {"down": inf}),
    (ErrorLaw, {"most": nan}),
    (Regularization, {"weight": 0.0}),
    (Regularization, {"weight": -1.0}),
    (Regularization, {"weight": nan}),
    (Regularization, {"weight": inf}),
    (Regularization, {"power": 1}),
    (Regularization, {"minimum": 0.0}),
    (Regularization, {"minimum": nan}),
    (Regularization, {"maximum": 0.0}),
    (TrustRegion, {"radius": 0.0}),
    (TrustRegion, {"radius": nan}),
    (TrustRegion, {"radius": inf}),
    (TrustRegion, {"eta1": 0.0}),
    (TrustRegion, {"eta1": 0.95}),
    (TrustRegion, {"shrink": 1.0}),
    (TrustRegion, {"grow": 1.0}),
    (TrustRegion, {"minimum": 0.0}),
    (TrustRegion, {"maximum": -1.0}),
    (Cycle, {"coarse_iterations": 0}),
    (Cycle, {"taylor_steps": 0}),
    (Cycle, {"max_trials": 0}),
    (Cycle, {"coherence": 0}),
    (Cycle, {"kappa": -1.0}),
    (Cycle, {"tolerance": nan}),
]


@pytest.mark.parametrize(("kind", "constants"), BAD)
def test_bad_constants_are_refused_in_one_sentence(kind: type, constants: dict[str, float]) -> None:
    with pytest.raises(InputError) as caught:
        kind(**constants)
    assert "\n" not in str(caught.value)


def test_a_step_that_no_weight_allows_is_none() -> None:
    J = torch.full((2, 2), 1e200, dtype=torch.float64)  # JᵀJ overflows
    prepared = DampedLeastSquares(form="primal").prepare(LeastSquares(lambda x: J @ x).expand(0 * X, 2))
    assert prepared.solve(Regularization(power=2, weight=1.0)) is None
