"""Tables of a study get to their place in the documentation, and nothing else there changes."""

from pathlib import Path

import pytest

from benchmarks.results import PAGE, inserted, section
from multilevel_opt.study import summary
from tests.references.studies import record, write

STUDIES = sorted(path.stem for path in (PAGE.parents[1] / "problems" / "studies").glob("*.toml"))


def test_the_section_of_a_study_says_how_it_was_run_and_has_its_tables(tmp_path: Path) -> None:
    records = [record(method, seed, width=width) for method in ("LM", "RLM") for seed in (0, 1) for width in (1, 2, 4)]
    summary.write(write(tmp_path, records))
    told = section(tmp_path, "scaling", 3)
    assert "`mlopt study problems/studies/scaling.toml --jobs 3 --out DIR`" in told.splitlines()[0]
    for table in ("growth", "results"):
        assert (tmp_path / "tables" / f"{table}.md").read_text(encoding="utf-8") in told
    assert "exponent" not in section(tmp_path, "peers", 3)


def test_only_the_place_of_the_study_changes() -> None:
    page = "a\n<!-- s -->\nold\n<!-- end of s -->\nb\n<!-- t -->\nother\n<!-- end of t -->\n"
    changed = inserted(page, "s", "new \\1\n")
    assert changed == page.replace("old\n", "new \\1\n")
    assert inserted(changed, "s", "new \\1\n") == changed
    with pytest.raises(SystemExit, match="no place for the study 'u'"):
        inserted(page, "u", "new")


@pytest.mark.parametrize("name", [name for name in STUDIES if not name.endswith("quick")])
def test_the_page_has_a_place_for_every_study(name: str) -> None:
    assert "tables" in inserted(PAGE.read_text(encoding="utf-8"), name, "tables\n")
