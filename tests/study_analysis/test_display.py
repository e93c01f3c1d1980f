import sys

import pytest

import multilevel_opt as mlo
from multilevel_opt.errors import InputError
from multilevel_opt.solve import Run
from multilevel_opt.study.records import Records
from problems import Poisson
from tests.references.studies import COLUMNS, failed, record

RECORDS = Records([record(seed=seed, cost=seed + 1.0) for seed in range(2)] + [failed("RLM")])


@pytest.fixture(scope="module")
def run() -> Run:
    return mlo.solve(Poisson(nu=5, width=16), "galerkin", name="<poisson>", max_iterations=2)


def test_a_run_is_shown_with_its_levels(run: Run) -> None:
    page = run._repr_html_()
    assert "&lt;poisson&gt; by galerkin" in page
    assert "<poisson>" not in page
    assert "<caption>levels</caption>" in page
    assert "Galerkin, " in page


def test_a_result_is_shown_with_its_numbers(run: Run) -> None:
    page = run.result._repr_html_()
    assert page.startswith("<div><p><strong>stopped</strong>: 2 iterations")
    assert "gradient norm" in page
    assert "rmse" in page


def test_records_are_shown_as_a_table() -> None:
    page = RECORDS._repr_html_()
    assert page.startswith("<table><caption>Results</caption>")
    assert ">2/2<" in page
    assert ">0/1<" in page
    assert "<td>LM</td>" in page


def test_records_are_printed_as_markdown() -> None:
    assert "| poisson | 10⁻³ | rmse | LM | 2/2 | 15 [12.5, 17.5] |" in str(RECORDS.table())


def test_records_become_a_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = RECORDS.to_pandas()
    assert len(frame) == 3
    assert frame["parameters.nu"].tolist() == [5, 5, 5]
    assert frame["target.rmse"].tolist() == [1e-3] * 3
    assert frame.groupby("method_name")["seconds"].median()["LM"] == 1.5
    assert "history" not in frame


def test_histories_become_one_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = RECORDS.to_pandas(history=True)
    assert len(frame) == 20
    assert list(frame)[-len(COLUMNS) :] == COLUMNS
    assert set(frame["seed"]) == {0, 1}


def test_without_pandas_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="needs pandas, which is not installed: run pip install"):
        RECORDS.to_pandas()


def test_no_records_are_shown() -> None:
    assert "<table>" in Records()._repr_html_()
