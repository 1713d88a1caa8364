"""The site as a reader has it: in Chromium, without a network, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import LAPTOP, PATIENCE_S, run_browser
from tools import site, site_pages
from tools.notebooks import find_notebooks


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered only where there is a browser to look at it."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_pages, "PAGES", folder)
        site.write_site({path: site_pages.read_notebook(path) for path in find_notebooks([])})
    return folder


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """Fails if the console says anything, or if anything is asked of a network."""
    complaints: list[str] = []
    context = browser.new_context(viewport=LAPTOP, color_scheme="dark", offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.extend([request.url] * (not request.url.startswith("file:"))))
    page.goto((folder / "index.html").as_uri())
    yield page
    context.close()
    assert complaints == []


def test_who_asks_for_a_section_is_led_to_the_cell_that_cites_it(page: Page) -> None:
    page.get_by_role("searchbox").fill("SATP 8.3")
    found = page.locator("#found").get_by_role("link", name="Transfer proposal (SATP 8.3)")
    expect(found.first).to_be_visible()
    assert page.get_by_role("status").inner_text()[0].isdigit()
    found.first.click()
    cell = page.url.partition("#")[2]
    assert cell.startswith("cell-")
    expect(page.locator(f"#{cell}")).to_be_in_viewport()
    assert "8.3" in page.locator(f"#{cell}").inner_text()


def test_figures_are_drawn_without_a_network_and_in_the_theme_of_the_reader(page: Page) -> None:
    page.goto(page.url.replace("index.html", "00_start_here.html"))
    figures = page.locator("svg.gwf")
    assert figures.count() >= 4
    for number in range(figures.count()):
        box = figures.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 300 and box["height"] > 300
    papers = page.evaluate(
        "['body', 'svg.gwf > rect'].map(part => { const at = getComputedStyle("
        "document.querySelector(part)); return part == 'body' ? at.backgroundColor : at.fill })"
    )
    for paper in papers:
        assert max(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) < 64, papers


def test_a_link_to_a_line_of_code_leads_there(page: Page) -> None:
    page.goto(page.url.replace("index.html", "05_a_transfer.html"))
    page.locator('a[href^="code/"][href*="#L"]').first.click()
    line = page.url.partition("#")[2]
    expect(page.locator(f"#{line}")).to_be_in_viewport()
