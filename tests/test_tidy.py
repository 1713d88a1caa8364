"""The house rules: import direction, lengths, no second drawer for odd things."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "protocol"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
LONGEST_FUNCTION, LONGEST_FILE, LONGEST_GATEWAY = 60, 500, 350


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def contents() -> list[str]:
    """The reading order, as the contents page of the package gives it."""
    return re.findall(r"^ {4}([a-z_/]+) {2,}\S", (PACKAGE / "__init__.py").read_text(), flags=re.MULTILINE)


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("protocol"):
            base = (node.module or "").removeprefix("protocol").lstrip(".").replace(".", "/")
            names = [base] if base and base != "messages" else [f"{base}/{a.name}".lstrip("/") for a in node.names]
            found.update(names)
        if isinstance(node, ast.Import):
            found.update(a.name.removeprefix("protocol.").replace(".", "/") for a in node.names if "protocol" in a.name)
    return found


def test_the_contents_page_lists_every_module_and_nothing_else() -> None:
    assert sorted(contents()) == sorted(map(name_of, MODULES))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_modules_above_it(path: Path) -> None:
    order = contents()
    above = order[: order.index(name_of(path))]
    assert imports(path) <= set(above), f"{name_of(path)} may import only {above}"


@pytest.mark.parametrize("path", [*MODULES, PACKAGE / "__main__.py"], ids=lambda path: path.stem)
def test_a_module_opens_with_its_law(path: Path) -> None:
    lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    assert 4 <= len(lines) <= 40, "a module opens with what lives here, what never does, and which sections it follows"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_functions_and_files_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (LONGEST_GATEWAY if path.name == "gateway.py" else LONGEST_FILE)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_the_longest_tests_are_those_of_files() -> None:
    assert not [name for name in LONGEST if not (ROOT / "tests" / f"test_{name}.py").exists()]


def test_no_tools_know_each_other_in_a_circle() -> None:
    """Nor by an import that waits inside a function."""
    tools = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tools").glob("*.py")}
    known = {
        name: {each for line in re.findall(r"^ *from tools(?:\.(\w+))? import (.+)$", text, flags=re.MULTILINE)
               for each in ([line[0]] if line[0] else line[1].split(", "))}
        for name, text in tools.items()
    }  # fmt: skip
    assert known["book"] >= {"links", "site", "notebooks"}
    while free := [name for name, others in known.items() if not others & set(known)]:
        for name in free:
            del known[name]
    assert not known


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    assert not [path for path in SOURCES if re.search(r"util|helper|manager|misc|common", path.stem)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_world_and_the_stores_touch_the_machine(path: Path) -> None:
    """No clock, dice or network inside a rule: they come in as arguments."""
    forbidden = {"time", "random", "secrets", "socket", "asyncio", "http", "urllib", "uuid"}
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(a.name.split(".")[0] for a in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add((node.module or "").split(".")[0])
    allowed = {"network": {"uuid"}, "units": {"uuid"}, "explorer": {"time"}, "rule_lab": {"asyncio"}}.get(
        name_of(path), set()
    )
    assert not imported & (forbidden - allowed)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_assert_looks_at_a_peers_input(path: Path) -> None:
    """An assert is for our own mistakes; it must never stand in for a refusal."""
    if name_of(path).startswith("messages/"):
        assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


def test_no_merge_was_left_half_done() -> None:
    """A page of text has no compiler that would see it."""
    folders = [ROOT / name for name in ("protocol", "tests", "tools", "docs", "notebooks", "binder", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files = [path for path in files if "node_modules" not in path.parts] + [ROOT / "README.md", ROOT / "Makefile"]
    assert len(files) > 300
    marks = re.compile(rb"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)
    assert [path.name for path in files if marks.search(path.read_bytes())] == []
