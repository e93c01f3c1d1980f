"""Partitioned training: what it refuses, its steps against the closed form, its rules, and that it learns."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import multilevel_opt as mlo
from multilevel_opt import optim, separable
from multilevel_opt.objective.samples import Samples
from multilevel_opt.optim.element_curvature import CURVATURES, SecantElements
from multilevel_opt.optim.extrapolation import EXTRAPOLATIONS, Adaptive
from multilevel_opt.optim.partitioned_steps import Line, LineSearch, TrustRegion
from multilevel_opt.optim.safe import Value

every = pytest.mark.parametrize("curvature", CURVATURES)
SECANT = [name for name in CURVATURES if name != "pggn"]
Batch = optim.Batch


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    options = {"dtype": dtype}
    return nn.Sequential(
        nn.Linear(4, 3, **options),
        nn.Tanh(),
        nn.Linear(3, 12, **options),
        nn.Tanh(),
        separable.SeparableLinear(12, 6, 3, **options),
        nn.Tanh(),
        separable.SeparableLinear(6, 3, 3, **options),
    )


def samples(model: nn.Module, m: int = 120, loss: str = "softplus") -> Samples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(m, 4, generator=generator, dtype=torch.float64)
    targets = (inputs @ torch.randn(4, 3, generator=generator, dtype=torch.float64)).argmax(1)
    return Samples(model, separable.LOSSES[loss], inputs.to(next(model.parameters()).dtype), targets)


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_lowers_the_loss(curvature: str, dtype: torch.dtype) -> None:
    data = samples(network(dtype=dtype))
    opt = optim.Partitioned(data.module, curvature=curvature)
    sampler = optim.OverlapSampler(len(data), 40)
    start = float(data.batch(slice(None))().detach())
    for _ in range(60):
        opt.step(data.batch(sampler.draw()))
    assert float(data.batch(slice(None))().detach()) < 0.5 * start
    assert opt.counts["accepted"] > 30
    assert vector(data.module).dtype == dtype


@pytest.mark.parametrize("loss", separable.LOSSES)
def test_gauss_newton_elements_train_with_every_loss(loss: str) -> None:
    data = samples(network(), loss=loss)
    opt = optim.Partitioned(data.module)
    first = opt.step(data.batch(slice(None)))
    for _ in range(30):
        last = opt.step(data.batch(slice(None)))
    assert last < 0.5 * first


@every
def test_a_step_solves_the_trust_region_problem(curvature: str) -> None:
    data = samples(network(), m=30)
    opt = optim.Partitioned(data.module, curvature=curvature, radius=1e-3, forcing=1e-8, max_products=500)
    batch, before = data.batch(slice(None)), vector(data.module)
    opt.step(batch)
    step = vector(data.module) - before
    assert opt.last.accepted
    assert math.isclose(float(step.norm()), 1e-3, rel_tol=1e-9)
    assert opt.last.damping == 1e-3
    assert opt.radius == 2e-3  # a short step is predicted well
    assert abs(opt.last.ratio - 1) < 0.05


@pytest.mark.parametrize("curvature", SECANT)
def test_the_matrices_meet_the_secant_equation_of_every_element(curvature: str) -> None:
    data = samples(network(), m=30)
    loss = separable.PartitionedLoss(data.module, data.inputs, data.loss)
    before, x = loss(data.inputs, data.targets), vector(data.module)
    s = 1e-2 * torch.randn(len(x), dtype=torch.float64)
    data.flat.set(x + s)
    after = loss(data.inputs, data.targets)
    y = after.element_gradients - before.element_gradients
    learned = CURVATURES[curvature](5)
    assert isinstance(learned, SecantElements)
    assert 0 < learned.taught(loss.partition, s, y) <= loss.partition.count
    taken = learned.known.filled[:, -1:]
    found = learned.known._times_elements(learned.known._basis(loss.partition), loss.partition.gathered(s))
    assert torch.allclose(found * taken, y * taken, atol=1e-12)
    product = learned.product(loss.partition, after)(s)
    begun = learned.known.begun(after.element_gradients)
    parts = begun._times_elements(begun._basis(loss.partition), loss.partition.gathered(s))
    assert torch.allclose(product, loss.partition.scattered(parts), atol=1e-12)


@pytest.mark.parametrize("curvature", SECANT)
def test_steps_stored_once_give_the_matrices_of_pairs_stored_by_element(curvature: str) -> None:
    part = separable.PartitionedLoss(network(), torch.zeros(1, 4, dtype=torch.float64)).partition
    learned = CURVATURES[curvature](5)
    assert isinstance(learned, SecantElements)
    apart, n = learned.update, part.structure.n
    hessians = torch.randn(part.count, part.size, part.size, dtype=torch.float64)
    hessians = hessians @ hessians.mT + torch.eye(part.size, dtype=torch.float64)  # convex: no pair is refused
    for k in range(9):
        s = torch.randn(n, dtype=torch.float64)
        y = (hessians @ part.gathered(s)[..., None])[..., 0]
        assert learned.taught(part, s, y) == part.count
        apart = apart.updated(part.gathered(s), y)
        v = torch.randn(n, dtype=torch.float64)
        expected = part.scattered(apart.form(y).matvec(part.gathered(v)))
        assert torch.allclose(learned.known.begun(y).product(part)(v), expected, rtol=1e-9, atol=1e-9), k
    known = learned.known
    assert known.steps.numel() + known.changes.numel() == 5 * (n + part.count * part.size)
    assert apart.store.tensors()["basis"].numel() == 5 * 2 * part.count * part.size


@pytest.mark.parametrize("curvature", SECANT)
def test_refused_pairs_leave_gaps_and_elements_that_refuse_forget(curvature: str) -> None:
    part = separable.PartitionedLoss(network(), torch.zeros(1, 4, dtype=torch.float64)).partition
    learned = CURVATURES[curvature](5)
    assert isinstance(learned, SecantElements)
    for k in range(12):
        s = torch.randn(part.structure.n, dtype=torch.float64)
        y = (2.0 + k) * part.gathered(s) + 0.1 * torch.randn(part.count, part.size, dtype=torch.float64)
        if 2 <= k < 8:
            y[0] = torch.inf  # one element has no pairs for a while
        taken = learned.taught(part, s, y)
        assert taken == part.count - (2 <= k < 8)
        known = learned.known
        assert bool(known.filled[:, -1][1:].all())
        assert bool(known.filled[0, -1]) == (not 2 <= k < 8)
        assert bool(known.core.isfinite().all())
        assert bool(known.product(part)(s).isfinite().all())
        if k == 5:  # four refused in a row
            assert not bool(known.filled[0].any())
        if k >= 8:
            found = known._times_elements(known._basis(part), part.gathered(s))
            assert torch.allclose(found, y, atol=1e-9)


def test_a_rejected_step_leaves_the_weights_and_halves_the_radius() -> None:
    data = samples(network(), m=30, loss="exp")
    opt = optim.Partitioned(data.module, radius=50.0, forcing=1e-8)

    def uphill(closure: optim.Batch, value: Value) -> list[torch.Tensor]:
        return [-g for g in value.gradient]

    opt.clipped = lambda value: uphill(None, value)  # type: ignore[method-assign,assignment,arg-type]
    before = vector(data.module)
    opt.step(data.batch(slice(None)))
    assert not opt.last.accepted
    assert opt.last.reason == "too little decrease"
    assert opt.radius == 25.0
    assert torch.equal(vector(data.module), before)


def test_doubt_accepts_what_may_be_chance_and_grows_the_radius_later() -> None:
    region = TrustRegion(1.0, 100.0, 2.0)
    region.adapt(0.0, 0.01, 1.0)
    assert region.radius == 1.0
    region.adapt(0.8, 0.1, 1.0)
    assert region.radius == 1.0
    region.adapt(0.8, 0.01, 1.0)
    assert region.radius == 2.0
    region.adapt(0.0, 0.0, 1.0)
    assert region.radius == 1.0


def along(f: Callable[[float], float], error: float = 0.0) -> Line:
    """f(0) = 0 along a line, with slope −1 and the curvature 1 of the model."""
    return Line(-1.0, 1.0, 1.0, lambda beta: (-f(beta), error))


def test_a_line_search_goes_on_while_the_loss_falls_and_comes_back_where_it_rises() -> None:
    search = LineSearch(1.0, 100.0, 0.0)
    assert search.taken(along(lambda t: t * t / 2 - t), 1.0).beta == 1.0  # its minimizer
    far = search.taken(along(lambda t: t * t / 32 - t), 1.0).beta
    assert math.isclose(far, 1.5**7)  # minimizer 16; 17.1 is still lower than 11.4
    near = search.taken(along(lambda t: 8 * t * t - t), 1.0).beta
    assert near <= 0.95 / 8 < near * 1.5  # the first (2/3)^k with 8t² − t <= −0.05t
    assert search.taken(along(lambda t: t), 1.0).beta == 0.0
    assert search.taken(along(lambda t: math.nan), 1.0).beta == 0.0
    assert search.taken(Line(1.0, 1.0, 1.0, lambda t: (1.0, 0.0)), 1.0).beta == 0.0


def test_doubt_accepts_steps_of_a_line_search_that_may_be_chance() -> None:
    rising = along(lambda t: 0.01 * t, error=0.1)
    assert LineSearch(1.0, 100.0, 0.0).taken(rising, 1.0).beta == 0.0
    assert LineSearch(1.0, 100.0, 1.0).taken(rising, 1.0).beta == 1.0


@every
@pytest.mark.parametrize("momentum", EXTRAPOLATIONS)
def test_a_line_search_lowers_the_loss_with_every_momentum(curvature: str, momentum: str) -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module, 0.3, curvature=curvature, steps="line-search", momentum=momentum)
    start = float(data.batch(slice(None))().detach())
    seen = [opt.step(data.batch(slice(None))) for _ in range(20)]
    assert min(seen) < 0.6 * start  # momentum may raise it again
    assert momentum != "none" or seen[-1] == min(seen)
    assert math.isnan(opt.last.damping)


def test_momentum_of_the_adaptive_sequence_is_the_one_of_nesterov() -> None:
    adaptive, t = Adaptive(), 1.0
    for _ in range(20):  # γ = 0: μ_k = (t_k − 1)/t_{k+1} with t = 1/θ
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        assert math.isclose(adaptive.weight(), (t - 1) / following, abs_tol=1e-3)
        t = following
    adaptive.forget()
    assert adaptive.weight() == 0.0


def test_the_next_batch_is_evaluated_past_the_iterate() -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module, momentum="constant")
    opt.step(data.batch(slice(None)))
    first = vector(data.module)
    opt.step(data.batch(slice(None)))
    assert opt.last.accepted
    reached = opt.extrapolation.iterate
    assert torch.allclose(vector(data.module), reached + 0.9 * (reached - first), atol=1e-12)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
def test_the_mean_of_the_weights_has_the_published_weights(fraction: float) -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module, average=fraction)
    seen = []
    for first in range(0, 80, 20):
        opt.step(data.batch(slice(first, first + 40)))
        seen.append(vector(data.module))
    power = math.inf if fraction == 0 else 1 / fraction - 1
    # Shamir & Zhang 2013, η = power: weights proportional to Γ(t + η)/Γ(t)
    parts = [float(t == 4) if power == math.inf else math.gamma(t + power) / math.gamma(t) for t in (1, 2, 3, 4)]
    mean = sum(part * x for part, x in zip(parts, seen, strict=True)) / sum(parts)
    with opt.averaging():
        assert torch.allclose(vector(data.module), mean, atol=1e-12)
    assert torch.equal(vector(data.module), seen[-1])


def test_a_mean_is_less_noisy_than_the_weights() -> None:
    data = samples(network(), m=400)
    opt, sampler = optim.Partitioned(data.module, average=0.5), optim.OverlapSampler(len(data), 10)
    last, mean = [], []
    for k in range(80):
        opt.step(data.batch(sampler.draw()))
        if k > 40:
            last.append(float(data.batch(slice(None))().detach()))
            with opt.averaging():
                mean.append(float(data.batch(slice(None))().detach()))
    assert sum(mean) < 0.9 * sum(last)


@every
@pytest.mark.parametrize("options", [{}, {"momentum": "adaptive", "steps": "line-search", "average": 0.5}])
def test_a_run_goes_on_from_its_state_bit_for_bit(curvature: str, options: dict[str, Any]) -> None:
    data = samples(network())
    opt, sampler = optim.Partitioned(data.module, curvature=curvature, **options), optim.OverlapSampler(len(data), 40)
    drawn = [sampler.draw() for _ in range(8)]
    for ids in drawn[:4]:
        opt.step(data.batch(ids))
    twin = copy.deepcopy(data.module)
    other, state = samples(twin), copy.deepcopy(opt.state_dict())
    resumed = optim.Partitioned(twin, curvature=curvature, **options)
    resumed.load_state_dict(state)
    for ids in drawn[4:]:
        opt.step(data.batch(ids))
        resumed.step(other.batch(ids))
    with opt.averaging(), resumed.averaging():
        assert torch.equal(vector(data.module), vector(twin))
    assert torch.equal(vector(data.module), vector(twin))


@every
def test_samples_that_are_not_finite_do_no_harm(curvature: str) -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module, curvature=curvature)
    opt.step(data.batch(slice(0, 40)))
    before = vector(data.module)
    bad = Batch(data.module, data.loss, data.inputs[:40] * torch.nan, data.targets[:40])
    opt.step(bad)
    assert not opt.last.accepted
    assert torch.equal(vector(data.module), before)
    opt.step(data.batch(slice(40, 80)))
    assert bool(vector(data.module).isfinite().all())


@every
def test_one_sample_and_a_batch_of_one_class_are_batches(curvature: str) -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module, curvature=curvature)
    of_a_class = (data.targets == 1).nonzero()[:20, 0]
    for ids in (torch.tensor([3]), of_a_class, torch.arange(40)):
        before = float(data.batch(ids)().detach())
        opt.step(data.batch(ids))
        assert opt.last.accepted
        assert float(data.batch(ids)().detach()) < before


def test_frozen_layers_stay_and_the_others_are_trained() -> None:
    data = samples(network())
    opt = optim.Partitioned(data.module)
    opt.step(data.batch(slice(0, 40)))
    data.module[0].requires_grad_(False)
    frozen, others = data.module[0].weight.clone(), data.module[2].weight.detach().clone()
    opt.step(data.batch(slice(0, 40)))
    assert torch.equal(data.module[0].weight, frozen)
    assert not torch.equal(data.module[2].weight.detach(), others)


def test_what_cannot_be_trained_by_elements_is_refused() -> None:
    dense = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with pytest.raises(mlo.InputError, match="ends in the dense layer '2'"):
        optim.Partitioned(dense).step(samples(dense).batch(slice(0, 9)))
    data = samples(network())
    with pytest.raises(mlo.InputError, match="no elements of"):
        optim.Partitioned(data.module).step(lambda: data.batch(slice(0, 9))())
    with pytest.raises(mlo.InputError, match="no elements of"):
        optim.Partitioned(data.module).step(Batch(data.module, nn.functional.cross_entropy, data.inputs, data.targets))
    with pytest.raises(mlo.InputError, match="couples all scores"):
        optim.Partitioned(data.module, curvature="plsr1").step(samples(data.module, loss="nll").batch(slice(0, 9)))
    with pytest.raises(mlo.InputError, match="label 3 is outside"):
        optim.Partitioned(data.module).step(Batch(data.module, data.loss, data.inputs[:1], torch.tensor([3])))


@pytest.mark.parametrize(
    "options", [{"radius": 0.0}, {"forcing": 1.0}, {"max_products": 0}, {"doubt": -1.0}, {"average": 1.5}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(mlo.InputError, match="out of range"):
        optim.Partitioned(network(), **options)
    with pytest.raises(mlo.InputError, match="unknown curvature"):
        optim.Partitioned(network(), curvature="exact")
    with pytest.raises(mlo.InputError, match="choose one of trust-region, line-search"):
        optim.Partitioned(network(), steps="newton")
    with pytest.raises(mlo.InputError, match="choose one of none, constant, adaptive"):
        optim.Partitioned(network(), momentum="heavy")
    with pytest.raises(mlo.InputError, match="give the module itself"):
        optim.Partitioned(network().parameters())
