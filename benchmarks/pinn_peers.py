"""Processor seconds to an error beside DeepXDE, jinns and Scimba: same network, points, row weights, start and truth.

Every run is a process of its own on one core: ``OMP_NUM_THREADS`` holds torch, ``OPENBLAS_NUM_THREADS`` the LAPACK of
JAX, which is scipy's (without it a linear system of 200 unknowns costs 150 times as much), ``XLA_FLAGS`` XLA. Seconds
are those of the processor, of all threads together, so that other processes do not count; ``taskset -c 0`` before the
command keeps threads from waiting for each other as well. Not timed, for nobody: loading, compiling, the first call of
a step, measuring errors. A peer may take ten times our time, at least ``LEAST`` and at most ``MOST`` seconds, which the
environment variable ``PINN_PEERS_SECONDS`` changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from math import inf
from statistics import median
from typing import Any

from benchmarks.measure import say, short, show
from benchmarks.pinn_run import ENTRIES, OURS, PROBLEMS, installed, seconds_to

TARGETS = (1e-3, 1e-4, 1e-5, 1e-6)
LEAST = 5.0
MOST = float(os.environ.get("PINN_PEERS_SECONDS", "60"))
TIMES = 10.0
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
HEADER = ("method", *(f"to {target:g}" for target in TARGETS), "best error", "loading")

Found = dict[str, Any]
Ratios = dict[float, float]


def run(seeds: Sequence[int]) -> None:
    names = [name for name, entry in ENTRIES.items() if installed(entry)]
    missing = [name for name in ENTRIES if name not in names]
    if missing:
        say(f"not installed: {', '.join(missing)}: pip install 'multilevel-opt[peers,peers-jax,peers-scimba]'")
    ratios: dict[str, list[Ratios]] = {name: [] for name in names}
    for problem in PROBLEMS:
        tables = [solved(problem, names, seed) for seed in seeds]
        show(f"{problem}: seconds of one core, median of {len(seeds)} seeds", HEADER, [row(n, tables) for n in names])
        for name in names:
            ratios[name] += [compared(found[name], found[OURS]) for found in tables]
    rows = [[name, *(told([r[t] for r in ratios[name] if t in r]) for t in TARGETS)] for name in names]
    show(f"seconds over those of {OURS}, median of all problems and seeds where it got there", HEADER[:5], rows)


def solved(problem: str, names: Sequence[str], seed: int) -> dict[str, Found]:
    """All methods on one problem from one start, ours first: it sets the limit of the others."""
    found = {OURS: started(problem, OURS, seed, MOST)}
    last = max((s for t in TARGETS if (s := seconds_to(found[OURS]["errors"], t)) is not None), default=MOST)
    cap = min(MOST, max(LEAST, TIMES * last))
    for name in names[1:]:
        found[name] = started(problem, name, seed, cap)
    return found


def started(problem: str, name: str, seed: int, cap: float) -> Found:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.pinn_run", problem, name, str(seed), str(TARGETS[-1]), str(cap)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"  {problem}, {name}, seed {seed}: failed: {done.stderr.strip().splitlines()[-1]}")
        return {"errors": [], "compiling": 0.0, "message": "failed", "cap": cap}
    found: Found = json.loads(done.stdout.splitlines()[-1])
    reached = ", ".join(_seconds(seconds_to(found["errors"], target)) for target in TARGETS)
    say(f"  {problem}, {name}, seed {seed}: {reached} s; {best(found):.1e}; {found['message']}")
    return found | {"cap": cap}


def best(found: Found) -> float:
    return min((error for _, error in found["errors"] if error == error), default=inf)


def compared(found: Found, our: Found) -> Ratios:
    """Ratio of seconds to every error that ours reached; infinite where it was not reached in time."""
    ours = {t: s for t in TARGETS if (s := seconds_to(our["errors"], t)) is not None}
    theirs = {t: seconds_to(found["errors"], t) for t in ours}
    return {t: inf if (taken := theirs[t]) is None else taken / max(ours[t], 1e-3) for t in ours}


def row(name: str, tables: Sequence[dict[str, Found]]) -> list[str]:
    cells = [name]
    for target in TARGETS:
        taken = [seconds_to(found[name]["errors"], target) for found in tables]
        there = [s for s in taken if s is not None]
        cells.append(f"{_seconds(median(inf if s is None else s for s in taken))} ({len(there)}/{len(taken)})")
    cells.append(f"{median(best(found[name]) for found in tables):.1e}")
    return [*cells, short(median(found[name]["compiling"] for found in tables))]


def told(ratios: Sequence[float]) -> str:
    """Median of ratios, where more than half are known, and how many are."""
    middle = median(ratios) if ratios else inf
    reached = sum(ratio < inf for ratio in ratios)
    return f"{'-' if middle == inf else format(middle, '.2f')} ({reached}/{len(ratios)})"


def _seconds(value: float | None) -> str:
    return "-" if value is None or value == inf else f"{value:.2f}"
