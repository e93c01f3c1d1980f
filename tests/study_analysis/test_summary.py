import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from multilevel_opt import cli
from multilevel_opt.errors import InputError
from multilevel_opt.study import summary
from multilevel_opt.study.groups import arrange
from multilevel_opt.study.plot import DARK, Plot, draw, pdf, png
from multilevel_opt.study.plots import profile_plots, work_plots
from multilevel_opt.study.records import Records
from tests.references.studies import failed, history, record, write

HOSTILE = '</script><img src=x onerror=alert(1)>"&'
METHODS = {"LM": 1.0, "RLM": 2.0, "Galerkin": 0.3}
TOML = """name = "by hand"
description = "<i>all of it</i>"

[[published]]
problem = "poisson"
method = "RLM"
iterations = 193
save = [1.2, 1.75]
source = "a talk"
"""


def runs(widths: tuple[int, ...] = (32, 64, 128), n: int = 4) -> list[dict[str, Any]]:
    return [
        record(method, seed, None if seed == 3 and method == "RLM" else cost * width / 32 * (1 + 0.1 * seed), width)
        for width in widths
        for seed in range(n)
        for method, cost in METHODS.items()
    ]


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "source", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["script"]:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write(tmp_path_factory.mktemp("study"), [*runs(), failed("RLM", 9, "it broke")], TOML)
    summary.write(made)
    return made


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_part_is_written_in_every_format(folder: Path) -> None:
    tables = {path.name for path in (folder / "tables").iterdir()}
    names = ("results", "comparison", "growth", "orders", "missed")
    assert tables == {f"{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")}
    pictures = list((folder / "pictures").iterdir())
    assert {path.suffix for path in pictures} == {".png", ".pdf"}
    assert {path.stem for path in pictures} >= {"work-1-flops", "profile-seconds", "data-profile-0.001"}
    signs = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert all(path.read_bytes().startswith(signs[path.suffix]) for path in pictures)


def policy(text: str) -> str:
    """The content security policy of a page."""
    return next(str(meta["content"]) for meta in Page(text).of("meta") if "http-equiv" in meta)


def test_the_page_asks_for_nothing_outside(text: str) -> None:
    rest = re.sub(r'"data:image/png;base64,[A-Za-z0-9+/=]+"', '"inside"', text)
    assert re.findall(r"https?:|src(?:set)?=\"(?!inside)|url\(|@import|<link|<iframe", rest) == []
    assert policy(text).startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")


def test_only_the_script_of_the_page_may_run(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy(text).endswith(f"; script-src 'sha256-{digest}'")


def test_every_picture_is_inside_in_light_and_dark_and_in_words(text: str) -> None:
    page = Page(text)
    images, sources = page.of("img"), page.of("source")
    assert len(images) == len(sources) == 3 * 2 + 5 + 2
    assert all(str(image["src"]).startswith("data:image/png;base64,iVBOR") for image in images)
    assert all(str(source["srcset"]).startswith("data:image/png;base64,iVBOR") for source in sources)
    assert all(len(str(image["alt"])) > 20 for image in images)
    assert all(image["src"] != source["srcset"] for image, source in zip(images, sources, strict=True))


def test_the_page_can_be_read_by_its_structure(text: str) -> None:
    page = Page(text)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert names.count("h1") == names.count("main") == 1
    assert names.count("caption") == names.count("table") == names.count("thead") == 7
    assert all(heading.get("scope") in ("col", "row") for heading in page.of("th"))
    assert page.of("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_anchors_lead_somewhere(text: str) -> None:
    page = Page(text)
    targets = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(targets)) == len(targets)
    assert {str(link["href"]) for link in page.of("a")} == {f"#{target}" for target in targets}


def test_the_page_fits_a_phone_and_the_dark(text: str) -> None:
    assert '<meta name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_says_what_was_found(text: str) -> None:
    said = Page(text).text
    assert "<i>all of it</i>" in said
    assert "RLM (published)" in said
    assert "1.2 – 1.75" in said
    assert "it broke" in said
    assert "Galerkin is 3.33 times [3.33, 3.33] cheaper than LM over the 4 of 4 starts both solve." in said
    assert "exponent" in said


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    records = [
        record(HOSTILE, 0, 1.0, width, problem=HOSTILE, message=HOSTILE, versions={HOSTILE: HOSTILE}, study=HOSTILE)
        for width in (1, 2, 3)
    ]
    broken = failed(HOSTILE, 7, HOSTILE, problem=HOSTILE)
    write(tmp_path, [*records, broken], f"name = '{HOSTILE}'\ndescription = '{HOSTILE}'\n")
    page = Page(summary.write(tmp_path).read_text(encoding="utf-8"))
    assert all(str(image["src"]).startswith("data:") for image in page.of("img"))
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert len(page.of("script")) == 1
    assert page.text.count(HOSTILE) > 5


def test_pictures_in_flops_leave_out_methods_whose_flops_nobody_counted() -> None:
    rows = [[number, None, *rest] for number, _, *rest in history(3.0, 1e-3)]
    peer = [record("Adam", seed, None, flops=None, history=rows) for seed in range(3)]
    study = arrange([*(record(method, seed) for method in ("LM", "RLM") for seed in range(3)), *peer])
    drawn = {plot.name: plot for plot in [*work_plots(study), *profile_plots(study)]}
    labels = {name: [series.label for series in plot.series] for name, plot in drawn.items()}
    assert labels["work-1-seconds"] == labels["profile-seconds"] == ["LM", "RLM", "Adam"]
    counted = [told for name, told in labels.items() if not name.endswith("seconds")]
    assert len(counted) >= 3
    assert all(told == ["LM", "RLM"] for told in counted)
    assert [plot.name for plot in work_plots(arrange(peer))] == ["work-1-seconds"]
    low, high = draw(drawn["profile-flops"]).axes[0].get_ylim()
    assert low <= 0 < 1 <= high  # a share is seen as one


HARD = {
    "empty": [],
    "one record": [record()],
    "one failed": [failed()],
    "all failed": [failed(method, seed) for method in METHODS for seed in range(3)],
    "all unsolved": [record(method, seed, None, history=[]) for method in METHODS for seed in range(3)],
    "one method": [record(seed=seed) for seed in range(3)],
    "no history": [record(method, history=[], history_columns=[]) for method in METHODS],
    "no numbers": [
        record(m, s, history=[], flops=None, seconds=None, seconds_setup=None, rmse=None, loss=None, iterations=None)
        for m in METHODS
        for s in range(5)
    ],
    "null rows": [record(m, history=[[1, None, None, None, None, None], [None] * 6]) for m in METHODS],
    "zero error": [record(rmse=0.0, history=[[1, 1.0, 1.0, 0.0, 0.0, 0.0]])],
    "no target": [record(target={}, converged=False, status="max_iterations")],
}


@pytest.mark.parametrize("kind", HARD)
def test_a_study_with_little_in_it_has_a_report(kind: str, tmp_path: Path) -> None:
    page = Page(summary.write(write(tmp_path, HARD[kind])).read_text(encoding="utf-8"))
    assert "by hand" in page.text
    assert "nan" not in page.text.replace("finance", "")
    assert ("No cell has finished yet." in page.text) == (kind == "empty")


def test_a_new_report_removes_the_files_of_the_old_one(tmp_path: Path) -> None:
    summary.write(write(tmp_path, [record(width=width) for width in (32, 64)]))
    assert (tmp_path / "pictures" / "work-2-flops.png").exists()
    (tmp_path / "tables" / "mine.txt").write_text("kept")
    summary.write(write(tmp_path, [record()]))
    assert not (tmp_path / "pictures" / "work-2-flops.png").exists()
    assert (tmp_path / "tables" / "mine.txt").exists()


def test_the_command_line_reports_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [record()])
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


def test_the_reference_of_the_study_file_is_taken(tmp_path: Path) -> None:
    records = [record(method, history=[]) for method in METHODS]
    page = summary.write(write(tmp_path, records, 'name = "x"\nreference = "RLM"\n'))
    assert "flops of RLM over those of the method" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("name = ", "cannot read"),
        ('[[published]]\nproblem = "p"\nmethod = "m"\nsave = "much"\n', "published.0.save"),
        ('[[published]]\nproblem = "p"\nmethod = "m"\nbogus = 1\n', "published.0.bogus"),
    ],
)
def test_a_bad_study_file_is_told(toml: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        summary.write(write(tmp_path, [record()], toml))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"history": [[1, 2.0]]}, "rows of history"),
        ({"history": [["a"] * 6]}, "history.0.0"),
        ({"flops": "many"}, "flops"),
        ({"parameters": 3}, "parameters"),
        ({"problem": None}, "problem"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path, [record(seed=1), record(**changes)])
    with pytest.raises(InputError, match=r"record 2 \(cell .*\) cannot be read: .*") as told:
        summary.write(tmp_path)
    assert said in str(told.value)


def test_a_report_is_the_same_bytes_again(tmp_path: Path) -> None:
    write(tmp_path, [*(record(seed=seed) for seed in range(4)), failed("RLM")])
    first = summary.write(tmp_path).read_bytes()
    assert summary.write(tmp_path).read_bytes() == first


def test_a_picture_of_nothing_says_so() -> None:
    figure = draw(Plot("n", "a $title$ " * 20, "", "_x$", "y$", ()), DARK)
    assert png(figure).startswith(b"\x89PNG")
    assert pdf(figure).startswith(b"%PDF")


def test_records_and_report_agree(folder: Path) -> None:
    table = Records.load(folder).table()
    assert (folder / "tables" / "results.csv").read_text().splitlines()[1] == table.csv().splitlines()[1]
