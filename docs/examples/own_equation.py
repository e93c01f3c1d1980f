"""A PDE of one's own in 15 lines: -Δu + u = 1 in the unit disc, u = 0 on its edge.

mlopt solve docs/examples/own_equation.py:Disk --until held_out=1e-3 --out runs/disk
"""

from dataclasses import dataclass

import multilevel_opt as mlo
from multilevel_opt.pde import Dirichlet, Disc


@dataclass(frozen=True, kw_only=True)
class Disk(mlo.PDEProblem):
    def domain(self):
        return Disc((0, 0), 1.0)

    def equation(self, u, z):
        return -u.laplacian + u.value - 1.0

    def conditions(self):
        return [Dirichlet(0.0)]


if __name__ == "__main__":
    disk = Disk(points=200, width=20)
    run = mlo.solve(disk, until={"held_out": 1e-3})
    print(disk.solution(run.result.x, disk.x0.new_zeros(1, 2)))  # in the middle: 1 - 1/I₀(1) = 0.21015
