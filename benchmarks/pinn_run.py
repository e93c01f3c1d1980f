"""One run of one method on one of the problems of ``pinn_peers``, in a process of its own.

    python -m benchmarks.pinn_run PROBLEM METHOD SEED TARGET CAP

It prints one JSON object: the errors with the processor seconds of every iterate, and the seconds of compiling.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.timed import Timed
from multilevel_opt.registry import load
from multilevel_opt.study import watch
from multilevel_opt.study.peers import PEERS, Peer

OURS = "auto"
MOST = 10**6


@dataclass(frozen=True)
class Entry:
    """A line of the table of methods: the method with options, as ``PEERS`` or ``JAX_PEERS`` name them."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)


ENTRIES: dict[str, Entry] = {
    OURS: Entry(OURS),
    "jinns-ngd": Entry("jinns-ngd"),
    "jinns-ngd, ridge 1e-2": Entry("jinns-ngd", {"gram_reg": 1e-2}),
    "jinns-ssbroyden": Entry("jinns-ssbroyden"),
    "scimba-eng": Entry("scimba-eng"),
    "scimba-eng, adaptive": Entry("scimba-eng", {"adaptive": True}),
    "scimba-anagram": Entry("scimba-anagram"),
    "deepxde": Entry("deepxde"),
    "deepxde-nncg": Entry("deepxde-nncg"),
    "torch-adam-lbfgs": Entry("torch-adam-lbfgs"),
}
PROBLEMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "poisson 1-D, nu=20": ("poisson", {}),
    "helmholtz 1-D, nu=10": ("helmholtz", {"nu": 10.0}),
    "poisson 2-D, k=2": ("poisson", {"dim": 2}),
    "helmholtz 2-D, (1, 4)": ("helmholtz", {"dim": 2}),
    "heat": ("heat", {}),
    "wave, beta=5": ("wave", {}),
    "convection, beta=30": ("convection", {"beta": 30.0}),
    "pendulum, omega=4": ("pendulum", {}),
    "liouville": ("liouville", {}),
    "reaction, rho=5": ("reaction", {}),
    "burgers": ("burgers", {}),
}  # networks, points and weights are the defaults of the problems


def main() -> None:
    title, name, seed, target, cap = sys.argv[1:]
    torch.set_num_threads(1)
    problem, parameters = PROBLEMS[title]
    made, other = (load(problem)(**parameters, seed=int(seed)) for _ in range(2))
    with contextlib.redirect_stdout(sys.stderr):
        if ENTRIES[name].method == OURS:
            started = time.process_time()
            mlo.solve(other, OURS, max_iterations=1)  # the first call of a step is not timed for the others either
            loading = time.process_time() - started
            found = ours(made, ENTRIES[name], float(target), float(cap)) | {"compiling": loading}
        else:
            found = theirs(made, ENTRIES[name], float(target), float(cap))
    print(json.dumps(found))  # noqa: T201  the answer to who started this process


def ours(problem: mlo.PDEProblem, entry: Entry, target: float, cap: float) -> dict[str, Any]:
    """A method of ours; measuring errors is not timed, as it is not for the others. Held-out residuals are."""
    timed = Timed(problem, target, cap)

    def error(x: Tensor) -> float:
        with timed.clock.paused():
            return problem.relative_l2(x)

    def look(event: Any, x: Tensor) -> bool:
        with contextlib.suppress(watch.Ended):
            timed.look(x)
        return timed.verdict is not None

    vars(problem)["metrics"] = {"held_out": problem.held_out, "relative_l2": error}
    look(None, problem.x0)
    run = mlo.solve(problem, entry.method, until={"relative_l2": target}, max_iterations=MOST, callback=look)
    look(None, run.result.x)
    return {"errors": timed.errors, "message": str(run.record["status"])}


def theirs(problem: mlo.PDEProblem, entry: Entry, target: float, cap: float) -> dict[str, Any]:
    peer = peer_of(entry.method)
    timed = Timed(problem, target, cap)
    status, message = watch.run(timed, peer.run, peer.settings(entry.method, entry.options))
    return {"errors": timed.errors, "compiling": timed.compiling, "message": f"{status.value}: {message}"}


def peer_of(method: str) -> Peer:
    """The peer; those of JAX are loaded when one is asked for."""
    if method in PEERS:
        return PEERS[method]
    from benchmarks.peer_jinns import JAX_PEERS

    return JAX_PEERS[method]


def installed(entry: Entry) -> bool:
    """Whether what the method imports is there."""
    module = PEERS[entry.method].module if entry.method in PEERS else "" if entry.method == OURS else "jinns"
    return not module or find_spec(module) is not None


def seconds_to(errors: list[tuple[float, float]], target: float) -> float | None:
    """Processor seconds to the first iterate with an error of at most the target."""
    return next((seconds for seconds, error in errors if error <= target), None)


if __name__ == "__main__":
    main()
