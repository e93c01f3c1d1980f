"""How much of the time of a study's workers is spent in its cells.

Two workers solve cells of a second and of two. Measured is the time from the end of the second cell to that of the last
but one, when both are busy; the start of two interpreters that load torch is paid once a study, and told beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from joblib.externals.loky import get_reusable_executor

from benchmarks.measure import say, short, show
from multilevel_opt.study.run import Advance, Study

JOBS = 2
STUDY = """
name = "overhead"
seeds = {seeds}
until = {{ rmse = 1e-12 }}  # out of reach
[budget]
max_iterations = 1000000
max_seconds = {seconds}
[[problems]]
problem = "poisson"
parameters = {{ nu = 20, width = 128, points = 400 }}
[[methods]]
name = "LM"
method = "lm"
[[methods]]
name = "Galerkin"
method = "galerkin"
"""


def run(seeds: Sequence[int]) -> None:
    rows = []
    for seconds in (1.0, 2.0):
        start, cells = timed(STUDY.format(seeds=list(seeds), seconds=seconds))
        first, last = cells[JOBS - 1][1], cells[-JOBS][1]
        whole = JOBS * (last - first)
        inside = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in cells)
        between = 1e3 * (whole - inside) / (len(cells) - JOBS)
        rows.append([short(seconds), str(len(cells)), f"{inside / whole:.1%}", short(between), short(start)])
    header = ("seconds of solving in a cell", "cells", "time in cells", "ms beside a cell", "seconds to start")
    show(f"The time of {JOBS} workers of a study", header, rows)
    say("A cell makes its problem, solves it and measures errors; beside it a worker forks, and sends the record.")


def timed(text: str) -> tuple[float, list[tuple[float, float]]]:
    """Seconds until the first cell begins, and when each cell began and ended, in the order of the ends."""
    cells: list[tuple[float, float]] = []

    def listen(advance: Advance) -> None:
        now = time.monotonic()
        if advance.record is not None:
            cells.append((now - advance.record["seconds_cell"], now))

    get_reusable_executor().shutdown(wait=True)  # so that every study starts workers of its own
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        Study.from_text(text).run(JOBS, folder, listener=listen)
    return cells[0][0] - started, cells
