"""Whatever happens inside a cell ends as a record."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import multilevel_opt as mlo
from multilevel_opt.study.cell import KEYS
from multilevel_opt.study.grid import Cell
from multilevel_opt.study.isolation import Server
from multilevel_opt.study.run import Study
from multilevel_opt.study.solvers import COLUMNS
from problems import Poisson

EXTRA = {"study", "cell", "method_name", "method_options", "error", "history", "history_columns", "seconds_cell"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def cell_of(folder: Any, kind: str, **limits: Any) -> Cell:
    cell = Study.from_toml(folder.study(last=0, kinds=f'"{kind}"')).cells[0]
    return replace(cell, limits={"seconds": 60.0, "memory": None, "threads": 1, **limits})


def test_a_record_has_the_keys_of_a_run_and_those_of_a_study(folder: Any, server: Server) -> None:
    plain = mlo.solve(Poisson(nu=3, width=8), max_iterations=1).record
    assert set(plain) == set(KEYS)
    for kind in ("good", "fail"):
        assert set(server.solve(cell_of(folder, kind))) == set(KEYS) | EXTRA


def test_a_cell_is_solved_as_in_this_process(folder: Any, server: Server) -> None:
    study = Study.from_text(
        'name = "one"\nseeds = 4\nuntil = { rmse = 1e-3 }\n[[problems]]\nproblem = "poisson"\n'
        'parameters = { nu = 3, width = 16 }\n[[methods]]\nname = "three levels"\n'
        'method = "galerkin"\noptions = { levels = 3 }\n'
    )
    record = server.solve(replace(study.cells[0], limits={"seconds": None, "memory": None, "threads": 1}))
    here = mlo.solve(Poisson(nu=3.0, width=16, seed=4), "galerkin", levels=3, until={"rmse": 1e-3}, max_iterations=1000)
    differ = {"seconds", "seconds_setup", "peak_memory_bytes", "method_options"}  # of a study: with the levels
    assert {key: record[key] for key in KEYS if key not in differ} == {
        key: value for key, value in here.record.items() if key not in differ
    }
    assert record["error"] is None
    assert record["history_columns"] == [*COLUMNS, *Poisson(nu=3.0, width=16).metrics]
    assert record["history_columns"][5] == "rmse"
    fine = [event for event in here.result.history if event.level == 0]
    assert [row[0] for row in record["history"]] == [0, *(event.iteration for event in fine)]
    assert [row[1] for row in record["history"]] == [0.0, *(event.flops for event in fine)]
    assert [row[5] for row in record["history"][1:]] == [event.metrics["rmse"] for event in fine]


@pytest.mark.parametrize(
    ("kind", "limits", "told"),
    [
        ("hang", {"seconds": 1.0}, "killed after 1 seconds, the limit of a cell"),
        ("eat", {"memory": 2**30}, "the memory does not suffice"),
        ("crash", {}, "its process was killed by SIGSEGV"),
        ("abort", {}, "its process was killed by SIGABRT"),
        ("leave", {}, "its process ended without a result"),
        ("fail", {}, "ValueError: no such material (cells.py, line"),
    ],
)
def test_what_a_cell_does_to_its_process_is_its_error(
    folder: Any, server: Server, kind: str, limits: dict[str, Any], told: str
) -> None:
    if kind == "eat" and sys.platform != "linux":
        pytest.skip("only Linux limits the address space of a process")
    started = time.monotonic()
    record = server.solve(cell_of(folder, kind, **limits))
    assert time.monotonic() - started < 20
    assert record["status"] == "failed"
    assert told in record["error"]
    assert "\n" not in record["error"]
    assert record["parameters"]["kind"] == kind
    assert record["loss"] is None
    assert record["history"] == []


def test_what_a_cell_prints_does_not_reach_the_answers(folder: Any, server: Server) -> None:
    record = server.solve(cell_of(folder, "say"))
    assert record["error"] is None
    assert record["status"] == "target"


def test_the_death_of_a_server_is_an_error_of_the_cell_and_the_next_cell_gets_another(folder: Any) -> None:
    dying = Server()
    dying._process.kill()
    dying._process.wait()
    assert "SIGKILL" in dying.solve(cell_of(folder, "good"))["error"]
    assert not dying.alive
