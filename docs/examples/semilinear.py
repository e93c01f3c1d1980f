"""Two equations of which nothing is said but themselves: one with a smooth solution, one with a layer.

mlopt solve docs/examples/semilinear.py:Smooth --until relative_l2=1e-5
mlopt solve docs/examples/semilinear.py:Layer --until relative_l2=1e-4
"""

from dataclasses import dataclass
from math import pi

import torch

import multilevel_opt as mlo
from multilevel_opt import pde


@dataclass(frozen=True, kw_only=True)
class Smooth(mlo.PDEProblem):
    """-Δu + u³ + u u_x = f on the unit square, u = sin(2πx) exp(y)."""

    def domain(self):
        return pde.Box([(0.0, 1.0), (0.0, 1.0)])

    def exact(self, z):
        return torch.sin(2 * pi * z[:, 0]) * torch.exp(z[:, 1])

    def equation(self, u, z):
        v = self.exact(z)
        v_x = 2 * pi * torch.cos(2 * pi * z[:, 0]) * torch.exp(z[:, 1])
        f = (4 * pi**2 - 1) * v + v**3 + v * v_x
        return -u.laplacian + u.value**3 + u.value * u.x - f

    def conditions(self):
        return [pde.Dirichlet(self.exact)]


@dataclass(frozen=True, kw_only=True)
class Layer(mlo.PDEProblem):
    """ε² Δu + u - u³ = 0 on the unit square, a layer of width about 0.1 between two states."""

    epsilon: float = 0.08

    def domain(self):
        return pde.Box([(0.0, 1.0), (0.0, 1.0)])

    def exact(self, z):
        return torch.tanh((0.6 * z[:, 0] + 0.8 * z[:, 1] - 0.7) / (2**0.5 * self.epsilon))

    def equation(self, u, z):
        return self.epsilon**2 * u.laplacian + u.value - u.value**3

    def conditions(self):
        return [pde.Dirichlet(self.exact)]


if __name__ == "__main__":
    found = mlo.solve(Smooth(), until={"relative_l2": 1e-5}).result
    print(found)
