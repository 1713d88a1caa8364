"""What a family of test vectors is, and which families there are.

A family is one operation and its cases. Each module of this folder makes one, in a function `make`, and stands in
`FAMILIES`. Nothing here needs more than Python's standard library: whoever runs vectors need not make them.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# In the order in which an implementer meets them. The module has the same name, with _ in place of -.
FAMILIES = (
    "canonical",
    "thumbprints",
    "messages",
    "signing",
    "offchain-messages",
    "certificates",
    "backups",
    "invalid-messages",
    "transfers",
    "logs",
    "recovery-table",
    "channel",
    "recoveries",
    "recovery-scenarios",
    "invalid-recovery",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One file of vectors. `shared` is what many cases refer to by name; no case depends on another case."""

    name: str
    about: str
    sections: tuple[str, ...]
    operation: str
    cases: list[Json]
    shared: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [each["name"] for each in self.cases]
        doubles = sorted({name for name in names if names.count(name) > 1})
        assert not doubles, f"{self.name}: two cases are called {', '.join(doubles)}"

    def to_json(self) -> Json:
        head: Json = {
            "family": self.name,
            "about": self.about,
            "sections": list(self.sections),
            "operation": self.operation,
        }
        return head | ({"shared": self.shared} if self.shared else {}) | {"cases": self.cases}


def case(
    name: str,
    comment: str,
    given: Json,
    *,
    holds: object,
    expect: Json | None = None,
    code: str | None = None,
    reason: str = "",
) -> Json:
    """One case: what is given, and either what has to come out or the document's code of the refusal.

    `holds` is why the case exists, computed beside it: a case that does not test what its comment says is not written.
    `code` is "" where the documents have none; `reason` then tells in words, and is not compared.
    """
    assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", name), f"{name}: lower case, words joined by -"
    assert comment.endswith("."), f"{name}: the comment is one sentence"
    assert holds, f"{name}: this case does not do what it is for: {comment}"
    assert (expect is None) != (code is None), f"{name}: a case has an output or an error"
    assert code != "" or reason, f"{name}: where the documents have no code, words say what is wrong"
    if expect is not None:
        return {"name": name, "comment": comment, "input": given, "expect": expect}
    error = {"code": code} | ({"reason": reason} if reason else {})
    return {"name": name, "comment": comment, "input": given, "error": error}


def make_family(name: str) -> Family:
    """The family as its module makes it. Needs the package; reading a written family does not."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    family: Family = module.make()
    assert family.name == name, f"{module.__name__} makes the family {family.name}"
    return family
