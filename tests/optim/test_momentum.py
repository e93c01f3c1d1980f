"""Momentum follows its modified equations, with orders one and two."""

from math import log2

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from multilevel_opt.errors import InputError
from multilevel_opt.optim.momentum import converted_rate, effective_rate, implicit_penalty

MU, END, START = 0.7, 0.4, np.array([1.2, -0.8])


def gradient(u):
    return np.array([u[0] ** 3 + 0.5 * u[1], 4 * u[1] ** 3 + 0.5 * u[0] + u[1]])


def hessian(u):
    return np.array([[3 * u[0] ** 2, 0.5], [0.5, 12 * u[1] ** 2 + 1]])


def flow(penalty):
    """u(END) of u̇ = −μ̄ ∇(Φ + c‖∇Φ‖²)."""

    def rate(_, u):
        return -(gradient(u) + 2 * penalty * hessian(u) @ gradient(u)) / (1 - MU)

    return solve_ivp(rate, (0, END), START, rtol=1e-11, atol=1e-13).y[:, -1]


def momentum(h, a):
    """The iterate at END, begun with the velocity that it has later on."""
    before, u = START + h * gradient(START) / (1 - MU), START
    for _ in range(round(END / h)):
        before, u = u, u + MU * (u - before) - h * gradient(u + a * (u - before))
    return u


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("corrected", "order"), [(False, 1), (True, 2)])
def test_the_orders_of_both_equations(nesterov, corrected, order):
    steps, errors = (2e-3, 1e-3, 5e-4), []
    for h in steps:
        penalty = implicit_penalty(h, MU, nesterov=nesterov) if corrected else 0.0
        errors.append(float(np.linalg.norm(momentum(h, MU if nesterov else 0.0) - flow(penalty))))
    for k in range(2):
        assert log2(errors[k] / errors[k + 1]) == pytest.approx(order, abs=0.1)


def test_the_wrong_penalty_is_of_order_one():
    errors = [float(np.linalg.norm(momentum(h, 0.0) - flow(0.25 * h))) for h in (2e-3, 1e-3)]
    assert log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


def test_the_conversion_keeps_the_path_of_the_optimizer_of_torch():
    assert effective_rate(0.01, 0.9) == pytest.approx(0.1)
    assert implicit_penalty(1.0, 0.9) == pytest.approx(47.5)
    assert implicit_penalty(1.0) == pytest.approx(0.25)
    found = []
    for mu in (0.0, 0.9):
        u = torch.nn.Parameter(torch.tensor(START))
        opt = torch.optim.SGD([u], converted_rate(1e-4, 0.0, mu), momentum=mu)
        for _ in range(2000):
            opt.zero_grad()
            u.grad = torch.tensor(gradient(u.detach().numpy()))
            opt.step()
        found.append(u.detach())
    assert float((found[0] - found[1]).norm()) < 0.01 * float((found[0] - torch.tensor(START)).norm())


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="momentum=1"):
        effective_rate(0.1, 1.0)
    with pytest.raises(InputError, match="lr=0"):
        implicit_penalty(0.0)
