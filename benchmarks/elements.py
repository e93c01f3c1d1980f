"""Gradients of all element functions of a loss, relative to one ordinary gradient of the same network.

Batches of 100 samples of ten classes, the loss exp of pairs of scores, float32. ``branches``: one backward pass for the
own weights of all scores, then the shared layers; ``classes``: C − 1 passes through the samples of one class each;
``generic``: ``vmap(jacrev)``; ``one by one``: a forward and a backward pass for each of the 90 ordered pairs, as the
authors' code does; ``product``: of the Gauss-Newton matrix with a vector, from the Jacobian that ``branches`` leaves.

The second table is what an epoch of Fashion-MNIST costs, 600 steps on batches of 100, on random pictures of its shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import medians, short, show
from multilevel_opt import Samples, separable
from multilevel_opt.training import TRAINERS

NETWORKS = {"poster": separable.POSTER, "paper": separable.PAPER, "paper, 3 x 32 x 32": separable.PAPER_COLOR}
METHODS = ("branches", "classes", "generic")
TRAINED = ("adam", "pggn", "plsr1", "plbfgs", "plse")
STEPS, EPOCH = 50, 600


def run(seeds: Sequence[int]) -> None:
    rows = []
    for name, options in NETWORKS.items():
        with torch.random.fork_rng():
            torch.manual_seed(seeds[0])
            seconds = medians(calls(options), repeat=5)
        plain = seconds.pop("gradient")
        rows.append([name, f"{1e3 * plain:.1f}", *(short(taken / plain) for taken in seconds.values())])
    header = ["PSNet", "gradient, ms", *METHODS, "one by one", "product"]
    show("Element gradients, batch 100: seconds relative to one ordinary gradient", header, rows)
    table = [[name, f"{EPOCH * seconds_of_a_step(name, seeds[0]):.0f}"] for name in TRAINED]
    show("An epoch of 600 steps, poster, float32", ["method", "CPU seconds"], table)


def seconds_of_a_step(name: str, seed: int) -> float:
    """Median CPU seconds, once the memory is full."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x, y = torch.rand(100 * STEPS, 1, 28, 28), torch.randint(0, 10, (100 * STEPS,))
        samples = Samples(separable.PSNet(**separable.POSTER), separable.LOSSES["softplus"], x, y)
    opt = TRAINERS[name].make(samples, EPOCH, TRAINERS[name].settings(name, {}))
    taken = []
    for k in range(STEPS):
        before = time.process_time()
        opt.step(samples.batch(slice(100 * k, 100 * (k + 1))))
        taken.append(time.process_time() - before)
    return median(taken[10:])


def calls(options: dict[str, Any]) -> dict[str, Callable[[], Tensor]]:
    model = separable.PSNet(**options)
    x, y = torch.rand(100, *options["shape"]), torch.randint(0, 10, (100,))
    losses = {name: separable.PartitionedLoss(model, x, method=name) for name in METHODS}
    loss, weights = losses["branches"].loss, list(model.parameters())
    direction = torch.randn(losses["branches"].partition.structure.n)
    known = losses["branches"](x, y)

    def gradient() -> Tensor:
        return torch.autograd.grad(loss(model(x), y), weights)[0]

    def one_by_one() -> Tensor:
        for a in range(10):
            for b in set(range(10)) - {a}:
                c = model(x)
                torch.autograd.grad(((c[:, b] - c[:, a]).exp() * (y == a)).mean(), weights)
        return c

    def elements(name: str) -> Callable[[], Tensor]:
        return lambda: losses[name](x, y).element_gradients

    made = {"gradient": gradient, **{name: elements(name) for name in METHODS}}
    return made | {"one by one": one_by_one, "product": lambda: known.gauss_newton(direction)}
