import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from multilevel_opt import catalogue, registry
from multilevel_opt.errors import InputError

USER = '''
from __future__ import annotations
from dataclasses import dataclass
import torch as backend

@dataclass(frozen=True)
class Mine:
    """First line.

    More.
    """
    n: int
    nu: float = 2.0
    flag: bool = False
    kind: str = "a"
    points: int | str | None = None
    dtype: backend.dtype = backend.float64

class Plain:
    def __init__(self, n: int = 3, anything=None, *args, **others): ...

NotAClass = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(USER, encoding="utf-8")
    return str(path)


def test_parameters_are_those_of_the_class(file: str) -> None:
    mine = registry.load(f"{file}:Mine")
    assert [str(p) for p in registry.parameters(mine).values()] == [
        "n (required)",
        "nu=2.0",
        "flag=False",
        "kind=a",
        "points=none",
        "dtype=torch.float64",
    ]
    assert list(registry.parameters(registry.load(f"{file}:Plain"))) == ["n", "anything"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("n=3", 3),
        ("nu=3", 3.0),
        ("nu=1e-3", 1e-3),
        ("flag=true", True),
        ("flag=0", False),
        ("kind=b=c", "b=c"),
        ("points=none", None),
        ("points=900", 900),
        ("points=30x30", "30x30"),
        ("dtype=float32", torch.float32),
    ],
)
def test_values_have_the_type_of_their_parameter(file: str, word: str, value: object) -> None:
    parsed = registry.parse(registry.load(f"{file}:Mine"), [word])[word.partition("=")[0]]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("word", "value"), [("anything=1", 1), ("anything=1.5", 1.5), ("anything=true", True), ("anything=x", "x")]
)
def test_a_parameter_without_a_type_takes_plain_values(file: str, word: str, value: object) -> None:
    assert registry.parse(registry.load(f"{file}:Plain"), [word]) == {"anything": value}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bar=1"], "unknown parameter 'bar' of Mine: the parameters are n (required), nu=2.0"),
        (["nu"], "'nu' is not a parameter: write name=value"),
        (["nu=x"], "nu=x is not a finite number"),
        (["nu=nan"], "nu=nan is not a finite number"),
        (["n=1.5"], "n=1.5 is not a whole number"),
        (["flag=maybe"], "flag=maybe is not true or false"),
        (["nu=1", "nu=2"], "parameter 'nu' is given twice"),
    ],
)
def test_a_bad_word_is_named(file: str, words: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.parse(registry.load(f"{file}:Mine"), words)
    assert told in str(caught.value)


def test_a_required_value_is_asked_for(file: str) -> None:
    with pytest.raises(InputError, match="Mine needs a value for n: write n=value"):
        registry.make(registry.load(f"{file}:Mine"), {})


def test_what_a_problem_lacks_is_told(file: str) -> None:
    with pytest.raises(InputError, match="Mine has no objective or residual and no x0"):
        registry.make(registry.load(f"{file}:Mine"), {"n": 1})


def test_running_a_file_is_said(file: str) -> None:
    said: list[str] = []
    registry.load(f"{file}:Mine", said.append)
    assert said == [f"running the code of {file}"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{file}:NotAClass", "no class 'NotAClass': it has Mine, Plain"),
        ("{file}", "names no class: write path.py:Class"),
        ("nowhere.py:Mine", "there is no file nowhere.py"),
        ("nothing", "unknown problem 'nothing': choose one of"),
    ],
)
def test_a_problem_that_is_not_there_is_told(file: str, name: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.load(name.format(file=file))
    assert told in str(caught.value)


def test_a_file_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ny = x / 0\n", encoding="utf-8")
    before = list(sys.path)
    with pytest.raises(InputError, match=r"cannot be run: ZeroDivisionError: division by zero \(broken.py, line 2\)"):
        registry.load(f"{path}:Anything")
    assert sys.path == before


def test_a_registered_problem_that_cannot_be_loaded_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("gone", "no.such.module:Thing", registry.GROUP)
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [point])
    (entry,) = catalogue.available()
    assert entry.name == "gone"
    assert "cannot be loaded: ModuleNotFoundError" in entry.summary


def test_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert registry.absolute("poisson") == "poisson"
    assert registry.absolute("a/mine.py:Mine") == f"{tmp_path.resolve()}/a/mine.py:Mine"
    assert registry.short("/a/b/mine.py:Mine") == "mine.py:Mine"
