"""The file of records: whole lines only, one writer only, nothing lost that was there."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multilevel_opt.cli import main
from multilevel_opt.errors import InputError
from multilevel_opt.study.records import Records
from multilevel_opt.study.store import LOCK, Store


def record(number: int, status: str = "target", **more: Any) -> dict[str, Any]:
    return {"cell": f"c{number}", "status": status, "parameters": {"nu": number}, **more}


def fill(path: Path, numbers: range) -> None:
    with Store.opened(path, "text") as store:
        for number in numbers:
            store.append(record(number))


def test_records_are_read_back_and_the_study_lies_beside_them(tmp_path: Path) -> None:
    fill(tmp_path / "new" / "folder", range(3))
    fill(tmp_path / "new" / "folder", range(3, 5))
    assert list(Records.load(tmp_path / "new" / "folder")) == [record(number) for number in range(5)]
    assert (tmp_path / "new" / "folder" / "study.toml").read_text() == "text"


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_dropped_wherever_it_is_torn(tmp_path: Path, kept: int) -> None:
    fill(tmp_path, range(3))
    file = tmp_path / "records.jsonl"
    whole = file.read_bytes()
    line = json.dumps(record(3)).encode() + b"\n"
    file.write_bytes(whole + line[:kept])
    assert len(Records.load(tmp_path)) == 3
    assert file.read_bytes() == whole + line[:kept]  # reading changes nothing
    fill(tmp_path, range(3, 4))
    assert list(Records.load(tmp_path)) == [record(number) for number in range(4)]
    assert all(json.loads(text) for text in file.read_text().splitlines())


def test_a_line_that_is_no_record_is_refused_and_stays(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"half": 1\n' + file.read_bytes())
    before = file.read_bytes()
    with pytest.raises(InputError, match="line 1 of"):
        fill(tmp_path, range(1, 2))
    assert file.read_bytes() == before


def test_numbers_that_json_does_not_have_become_null(tmp_path: Path) -> None:
    with Store.opened(tmp_path, "") as store:
        store.append(record(0, loss=float("nan"), history=[[float("inf"), 1.0]]))
    (found,) = Records.load(tmp_path)
    assert found["loss"] is None
    assert found["history"] == [[None, 1.0]]


def test_a_second_run_is_kept_out_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    hold = "import sys; from filelock import FileLock\n"
    hold += "with FileLock(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another run writes to"), Store.opened(tmp_path, ""):
            pass
        other.kill()
        other.wait()
        fill(tmp_path, range(1))
    assert len(Records.load(tmp_path)) == 1


def test_forgotten_failures_leave_the_file_and_later_records_go_to_the_new_one(tmp_path: Path) -> None:
    with Store.opened(tmp_path, "") as store:
        store.append(record(0))
        store.append(record(1, "failed"))
        store.forget_failures()
        store.append(record(2))
    assert [found["cell"] for found in Records.load(tmp_path)] == ["c0", "c2"]


def test_a_full_disk_is_told_and_leaves_the_records_as_they_were(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    before = (tmp_path / "records.jsonl").read_bytes()
    limit = len(before) + 10  # the kernel takes ten more bytes of the next line, and then no more
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.opened(tmp_path, "") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(InputError, match="the 3 records before it stay, make room"):
                store.append(record(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert (tmp_path / "records.jsonl").read_bytes() == before
        store.append(record(3))
    assert len(Records.load(tmp_path)) == 4


@pytest.mark.parametrize("out", ["/proc/nothing", "file/folder"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .* give another --out"), Store.opened(tmp_path / out, ""):
        pass


def test_a_read_only_file_system_is_told_and_leaves_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "out", range(1))
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    file = tmp_path / "s.toml"
    file.write_text(
        'name = "s"\n[[problems]]\nproblem = "poisson"\n[[methods]]\nname = "LM"\nmethod = "lm"\n', encoding="utf-8"
    )

    def refuse(*given: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert main(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: cannot write to \S+: Read-only file system; give another --out\n", told)
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the superuser")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write to"), Store.opened(tmp_path, ""):
            pass
    finally:
        tmp_path.chmod(0o700)
    assert len(Records.load(tmp_path)) == 1


def test_records_are_chosen_by_keys_parameters_and_conditions() -> None:
    records = Records([record(k, "failed" if k == 2 else "target") for k in range(4)])
    assert [found["cell"] for found in records.filter(nu=1)] == ["c1"]
    assert [found["cell"] for found in records.filter(lambda r: r["parameters"]["nu"] > 0, status="target")] == [
        "c1",
        "c3",
    ]
    assert len(records.filter(colour=None)) == 0
    assert isinstance(records[1:], Records)
    assert repr(records) == "Records(4 cells, 1 failed)"
