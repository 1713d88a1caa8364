"""Objects as bytes, and the chain of versions that every shared object is.

Only this module turns objects into bytes. Canonical bytes are RFC 8785 (JSON Canonicalization Scheme),
digests are SHA-256 in lower-case hex (SATP 5.3.13 asks for "canonicalization" without naming one).
What a peer sends must already be canonical: then the hash of what was signed and the hash of what was
understood cannot differ, and duplicate keys, odd numbers and stray white space are refused in one place.

A shared object is a chain of versions. Each version names the one it reads, and writing makes the old
one unusable:

    LIP-1     `_reads` and `_writes`; a version is named by the `cid` of the command that wrote it
    SATP      `hashPrevMessage`;      a version is named by the digest of the message that is it

`History` is that chain, the same class for both. It knows nothing of networks, clocks or keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import rfc8785

from protocol.errors import Misuse, NotYet, Refused

Json = dict[str, Any]


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes. Raises Misuse for what JSON cannot say exactly (NaN, integers above 2^53)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Misuse(f"this value has no canonical form: {error}") from error


def digest(value: Any) -> str:
    """SHA-256, lower-case hex. Bytes are hashed as they are, anything else by its canonical bytes."""
    return hashlib.sha256(value if isinstance(value, bytes) else canonical(value)).hexdigest()


def parse(data: bytes) -> Json:
    """Read a peer's JSON object. Refuses what is not JSON, not an object, or not canonical."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the payload is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused("the payload is not a JSON object", found=type(value).__name__)
    try:
        exact = canonical(value) == data
    except Misuse as error:
        raise Refused(str(error)) from error
    if not exact:
        raise Refused(
            "the payload is not canonical JSON (RFC 8785): it has duplicate or unsorted keys, white space, "
            "or a number in another notation"
        )
    return value


@dataclass(frozen=True)
class Version:
    """One version of a shared object: who wrote it, which version it reads, and the signed bytes that say so."""

    name: str
    reads: str | None
    author: str
    signed: str

    def __repr__(self) -> str:
        return f"{self.name[:8]} by {self.author}, reads {self.reads[:8] if self.reads else 'nothing'}"


class History:
    """The versions of one object, oldest first. Each reads the one before it; the last is the head."""

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        self._versions: list[Version] = []
        self._place: dict[str, int] = {}
        for version in versions:
            self.append(version)

    def append(self, version: Version) -> None:
        """Write the next version.

        Refused if the version it reads was read before, or its own name was used before;
        NotYet if the version it reads is not known here.
        """
        if version.name in self._place:
            raise Refused("this version exists already", found=version.name)
        if version.reads != self.head:
            if version.reads is None or version.reads in self._place:
                raise Refused("the version it reads has been used", expected=self.head, found=version.reads)
            raise NotYet(f"the version it reads, {version.reads}, is not known here")
        self._place[version.name] = len(self._versions)
        self._versions.append(version)

    @property
    def head(self) -> str | None:
        """Name of the newest version; None before the first."""
        return self._versions[-1].name if self._versions else None

    def after(self, name: str | None) -> list[Version]:
        """The versions that came after `name`, oldest first; all of them after None."""
        if name is None:
            return list(self._versions)
        if name not in self._place:
            raise NotYet(f"version {name} is not known here")
        return self._versions[self._place[name] + 1 :]

    def compute_common_prefix(self, other: History) -> list[Version]:
        """The versions that both histories begin with. Two chains that agree on a name agree on all before it."""
        shared = 0
        for mine, theirs in zip(self._versions, other._versions, strict=False):
            if mine.name != theirs.name:
                break
            shared += 1
        return self._versions[:shared]

    def compute_missing(self, other: History) -> list[Version]:
        """What `other` has after the common prefix: the versions to fetch, if this side has none of its own there."""
        return other._versions[len(self.compute_common_prefix(other)) :]

    def compute_fork(self, other: History) -> tuple[Version, Version] | None:
        """The first pair of different versions that read the same one, or None if one history continues the other."""
        shared = len(self.compute_common_prefix(other))
        if shared == len(self) or shared == len(other):
            return None
        return self._versions[shared], other._versions[shared]

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def __getitem__(self, name: str) -> Version:
        return self._versions[self._place[name]]

    def __iter__(self) -> Iterator[Version]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)

    def __repr__(self) -> str:
        return " <- ".join(version.name[:8] for version in self._versions) or "no version yet"
