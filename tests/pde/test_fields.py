"""Equations in names of coordinates and functions, against torch's own derivatives, for every kind of network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.residual import dense_jacobian
from multilevel_opt.pde import MLP, Block, Columns, Field, Fourier, Frame, ModuleNetwork, Network, PDEResidual, Several
from multilevel_opt.pde import residual as module

XT = Frame(("x", "t"), space=(0,))
UV = Frame(("x", "t"), ("u", "v"), ("a",), space=(0,))


def points(m: int = 7, d: int = 2) -> Tensor:
    return torch.rand(m, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def own(outputs: int = 1) -> ModuleNetwork:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, outputs))
    return ModuleNetwork(layers.double(), 2)


NETWORKS: dict[str, Callable[[int], Network]] = {
    "one layer": lambda k: MLP(2, (6,), outputs=k),
    "deep": lambda k: MLP(2, (5, 4), outputs=k),
    "skip": lambda k: MLP(2, (4, 4), outputs=k, skip=True),
    "fourier": lambda k: MLP(2, (5,), outputs=k, embedding=Fourier.random(2, 3, 1.0, 0)),
    "module": own,
    "several": lambda k: Several((*[MLP(2, (4,))] * (k - 1), MLP(2, (3,), embedding=Columns((0,))))),
}

SCALAR: dict[str, Callable[[Any, Tensor], Any]] = {
    "heat": lambda u, z: u.t - 0.3 * u.xx,
    "burgers": lambda u, z: u.t + u.value * u.x - 0.1 * u.d("x", "x"),
    "wave": lambda u, z: u.d("t", "t") - u.laplacian + torch.sin(u.value),
    "mixed": lambda u, z: u.xt * u.xx + torch.exp(u.value) - z[:, 0],
    "kdv": lambda u, z: u.t + 6 * u.value * u.x + u.xxx,
    "beam": lambda u, z: u.d("t") + u.d("x", "x", "x", "x") * u.value,
    "two equations": lambda u, z: (u.t + u.x, u.lap("x", "t") * u.value),
}


def system(w: Any, z: Tensor) -> tuple[Tensor, ...]:
    u, v = w
    return u.t - w.unknown("a") * u.xx * v.value, v.x + u.value**2 - w.v.xt, v.value * w["u"].x


def assert_linearized(residual: PDEResidual, x: Tensor) -> None:
    r, jacobian = residual.linearize(x)
    torch.testing.assert_close(r, residual(x), rtol=1e-12, atol=1e-12)
    expected = dense_jacobian(residual, x, r.numel())
    torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))
    v, w = torch.sin(torch.arange(x.numel(), dtype=x.dtype)), torch.cos(torch.arange(r.numel(), dtype=x.dtype))
    torch.testing.assert_close(residual.jvp(x, v), expected @ v)
    torch.testing.assert_close(residual.vjp(x, w), expected.T @ w)


def transform(z: Tensor, n: Tensor) -> Tensor:
    return torch.sin(z[:, :1]) + z[:, :1] * (1 - z[:, 1:]) * n


BENT: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "plain": None,
    "affine": transform,
    "curved": lambda z, n: torch.exp(z[:, 1:] * n),
}
CASES = [
    *[(law, network, "plain") for law in SCALAR for network in ("deep", "module")],
    *[("wave", network, bent) for network in NETWORKS for bent in BENT],
    *[(law, "deep", bent) for law in ("burgers", "kdv", "two equations") for bent in ("affine", "curved")],
]


@pytest.mark.parametrize(("law", "network", "bent"), CASES)
def test_rows_are_derivatives(law: str, network: str, bent: str) -> None:
    net = NETWORKS[network](1)
    residual = PDEResidual(net, [Block(points(3), SCALAR[law], 0.7)], frame=XT, transform=BENT[bent])
    assert_linearized(residual, net.start(seed=2))


@pytest.mark.parametrize("network", NETWORKS)
def test_systems_with_an_unknown_scalar(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = NETWORKS[network](2)
    m = 40  # two pieces, when they are as small as can be
    data = Block(points(3), lambda w, z: w.u.value, (2.0,), source=torch.ones(3, dtype=torch.float64))
    residual = PDEResidual(net, [Block(points(m), system, (1.0, 2.0, 0.5)), data], frame=UV, scales=(0.1,))
    x = torch.cat([net.start(seed=2), torch.full((1,), 0.8, dtype=torch.float64)])
    assert residual(x).shape == (3 * m + 3,)
    assert_linearized(residual, x)
    whole = residual.linearize(x)
    monkeypatch.setattr(module, "CACHE_ENTRIES", 1)
    for a, b in zip(whole, residual.linearize(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    ids = torch.tensor([8, 0, 122, 90, 53, 1])
    some = residual.rows(ids)
    torch.testing.assert_close(some(x), residual(x)[ids])
    torch.testing.assert_close(some.linearize(x)[1], whole[1][ids])


@pytest.mark.parametrize("bent", [None, lambda z, n: z[:, :1] * n])
def test_levels_of_one_hidden_layer_take_systems(bent: Callable[[Tensor, Tensor], Tensor] | None) -> None:
    net = MLP(2, (6,), outputs=2)
    residual = PDEResidual(net, [Block(points(), system)], frame=UV, scales=(1.0,), transform=bent)
    x = torch.cat([net.start(seed=2), torch.full((1,), 0.8, dtype=torch.float64)])
    assert residual.layout is not None
    assert residual.layout.size == x.numel()
    for neurons in (torch.tensor([4, 1]), torch.arange(6)):
        part, index = residual.subnetwork(x, neurons)
        y = torch.cos(torch.arange(index.numel(), dtype=x.dtype))
        replaced = x.clone()
        replaced[index] = y
        torch.testing.assert_close(part(y), residual(replaced), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(part.linearize(y)[1], residual.linearize(replaced)[1][:, index])
    small = residual.resized([3])
    assert small.layout is not None
    assert_linearized(small, x[: small.layout.size])


def test_values_are_those_of_the_function() -> None:
    net = MLP(2, (5, 4))
    x, z = net.start(seed=2), points()
    seen: dict[str, Tensor] = {}

    def law(u: Field, z: Tensor) -> Tensor:
        seen.update(x=u.x, xt=u.xt, ttt=u.ttt, lap=u.laplacian, both=u.lap("x", "t"), gradient=u.gradient)
        return u.value

    PDEResidual(net, [Block(z, law)], frame=XT)(x)
    u = lambda point: net.value(x, point[None])[0, 0]  # noqa: E731
    for i, point in enumerate(z):
        slope, bend = torch.func.grad(u)(point), torch.func.hessian(u)(point)
        third = torch.func.jacfwd(torch.func.hessian(u))(point)[1, 1, 1]
        for found, expected in (
            (seen["x"], slope[0]),
            (seen["gradient"], slope),
            (seen["xt"], bend[0, 1]),
            (seen["lap"], bend[0, 0]),
            (seen["both"], bend.trace()),
            (seen["ttt"], third),
        ):
            torch.testing.assert_close(found[i], expected)


def test_partners_are_read_at_their_points() -> None:
    net = MLP(2, (5,))
    x, z = net.start(seed=2), points()
    jump = Block(z, lambda u, z: u.partner.value * u.value - u.partner.x, partners=z + 1.0)
    residual = PDEResidual(net, [jump], frame=XT)
    there = net.value(x, z + 1.0)[:, 0]
    slope = torch.func.vmap(torch.func.grad(lambda p: net.value(x, p[None])[0, 0]))(z + 1.0)[:, 0]
    torch.testing.assert_close(residual(x), there * net.value(x, z)[:, 0] - slope)
    assert_linearized(residual, x)
    ids = torch.tensor([5, 2])
    torch.testing.assert_close(residual.rows(ids).linearize(x)[1], residual.linearize(x)[1][ids])


@pytest.mark.parametrize(
    ("law", "sentence"),
    [
        (lambda u, z: u.q, "derivative with respect to 'q', but the coordinates are x, t"),
        (lambda u, z: u.d("x", "y"), "derivative with respect to 'y', but the coordinates are x, t"),
        (lambda u, z: u.unknown("nu"), "reads the unknown 'nu', but the unknowns are none"),
        (lambda u, z: u.normal_derivative, "its points are not on a boundary"),
        (lambda u, z: u.partner.value, "reads partner points, but has none"),
        (lambda u, z: None, "must return one number per point"),
        (lambda u, z: (), "must return one number per point"),
        (lambda u, z: u.gradient, "one number per point, \\(4,\\), but returned \\(4, 2\\)"),
        (lambda u, z: u.value.sum(), "one number per point"),
    ],
)
def test_equations_that_make_no_sense_are_one_sentence(law: Callable[[Any, Tensor], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        PDEResidual(MLP(2, (3,)), [Block(points(), law)], frame=XT)
    assert "\n" not in str(caught.value)


def test_networks_that_do_not_fit_are_one_sentence() -> None:
    block = Block(points(), lambda u, z: u.value)
    with pytest.raises(ShapeError, match="has 3 inputs, but the points have 2 coordinates"):
        PDEResidual(MLP(3, (3,)), [block])
    with pytest.raises(ShapeError, match="gives 2 outputs for 1 named functions"):
        PDEResidual(MLP(2, (3,), outputs=2), [block])
    with pytest.raises(InputError, match="does not take points of 2 coordinates"):
        ModuleNetwork(nn.Linear(3, 1).double(), 2)
    with pytest.raises(InputError, match="same number of coordinates"):
        Several((MLP(1, (3,)), MLP(2, (3,))))
    with pytest.raises(ShapeError, match=r"transform\(z, n\) must return one row per point"):
        PDEResidual(MLP(2, (3,)), [block], transform=lambda z, n: n.sum(1))
    with pytest.raises(InputError, match="functions are u, v"):
        PDEResidual(MLP(2, (3,), outputs=2), [Block(points(), lambda w, z: w.p.value)], frame=UV)
    with pytest.raises(InputError, match="2 equations, but 1 weights"):
        PDEResidual(MLP(2, (3,)), [Block(points(), lambda u, z: (u.value, u.x), (1.0,))])


@pytest.mark.parametrize("name", ["value", "d", "_x", "2x", "x"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="choose another"):
        Frame(("x", name))


def test_an_affine_transform_costs_no_derivatives_in_an_evaluation() -> None:
    bent = PDEResidual(MLP(2, (3,)), [Block(points(), SCALAR["heat"])], frame=XT, transform=transform)
    assert bent.blocks[0].sites[0].linear is not None
    curved = PDEResidual(MLP(2, (3,)), [Block(points(), SCALAR["heat"])], frame=XT, transform=lambda z, n: n * n)
    assert curved.blocks[0].sites[0].linear is None
