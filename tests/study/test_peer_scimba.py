"""Scimba is given our residual, with its Jacobian, and goes down from our start."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.study.peer_scimba import checked
from problems import Burgers, Kovasznay, Poisson

needs_scimba = pytest.mark.skipif(find_spec("scimba_torch") is None, reason="scimba is not installed")

SAME = """
import json, sys
import scimba_torch, torch
from multilevel_opt.study.peer_scimba import _solver
from problems import Burgers, Helmholtz, Poisson, Reaction
options = {"line_search": "armijo", "matrix_regularization": 1e-6, "adaptive": False}
found = []
for problem in (
    Poisson(nu=3.0, width=5, depth=2, points=20), Poisson(dim=2, width=7, points="5x6"), Burgers(points=20, width=5),
    Reaction(points=20, width=5), Helmholtz(dim=2, width=6, points=20),
):
    solver = _solver("ENG", None, problem, options)
    left, right = solver.assembly_post_sampling(solver.data)
    matrices = [solver.preconditioner.get_preconditioning_matrix(solver.data)]
    anagram = _solver("ANaGRAM", None, problem, options | {"svd_threshold": 1e-6})
    jacobian = [anagram.preconditioner.get_preconditioning_matrix(solver.data)]
    if len(left) == 2:
        jacobian.append(anagram.preconditioner.get_preconditioning_matrix_bc(solver.data))
    unit = problem.residual.blocks[0].weights[0]
    r, J = problem.residual.linearize(problem.x0)
    loss = solver.losses.compute_full_loss_without_updating(left, right) * unit**2 * problem.residual.blocks[0].rows / 2
    found.append([
        float((unit * torch.cat([a - b for a, b in zip(left, right)])[:, 0] - r).abs().max() / r.abs().max()),
        float((unit * torch.cat(jacobian) - J).abs().max() / J.abs().max()),
        float(loss / problem.objective(problem.x0)) - 1.0,
    ])
print(json.dumps(found))
"""

RUN = """
import json
from multilevel_opt.study.solvers import Task, solved
from problems import Poisson
budget = {"max_iterations": 12, "max_seconds": None, "memory": None}
found = {}
for name in ("scimba-eng", "scimba-anagram"):
    record, columns, rows = solved(Poisson(nu=3.0, width=8, points=40, seed=5), Task("poisson", name, {}, {}, budget))
    found[name] = [row[columns.index("loss")] for row in rows]
print(json.dumps(found))
"""


def answer(script: str) -> Any:
    """What a script prints, in a process of its own: importing Scimba changes torch's global defaults."""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


@needs_scimba
@pytest.mark.slow
def test_rows_jacobian_and_loss_of_scimba_are_ours() -> None:
    for rows, jacobian, loss in answer(SAME):
        assert abs(rows) <= 1e-10
        assert abs(jacobian) <= 1e-10
        assert abs(loss) <= 1e-10


@needs_scimba
@pytest.mark.slow
def test_scimba_goes_down_from_our_start() -> None:
    start = float(Poisson(nu=3.0, width=8, points=40, seed=5).objective(Poisson(nu=3.0, width=8, points=40, seed=5).x0))
    for losses in answer(RUN).values():
        assert losses[0] == pytest.approx(start, rel=1e-12)
        assert len(losses) == 13
        assert losses[-1] < 0.1 * losses[0]


def test_what_scimba_is_not_given_is_told() -> None:
    with pytest.raises(UnsupportedCombination, match="more than one function"):
        checked(Kovasznay(points=20, width=3))
    with pytest.raises(UnsupportedCombination, match=r"numbers of float32"):
        checked(Poisson(points=20, width=3, dtype="float32"))
    with pytest.raises(UnsupportedCombination, match="more than two coordinates"):
        checked(Poisson(dim=3, points=20, width=3))
    with pytest.raises(UnsupportedCombination, match="trains networks on boundary value problems, object is none"):
        checked(object())
    assert checked(Burgers(points=20, width=3)) is not None
