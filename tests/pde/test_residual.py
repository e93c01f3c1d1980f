import pytest
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from multilevel_opt.objective.residual import Residual, dense_jacobian
from multilevel_opt.pde import MLP, Block, Field, PDEResidual
from multilevel_opt.pde import residual as module
from multilevel_opt.pde.terms import VALUE, Needs, laplacian, partial

# torch compiles its own decompositions when forward differentiation is first used.


def nonlinear(u: Field, z: Tensor) -> Tensor:
    return -u.laplacian + u.value**3 + u.gradient[:, 0] * u.value - torch.sin(z[:, 0])


def value_only(u: Field, z: Tensor) -> Tensor:
    return u.value - z[:, 0]


def make(widths: tuple[int, ...] = (6,), d: int = 2) -> tuple[PDEResidual, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z, zb = (torch.rand(m, d, generator=generator, dtype=torch.float64) for m in (7, 4))
    source = torch.rand(4, generator=generator, dtype=torch.float64)
    net = MLP(d, widths)
    blocks = [Block(z, nonlinear, 0.3), Block(zb, value_only, 2.0, source=source)]
    return PDEResidual(net, blocks), net.start("normal", seed=1)


def assert_linearized(residual: Residual, x: Tensor) -> None:
    r, jacobian = residual.linearize(x)
    torch.testing.assert_close(r, residual(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jacobian, dense_jacobian(residual, x, r.numel()), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("widths", [(6,), (4, 3), (3, 4, 3)])
@pytest.mark.parametrize("d", [1, 3])
def test_linearize_is_the_jacobian(widths: tuple[int, ...], d: int) -> None:
    assert_linearized(*make(widths, d))


def test_linearize_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    residual = PDEResidual(MLP(1, (5,)), [Block(z, nonlinear), Block(z[::100], value_only)])
    x = residual.network.start(seed=4)
    whole = residual.linearize(x)
    monkeypatch.setattr(module, "CACHE_ENTRIES", 1)
    for a, b in zip(whole, residual.linearize(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_products_agree_with_the_jacobian() -> None:
    residual, x = make()
    r, jacobian = residual.linearize(x)
    v, w = torch.sin(torch.arange(x.numel(), dtype=x.dtype)), torch.cos(torch.arange(r.numel(), dtype=x.dtype))
    torch.testing.assert_close(residual.jvp(x, v), jacobian @ v)
    torch.testing.assert_close(residual.vjp(x, w), jacobian.T @ w)


def test_linearize_works_without_gradients_and_on_leaves_that_require_them() -> None:
    residual, x = make()
    with torch.no_grad():
        expected = residual.linearize(x)[1]
    found = residual.linearize(x.clone().requires_grad_())[1]
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("ids", [[0, 3, 10], [10, 0, 3, 8, 1], [2, 2, 9, 2], [9], []])
def test_rows_are_those_rows(ids: list[int]) -> None:
    residual, x = make()
    index = torch.tensor(ids, dtype=torch.int64)
    some = residual.rows(index)
    torch.testing.assert_close(some(x), residual(x)[index])
    torch.testing.assert_close(some.linearize(x)[1], residual.linearize(x)[1][index])
    again = torch.arange(len(ids) - 1, -1, -1)
    torch.testing.assert_close(some.rows(again)(x), residual(x)[index][again])


def test_rows_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"row numbers must lie in 0\.\.10, got 3\.\.11"):
        make()[0].rows(torch.tensor([3, 11]))


def assert_sub(residual: PDEResidual, x: Tensor, neurons: Tensor) -> tuple[Residual, Tensor]:
    sub, index = residual.subnetwork(x, neurons)
    y = torch.cos(torch.arange(index.numel(), dtype=x.dtype))
    replaced = x.clone()
    replaced[index] = y
    torch.testing.assert_close(sub(y), residual(replaced), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sub.linearize(y)[1], residual.linearize(replaced)[1][:, index])
    assert sub.layout is not None
    assert sub.layout.size == index.numel()
    return sub, y


@pytest.mark.parametrize("neurons", [[4, 1], [0], [5, 4, 3, 2, 1, 0]])
def test_a_subnetwork_is_the_network_with_the_rest_frozen(neurons: list[int]) -> None:
    residual, x = make()
    sub, y = assert_sub(residual, x, torch.tensor(neurons))
    assert isinstance(sub, PDEResidual)
    assert_sub(sub, y, torch.tensor([len(neurons) - 1]))
    ids = torch.tensor([8, 0, 5])
    torch.testing.assert_close(sub.rows(ids)(y), sub(y)[ids])
    assert_sub(sub.rows(ids), y, torch.tensor([0]))


def test_a_deep_network_has_no_subnetwork() -> None:
    residual, x = make((3, 3))
    with pytest.raises(UnsupportedCombination, match="cannot freeze a part of its network"):
        residual.subnetwork(x, torch.tensor([0]))


def test_a_resized_residual_has_the_same_rows() -> None:
    residual, x = make()
    small = residual.resized([2])
    assert small(x[: small.network.size]).shape == residual(x).shape
    assert_linearized(small, x[: small.network.size])


def test_channels_are_what_equations_read() -> None:
    residual, _ = make()
    every = Needs((VALUE, partial(0), partial(1), laplacian((0, 1))))
    assert [b.needs for b in residual.blocks] == [every, Needs((VALUE,))]
    assert residual.channels == 4
    assert PDEResidual(residual.network, residual.blocks[1:]).channels == 1
    first_order = Block(residual.blocks[0].points, lambda u, z: u.gradient[:, 0])
    assert PDEResidual(residual.network, [first_order]).channels == 3


def test_nan_is_a_value_like_others() -> None:
    residual, x = make()
    r, jacobian = residual.linearize(x * torch.nan)
    assert r.isnan().any()
    assert jacobian.isnan().any()


def test_an_equation_without_the_network_has_a_zero_jacobian() -> None:
    z = torch.ones(3, 1, dtype=torch.float64)
    residual = PDEResidual(MLP(1, (2,)), [Block(z, lambda u, z: z[:, 0])])
    assert torch.equal(residual.linearize(residual.network.start())[1], torch.zeros(3, 7, dtype=torch.float64))


def test_float32_stays_float32() -> None:
    z = torch.rand(5, 2, dtype=torch.float32)
    residual = PDEResidual(MLP(2, (3,)), [Block(z, nonlinear)])
    r, jacobian = residual.linearize(residual.network.start(dtype=torch.float32))
    assert r.dtype == jacobian.dtype == torch.float32


def test_equations_that_do_not_hold_row_by_row_are_refused() -> None:
    z = torch.rand(4, 1, dtype=torch.float64)
    net, data = MLP(1, (2,)), torch.ones(4, dtype=torch.float64)
    with pytest.raises(InputError, match="rows of an equation depend on each other"):
        PDEResidual(net, [Block(z, lambda u, z: u.value * u.value.sum())])
    with pytest.raises(ShapeError, match="one number per point"):
        PDEResidual(net, [Block(z, lambda u, z: u.value[:, None] - z)])
    with pytest.raises(ShapeError, match="any subset of the points"):
        PDEResidual(net, [Block(z, lambda u, z: u.value - data)])


def test_a_channel_read_only_sometimes_is_named() -> None:
    z = torch.rand(4, 1, dtype=torch.float64)
    sometimes = Block(z, lambda u, z: u.value if bool((u.value > 0.0).all()) else u.laplacian)
    residual = PDEResidual(MLP(1, (2,)), [sometimes])
    with pytest.raises(InputError, match=r"read u\.laplacian only sometimes"):
        residual(torch.tensor([0.0] * 6 + [-1.0], dtype=torch.float64))
