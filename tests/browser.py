"""A real browser in front of a real JupyterLab, for the tests: both private, both ended whatever happens.

The browser is the Chromium of this machine, without a window; nothing is downloaded. JupyterLab runs on a free port
behind a token of its own, with a home folder of its own, on a copy of the notebooks, so that nothing in this folder
changes. REQUIRE_BROWSER=1 says that the browser must be there. Every wait has an end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NOT_INSTALLED = "Chromium is not installed (Debian: apt-get install chromium)"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60.0  # for one wait; the machine may be slow, and other tests run beside this one
LAPTOP = {"width": 1366, "height": 768}

# What JupyterLab itself writes as an error although nothing is wrong, as (part of the source, part of the text).
# Everything else is taken for ours, and fails the test.
NOT_OURS: tuple[tuple[str, str], ...] = ()

T = TypeVar("T")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def skip_or_fail() -> str:
    """The path of the browser. Skips where there is none, unless it must be there."""
    found = find_browser()
    if found is None and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(NOT_INSTALLED)
    if found is None:
        pytest.skip(NOT_INSTALLED)
    return found


def wait_for(ask: Callable[[], T], what: str) -> T:
    """Asks until the answer is true."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.1)
    return answer


# ---------------------------------------------------------------------- the server


@dataclass(frozen=True)
class Server:
    """A JupyterLab that runs."""

    url: str
    token: str
    out: Path

    def ask(self, path: str) -> Any:
        """What its interface for programs answers."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def fetch(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()


def make_private(home: Path, programs: Path) -> dict[str, str]:
    """Variables for a process that knows nothing of the reader's own JupyterLab, and opens no browser itself."""
    others = ("JUPYTER", "XDG_", "IPYTHON", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    runtime = home / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    (home / ".jupyter").mkdir(exist_ok=True)
    (home / ".jupyter" / "jupyter_server_config.json").write_text('{"ServerApp": {"port": 0}}')  # whichever is free
    return kept | {
        "HOME": str(home),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "BROWSER": "true",
    }


@contextmanager
def run_server(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """RuntimeError with what it printed if it does not start."""
    runtime = Path(environment["JUPYTER_RUNTIME_DIR"])
    out = runtime / "server.out"
    for old in runtime.glob("jpserver-*"):  # of one that was killed
        old.unlink()
    with out.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip

    def find() -> dict[str, Any] | None:
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)}: ended with {process.returncode}: {out.read_text()[-3000:]}")
        try:
            (path,) = runtime.glob("jpserver-*.json")
            found = json.loads(path.read_text())
            Server(found["url"], found["token"], out).ask("api/status")
        except (ValueError, OSError):  # not there yet, or half written, or not listening yet
            return None
        return dict(found)

    try:
        found = wait_for(find, "JupyterLab to start")
        assert found is not None
        yield Server(found["url"], found["token"], out)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """The server, which ends its kernels; then whatever of its group is left. All of them were started here."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


# ---------------------------------------------------------------------- the reader


@contextmanager
def run_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=skip_or_fail(), timeout=PATIENCE_S * 1000)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Reader:
    """Someone in front of JupyterLab, and what the browser's console said meanwhile."""

    page: Page
    server: Server
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def sit_down(cls, browser: Browser, server: Server) -> Reader:
        page = browser.new_page(viewport=LAPTOP, color_scheme="light")  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_S * 1000)
        expect.set_options(timeout=PATIENCE_S * 1000)
        reader = cls(page, server)
        page.on("console", reader.hear)
        page.on("pageerror", lambda error: reader.complaints.append(f"page error: {error}"))
        return reader

    def hear(self, message: ConsoleMessage) -> None:
        source = message.location.get("url", "")
        is_known = any(place in source and words in message.text for place, words in NOT_OURS)
        if message.type == "error" and not is_known:
            self.complaints.append(f"{message.text} ({source})")

    def open(self, path: str) -> None:
        self.page.goto(f"{self.server.url}{path}?token={quote(self.server.token)}")
        self.page.locator(".jp-NotebookPanel:visible .jp-Cell").first.wait_for()

    def await_idle(self) -> None:
        """The kernel has started, the page is connected to it, and nothing is left to be done."""

        def is_idle() -> bool:
            kernels = self.server.ask("api/kernels")
            return bool(kernels) and all(each["connections"] and each["execution_state"] == "idle" for each in kernels)

        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        wait_for(is_idle, "the kernel to be idle")

    def choose(self, *words: str) -> None:
        """One menu inside another, with the mouse."""
        menu, *rest = words
        self.page.locator("#jp-MainMenu").get_by_role("menuitem", name=menu, exact=True).click()
        for each in rest:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(each, exact=True).click()

    def command(self, words: str) -> None:
        """By name, with the keyboard alone."""
        self.page.keyboard.press("Control+Shift+KeyC")
        self.page.locator(".lm-CommandPalette-input:focus").wait_for()
        self.page.keyboard.type(words)
        self.page.locator(".lm-CommandPalette-item.lm-mod-active").get_by_text(words, exact=True).wait_for()
        self.page.keyboard.press("Enter")

    def await_run(self, first: int) -> None:
        """All code cells have run, from the first to the last: they are numbered from `first` on, in this order."""
        wanted = [f"[{first + number}]:" for number in range(self.cells.count())]
        wait_for(lambda: self.prompts == wanted, f"the cells to be numbered from {first} on")
        self.await_idle()

    @property
    def last_number(self) -> int:
        """Of the run of a cell; 0 if none has run."""
        return max(int("".join(filter(str.isdigit, prompt)) or 0) for prompt in self.prompts)

    @property
    def prompts(self) -> list[str]:
        return self.cells.locator(".jp-InputPrompt").all_text_contents()

    @property
    def cells(self) -> Locator:
        """The code cells, those that are out of sight too."""
        return self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell")

    def panel(self, name: str) -> Locator:
        """The panel with that class, `crash-lab` for one."""
        return self.page.locator(f".jp-NotebookPanel:visible .{name}.lab-panel")

    def select_cell(self, place: Locator) -> None:
        """With the keyboard alone, from the last cell upwards: the one that holds this place."""
        self.page.keyboard.press("Escape")
        for _ in range(self.page.locator(".jp-NotebookPanel:visible .jp-Cell").count()):
            if place.evaluate("each => each.closest('.jp-Cell').classList.contains('jp-mod-selected')"):
                return
            self.page.keyboard.press("ArrowUp")
        raise AssertionError("no such cell")

    def tab_to(self, place: Locator) -> None:
        """With the Tab key alone."""
        for _ in range(200):
            if place.evaluate("each => each === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the keyboard does not reach {place}")

    def photograph(self, name: str) -> Path:
        path = ROOT / "build" / "browser" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, timeout=PATIENCE_S * 1000)
        return path

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """What the page looked like when a test failed is kept, and the failure says where."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"the page at that moment: {self.photograph(name)}")
            raise


# ---------------------------------------------------------------------- what the page shows


def is_drawn(place: Locator, html: str) -> bool:
    """Whether this HTML or SVG, as the browser understands it, stands there and has a size."""
    return bool(place.evaluate(IS_DRAWN, html))


IS_DRAWN = """\
(place, html) => {
  const other = document.createElement("div");
  other.innerHTML = html;
  const box = place.getBoundingClientRect();
  return place.outerHTML === other.firstElementChild.outerHTML && box.width > 0 && box.height > 0;
}"""


def read_picture(image: Locator) -> str:
    """The SVG that a figure of an output is made of. It must have been painted, too."""
    image.scroll_into_view_if_needed()
    painted = image.evaluate("each => each.decode().then(() => [each.naturalWidth, each.clientWidth])")
    assert min(painted) > 0, "the picture is empty"
    return unquote((image.get_attribute("src") or "").partition(",")[2])


def read_contrast(place: Locator) -> float:
    """Of the text against what is behind it, as WCAG 2 computes it (21 is black on white, 1 is nothing to be seen)."""
    return float(place.evaluate(CONTRAST))


# Through every element up to the page: what is not opaque is laid over what is behind it. In a picture, the paper.
CONTRAST = """\
place => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], behind) => [r, g, b].map((each, index) => each * a + behind[index] * (1 - a));
  const light = colour => colour.map(each => each / 255)
    .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const layers = [];
  const svg = place.closest("svg");
  if (svg) layers.push(parse(getComputedStyle(svg.querySelector("rect")).fill));
  for (let each = place; each; each = each.parentElement) layers.push(parse(getComputedStyle(each).backgroundColor));
  const behind = layers.reverse().reduce((below, each) => over(each, below), [255, 255, 255]);
  const style = getComputedStyle(place);
  const ink = over(parse(svg ? style.fill : style.color), behind);
  const [dark, bright] = [light(ink), light(behind)].sort((one, other) => one - other);
  return (bright + 0.05) / (dark + 0.05);
}"""
