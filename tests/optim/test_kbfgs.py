"""K-BFGS, K-BFGS(L) and KFAC: the published formulas, and that they never make things worse."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from multilevel_opt.errors import InputError
from multilevel_opt.objective.batch import Batch
from multilevel_opt.objective.samples import Samples
from multilevel_opt.optim import KBFGS, KBFGSL, KFAC, OverlapSampler
from multilevel_opt.optim.layers import watched
from problems.autoencoder import curves, entropy, network
from tests.references import kbfgs as reference

F64 = torch.float64
WIDTHS = (12, 8, 5, 3, 5, 8, 12)
METHODS = {"kbfgs": KBFGS, "kbfgsl": KBFGSL, "kbfgs renewed": partial(KBFGS, renew=5), "kfac": KFAC}


def bce(outputs, targets):
    return nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1).mean()


def autoencoder(dtype=F64, seed=0):
    torch.manual_seed(seed)
    layers, pairs = [], list(pairwise(WIDTHS))
    for k, (a, b) in enumerate(pairs):
        layers.append(nn.Linear(a, b, dtype=dtype))
        if k not in (len(pairs) // 2 - 1, len(pairs) - 1):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def data(count=200, seed=1, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    code = torch.rand(count, 3, generator=generator, dtype=dtype)
    return torch.sigmoid(4 * (code @ torch.randn(3, WIDTHS[0], generator=generator, dtype=dtype)))


def batches(module, size=50, **options):
    rows = data(**options)
    return [Batch(module, bce, rows[i : i + size], rows[i : i + size]) for i in range(0, len(rows), size)]


def joined(module):
    return [
        torch.cat([m.weight, m.bias[:, None]], 1).detach().numpy().copy() for m in module if isinstance(m, nn.Linear)
    ]


@pytest.mark.parametrize(
    ("memory", "damping", "lr", "pair_damping"),
    [
        (None, 0.3, 0.3, "powell"),
        (None, 0.03, 0.1, "powell"),
        (None, 0.3, 0.3, "shift"),
        (100, 0.3, 0.05, "powell"),
        (2, 0.3, 0.1, "powell"),
        (3, 0.3, 0.3, "shift"),
    ],
)
def test_the_weights_are_those_of_the_published_algorithm(memory, damping, lr, pair_damping):
    module = autoencoder()
    parts = batches(module)
    plain = reference.KBFGS(
        joined(module), lr, damping, [p.inputs.numpy() for p in parts], memory, regular=pair_damping == "shift"
    )
    options = {"pair_damping": pair_damping, "start": 1.0, "renew": 0, "weight_decay": 1e-5, "adaptive": False}
    optimizer = KBFGS(module, lr, damping, **options)
    if memory is not None:
        optimizer = KBFGSL(module, lr, damping, memory_size=memory, **options)
    optimizer.warm_up(parts)
    for k in range(60):
        part = parts[k % len(parts)]
        expected = plain.step(part.inputs.numpy(), part.targets.numpy())
        assert optimizer.step(part) == pytest.approx(expected, rel=1e-7)
    for mine, theirs in zip(joined(module), plain.weights, strict=True):
        assert np.linalg.norm(mine - theirs) < 1e-6 * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", METHODS)
def test_an_ill_conditioned_regression_is_solved_where_gradient_descent_crawls(name):
    torch.manual_seed(0)
    scales = torch.logspace(0, -2, 12, dtype=F64)
    x = torch.randn(400, 12, dtype=F64) * scales
    y = x @ (torch.randn(12, 4, dtype=F64) / scales[:, None])
    losses = {}
    for method, rate in ((name, 1.0), ("sgd", 0.3)):
        module = nn.Linear(12, 4, dtype=F64)
        closure = partial(lambda m: (m(x) - y).square().sum(1).mean() / 2, module)
        if method == "sgd":
            optimizer = torch.optim.SGD(module.parameters(), rate, momentum=0.9)
            for _ in range(100):
                optimizer.zero_grad()
                closure().backward()
                optimizer.step()
        else:
            optimizer = METHODS[method](module, rate, 1e-6)
            for _ in range(100):
                optimizer.step(closure)
        losses[method] = float(closure().detach())
    assert losses[name] < 0.1 * losses["sgd"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("lr", "damping"), [(1.0, 3.0), (1.0, 0.01), (100.0, 0.3)])
def test_rates_that_diverge_are_survived(name, lr, damping):
    module = autoencoder()
    parts = batches(module)
    first = float(sum(part().detach() for part in parts) / 4)
    optimizer = METHODS[name](module, lr, damping)
    for k in range(80):
        optimizer.step(parts[k % 4])
    optimizer.restore_best()
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())
    assert float(sum(part().detach() for part in parts) / 4) <= first * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", METHODS)
def test_a_run_resumes_bit_for_bit(name, dtype):
    module = autoencoder(dtype)
    parts = batches(module, dtype=dtype)
    optimizer = METHODS[name](module)
    for k in range(7):
        optimizer.step(parts[k % 4])
    other = autoencoder(dtype, seed=3)
    other.load_state_dict(module.state_dict())
    resumed = METHODS[name](other)
    resumed.load_state_dict(optimizer.state_dict())
    copies = [Batch(other, bce, part.inputs, part.targets) for part in parts]
    for k in range(7, 12):
        assert optimizer.step(parts[k % 4]) == resumed.step(copies[k % 4])
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(12, 4, dtype=F64)
        self.norm = nn.LayerNorm(4, dtype=F64)
        self.twice = nn.Linear(4, 4, dtype=F64)
        self.decode = nn.Linear(4, 12, dtype=F64)

    def forward(self, x):
        h = torch.tanh(self.norm(self.encode(x)))
        return self.decode(torch.tanh(self.twice(torch.tanh(self.twice(h)))))


@pytest.mark.parametrize("name", METHODS)
def test_shared_layers_and_other_layers_take_plain_steps(name):
    torch.manual_seed(0)
    module = Shared()
    parts = batches(module)
    first = float(parts[0]().detach())
    optimizer = METHODS[name](module, 0.05)
    for k in range(60):
        optimizer.step(parts[k % 4])
    assert float(parts[0]().detach()) < first
    assert set(optimizer.positions) == {0, 2}  # not the one that is called twice


@pytest.mark.parametrize("name", METHODS)
def test_a_network_that_is_called_twice_takes_plain_steps_throughout(name):
    module = autoencoder()
    x, y = data().split(100)
    optimizer = METHODS[name](module, 0.05)
    losses = [optimizer.step(lambda: (module(x) - module(y)).square().sum(1).mean()) for _ in range(30)]
    assert losses[-1] < losses[0]
    assert optimizer.positions == {}


@pytest.mark.parametrize("name", METHODS)
def test_convolutions_have_blocks(name):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, dtype=F64), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3, dtype=F64)
    )
    x = torch.randn(30, 1, 6, 6, dtype=F64)
    y = (x.mean((1, 2, 3)) > 0).long()
    optimizer = METHODS[name](module, 0.05)
    losses = [optimizer.step(lambda: nn.functional.cross_entropy(module(x), y)) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    assert optimizer.positions == {0: 36, 1: 1}


def test_a_convolution_with_one_position_is_a_linear_layer():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(9, 5, dtype=F64), nn.Tanh(), nn.Linear(5, 2, dtype=F64))
    conv = nn.Sequential(nn.Conv2d(1, 5, 3, dtype=F64), nn.Tanh(), nn.Flatten(), nn.Linear(5, 2, dtype=F64))
    conv[0].weight.data = linear[1].weight.data.reshape(5, 1, 3, 3).clone()
    conv[0].bias.data = linear[1].bias.data.clone()
    conv[3].load_state_dict(linear[3].state_dict())
    x, y = torch.randn(20, 1, 3, 3, dtype=F64), torch.randint(0, 2, (20,))
    one, two = KBFGS(linear), KBFGS(conv)
    for _ in range(10):
        a = one.step(lambda: nn.functional.cross_entropy(linear(x), y))
        b = two.step(lambda: nn.functional.cross_entropy(conv(x), y))
        assert a == pytest.approx(b, rel=1e-10)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_kfac_draws_its_targets(likelihood):
    module = autoencoder()
    parts = batches(module)
    optimizer = KFAC(module, 0.1, likelihood=likelihood)
    losses = [optimizer.step(parts[k % 4]) for k in range(40)]
    assert losses[-1] < losses[0]
    with pytest.raises(InputError, match="Batch"):
        optimizer.step(lambda: parts[0]())


@pytest.mark.parametrize("name", METHODS)
def test_what_cannot_be_is_refused(name):
    make = METHODS[name]
    with pytest.raises(InputError, match="module"):
        make(autoencoder().parameters())
    with pytest.raises(InputError, match="damping"):
        make(autoencoder(), 0.1, -1.0)
    with pytest.raises(InputError, match="momentum"):
        make(autoencoder(), momentum=1.0)


@pytest.mark.parametrize("start", [0.0, -1.0, float("inf"), float("nan")])
def test_a_first_inverse_that_is_not_positive_is_refused(start):
    with pytest.raises(InputError, match="start"):
        KBFGS(autoencoder(), start=start)


@pytest.mark.parametrize("make", [KBFGS, KBFGSL])
def test_renewed_inverses_are_those_of_the_second_moments(make):
    """A rate of nearly 0: the weights stay, and with them both moments of the one batch."""
    module = autoencoder()
    (part, *_) = batches(module)
    optimizer = make(module, 1e-12, 0.3, renew=3)
    for _ in range(2):
        optimizer.step(part)
    with watched(optimizer.layers) as calls:
        loss = part()
        slopes = torch.autograd.grad(loss, [calls[k][0][1] for k in sorted(calls)])
    optimizer.learn_batch(part, optimizer.evaluate(part))  # the third
    for k, factors in optimizer._factors.items():
        h = calls[k][0][0].detach()
        h = torch.cat([h, h.new_ones(len(h), 1)], 1)
        for inverse, rows in ((factors.a_inverse, h), (factors.g_inverse, slopes[k] * len(h))):
            shifted = rows.T @ rows / len(rows) + 0.3**0.5 * torch.eye(rows.shape[1], dtype=F64)
            torch.testing.assert_close(inverse.matrix @ shifted, torch.eye(len(shifted), dtype=F64), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="renew=-1"):
        make(autoencoder(), renew=-1)


def test_a_step_whose_loss_rises_is_taken_back_counted_and_reported():
    module = autoencoder()
    optimizer = KBFGS(module, 1000.0, 0.01)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer.step(batches(module)[0])
    assert not optimizer.last.accepted
    assert "taken back, damping raised to 0.02" in optimizer.last.reason
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert optimizer.counts["rejected"] == 1
    assert optimizer.damping == 0.02
    assert optimizer.pace == 0.25


def test_the_pace_comes_back_with_good_gain_ratios():
    module = autoencoder()
    parts = batches(module)
    optimizer = KBFGS(module, 1000.0, 0.3)
    optimizer.step(parts[0])
    assert optimizer.pace == 0.25
    optimizer.param_groups[0]["lr"] = 0.1
    paces = [optimizer.pace for k in range(40) if optimizer.step(parts[k % 4]) is not None]
    assert paces[-1] == 1.0
    assert all(later <= 1.1 * earlier for earlier, later in pairwise(paces))


@pytest.mark.parametrize(("start", "expected"), [(None, 2.0), (1.0, 1.0), (5.0, 5.0)])
@pytest.mark.parametrize("name", ["kbfgs", "kbfgsl"])
def test_the_inverse_stays_that_of_the_damping_where_no_step_led(name, start, expected):
    """Half squares: G = I. Only the first output moves, and there H = 1/(1 + √λ)."""
    torch.manual_seed(0)
    module = nn.Linear(6, 4, bias=False, dtype=F64)
    nn.init.zeros_(module.weight)
    x = torch.rand(50, 6, dtype=F64)
    y = torch.zeros(50, 4, dtype=F64)
    y[:, 0] = x.sum(1)
    optimizer = METHODS[name](
        module, 0.5, 0.25, start=start, renew=0, **({"memory_size": 1} if name == "kbfgsl" else {})
    )
    for _ in range(10):
        optimizer.step(lambda: (module(x) - y).square().sum(1).mean() / 2)
    (factors,) = optimizer._factors.values()
    inverse = factors.g_inverse.product(torch.eye(4, dtype=F64))
    torch.testing.assert_close(inverse, torch.diag(torch.tensor([1 / 1.5, *[expected] * 3], dtype=F64)))


def test_what_was_learned_wrongly_is_dropped():
    module = autoencoder()
    parts = batches(module)
    optimizer = KBFGS(module, renew=0)
    for k in range(8):
        optimizer.step(parts[k % 4])
    for factors in optimizer._factors.values():
        factors.g_inverse.matrix.mul_(-1e3)  # rounding can do that in the long run, if not so badly
    before = optimizer.step(parts[0])
    for k in range(1, 40):
        optimizer.step(parts[k % 4])
    assert optimizer.counts["rejected"] >= 3
    assert all(float(torch.linalg.eigvalsh(f.g_inverse.matrix)[0]) > 0 for f in optimizer._factors.values())
    assert float(parts[0]().detach()) < before


@pytest.mark.parametrize("make", [KBFGS, KBFGSL])
def test_the_second_evaluation_can_be_left_out_most_of_the_time(make):
    module = autoencoder()
    parts = batches(module)
    optimizer = make(module, every=4)
    first, *others = (optimizer.step(parts[0]) for _ in range(40))
    assert optimizer.counts["gradients"] == 50
    assert sum(optimizer.counts[f"pairs_{kind}"] for kind in ("accepted", "rejected")) == 10 * 6
    assert others[-1] < first


def curve_run(lr, damping, epochs=6, **options):
    """(network, optimizer, loss before, loss after) on pictures of curves of 14×14 pixels."""
    pictures = nn.functional.avg_pool2d(curves(1000).reshape(-1, 1, 28, 28), 2).flatten(1)
    torch.manual_seed(0)
    module = network([196, 50, 25, 6, 25, 50, 196])
    samples, sampler = Samples(module, bce, pictures, pictures), OverlapSampler(1000, 100)
    optimizer = KBFGS(module, lr, damping, weight_decay=1e-5, **options)
    before = float(bce(module(pictures), pictures).detach())
    for _ in range(10 * epochs):
        optimizer.step(samples.batch(sampler.draw()))
    return module, optimizer, before, float(bce(module(pictures), pictures).detach())


@pytest.mark.parametrize(("lr", "damping"), [(1.0, 3.0), (3.0, 0.03)])
def test_rates_and_dampings_that_break_the_published_form_are_survived(lr, damping):
    module, optimizer, before, after = curve_run(lr, damping)
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())
    assert after < 0.5 * before
    assert optimizer.counts["accepted"] + optimizer.counts["rejected"] == 60


def side_by_side(pixels, widths, rows, size, lr, damping, limit, **options):
    """(losses of the published form, loss of all before and after, optimizer) on pictures of curves, same weights."""
    pictures = nn.functional.avg_pool2d(curves(rows).reshape(-1, 1, 28, 28), 28 // pixels).flatten(1).double()
    torch.manual_seed(0)
    module = network([pixels**2, *widths, *widths[-2::-1], pixels**2]).double()
    samples, parts = Samples(module, entropy, pictures, pictures), pictures.split(size)
    plain = reference.KBFGS(joined(module), lr, damping, [part.numpy() for part in parts])
    losses, before = [], samples.mean_loss()
    with np.errstate(all="ignore"):
        while len(losses) < limit and np.isfinite([0.0, *losses][-1]):
            part = parts[len(losses) % len(parts)].numpy()
            losses.append(plain.step(part, part))
    optimizer = KBFGS(module, lr, damping, weight_decay=1e-5, **options)
    optimizer.warm_up(samples.batch(range(k, k + size)) for k in range(0, rows, size))
    for k in range(limit):
        first = k % len(parts) * size
        optimizer.step(samples.batch(range(first, first + size)))
    return losses, before, samples.mean_loss(), optimizer


@pytest.mark.parametrize("options", [{}, {"pair_damping": "powell", "start": 1.0, "renew": 0}])
@pytest.mark.parametrize(("lr", "damping"), [(1.0, 3.0), (1.0, 0.3)])
def test_where_the_published_form_ends_in_nan_steps_are_taken_back(lr, damping, options):
    losses, before, after, optimizer = side_by_side(14, (100, 50, 25, 6), 1000, 100, lr, damping, 60, **options)
    assert not np.isfinite(losses[-1])
    assert min(losses) < 0.5 * losses[0]  # it began well
    assert all(bool(torch.isfinite(p).all()) for p in optimizer.weights)
    assert after < 0.5 * before
    assert optimizer.counts["accepted"] + optimizer.counts["rejected"] == 60
    if options:  # the published updates, whose steps are judged; ỹ = y + √λ s alone may be enough
        assert optimizer.counts["rejected"] >= 1


@pytest.mark.slow
def test_the_same_holds_at_the_published_size():
    """12 layers with 842 340 weights, curves of 28×28 pixels."""
    options = {"pair_damping": "powell", "start": 1.0, "renew": 0}
    losses, before, after, optimizer = side_by_side(28, (400, 200, 100, 50, 25, 6), 1000, 500, 1.0, 3.0, 40, **options)
    assert sum(w.numel() for w in optimizer.weights) == 842_340
    assert not np.isfinite(losses[-1])
    assert all(bool(torch.isfinite(w).all()) for w in optimizer.weights)
    assert after < 0.5 * before
    assert optimizer.counts["rejected"] >= 1


def test_a_run_that_works_is_not_hampered_by_judging_its_steps():
    free, judged = (curve_run(0.3, 0.3, adaptive=adaptive) for adaptive in (False, True))
    assert judged[1].counts["rejected"] == 0
    assert judged[3] <= 1.01 * free[3]


def test_a_compiled_module_is_refused_in_a_sentence():
    module = autoencoder()
    part = batches(module)[0]
    compiled = torch.compile(module, backend="eager")
    compiled(part.inputs)
    optimizer = KBFGS(compiled)
    with pytest.raises(InputError, match=r"without torch\.compile"):
        optimizer.step(lambda: bce(compiled(part.inputs), part.targets))
