"""Write the test vectors: one JSON file per family in tests/vectors, the same bytes every time.

    python -m tools.vectors             write all families, or those that are named (this is `make vectors`)
    python -m tools.vectors --check     make them anew and compare byte for byte with what was committed

Keys come of a printed seed, the clock is the World's, and signatures are deterministic (RFC 6979, RFC 8032). The
files are ASCII, indented by one blank, in the order in which they are made. tests/vectors/README.md is written by hand
and says what the operations are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.vector_families import FAMILIES, Family, make_family

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"


def find_file(name: str) -> Path:
    return VECTORS / f"{name}.json"


def write_family(family: Family) -> str:
    """The text of a family's file."""
    return json.dumps(family.to_json(), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def find_difference(name: str, fresh: str) -> str | None:
    """In words, what differs from the committed file; None if nothing does."""
    path = find_file(name)
    if not path.exists():
        return f"tests/vectors/{name}.json is missing"
    old = path.read_bytes()
    if old == fresh.encode("ascii"):
        return None
    old_lines, new_lines = old.decode("ascii", "replace").splitlines(), fresh.splitlines()
    pairs = enumerate(zip(old_lines, new_lines, strict=False), start=1)
    line = next((number for number, (one, other) in pairs if one != other), min(len(old_lines), len(new_lines)) + 1)
    return f"tests/vectors/{name}.json differs from what is made now, first in line {line}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.vectors", description="Write the test vectors.")
    parser.add_argument("families", nargs="*", help="only these; all unless one is named")
    parser.add_argument("--check", action="store_true", help="compare byte for byte and write nothing")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.families) - set(FAMILIES))
    if unknown:
        parser.error(f"there is no family {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    differences = []
    for name in options.families or FAMILIES:
        family = make_family(name)
        text = write_family(family)
        if not options.check:
            find_file(name).write_text(text, encoding="ascii")
        elif (difference := find_difference(name, text)) is not None:
            differences.append(difference)
        print(f"{name:<24} {len(family.cases):>4} cases   {len(text.encode()) / 1000:>7.1f} kB")
    for difference in differences:
        print(difference, file=sys.stderr)
    if differences:
        print("If the change is meant: make vectors", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
