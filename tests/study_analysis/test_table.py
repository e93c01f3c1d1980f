import csv
import io
from math import inf, nan

import pytest

from multilevel_opt.notation import latex, number, with_ends
from multilevel_opt.study.table import Column, Table, joined

HOSTILE = '<b>|"$x_1$", [a](b)\n=1&2%#'
TABLE = Table(
    "Costs & more",
    (Column("name", "name"), Column("n", "n", "number"), Column("t", "time", "spread"), Column("s", "save", "range")),
    (
        (("LM",), (3,), (1.5e-4, 1.0e-4, inf), (0.0, None, inf)),
        ((HOSTILE,), (None,), (None, None, None), (None, None, None)),
    ),
    ("A note.",),
)


def test_csv_has_every_number_in_full() -> None:
    lines = list(csv.reader(io.StringIO(TABLE.csv())))
    assert lines[0] == ["name", "n", "t_median", "t_q25", "t_q75", "s_min", "s_median", "s_max"]
    assert lines[1] == ["LM", "3", "0.00015", "0.0001", "inf", "0.0", "", "inf"]
    assert lines[2][0] == HOSTILE
    assert len(lines) == 3


def test_markdown_has_one_line_for_each_row() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[2] == "| name | n | time | save |"
    assert lines[3] == "| --- | ---: | ---: | ---: |"
    assert lines[4] == "| LM | 3 | 1.5 [1, ∞] · 10⁻⁴ | 0 – ∞ |"
    assert lines[5] == r'| &lt;b>\|"$x\_1$", [a]\(b) =1&2%# | – | – | – |'
    assert lines[-1] == "A note."


def test_latex_has_no_foreign_commands() -> None:
    text = TABLE.latex()
    assert r"\caption{Costs \& more}" in text
    assert r"LM & 3 & 1.5 [1, $\infty$] $\cdot$ $10^{-4}$ & 0 -- $\infty$ \\" in text
    assert r"\textless{}b\textgreater{}\textbar{}" in text
    assert r"\$x\_1\$" in text
    assert r"=1\&2\%\#" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert [line.replace(r"\&", "").count("&") for line in body.splitlines() if line.endswith(r"\\")] == [3, 3]
    assert text.count("{") == text.count("}")
    assert text.isascii()


def test_latex_of_text_is_text() -> None:
    assert latex(r"\input{/etc/passwd}") == r"\textbackslash{}input\{/etc/passwd\}"
    assert latex("2 · 10⁻¹² ≤ τ") == r"2 $\cdot$ $10^{-12}$ $\le$ $\tau$"


def test_html_of_a_notebook_is_escaped() -> None:
    page = TABLE._repr_html_()
    assert "<caption>Costs &amp; more</caption>" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_sort_keys_are_numbers_and_nothing_where_there_is_none() -> None:
    assert TABLE.keys()[0] == ["LM", "3", "0.00015", ""]
    assert TABLE.keys()[1][1:] == ["", "", ""]
    one = Table("", (Column("n", "n", "number"),), (((inf,),), ((-inf,),), ((nan,),), ((1e300,),)))
    assert [keys[0] for keys in one.keys()] == ["Infinity", "-Infinity", "", "1e+300"]  # noqa: SIM118  (a method)


def test_columns_without_anything_are_dropped() -> None:
    table = Table("", (Column("a", "a"), Column("b", "b", "spread")), ((("x",), (None, None, None)),))
    assert [column.key for column in table.filled().columns] == ["a"]
    assert table.filled().rows == ((("x",),),)


def test_joined_tables_are_told_apart_by_columns() -> None:
    small = Table("", (Column("error", "RMSE", "number"),), (((1,),),))
    other = Table("", (Column("error", "loss", "number"),), (((2,),),))
    both = joined("both", [({"nu": 5}, small), ({"k": 2}, other)])
    assert [(column.key, column.heading) for column in both.columns] == [("nu", "nu"), ("k", "k"), ("error", "error")]
    assert both.rows == (((5,), (None,), (1,)), ((None,), (2,), (2,)))
    assert joined("none", []).rows == ()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1.23456e-4, 1e-5, 2e-4), "1.23 [0.1, 2] · 10⁻⁴"),
        ((20.0, 15.5, 24.0), "20 [15.5, 24]"),
        ((inf, inf, inf), "∞"),
        ((inf, 1e7, inf), "∞ [10⁷, ∞]"),
        ((2e-3, -0.3, 0.4), "2 · 10⁻³ [-0.3, 0.4]"),
        ((1.0, 1e-9, 2.0), "1 [10⁻⁹, 2]"),
        ((12345.6, 12000.0, 99999.0), "12346 [12000, 99999]"),
    ],
)
def test_an_interval_has_one_power_of_ten_where_it_fits(values: tuple[float, float, float], shown: str) -> None:
    assert with_ends(*values) == shown


@pytest.mark.parametrize(("value", "shown"), [(inf, "∞"), (-inf, "−∞"), (nan, "–"), (-2e-7, "-2 · 10⁻⁷")])
def test_numbers_that_are_none(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("cell", "shown"),
    [((0.0, 0.0, 0.0), "0"), ((0.0, 0.0, 2.0), "0 – 0 – 2"), ((1.2, None, 1.75), "1.2 – 1.75"), ((None,) * 3, "–")],
)
def test_a_range_that_is_one_number_is_shown_as_one(cell: tuple[float | None, ...], shown: str) -> None:
    assert Table("", (Column("s", "save", "range"),), ((cell,),)).texts() == [[shown]]
