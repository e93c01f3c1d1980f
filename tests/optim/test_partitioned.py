"""Partitioned training: what it refuses, its steps against the closed form, its rules, and that it learns."""

import copy
import math

import pytest
import torch
from torch import nn

import multilevel_opt as mlo
from multilevel_opt import optim, separable
from multilevel_opt.objective.samples import Samples
from multilevel_opt.optim.element_curvature import CURVATURES, SecantElements
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
    taken = (learned.known.matrices.store.refused == 0)[:, None]
    form = learned.known.matrices.begun(learned.known.scale(y), y)
    found = form.matvec(loss.partition.gathered(s))
    assert torch.allclose(found * taken, y * taken, atol=1e-12)
    product = learned.product(loss.partition, after)(s)
    assert torch.allclose(product, loss.partition.scattered(found), atol=1e-12)


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
    data = samples(network())
    opt = optim.Partitioned(data.module, radius=1.0, doubt=2.0)
    opt._adapt(0.0, 0.01, 1.0)
    assert opt.radius == 1.0
    opt._adapt(0.8, 0.1, 1.0)
    assert opt.radius == 1.0
    opt._adapt(0.8, 0.01, 1.0)
    assert opt.radius == 2.0
    opt._adapt(0.0, 0.0, 1.0)
    assert opt.radius == 1.0


@every
def test_a_run_goes_on_from_its_state_bit_for_bit(curvature: str) -> None:
    data = samples(network())
    opt, sampler = optim.Partitioned(data.module, curvature=curvature), optim.OverlapSampler(len(data), 40)
    drawn = [sampler.draw() for _ in range(8)]
    for ids in drawn[:4]:
        opt.step(data.batch(ids))
    twin = copy.deepcopy(data.module)
    other, state = samples(twin), copy.deepcopy(opt.state_dict())
    resumed = optim.Partitioned(twin, curvature=curvature)
    resumed.load_state_dict(state)
    for ids in drawn[4:]:
        opt.step(data.batch(ids))
        resumed.step(other.batch(ids))
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


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"forcing": 1.0}, {"max_products": 0}, {"doubt": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(mlo.InputError, match="out of range"):
        optim.Partitioned(network(), **options)
    with pytest.raises(mlo.InputError, match="unknown curvature"):
        optim.Partitioned(network(), curvature="exact")
    with pytest.raises(mlo.InputError, match="give the module itself"):
        optim.Partitioned(network().parameters())
