"""A study ends with one record for each cell, however often it is killed, here or on a Dask scheduler."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from multilevel_opt.cli import main
from multilevel_opt.errors import InputError
from multilevel_opt.study import run as running
from multilevel_opt.study.records import Records
from multilevel_opt.study.run import Advance, Study

TIMES = {"seconds", "seconds_setup", "seconds_cell", "peak_memory_bytes", "message"}


def started(file: Path, out: Path, jobs: int = 2) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "multilevel_opt.cli", "study", str(file), "--jobs", str(jobs), "--out", str(out)]
    return subprocess.Popen([*command, "--quiet"], env={**os.environ, "OMP_NUM_THREADS": "1"})


def lines(out: Path) -> list[bytes]:
    file = out / "records.jsonl"
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def wait_for(count: int, out: Path, process: subprocess.Popen[bytes]) -> None:
    while len(lines(out)) < count and process.poll() is None:
        time.sleep(0.02)


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kill a run, and see that its workers and their cells end by themselves."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs([member for member in family if member.is_running()], timeout=10)
    assert [member.cmdline() for member in alive if "resource_tracker" not in str(member.cmdline())] == []


def assert_complete(out: Path, study: Study) -> None:
    found = [json.loads(line) for line in (out / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(record["cell"] for record in found) == sorted(cell.key for cell in study.cells)


def without_times(records: Records) -> list[dict[str, Any]]:
    plain = [{key: value for key, value in record.items() if key not in TIMES} for record in records]
    return [record | {"history": [[*row[:2], *row[3:]] for row in record["history"]]} for record in plain]


def test_a_killed_study_goes_on_and_a_finished_one_does_nothing(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = folder.study(last=9, pause=0.02), tmp_path / "out"
    study = Study.from_toml(file)
    process = started(file, out)
    wait_for(3, out, process)
    killed(process)
    kept = lines(out)
    assert 3 <= len(kept) < 20
    assert main(["study", str(file), "--out", str(out)]) == 0
    assert f"{len(kept)} of 20 cells have a record already" in capsys.readouterr().err
    assert lines(out)[: len(kept)] == kept
    assert_complete(out, study)
    monkeypatch.setattr(running, "served", lambda cell: pytest.fail("a finished cell is run again"))
    before = (out / "records.jsonl").read_bytes()
    assert main(["study", str(file), "--out", str(out)]) == 0
    assert (out / "records.jsonl").read_bytes() == before


def test_failed_cells_are_recorded_told_and_retried_on_request(
    folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = folder.study(last=0, kinds='["good", "repaired"]'), tmp_path / "out"
    assert main(["study", str(file), "--out", str(out)]) == 1
    assert "ValueError: to be repaired" in capsys.readouterr().err
    assert sum(record["status"] == "failed" for record in Records.load(out)) == 2
    before = (out / "records.jsonl").read_bytes()
    (tmp_path / "repaired").touch()
    assert main(["study", str(file), "--out", str(out)]) == 1
    assert (out / "records.jsonl").read_bytes() == before
    assert main(["study", str(file), "--out", str(out), "--retry-failed", "--quiet"]) == 0
    assert_complete(out, Study.from_toml(file))
    assert all(record["error"] is None for record in Records.load(out))


def test_a_listener_is_told_and_its_error_leaves_whole_records(folder: Any, tmp_path: Path) -> None:
    study = Study.from_toml(folder.study(last=3))
    told: list[Advance] = []

    def listen(advance: Advance) -> None:
        told.append(advance)
        if advance.recorded == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(1, tmp_path / "out", listener=listen)
    assert [advance.recorded for advance in told] == [0, 1, 2]
    assert {advance.total for advance in told} == {8}
    assert len(Records.load(tmp_path / "out")) == 2


def test_there_must_be_a_scheduler(folder: Any, tmp_path: Path) -> None:
    study = Study.from_toml(folder.study())
    with pytest.raises(InputError, match=r"there is no Dask scheduler at 'tcp://127\.0\.0\.1:1'"):
        study.run(out=tmp_path / "out", scheduler="tcp://127.0.0.1:1")


@pytest.mark.slow
def test_two_hundred_cells_and_five_kills_at_random_moments(folder: Any, tmp_path: Path) -> None:
    file, out = folder.study(last=99, pause=0.01), tmp_path / "out"
    moments = random.Random(7)
    for _ in range(5):
        before = len(lines(out))
        process = started(file, out)
        wait_for(before + moments.randrange(1, 15), out, process)
        time.sleep(moments.random() * 0.2)
        killed(process)
    assert started(file, out).wait() == 0
    study = Study.from_toml(file)
    assert len(study.cells) == 200
    assert_complete(out, study)


@pytest.mark.slow
def test_an_interrupted_study_says_so_and_goes_on(folder: Any, tmp_path: Path) -> None:
    file, out = folder.study(last=9, pause=0.05), tmp_path / "out"
    process = started(file, out)
    wait_for(3, out, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    kept = lines(out)
    assert started(file, out).wait() == 0
    assert lines(out)[: len(kept)] == kept
    assert_complete(out, Study.from_toml(file))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask's own processes
def test_a_dask_scheduler_gives_the_same_records_and_survives_the_death_of_a_worker(
    folder: Any, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    study = Study.from_toml(folder.study(last=9, kinds='["good", "fail"]', pause=0.02))
    here = study.run(2, tmp_path / "here")
    options: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(n_workers=2, **options) as cluster:
        pids = {worker.pid for worker in cluster.workers.values()}

        def kill_one(advance: Advance) -> None:
            if advance.recorded == 5:
                os.kill(pids.pop(), signal.SIGKILL)

        there = study.run(out=tmp_path / "there", scheduler=cluster.scheduler_address, listener=kill_one)
    assert len(pids) == 1
    assert without_times(there) == without_times(here)
    assert_complete(tmp_path / "there", study)
