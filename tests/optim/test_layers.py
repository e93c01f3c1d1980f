"""What a pass tells of a layer: inputs and slopes make up the gradient of the weights, in whatever shape they come."""

import pytest
import torch
from torch import nn

from multilevel_opt.optim.layers import Pass, layers_of, watched

F64 = torch.float64
PICTURES, TEXT = (5, 2, 8, 7), (5, 4, 6)
CASES = {
    "linear": (nn.Linear(6, 3), (5, 6)),
    "linear without bias": (nn.Linear(6, 3, bias=False), (5, 6)),
    "linear on sequences": (nn.Linear(6, 3), TEXT),
    "convolution": (nn.Conv2d(2, 3, 3), PICTURES),
    "strided": (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), PICTURES),
    "dilated": (nn.Conv2d(2, 3, 3, dilation=2, padding=2, bias=False), PICTURES),
    "same": (nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)), PICTURES),
    "valid": (nn.Conv2d(2, 3, 2, padding="valid"), PICTURES),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # a copy of the input, no more
def test_inputs_and_slopes_make_the_gradient(case):
    layer, shape = CASES[case]
    module = nn.Sequential(layer.to(F64), nn.ReLU(inplace=True))
    weights = list(module.parameters())
    (found,) = layers_of(module, weights)
    h = torch.randn(*shape, dtype=F64)
    with watched([found]) as calls:
        loss = module(h).square().flatten(1).sum(1).mean()
    ((seen_h, seen_a),) = calls[0]
    *gradient, slope = torch.autograd.grad(loss, [*weights, seen_a])
    seen = Pass(found, seen_h.detach(), seen_a.detach(), slope)
    expected = found.joined(gradient)
    assert torch.allclose(seen.slopes.mT @ seen.inputs / seen.samples, expected, atol=1e-12)
    assert torch.allclose(seen.slope, seen.slopes.mean(0), atol=1e-12)
    assert seen.inputs.shape == (seen.samples * seen.positions, expected.shape[1])
    assert torch.allclose(seen.output, found.joined([w.detach() for w in weights]) @ seen.input, atol=1e-12)
    parts = [torch.empty_like(w) for w in weights]
    found.split(expected, parts)
    assert all(torch.equal(a, b) for a, b in zip(parts, gradient, strict=True))


def test_layers_of_other_kinds_shared_and_frozen_ones_are_left_out():
    tied = nn.Linear(4, 4)
    other = nn.Linear(4, 4)
    other.weight = tied.weight
    frozen = nn.Linear(4, 4)
    frozen.bias.requires_grad_(False)
    module = nn.Sequential(tied, other, frozen, nn.Conv2d(4, 4, 1, groups=2), nn.LayerNorm(4), nn.Linear(4, 2))
    weights = [p for p in module.parameters() if p.requires_grad]
    assert [layer.module for layer in layers_of(module, weights)] == [module[5]]
