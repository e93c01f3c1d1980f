"""Your own equation: -u'' + u³ = g on (0, 1) with u = sin(3πz) known at the ends.

mlopt solve docs/examples/cubic.py:Cubic width=100 --until rmse=1e-4
"""

from dataclasses import dataclass

import torch

import multilevel_opt as mlo


@dataclass(frozen=True, kw_only=True)
class Cubic(mlo.PDEProblem):
    """-u'' + u³ = g with u = sin(3πz)."""

    def exact(self, z):
        return torch.sin(3 * torch.pi * z[:, 0])

    def equation(self, u, z):
        truth = self.exact(z)
        return -u.laplacian + u.value**3 - (3 * torch.pi) ** 2 * truth - truth**3

    def frequency(self):
        return 3 * torch.pi


if __name__ == "__main__":
    problem = Cubic(width=100, seed=0)
    run = mlo.solve(problem, "galerkin", until={"rmse": 1e-4})
    print(run.result)
