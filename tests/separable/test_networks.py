"""Separable layers, the published networks, and what their scores depend on."""

import networkx
import pytest
import torch
from torch import Tensor, nn

import multilevel_opt as mlo
from multilevel_opt import separable as sep

NETWORKS = {
    "poster": (sep.POSTER, 12_200, 170, 1_373, 2_576),
    "paper": (sep.PAPER, 46_740, 1_040, 5_610, 10_180),
    "paper, color": (sep.PAPER_COLOR, 81_750, 4_560, 12_279, 19_998),
}
LENETS = {
    "poster": (sep.LENET_POSTER, 24_092),
    "paper": (sep.LENET_PAPER, 44_426),
    "paper, color": (sep.LENET_PAPER_COLOR, 104_182),
}


def example(shape: tuple[int, ...] = (1, 28, 28)) -> Tensor:
    return torch.zeros(1, *shape)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_published_psnets_have_the_published_counts(name: str) -> None:
    options, n, shared, score, element = NETWORKS[name]
    model = sep.PSNet(**options)
    structure = sep.trace(model, example(options["shape"]))
    assert count(model) == n
    assert structure.pairs().summary() == {
        "weights": n,
        "shared": shared,
        "score": score,
        "element": element,
        "elements": 45,
        "share": element / n,
    }
    assert structure.pairs(merged=False).count == 90
    assert structure.singles().summary()["element"] == score


@pytest.mark.parametrize("name", LENETS)
def test_published_lenets_have_the_published_counts_and_are_refused(name: str) -> None:
    options, n = LENETS[name]
    model = sep.LeNet(**options)
    assert count(model) == n
    with pytest.raises(
        mlo.InputError, match=r"not partially separable, since it ends in the dense layer 'layers\.\d+'"
    ):
        sep.trace(model, example(options["shape"]))


def test_every_weight_of_a_score_is_found_and_no_other() -> None:
    structure = sep.trace(sep.PSNet(**sep.POSTER), example())
    assert bool(structure.masks.any(0).all())
    assert torch.equal(structure.shared, torch.arange(170))
    second = structure.of_score(1)
    # 2 of 20 channels of the second convolution, with their 10 · 16 weights each
    assert torch.equal(second[170:490], 170 + torch.arange(320, 640))
    both = structure.masks.sum(0)
    assert set(both.tolist()) == {1, 10}


def test_a_separable_layer_is_a_block_diagonal_dense_layer() -> None:
    layer = sep.SeparableLinear(6, 9, 3, dtype=torch.float64)
    x = torch.randn(5, 6, dtype=torch.float64)
    dense = x @ torch.block_diag(*layer.weight).T + layer.bias.reshape(-1)
    assert torch.allclose(layer(x), dense, atol=1e-14)
    assert layer(x[:1]).shape == (1, 9)
    assert float(layer.weight.detach().abs().max()) <= 2**-0.5
    assert sep.SeparableLinear(6, 9, 3, bias=False)(x.float()).shape == (5, 9)


@pytest.mark.parametrize(("before", "after", "blocks"), [(7, 9, 3), (6, 8, 3), (6, 9, 0), (0, 9, 3)])
def test_a_layer_that_does_not_split_is_refused(before: int, after: int, blocks: int) -> None:
    with pytest.raises(mlo.InputError, match="do not split into"):
        sep.SeparableLinear(before, after, blocks)


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(mlo.ShapeError, match="takes"):
        sep.SeparableLinear(6, 9, 3)(torch.zeros(2, 3, 2))
    with pytest.raises(mlo.ShapeError, match=r"takes images \(1, 28, 28\)"):
        sep.PSNet(**sep.POSTER)(torch.zeros(2, 1, 32, 32))
    with pytest.raises(mlo.InputError, match="too small"):
        sep.PSNet(shape=(1, 8, 8))
    with pytest.raises(mlo.InputError, match="activation=step"):
        sep.PSNet(activation="step")


def test_pooling_layer_equals_its_parts() -> None:
    layer = sep.PooledConv2d(2, 3, 4, nn.Tanh(), dtype=torch.float64)
    x = torch.randn(2, 2, 12, 15, dtype=torch.float64)
    parts = nn.functional.avg_pool2d(nn.functional.conv2d(x, layer.weight, layer.bias).tanh(), 2)
    assert torch.allclose(layer(x), parts, atol=1e-14)


class Residual(nn.Module):
    """A stem, then separable layers with identity skips."""

    def __init__(self, skip: bool = True) -> None:
        super().__init__()
        self.stem, self.wide = nn.Linear(5, 4), nn.Linear(4, 12)
        self.inner = sep.SeparableLinear(12, 12, 3)
        self.last = sep.SeparableLinear(12, 3, 3)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.wide(self.stem(x).tanh()).tanh()
        return self.last((h if self.skip else 0) + self.inner(h).tanh())


def test_identity_skips_keep_the_scores_apart() -> None:
    structure = sep.trace(Residual(), torch.zeros(1, 5))
    plain = sep.trace(Residual(skip=False), torch.zeros(1, 5))
    assert torch.equal(structure.own, plain.own)
    assert structure.pairs().summary()["shared"] == 24


def test_rectified_units_are_traced() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), sep.SeparableLinear(6, 3, 3))
    assert sep.trace(net, torch.zeros(1, 4), limit=0.8).pairs().summary()["shared"] == 25


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = sep.SeparableLinear(6, 3, 3)
        self.hidden = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.hidden.detach()


def test_dependence_without_a_derivative_is_found_by_evaluation() -> None:
    with pytest.raises(mlo.InputError, match="no derivative for"):
        sep.trace(Hidden(), torch.zeros(1, 6))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = sep.SeparableLinear(6, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.rand(len(x), 3)


def test_a_random_module_is_refused() -> None:
    with pytest.raises(mlo.InputError, match="random parts"):
        sep.trace(Noisy(), torch.zeros(1, 6))


def test_modules_that_cannot_be_partitioned_are_refused() -> None:
    with pytest.raises(mlo.InputError, match="batch"):
        sep.trace(nn.Sequential(sep.SeparableLinear(6, 3, 3), nn.BatchNorm1d(3)), torch.zeros(1, 6))
    with pytest.raises(mlo.ShapeError, match="scores"):
        sep.trace(nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), torch.zeros(1, 6))
    mixed = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    with pytest.raises(mlo.InputError, match="every weight serves several"):
        sep.trace(mixed, torch.zeros(1, 6))


def test_tracing_leaves_the_module_as_it_was() -> None:
    model = sep.PSNet(**sep.POSTER).train()
    before = [p.detach().clone() for p in model.parameters()]
    sep.trace(model, example())
    assert model.training
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(model.parameters(), before, strict=True))


def test_gather_and_scatter_are_adjoint_and_follow_the_indices() -> None:
    part = sep.trace(Residual(), torch.zeros(1, 5)).pairs()
    x = torch.randn(part.structure.n)
    padded = torch.cat([x, torch.zeros(1)])
    assert torch.equal(part.gathered(x), padded[part.indices])
    parts = torch.randn(part.count, part.size)
    assert torch.allclose((part.gathered(x) * parts).sum(), x @ part.scattered(parts), atol=1e-5)


class Uneven(nn.Module):
    """Branches of different sizes, as a list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(4, 1), nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def test_scores_with_fewer_weights_are_filled_up() -> None:
    part = sep.trace(Uneven(), torch.zeros(1, 4)).pairs()
    assert part.sizes().tolist() == [24]
    assert part.size == 38
    x = torch.randn(24)
    assert torch.allclose(part.gathered(x).square().sum(), x.square().sum())
    assert torch.allclose(part.scattered(part.gathered(x)), x)


def test_the_graph_of_elements_has_their_counts() -> None:
    part = sep.trace(Residual(), torch.zeros(1, 5)).pairs()
    graph = part.graph()
    assert networkx.is_bipartite(graph)
    assert [graph.degree(("element", i)) for i in range(3)] == part.sizes().tolist()
    assert graph.degree(("weight", 0)) == 3
    assert graph.degree(("weight", int(part.structure.own[0, 0]))) == 2
    assert networkx.number_connected_components(graph) == 1
    common = len(set(graph[("element", 0)]) & set(graph[("element", 1)]))
    assert int(part.overlap()[0, 1]) == common
