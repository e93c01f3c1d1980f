"""The benchmark beside jinns: rows written in JAX are ours, and its optimizers go down from our start."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jinns") is None, reason="jinns is not installed"),
]
ROOT = Path(__file__).parents[2]

SAME = """
import json
import jax, numpy as np
from benchmarks.jax_rows import WRITTEN, rows_of
from benchmarks.pinn_run import PROBLEMS
from multilevel_opt.registry import load
found = {}
for title, (name, parameters) in PROBLEMS.items():
    small = {"width": 5, "points": 25}
    problem = load(name)(**{**parameters, **small}, seed=3)
    x = jax.numpy.asarray(problem.x0.numpy())
    blocks = rows_of(problem)
    theirs = np.concatenate([b.weight * jax.vmap(b.row, (None, 0))(x, b.points) for b in blocks])
    ours = problem.residual(problem.x0).numpy()
    found[title] = float(abs(theirs - ours).max() / abs(ours).max()), len(theirs) == len(ours)
print(json.dumps(found))
"""

RUN = """
import json
from benchmarks.peer_jinns import JAX_PEERS
from benchmarks.timed import Timed
from multilevel_opt.study.watch import run
from problems import Poisson
found = {}
for name, peer in JAX_PEERS.items():
    problem = Poisson(nu=3.0, width=8, points=40, seed=5)
    watched = Timed(problem, 1e-2, 5.0)
    run(watched, peer.run, peer.settings(name, {}))
    found[name] = [watched.errors[0][1], watched.errors[-1][1], problem.relative_l2(problem.x0), watched.compiling]
print(json.dumps(found))
"""


def answer(script: str) -> Any:
    """What a script prints, in a process of its own: JAX has threads, which other tests do not expect."""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(ran.stdout.splitlines()[-1])


def test_rows_in_jax_are_ours() -> None:
    for title, (difference, same) in answer(SAME).items():
        assert same, title
        assert difference <= 1e-10, title


def test_jinns_goes_down_from_our_start() -> None:
    for first, last, start, compiling in answer(RUN).values():
        assert first == start
        assert last <= 1e-2
        assert compiling > 0
