"""Write what others can check their messages against: schemas, the endpoints as OpenAPI, message tables.

    python -m tools.schemas             writes docs/schemas, docs/openapi.json and docs/message-tables.md
    python -m tools.schemas --check     writes nothing; fails if a file is not what the models say, byte for byte

All of it is generated from the models of `protocol/messages` and the words beside them, so nothing is said twice.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from protocol.objects import Json
from tools.json_schemas import ROOT, list_entries, name_schema, write_schemas
from tools.message_tables import write_tables
from tools.openapi import make_document

DOCS = ROOT / "docs"
README = """# JSON Schemas of every message

JSON Schema 2020-12, one file per message; each stands alone, with what it needs under `$defs`. They are generated from
the models that this package reads messages with (`make schemas`). [index.json](index.json) has the same list.

A schema describes the payload of a compact JWS (RFC 7515), after its signature has been verified. It says what is sent:

* an optional field without a value is left out, never null (in SATP and RECOVERY the package takes null for that);
* fields that are not named are allowed in SATP and RECOVERY (they are signed, kept and hashed), and refused in LIP-1;
* `x-ours` marks what no document has: a peer that has read the document alone neither sends nor needs it, except where
  it is `required`;
* `format` says what a pattern cannot (a time that exists); a bech32 checksum, a hash, a signature and the order of
  messages are beyond a schema.

| file | message | section |
|---|---|---|
"""


def list_files() -> dict[Path, str]:
    """Every generated file below docs, with its content."""
    files = {Path("schemas") / path: write_json(content) for path, content in write_schemas()}
    rows = [f"| [{entry.path}]({entry.path}) | {entry.title} | {entry.section} |" for entry in list_entries()]
    files[Path("schemas/README.md")] = README + "\n".join(rows) + "\n"
    files[Path("openapi.json")] = write_json(make_document("1"))
    files[Path("message-tables.md")] = write_tables()
    return files


def write_json(content: Json) -> str:
    return json.dumps(content, indent=1) + "\n"


def find_differences() -> list[str]:
    """Files that are missing, differ, or are there and should not be."""
    files = list_files()
    stray = {path.relative_to(DOCS) for path in (DOCS / "schemas").rglob("*") if path.is_file()} - files.keys()
    wrong = [path for path, text in files.items() if not _is_same(DOCS / path, text)]
    return [f"docs/{path} is not what the models say" for path in wrong] + [
        f"docs/{path} is of no message" for path in sorted(stray)
    ]


def _is_same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def write_files() -> int:
    """Write what differs; take away what is of no message any more."""
    files = list_files()
    for path, text in files.items():
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        if not _is_same(DOCS / path, text):
            (DOCS / path).write_bytes(text.encode())
    for path in (DOCS / "schemas").rglob("*"):
        if path.is_file() and path.relative_to(DOCS) not in files:
            path.unlink()
    return len(files)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.schemas", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if parser.parse_args(arguments).check:
        differences = find_differences()
        print("\n".join([*differences, "run: make schemas"]) if differences else "docs: as the models say")
        return int(bool(differences))
    print(
        f"{write_files()} files written to docs: {name_schema('index.json').rpartition('/docs/')[2]} lists the schemas"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
