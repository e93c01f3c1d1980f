"""The yardsticks of the house. Raise one only with a reason in the same commit."""

import ast
import re
from pathlib import Path
from statistics import quantiles

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("multilevel_opt", "problems")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

FILE_LINES = 300
BODY_LINES = 60
BODY_LINES_P90 = 25

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
GLOBAL_STATE = re.compile(r"\bset_default_(dtype|device|tensor_type)\b")


def body_lengths(source: str) -> dict[str, int]:
    """Lines of the body of every function, docstring excluded, by `name:line`."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTION))
    return {f"{node.name}:{node.lineno}": _body_length(node) for node in functions}


def _body_length(function: FUNCTION) -> int:
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not statements:
        return 0
    return statements[-1].end_lineno - statements[0].lineno + 1


def matches(pattern: re.Pattern[str], source: str) -> list[str]:
    """`line number: text` of every line that matches."""
    return [f"{n}: {line.strip()}" for n, line in enumerate(source.splitlines(), 1) if pattern.search(line)]


def places(pattern: re.Pattern[str]) -> list[str]:
    """`file:line number: text` of every line of the packages that matches."""
    return [f"{_name(path)}:{match}" for path in SOURCES for match in matches(pattern, _text(path))]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lengths() -> dict[str, int]:
    return {
        f"{_name(path)}:{function}": length
        for path in SOURCES
        for function, length in body_lengths(_text(path)).items()
    }


def test_there_is_something_to_measure() -> None:
    assert {_name(path).split("/")[0] for path in SOURCES} == set(PACKAGES)


def test_files_are_short() -> None:
    lines = {_name(path): len(_text(path).splitlines()) for path in SOURCES}
    assert {name: n for name, n in lines.items() if n > FILE_LINES} == {}


def test_functions_are_short(lengths: dict[str, int]) -> None:
    assert {name: n for name, n in lengths.items() if n > BODY_LINES} == {}


def test_nine_functions_in_ten_fit_one_glance(lengths: dict[str, int]) -> None:
    assert quantiles(lengths.values(), n=10, method="inclusive")[-1] <= BODY_LINES_P90


def test_no_file_is_named_utils() -> None:
    assert [_name(path) for path in SOURCES if path.name == "utils.py"] == []


def test_nothing_is_left_unfinished() -> None:
    assert places(UNFINISHED) == []


def test_no_global_default_is_set() -> None:
    assert places(GLOBAL_STATE) == []


def test_measure_counts_the_body_without_the_docstring() -> None:
    source = '''
def documented(x):
    """One line.

    And more.
    """
    y = x

    return y

class Thing:
    async def nothing(self):
        """Only words."""

    @property
    def outer(self):
        def inner():
            return (
                1,
            )
        return inner
'''
    lengths = body_lengths(source)
    assert {name.split(":")[0]: n for name, n in lengths.items()} == {
        "documented": 3,
        "nothing": 0,
        "outer": 5,
        "inner": 3,
    }


@pytest.mark.parametrize("length", [BODY_LINES, BODY_LINES + 1])
def test_measure_sees_the_line_too_many(length: int) -> None:
    source = "def f():\n" + "    x = 1\n" * length
    assert body_lengths(source) == {"f:1": length}


def test_patterns_find_what_they_forbid() -> None:
    assert matches(UNFINISHED, "x = 1\n# TODO: y\n    raise NotImplementedError\n") == [
        "2: # TODO: y",
        "3: raise NotImplementedError",
    ]
    assert matches(UNFINISHED, "return NotImplemented\ntodos = 1\n") == []
    assert matches(GLOBAL_STATE, "torch.set_default_dtype(torch.float64)\n") != []
