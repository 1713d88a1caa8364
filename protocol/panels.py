"""What the panels are made of: controls with names, a line that says what came of a choice, and places for pictures.

A panel is an ordinary object with a tree of widgets in `panel`. Where a kernel runs, it shows that tree. Elsewhere, on
a page on the web or in a file, it shows what it would show first: a figure, and the same as text. Both travel in one
bundle, so nothing has to be decided when a notebook is run.

    Panel          the bundle; whoever inherits says `svg` and `text`
    Choice         a closed list of which one is chosen, as buttons that stand beside each other
    Switch         one yes or no; Switches: many of them, which a button shows and hides
    Steps          one number of 1 to n, with buttons for the first, the one before, the next and the last
    Status         the line that is read aloud when it changes
    Pane           a place for HTML, of a fixed height where one is given, so that the page stands still
    Copied         one of several texts, in a field from which it can be copied
    draw_figure    a figure whose heads stay in sight while it is scrolled
    draw_text      text in letters of one width; draw_words: a paragraph; both escaped

All text takes its colours from the theme of JupyterLab, and from the page where there is none. Nothing is ever drawn
by a script, and nothing into an output. A name in front of each class (`crash-lab`, `rule-lab`) is the panel's own:
`.crash-lab-status` is the status line of the CrashLab. These classes, and the words on the controls, are what a test
in a browser finds things by; they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from threading import get_ident
from typing import Any, ClassVar

from protocol.diagrams import DARK, HEADS, LIGHT, Figure, draw_svg_heads
from protocol.errors import Misuse
from protocol.rules import DRAFTS, SAFETY, describe

try:
    import ipywidgets as widgets
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "a panel needs ipywidgets, which comes with the book: pip install -e '.[book]', or make lab"
    ) from missing

__all__ = [
    "Choice",
    "Copied",
    "Pane",
    "Panel",
    "Status",
    "Steps",
    "Switch",
    "Switches",
    "draw_figure",
    "draw_rules",
    "draw_scroll",
    "draw_text",
    "draw_words",
    "list_rules",
    "make_panel",
    "set_beside",
    "set_in_line",
    "widgets",
]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

STYLE = """\
<style>
[data-jp-theme-light="true"] .lab-panel .gwf { LIGHT }
[data-jp-theme-light="false"] .lab-panel .gwf { DARK }
.lab-panel { color: var(--jp-content-font-color1, inherit); }
.lab-panel .widget-label, .lab-panel .widget-label-basic { color: var(--jp-content-font-color1, inherit); }
.lab-panel { --jp-widgets-inline-height: 26px; --jp-widgets-margin: 1px; }
.lab-panel .widget-html-content { line-height: 1.45; }
.lab-panel .widget-toggle-buttons { display: flex; flex-flow: row nowrap; align-items: flex-start; margin-right: 1em; }
.lab-panel .widget-toggle-buttons > .widget-label { flex: none; text-align: left; margin: 0; }
.lab-panel .widget-toggle-buttons:not(:first-child) > .widget-label { width: auto !important; padding-right: 0.6em; }
.lab-panel .widget-toggle-button { padding: 0 0.6em; margin: 1px; }
.lab-panel .widget-toggle-button.mod-active { box-shadow: inset 0 0 0 2px var(--jp-brand-color1, currentColor); }
.lab-panel .lab-words { margin: 0 0 0.5em 0; max-width: 70em; }
.lab-panel .lab-head { font-weight: 600; margin: 0.25em 0; }
.lab-panel .lab-soft { font-style: italic; margin: 0 0 0.4em 0; }
.lab-panel .lab-bad { font-weight: 600; margin: 0 0 0.5em 0; color: var(--jp-error-color1, inherit); }
.lab-panel .lab-two-rows { min-height: 2.9em; }
.lab-panel pre.lab-text { margin: 0 0 0.5em 0; padding: 0.4em 0.6em; overflow-x: auto;
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px); line-height: 1.4;
  color: var(--jp-content-font-color1, inherit); background: var(--jp-layout-color2, transparent);
  border: 1px solid var(--jp-border-color2, currentColor); }
.lab-panel pre.lab-bare { border: none; margin: 0; }
.lab-panel .lab-status { height: 4.5em; overflow: auto; padding: 0.3em 0.7em;
  border-left: 4px solid var(--jp-brand-color1, currentColor);
  background: var(--jp-layout-color2, transparent); color: var(--jp-content-font-color1, inherit); }
.lab-panel .lab-scroll { overflow: auto; border: 1px solid var(--jp-border-color2, currentColor); }
.lab-panel .lab-scroll > .lab-page { padding: 0.5em 0.7em; }
.lab-panel .lab-end { display: flex; flex-direction: column-reverse; }
.lab-panel .lab-end > * { margin-bottom: auto; flex: none; }
.lab-panel svg { display: block; width: 100%; height: auto; }
.lab-panel .lab-figure { max-width: 60rem; }
.lab-panel .gwf .number, .lab-panel .gwf text.state { font-size: 12.5px; }
.lab-panel .lab-heads { position: sticky; top: 0; }
.lab-panel button:focus-visible, .lab-panel .lab-scroll:focus-visible, .lab-panel input:focus-visible,
.lab-panel textarea:focus-visible, .lab-panel .noUi-handle:focus-visible {
  outline: 2px solid var(--jp-brand-color1, currentColor); outline-offset: 1px; }
</style>""".replace("LIGHT", LIGHT).replace("DARK", DARK)


def draw_text(text: str) -> str:
    return f'<pre class="lab-text">{escape(text)}</pre>'


def draw_words(text: str, kind: str = "words") -> str:
    """A paragraph: "words", "head", "soft" or "bad"."""
    return f'<p class="lab-{kind}">{escape(text)}</p>'


def draw_rules(names: Iterable[str]) -> Iterator[str]:
    """Each rule that was turned over, with its sentence."""
    for name in names:
        yield draw_words(f"{'With' if name in DRAFTS else 'Without'} {name}", "head")
        yield draw_words(describe(name).sentence)


def list_rules(names: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """These rules as Switches takes them: under their headings name, label and sentence."""
    made = {name: (name, name.replace("_", " "), describe(name).sentence) for name in names}
    return {
        "Safety rules: on, unless you want to see what one is for": [made[name] for name in names if name in SAFETY],
        "What the drafts do instead: off, unless you want to see what comes of it": [
            made[name] for name in names if name in DRAFTS
        ],
    }


def draw_figure(figure: Figure) -> str:
    """A figure that may be longer than its place: the heads of its lifelines stay in sight."""
    share = 100 * HEADS / figure.layout.width
    heads = f'<div class="lab-heads" style="margin-bottom: -{share:.3f}%">{draw_svg_heads(figure)}</div>'
    return f'<div class="lab-figure">{heads}{figure.svg}</div>'


class Panel:
    """Shows itself as widgets where a kernel runs, and as a figure with its text elsewhere."""

    settable: ClassVar[tuple[str, ...]]
    """What may be chosen by setting it; `choose` takes all that can be chosen."""

    def __setattr__(self, name: str, value: object) -> None:
        """A slip of the pen would be a new attribute, and change nothing."""
        if not name.startswith("_") and name not in self.settable:
            raise Misuse(f"{name} is nothing to be set; what can be set is {', '.join(self.settable)}; see also choose")
        super().__setattr__(name, value)

    @property
    def panel(self) -> Any:
        """The tree of widgets."""
        raise NotImplementedError

    @property
    def svg(self) -> str:
        raise NotImplementedError

    @property
    def text(self) -> str:
        """What the figure shows and what came of it, in letters."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        bundle = {"text/plain": self.text, "image/svg+xml": self.svg}
        return bundle | {WIDGET_VIEW: self.panel._repr_mimebundle_()[WIDGET_VIEW]}

    def __repr__(self) -> str:
        return self.text


def make_panel(name: str, *parts: Any) -> Any:
    """The whole tree: the theme first, then the parts under each other."""
    box = widgets.VBox([widgets.HTML(STYLE, layout={"display": "none"}), *parts])
    return add_classes(box, "lab-panel", name)


def add_classes(widget: Any, *names: str) -> Any:
    for name in names:
        widget.add_class(name)
    return widget


def set_beside(*widths: tuple[Any, str]) -> Any:
    """Widgets beside each other, each with the width that it would like; under each other where there is no room."""
    for widget, width in widths:
        widget.layout.flex, widget.layout.min_width, widget.layout.margin = f"1 1 {width}", "0", "2px"
    return set_in_line(*(widget for widget, _ in widths))


def set_in_line(*parts: Any) -> Any:
    """Widgets one after the other, as words are."""
    return widgets.Box(parts, layout={"flex_flow": "row wrap", "overflow": "visible"})


class Control:
    """A widget whose value a person may change; whoever sets it from a program is not told of that."""

    widget: Any

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._setter = 0  # the thread of a program that sets the value; a person's choice comes on another one
        self.widget.observe(self._tell, names="value")

    def _tell(self, change: object) -> None:
        if self._setter != get_ident():
            self._on_change()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        self._setter, before = get_ident(), self._setter
        try:
            yield
        finally:
            self._setter = before

    @property
    def value(self) -> Any:
        return self.widget.value


class Choice(Control):
    """One of a closed list, as buttons beside each other. `hints` are sentences for who points at a button."""

    def __init__(self, label: str, css_class: str, on_change: Callable[[], None]) -> None:
        self.widget = widgets.ToggleButtons(options=[""], description=label)
        self.widget.style.button_width = "auto"
        self.widget.style.description_width = "7em"
        add_classes(self.widget, css_class)
        super().__init__(on_change)

    def show(
        self, options: Sequence[tuple[str, Any]], value: Any, hints: Sequence[str] = (), *, is_open: bool = True
    ) -> None:
        """Offer these, each a label and a value, with one of them chosen. Nobody is told."""
        with self.quietly():
            if self.widget.options != tuple(options):
                self.widget.tooltips = list(hints)
                self.widget.options = tuple(options)
            self.widget.value = value
            self.widget.disabled = not is_open


class Switch(Control):
    """One yes or no. The label is a word, the hint a sentence."""

    def __init__(self, label: str, hint: str, css_class: str, on_change: Callable[[], None]) -> None:
        self.widget = widgets.Checkbox(description=label, tooltip=hint, indent=False)
        self.widget.layout.width = "auto"
        add_classes(self.widget, css_class)
        super().__init__(on_change)

    def show(self, value: bool) -> None:
        with self.quietly():
            self.widget.value = value


class Switches:
    """Many switches under headings, each a name, a label and a sentence; `value` are the names of those that are on."""

    def __init__(
        self, label: str, css_class: str, groups: dict[str, list[tuple[str, str, str]]], on_change: Callable[[], None]
    ) -> None:
        self._switches: dict[str, Switch] = {}
        parts = []
        for heading, each in groups.items():
            made = {name: Switch(words, hint, f"{css_class}-{name}", on_change) for name, words, hint in each}
            self._switches |= made
            for switch in made.values():
                switch.widget.layout.width = "19em"  # so that they stand in columns
            row = set_in_line(*(switch.widget for switch in made.values()))
            parts += [widgets.HTML(draw_words(heading, "head")), row]
        self._body = widgets.VBox(parts, layout={"display": "none"})
        self._opener = add_classes(widgets.ToggleButton(description=f"Show {label}"), f"{css_class}-show")
        self._opener.layout.width, self._opener.layout.align_self = "auto", "flex-start"
        self._opener.observe(lambda change: self._open(label), names="value")
        self.widget = add_classes(widgets.VBox([self._opener, self._body]), css_class)

    def _open(self, label: str) -> None:
        is_open = self._opener.value
        self._body.layout.display = "" if is_open else "none"
        self._opener.description = f"{'Hide' if is_open else 'Show'} {label}"

    def __getitem__(self, name: str) -> Switch:
        return self._switches[name]

    @property
    def value(self) -> tuple[str, ...]:
        return tuple(name for name, switch in self._switches.items() if switch.value)

    def show(self, names: Container[str]) -> None:
        for name, switch in self._switches.items():
            switch.show(name in names)


class Steps(Control):
    """A number from 1 to the last. The buttons are for the keyboard, and have names; a slider has none."""

    def __init__(self, label: str, css_class: str, on_change: Callable[[], None]) -> None:
        self.widget = widgets.IntSlider(1, 1, 1, description=label)
        add_classes(self.widget, f"{css_class}-frame")
        super().__init__(on_change)
        moves = {
            "First": lambda: 1,
            "Back": lambda: self.value - 1,
            "Forward": lambda: self.value + 1,
            "Last": lambda: int(self.widget.max),
        }
        self.buttons = {word: self._make_button(word, css_class, move) for word, move in moves.items()}
        self.widget.layout.flex = "1 1 18em"
        self.row = set_in_line(self.widget, *self.buttons.values())

    def _make_button(self, word: str, css_class: str, move: Callable[[], int]) -> Any:
        button = widgets.Button(description=word, layout={"width": "auto"})
        button.on_click(lambda _: setattr(self.widget, "value", move()))  # the slider keeps to its ends
        return add_classes(button, f"{css_class}-{word.lower()}")

    @property
    def value(self) -> int:
        return int(self.widget.value)

    def show(self, value: int, last: int) -> None:
        with self.quietly():
            self.widget.max = last
            self.widget.value = value


class Copied:
    """Texts of which one stands in a field. What is written over it is put back: it is there to be copied."""

    def __init__(self, label: str, css_class: str) -> None:
        self._texts = {"": ""}
        self.choice = Choice(label, f"{css_class}-copy", self._put)
        self.field = widgets.Textarea(
            description="Text to copy", continuous_update=False, rows=6, layout={"width": "auto"}
        )
        self.field.style.description_width = self.choice.widget.style.description_width
        add_classes(self.field, f"{css_class}-copied")
        self.field.observe(lambda change: self._put(), names="value")
        self.widget = widgets.VBox([self.choice.widget, self.field])

    def _put(self) -> None:
        self.field.value = self._texts[self.choice.value]

    def show(self, texts: dict[str, str]) -> None:
        chosen = self.choice.value if self.choice.value in texts else next(iter(texts))
        self._texts = texts
        self.choice.show([(name, name) for name in texts], chosen)
        self._put()


class Pane:
    """A place for HTML. With a height it has its own scroll bar, and `is_at_end` shows the end of what is longer."""

    def __init__(self, css_class: str, *, label: str = "", height: str = "", is_at_end: bool = False) -> None:
        self.widget = add_classes(widgets.HTML(), css_class)
        self._frame = (label, height, is_at_end) if height else None

    def show(self, html: str) -> None:
        """One element, if the pane has a height."""
        self.widget.value = _draw_frame(html, *self._frame) if self._frame else html


def _draw_frame(html: str, label: str, height: str, is_at_end: bool) -> str:
    """The keyboard reaches it, and scrolls it; a reader is told what it is."""
    kind = "lab-scroll lab-end" if is_at_end else "lab-scroll"
    name = f'role="region" aria-label="{escape(label)}"'
    return f'<div class="{kind}" style="height: {escape(height)}" tabindex="0" {name}>{html}</div>'


def draw_scroll(html: str, label: str, height: str) -> str:
    """Text in letters of one width, of which the end is shown. It is HTML already: escape what you put in."""
    return _draw_frame(f'<pre class="lab-text lab-bare">{html}</pre>', label, height, is_at_end=True)


class Status:
    """The line that says in words what was chosen and what came of it; `words` are without marks."""

    def __init__(self, css_class: str) -> None:
        self.widget = add_classes(widgets.HTML(), css_class)
        self.words = ""

    def say(self, words: str) -> None:
        self.words = words
        self.widget.value = f'<div class="lab-status" role="status" aria-live="polite">{escape(words)}</div>'
