"""Other people's optimizers as methods of a study: one line of ``PEERS`` each, every import optional.

Settings are the peer's own defaults, except that tolerances which would end a run before its target are switched
off. docs/studies.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.settings import filled
from multilevel_opt.study import peer_deepxde, peer_scimba
from multilevel_opt.study.watch import Array, Watched

UNLIMITED = 10**9
TINY = 1e-15
Run = Callable[[Watched, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Peer:
    """A peer.

    Attributes:
        run: works on a watched problem and returns its own message.
        summary: one line.
        module: what it imports, and
        package: what to install for it; empty: nothing.
        options: names and defaults of what a study may set.
        counted: whether its evaluations go through our functions, and so are counted.
    """

    run: Run
    summary: str
    module: str = ""
    package: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    counted: bool = True

    def settings(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options with defaults filled in.

        Raises:
            InputError: the package is missing, an option is unknown, or its value is not of the kind of the default.
        """
        if self.module and find_spec(self.module) is None:
            raise InputError(f"method {name!r} needs {self.package}: pip install {self.package}")
        return filled(name, self.options, options)


def _scipy_squares(method: str, watched: Watched, options: Mapping[str, Any]) -> str:
    squares, (rows, columns) = watched.squares, watched.shape
    if method == "lm" and rows < columns:
        raise UnsupportedCombination(
            f"MINPACK's 'lm' needs as many residuals as parameters, got {rows} and {columns}: leave it out"
        )

    def residual(x: Array) -> Array:
        return squares.residuals(watched.tensor(x)).cpu().numpy().astype(np.float64)

    def jacobian(x: Array) -> Array:
        point = watched.tensor(x)
        if not torch.equal(point, watched.x):  # both algorithms form J at every iterate, and nowhere else
            watched.look(point)
        return squares.jacobian(point)[1].cpu().numpy().astype(np.float64)

    found = optimize.least_squares(
        residual, _start(watched), jacobian, method=method, xtol=TINY, ftol=TINY, gtol=TINY, max_nfev=UNLIMITED
    )
    watched.look(watched.tensor(found.x))
    return str(found.message)


def _scipy_minimize(method: str, settings: Mapping[str, Any], watched: Watched, options: Mapping[str, Any]) -> str:
    order = 2 if method == "trust-ncg" else 1
    if order == 2:
        _warm(watched)

    def function(x: Array) -> tuple[float, Array]:
        model = watched.expanded(watched.tensor(x), order)
        return float(model.value), model.gradient.cpu().numpy().astype(np.float64)

    def product(x: Array, v: Array) -> Array:
        return watched.expanded(watched.tensor(x), order).forms[1](watched.tensor(v)).cpu().numpy().astype(np.float64)

    found = optimize.minimize(
        function,
        _start(watched),
        jac=True,
        hessp=product if order == 2 else None,
        method=method,
        callback=lambda xk: watched.look(watched.tensor(xk)),
        options={"maxiter": UNLIMITED, "gtol": 0.0, **settings, **options},
    )
    return str(found.message)


def _torch_lbfgs(watched: Watched, options: Mapping[str, Any]) -> str:
    x = watched.x.clone().requires_grad_()
    _warm(watched)
    optimizer = torch.optim.LBFGS(
        [x],
        lr=1.0,
        max_iter=1,  # one iteration a call; the closure remembers its last point, so none costs more for it
        max_eval=UNLIMITED,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=options["history_size"],
        line_search_fn="strong_wolfe",
    )
    before = x.detach().clone()
    while True:
        optimizer.step(_closure(watched, x))
        if torch.equal(x.detach(), before):
            return "the line search found no decrease"
        before = x.detach().clone()
        watched.look(before)


def _adam(watched: Watched, options: Mapping[str, Any]) -> str:
    x = watched.x.clone().requires_grad_()
    _warm(watched)
    optimizer = torch.optim.Adam([x], lr=options["learning_rate"])
    for _ in range(options.get("adam_iterations", UNLIMITED)):
        optimizer.step(_closure(watched, x))
        watched.look(x)
    return "the iterations of Adam are over"


def _adam_lbfgs(watched: Watched, options: Mapping[str, Any]) -> str:
    _adam(watched, options)
    return _torch_lbfgs(watched, options)


def _warm(watched: Watched) -> None:
    """Let torch load what its optimizers and second derivatives load at their first use, with the clock stopped."""
    with watched.clock.paused():
        probe = torch.zeros_like(watched.x0[:1], requires_grad=True)
        probe.grad = torch.zeros_like(probe)
        torch.optim.SGD([probe]).step()


def _pytorch_minimize(watched: Watched, options: Mapping[str, Any]) -> str:
    with watched.clock.paused():
        from torchmin import minimize

    function = _differentiable(watched)
    found = minimize(
        function,
        watched.x0,
        method=options["algorithm"],
        max_iter=UNLIMITED,
        options={"gtol": 0.0, "xtol": 0.0} if options["algorithm"] in ("bfgs", "l-bfgs") else {},
        callback=watched.look,
    )
    return str(found.message)


def _torch_levenberg_marquardt(watched: Watched, options: Mapping[str, Any]) -> str:
    with watched.clock.paused():
        import torch_levenberg_marquardt as tlm

    model = _Rows(watched)
    damping = tlm.damping.StandardDampingStrategy(starting_value=options["damping"], conditional_stopping=False)
    solver = tlm.training.LevenbergMarquardtModule(model, damping_strategy=damping, use_vmap=False)
    inputs = watched.x0.new_zeros(1)
    with torch.no_grad():
        targets = torch.zeros_like(model(inputs))
    before = watched.x0
    while True:
        solver.training_step(inputs, targets)
        if torch.equal(solver.flat_params, before):
            return "no damping gave a decrease"
        before = solver.flat_params.detach().clone()
        watched.look(before)


class _Rows(torch.nn.Module):
    """The residual as the output (m, 1) of a module with one parameter."""

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(watched.x0.clone())
        self._squares = watched.squares

    def forward(self, inputs: Tensor) -> Tensor:
        self._squares.ledger.count("residual")
        return self._squares.residual(self.x)[:, None]


def _differentiable(watched: Watched) -> Callable[[Tensor], Tensor]:
    """The objective as a function of tensors that autograd follows."""

    class Value(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            value, gradient = watched.value_and_gradient(x)
            context.save_for_backward(gradient)
            return value.clone()

        @staticmethod
        def backward(context: Any, *seeds: Tensor) -> Tensor:
            gradient: Tensor = context.saved_tensors[0]
            return seeds[0] * gradient

    return lambda x: Value.apply(x)  # type: ignore[no-untyped-call]


def _closure(watched: Watched, x: Tensor) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        value, gradient = watched.value_and_gradient(x)
        x.grad = gradient.clone()
        return value

    return closure


def _start(watched: Watched) -> Array:
    return watched.x0.cpu().numpy().astype(np.float64)


PEERS: dict[str, Peer] = {
    "scipy-trf": Peer(partial(_scipy_squares, "trf"), "scipy least_squares, trust region reflective"),
    "scipy-lm": Peer(partial(_scipy_squares, "lm"), "scipy least_squares, MINPACK's Levenberg-Marquardt"),
    "scipy-lbfgsb": Peer(
        partial(_scipy_minimize, "L-BFGS-B", {"ftol": 0.0, "maxfun": UNLIMITED}),
        "scipy minimize, L-BFGS-B",
        options={"maxcor": 10},
    ),
    "scipy-bfgs": Peer(partial(_scipy_minimize, "BFGS", {}), "scipy minimize, BFGS"),
    "scipy-trust-ncg": Peer(
        partial(_scipy_minimize, "trust-ncg", {}), "scipy minimize, Newton-CG in a trust region, exact Hessian products"
    ),
    "torch-lbfgs": Peer(_torch_lbfgs, "torch LBFGS, strong Wolfe line search", options={"history_size": 100}),
    "torch-adam": Peer(_adam, "torch Adam", options={"learning_rate": 1e-3}),
    "torch-adam-lbfgs": Peer(
        _adam_lbfgs,
        "torch Adam, then LBFGS with strong Wolfe line search",
        options={"learning_rate": 1e-3, "adam_iterations": 1000, "history_size": 100},
    ),
    "pytorch-minimize": Peer(
        _pytorch_minimize, "pytorch-minimize", "torchmin", "pytorch-minimize", {"algorithm": "bfgs"}
    ),
    "torch-levenberg-marquardt": Peer(
        _torch_levenberg_marquardt,
        "torch-levenberg-marquardt",
        "torch_levenberg_marquardt",
        "torch-levenberg-marquardt",
        {"damping": 1e-3},
    ),
    "deepxde": Peer(
        peer_deepxde.train,
        "DeepXDE on the same network and points: Adam, then L-BFGS",
        "deepxde",
        "deepxde",
        {"learning_rate": 1e-3, "adam_iterations": 1000, "history_size": 100},
        counted=False,
    ),
    "deepxde-nncg": Peer(
        peer_deepxde.train,
        "DeepXDE on the same network and points: Adam, L-BFGS, then NNCG",
        "deepxde",
        "deepxde",
        {
            **{"learning_rate": 1e-3, "adam_iterations": 1000, "history_size": 100, "lbfgs_iterations": 1000},
            **{"rank": 50, "damping": 0.1, "cg_iterations": 1000},
        },
        counted=False,
    ),
    "scimba-eng": Peer(
        partial(peer_scimba.train, "ENG"),
        "Scimba on the same network and points: energy natural gradient",
        "scimba_torch",
        "scimba",
        {"matrix_regularization": 1e-6, "adaptive": False, "line_search": "armijo"},
        counted=False,
    ),
    "scimba-anagram": Peer(
        partial(peer_scimba.train, "ANaGRAM"),
        "Scimba on the same network and points: ANaGRAM",
        "scimba_torch",
        "scimba",
        {"svd_threshold": 1e-6, "line_search": "armijo"},
        counted=False,
    ),
}
