"""The page in a browser: no error, nothing wider than the screen, every picture seen, tables that sort."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multilevel_opt.study import summary
from tests.references.studies import failed, record, write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LONG = "a method with a long name that has no business on a phone"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    costs = {"LM": 2.0, "RLM": 10.0, LONG: 0.5}
    records = [record(m, s, c * (1 + s) * w, w) for m, c in costs.items() for s in range(3) for w in (1, 3)]
    return summary.write(
        write(tmp_path_factory.mktemp("browser"), [*records, failed("TR2", 0, "x" * 300, parameters={"width": 1})])
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if request.url.startswith("http") else None)
    page.goto(page_file.as_uri())
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.checkVisibility())")
    dark = "p => p.querySelector('img').currentSrc === p.querySelector('source').srcset"
    chosen = page.evaluate(f"[...document.querySelectorAll('picture')].every({dark})")
    assert chosen == (scheme == "dark")
    context.close()


def cells(page: Any, column: int) -> list[str]:
    """The texts of a column of the first table."""
    script = "n => [...document.querySelector('table.sortable').tBodies[0].rows].map(r => r.cells[n].textContent)"
    return list(page.evaluate(script, column))


def test_headings_sort_by_number_with_mouse_and_keyboard(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    heading = page.locator("table.sortable").first.locator("thead th").nth(2)  # iterations: 40, 200, 10, infinite
    before = cells(page, 0)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert cells(page, 0) == [LONG, "LM", "RLM", "TR2"]
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert cells(page, 0) == ["TR2", "RLM", "LM", LONG]
    first = page.locator("table.sortable").first.locator("thead th").first.locator("button")
    first.focus()
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") is None
    assert cells(page, 0) == sorted(before, key=str.lower)
    page.close()


def test_without_scripts_the_tables_are_there(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("th button").count() == 0
    assert page.locator("table tbody tr").count() > 10
    context.close()
