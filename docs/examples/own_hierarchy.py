"""Your own hierarchy: a loss on all samples, the same loss on a tenth of them, and one matrix between the two."""

import torch

import multilevel_opt as mlo

generator = torch.Generator().manual_seed(0)
options = {"generator": generator, "dtype": torch.float64}
features = torch.randn(5000, 40, **options) * torch.logspace(0, -1, 40, dtype=torch.float64)
labels = torch.sign(features @ torch.randn(40, **options) + 0.3 * torch.randn(5000, **options))


def fine(x):
    return torch.nn.functional.softplus(-labels * (features @ x)).mean() + 1e-3 * (x @ x)


def coarse(x):
    return torch.nn.functional.softplus(-labels[:500] * (features[:500] @ x)).mean() + 1e-3 * (x @ x)


P = torch.eye(40, dtype=torch.float64)  # shape (fine unknowns, coarse unknowns); here only the samples get fewer
hierarchy = mlo.from_objectives([fine, coarse], [P])
x0 = torch.zeros(40, dtype=torch.float64)

defect = mlo.check.coherence(hierarchy, x0, order=1)
solver = mlo.AR1.replace(cycle=mlo.Cycle(coarse_iterations=20))
stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(1000)
one_level = mlo.minimize(fine, x0, solver, stop=stop)
two_levels = mlo.minimize(fine, x0, solver, hierarchy=hierarchy, stop=stop)

if __name__ == "__main__":
    print(hierarchy)
    print(f"coherence defect {defect:.1e}")
    print(f"fine gradients: {one_level.njev} on one level, {two_levels.njev} on two")
