"""The example of the README: Poisson's equation by Levenberg-Marquardt with a coarse level of 32 neurons."""

import multilevel_opt as mlo
from problems import Poisson

problem = Poisson(nu=20, width=512, init="normal", seed=0)  # -u'' = g on (0, 1), u = cos(20 z)
hierarchy = mlo.subnetwork(problem.objective, problem.x0, levels=2)
print(hierarchy)
stop = mlo.Metric("rmse", 1e-3) | mlo.MaxIterations(200)
result = mlo.least_squares(
    problem.residual, problem.x0, mlo.LM, hierarchy=hierarchy, stop=stop, monitors=problem.metrics
)
print(result)
result.plot("convergence.png")
