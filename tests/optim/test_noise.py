"""Quasi-random noise: the gain over random noise, no bias, and the same draws from the same seed."""

import pytest
import torch
from scipy.stats import norm

from multilevel_opt.errors import InputError
from multilevel_opt.optim.noise import NoiseSampler

DIM = 20


def slope(z):
    """The reparametrized gradient of E Σ log cosh(m + σz) + ½ mean(x)² with respect to m, at m = 0.3, σ = 0.5."""
    x = 0.3 + 0.5 * z
    return (torch.tanh(x) + x.mean(1, keepdim=True)).mean(0)


def error(points, count, draws=40):
    truth = slope(NoiseSampler(DIM, seed=99).draw(2**16))
    sampler = NoiseSampler(DIM, points=points, seed=1)
    return float(
        torch.stack([(slope(sampler.draw(count)) - truth).square().mean() for _ in range(draws)]).mean().sqrt()
    )


def test_the_error_of_a_gradient_is_many_times_smaller():
    assert error("random", 1024) > 15 * error("sobol", 1024)
    assert error("random", 16) > 2 * error("sobol", 16)


def test_on_a_function_that_jumps_everywhere_there_is_little_gain():
    def rough(sampler):
        return float(torch.sign(torch.sin(1e4 * sampler.draw(256).sum(1))).mean())

    sizes = {
        p: torch.tensor([rough(s) for _ in range(60)]).std()
        for p in ("sobol", "random")
        for s in [NoiseSampler(DIM, points=p)]
    }
    assert 0.5 < float(sizes["random"] / sizes["sobol"]) < 2.0


@pytest.mark.parametrize("points", ["sobol", "random"])
def test_points_have_their_distribution_and_draws_differ(points):
    sampler = NoiseSampler(3, points=points, seed=4)
    first, second = sampler.draw(4096), sampler.draw(4096)
    assert not torch.equal(first, second)
    assert float((first.mean(0)).abs().max()) < 0.06
    assert torch.allclose(
        first.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64), 0)[0], torch.tensor(norm.ppf(0.1)), atol=0.1
    )
    again = NoiseSampler(3, points=points, seed=4)
    again.load_state_dict({"draws": 1})
    assert torch.equal(again.draw(4096), second)
    uniform = NoiseSampler(2, points=points, distribution="uniform").draw(64, like=torch.zeros((), dtype=torch.float32))
    assert uniform.dtype == torch.float32
    assert 0 <= float(uniform.min()) < float(uniform.max()) <= 1


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="choose one of sobol, random"):
        NoiseSampler(2, points="grid")
    with pytest.raises(InputError, match="dim=0"):
        NoiseSampler(0)
    with pytest.raises(InputError, match="count=0"):
        NoiseSampler(1).draw(0)
