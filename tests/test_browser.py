"""The book in front of a reader: Chromium opens JupyterLab as `make lab` starts it, and the page is read.

What the page shows is compared with what the package computes here, in the process of the tests: text, figure, panel.
The tests of this module stand in the order of a visit and share one server, one browser and one page.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.lib.pretty import pretty
from playwright.sync_api import Locator, expect

from protocol.lab import CrashLab
from protocol.panels import Panel
from protocol.scenarios import Frame
from tests.browser import (
    ROOT,
    Reader,
    is_drawn,
    make_private,
    read_contrast,
    read_picture,
    run_browser,
    run_server,
    skip_or_fail,
)

START = "notebooks/00_start_here.ipynb"
PANEL = "from protocol.lab import RuleLab\n\nRuleLab(crashes=2)"
LEGIBLE = 4.5  # WCAG 2, level AA, for text of this size


def read_code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def add_panel(path: Path) -> None:
    """The other panel of the lab, with a search that nobody waits for, at the end of the notebook."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PANEL, id="panel"))
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `make lab` needs, so that nothing in this folder changes."""
    skip_or_fail()
    folder = tmp_path_factory.mktemp("a copy")
    for name in ("notebooks", "binder"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    add_panel(folder / START)
    return folder


@pytest.fixture(scope="module")
def code(folder: Path) -> list[str]:
    return read_code(folder / START)


@pytest.fixture(scope="module")
def visit(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """`make lab` with the environment that runs the tests."""
    programs = Path(sys.executable).parent
    environment = make_private(tmp_path_factory.mktemp("home"), programs) | {"PYTHONPATH": str(ROOT)}
    command = ["make", "lab", "-o", ".venv/book"]
    with run_server(command, folder, environment) as server, run_browser() as browser:
        reader = Reader.sit_down(browser, server)
        with reader.watched("opening"):
            reader.open("lab/tree/" + START)
            reader.await_idle()
        yield reader


@pytest.fixture
def reader(visit: Reader) -> Reader:
    """Whoever asks for it gets a photograph of the page when the test fails (conftest.py)."""
    return visit


# ---------------------------------------------------------------------- notebook 00


def compute_outputs(sources: list[str]) -> list[Any]:
    """What each cell shows: the text or the picture of its last line, taken right after it; None for nothing."""
    names: dict[str, Any] = {}
    shown: list[Any] = []
    for source in sources:
        body = ast.parse(source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
        if isinstance(value, Panel):
            shown.append("a panel")
        else:
            shown.append(None if value is None else getattr(value, "_repr_svg_", lambda value=value: pretty(value))())
    return shown


def read_outputs(reader: Reader) -> list[Any]:
    """The same from the page."""
    shown: list[Any] = []
    for cell in reader.cells.all():
        outputs = cell.locator(".jp-OutputArea-output")
        assert outputs.count() <= 1
        pictures, texts = outputs.locator("img"), outputs.locator("pre")
        if outputs.locator(".lab-panel").count():
            shown.append("a panel")
        elif pictures.count():
            shown.append(read_picture(pictures.first))
        else:
            shown.append(texts.first.text_content() if texts.count() else None)
    return shown


def check_outputs(reader: Reader, code: list[str]) -> None:
    wrong = ", ".join(f'[data-mime-type$="{each}"]' for each in ("error", "stderr"))
    assert reader.cells.locator(wrong).all_text_contents() == []
    for source, computed, on_page in zip(code, compute_outputs(code), read_outputs(reader), strict=True):
        assert (on_page or "").rstrip("\n") == (computed or "").rstrip("\n"), source


def test_the_notebook_opens_with_the_table_of_contents_beside_it(reader: Reader) -> None:
    contents = reader.page.locator("#table-of-contents")
    contents.get_by_text("Questions a reviewer might ask").wait_for()
    assert reader.page.locator(".jp-mod-current").get_by_text("00_start_here.ipynb").is_visible()
    assert not reader.page.get_by_text("Jupyter news").is_visible()


def test_what_run_all_shows_is_what_the_package_computes(reader: Reader, code: list[str]) -> None:
    reader.choose("Run", "Run All Cells")
    reader.await_run(1)
    check_outputs(reader, code)


# ---------------------------------------------------------------------- the CrashLab


def check_panel(reader: Reader, lab: CrashLab) -> None:
    """The page shows the frame that `lab`, in this process, would show. The status line is what changes last."""
    panel = reader.panel("crash-lab")
    expect(panel.locator(".crash-lab-status [role=status]")).to_have_text(lab.status)
    frame: Frame = lab.run.frames[lab.frame - 1]
    assert is_drawn(panel.locator(".crash-lab-figure svg[role=img]"), frame.figure.svg)
    for (gateway, log), ledger in zip(frame.logs.items(), frame.ledgers.values(), strict=True):
        side = panel.locator(f".crash-lab-{gateway}")
        assert (side.locator("pre").text_content() or "").splitlines() == list(log or ["the log is empty"])
        assert ledger in (side.text_content() or "")
    heads = "\n".join(panel.locator(".crash-lab-verdict .lab-head").all_text_contents())
    assert re.findall(r", row (\w+):", heads) == [verdict.row.letter for verdict in dict.fromkeys(lab.verdicts)]


def find_button(reader: Reader, field: str, value: object) -> Locator:
    """Of a control of the panel; those of the durable acts are numbered."""
    words = rf"^{value}:" if field == "act" else rf"^{re.escape(str(value))}$"
    buttons = reader.panel("crash-lab").locator(f".crash-lab-{field}").get_by_role("button")
    return buttons.filter(has_text=re.compile(words))


def make_panel() -> CrashLab:
    """In this process, the one that the notebook makes."""
    source = next(source for source in read_code(ROOT / START) if "CrashLab(" in source)
    (made,) = re.findall(r"CrashLab\(.*?\)", source)
    lab: CrashLab = eval(made, {"CrashLab": CrashLab})
    return lab


def start_anew(reader: Reader, **chosen: Any) -> CrashLab:
    """The cell is run again, so that the panel on the page is a new one, and so is the one in this process."""
    panel = reader.panel("crash-lab")
    panel.evaluate("each => { each.dataset.is = 'old' }")
    reader.select_cell(panel)
    reader.page.keyboard.press("Control+Enter")
    expect(panel).not_to_have_attribute("data-is", "old")
    lab = make_panel()
    check_panel(reader, lab)
    for field, value in chosen.items():
        find_button(reader, field, value).click()
        check_panel(reader, lab.choose(**{field: value}))
    return lab


def test_each_control_of_the_crash_lab_changes_the_page(reader: Reader) -> None:
    lab = start_anew(reader)
    choices = [("crashed", "sender"), ("step", "3.4"), ("act", 1), ("when", "before"), ("lost", "key"), ("lost", "log")]
    choices += [("restart", "stage"), ("network", "lossy"), ("crashed", "nobody"), ("crashed", "both")]
    for field, value in choices:
        find_button(reader, field, value).click()
        check_panel(reader, lab.choose(**{field: value}))


def test_a_rule_is_switched_off_and_the_page_says_what_breaks(reader: Reader) -> None:
    panel, lab = reader.panel("crash-lab"), start_anew(reader, step="3.2", act=2, lost="nothing")
    panel.get_by_role("button", name="Show rules").click()
    for rule in ("ask_the_ledger_before_repeating", "ledger_acts_once"):
        panel.locator(f".crash-lab-off-{rule} input").uncheck()
        check_panel(reader, lab.choose(off=(*lab.off, rule)))
    assert "Broken: " in lab.status
    panel.get_by_role("button", name="Hide rules").click()


def test_the_run_is_stepped_through_and_copied(reader: Reader) -> None:
    panel, lab = reader.panel("crash-lab"), start_anew(reader)
    last = len(lab.run.frames)
    for words, frame in (("First", 1), ("Forward", 2), ("Last", last), ("Back", last - 1)):
        panel.get_by_role("button", name=words, exact=True).click()
        lab.frame = frame
        check_panel(reader, lab)
    whole = lab.run.figure
    texts = {"replay string": lab.run.text, "Mermaid text": whole.mermaid, "ASCII figure": whole.ascii}
    for words, text in texts.items():
        panel.locator(".crash-lab-copy").get_by_role("button", name=words).click()
        expect(panel.locator(".crash-lab-copied textarea")).to_have_value(text)


def test_a_long_search_tells_how_far_it_is_and_can_be_cancelled(reader: Reader) -> None:
    """And meanwhile the kernel answers others: the search for two crashes takes longer than anybody waits here."""
    panel = reader.panel("rule-lab")
    status = panel.locator(".rule-lab-status [role=status]")
    panel.get_by_role("button", name="Search").click()
    expect(panel.locator(".rule-lab-progress")).to_contain_text("states so far")
    expect(status).to_contain_text("Searching.")
    find_button(reader, "network", "doubling").click()
    expect(reader.panel("crash-lab").locator(".crash-lab-status [role=status]")).to_contain_text("arrives twice")
    panel.get_by_role("button", name="Cancel").click()
    expect(status).to_contain_text("stopped")
    expect(panel.locator(".rule-lab-verdicts")).to_contain_text("holds so far")


# ---------------------------------------------------------------------- the keyboard alone, and the dark theme


def test_the_keyboard_alone_does_the_same(reader: Reader, code: list[str]) -> None:
    before = reader.last_number
    reader.command("Clear Outputs of All Cells")
    reader.command("Run All Cells")
    reader.await_run(before + 1)
    check_outputs(reader, code)


def test_the_keyboard_alone_reaches_every_kind_of_control(reader: Reader) -> None:
    panel, lab, press = reader.panel("crash-lab"), start_anew(reader), reader.page.keyboard.press
    reader.tab_to(find_button(reader, "crashed", "sender"))
    press("Space")
    check_panel(reader, lab.choose(crashed="sender"))
    reader.tab_to(find_button(reader, "lost", "key"))
    press("Enter")
    check_panel(reader, lab.choose(lost="key"))
    reader.tab_to(panel.locator(".crash-lab-frame [role=slider]"))
    press("ArrowLeft")
    lab.frame -= 1
    check_panel(reader, lab)
    reader.tab_to(panel.get_by_role("button", name="Back"))
    press("Enter")
    lab.frame -= 1
    check_panel(reader, lab)


def test_in_the_dark_theme_everything_can_be_read(reader: Reader) -> None:
    panel, _ = reader.panel("crash-lab"), start_anew(reader)
    places = {
        "output": reader.cells.locator(".jp-OutputArea-output pre").first,
        "status": panel.locator(".crash-lab-status [role=status]"),
        "label": panel.locator(".crash-lab-lost .widget-label").first,
        "button": find_button(reader, "lost", "nothing"),
        "button that is chosen": find_button(reader, "lost", "log"),
        "log": panel.locator(".crash-lab-GW1 pre"),
        "verdict": panel.locator(".crash-lab-verdict .lab-head").first,
        "facts": panel.locator(".crash-lab-verdict .lab-soft").first,
        "figure": panel.locator(".crash-lab-figure svg[role=img] text").first,
        "field": panel.locator(".crash-lab-copied textarea"),
    }
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        reader.choose("Settings", "Theme", theme)
        reader.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")
        measured = {name: round(read_contrast(place), 1) for name, place in places.items()}
        assert {name: ratio for name, ratio in measured.items() if ratio < LEGIBLE} == {}, theme


def test_the_console_is_silent(reader: Reader) -> None:
    """Whatever was done above, nothing of ours has complained."""
    assert reader.complaints == []
