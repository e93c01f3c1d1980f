"""What declared elements promise, measured: they are independent of each other, and convex where they say so."""

from __future__ import annotations

import torch
from torch import Tensor

from multilevel_opt.objective.separable import PartiallySeparable


def dependence(f: PartiallySeparable, x: Tensor) -> float:
    """How much the values of elements change, relatively, when only the variables of others do; zero by rights."""
    worst = 0.0
    with torch.no_grad():
        for group in f.groups:
            u = group.gathered(x)
            moved = torch.arange(group.count, device=x.device) % 2 == 0
            noise = torch.linspace(0.1, 0.2, group.size, dtype=u.dtype, device=u.device)
            before, after = group.values(u), group.values(torch.where(moved[:, None], u + noise, u))
            change = (after - before).abs()[~moved]
            worst = max(worst, float((change / (1 + before.abs()[~moved])).max()) if change.numel() else 0.0)
    return worst


def concavity(f: PartiallySeparable, x: Tensor, points: int = 5) -> float:
    """Largest −λ_min/‖Hᵢ‖ of the elements declared convex, at x and around it; at most rounding by rights."""
    convex = [group for group in f.groups if group.convex]
    if not convex:
        return 0.0
    part = PartiallySeparable(convex, f.n)
    generator = torch.Generator(device="cpu").manual_seed(0)
    worst = 0.0
    for k in range(points):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x)
        for H in part.element_hessians(x + k * noise):
            values = torch.linalg.eigvalsh(0.5 * (H + H.mT))
            worst = max(worst, float((-values[:, 0] / values.abs().amax(1).clamp_min(1e-300)).max()))
    return worst
