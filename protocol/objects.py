"""Objects as bytes, and the chain of versions that every shared object is.

Only this module turns objects into bytes. Canonical bytes are RFC 8785 (JSON Canonicalization Scheme),
digests are SHA-256 in lower-case hex (SATP 5.3.13 asks for "canonicalization" without naming one).
What a peer sends must already be canonical: then the hash of what was signed and the hash of what was
understood cannot differ, and duplicate keys, odd numbers and stray white space are refused in one place,
which names the path of the offending field. Nesting is bounded: how much Python bears depends on who calls.

A shared object is a chain of versions. Each version names the one it reads, and writing makes the old
one unusable:

    LIP-1     `_reads` and `_writes`; a version is named by the `cid` of the command that wrote it
    SATP      `hashPrevMessage`;      a version is named by the digest of the message that is it

A version that only its author signed is *pending*. It is *agreed* when the other side has signed for it
too: in LIP-1 by a success response, in SATP by the next message, which cites it.

`History` is that chain, the same class for both. It knows nothing of networks, clocks or keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import rfc8785

from protocol.errors import Misuse, NotYet, Refused

Json = dict[str, Any]

DEEPEST = 64  # levels of nesting; the documents' messages have nine
_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^{}\[\]"]+')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\s+|"')


class NotCanonical(Refused):
    """JSON that has another notation than the canonical one, or a number that has no exact one."""


# For ASCII text without fractions and large integers the standard library's encoder, which is written in C, gives
# the bytes of RFC 8785 in a tenth of the time. What might be anything else is left to the library of that RFC.
_encode_plain = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
_MAYBE_SPECIAL = re.compile(r"[:\[,]-?\d+(?:[.eE]|(?<=\d{16}))")


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes. Raises Misuse for what JSON cannot say exactly (NaN, integers above 2^53)."""
    if type(value) is dict:
        try:
            text = _encode_plain(value)
        except (ValueError, TypeError, RecursionError):
            text = "\N{REPLACEMENT CHARACTER}"
        if text.isascii() and not _MAYBE_SPECIAL.search(text):
            return text.encode("ascii")
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Misuse(f"this value has no canonical form: {error}") from error


def digest(value: Any) -> str:
    """SHA-256, lower-case hex. Bytes are hashed as they are, anything else by its canonical bytes."""
    return hashlib.sha256(value if isinstance(value, bytes) else canonical(value)).hexdigest()


def parse(data: bytes) -> Json:
    """Read a peer's JSON object. Refuses what is not JSON, not an object, or not canonical, with the field's path."""
    if _may_be_too_deep(data) and (path := find_too_deep(data)) is not None:
        raise Refused(f"the payload is nested deeper than {DEEPEST} levels", field=path)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the payload is not JSON: {error}", field=find_not_canonical(data)) from error
    if not isinstance(value, dict):
        raise Refused("the payload is not a JSON object", found=type(value).__name__)
    try:
        exact = canonical(value) == data
    except Misuse as error:
        raise NotCanonical(str(error), field=find_not_canonical(data)) from error
    if not exact:
        raise NotCanonical(
            "the payload is not canonical JSON (RFC 8785): it has duplicate or unsorted keys, white "
            "space, or a number in another notation",
            field=find_not_canonical(data),
        )
    return value


class _Place:
    """A walk through JSON text, token by token; it needs no stack of Python's, so depth cannot hurt it."""

    def __init__(self, data: bytes) -> None:
        self._tokens = _TOKEN.findall(data)
        self.path: list[str | int] = []
        self._keys: list[list[str] | None] = []

    def __str__(self) -> str:
        return ".".join(map(str, self.path))

    def steps(self) -> Iterator[tuple[bytes, bool]]:
        """Each token, and whether it is a key; when it is handed out, `path` names its place."""
        for position, token in enumerate(self._tokens):
            is_key = token[:1] == b'"' and self._tokens[position + 1 : position + 2] == [b":"]
            if token in (b"}", b"]") and self._keys:
                self._keys.pop()
                self.path.pop()
            if is_key and self._keys and self._keys[-1] is not None:
                self.path[-1] = token[1:-1].decode(errors="replace")
            yield token, is_key
            if token in (b"{", b"["):
                self._keys.append([] if token == b"{" else None)
                self.path.append("" if token == b"{" else 0)
            if token == b"," and self._keys and self._keys[-1] is None:
                self.path[-1] = int(self.path[-1]) + 1

    def is_new(self, key: str) -> bool:
        """Whether the key comes after all keys of its object so far, in the order of RFC 8785 3.2.3."""
        seen = self._keys[-1] if self._keys else None
        if seen is None:
            return True
        seen.append(key)
        return len(seen) == 1 or seen[-2].encode("utf-16-be") < key.encode("utf-16-be")


def _may_be_too_deep(data: bytes) -> bool:
    """False for what is surely not: few brackets, or brackets that cancel each other, innermost first, in few rounds.

    A long list of sessions has many brackets and no depth; walking through it would take longer than all the rest.
    """
    if data.count(b"{") + data.count(b"[") <= DEEPEST:
        return False
    brackets = _NOT_BRACKETS.sub(b"", data)
    for _ in range(DEEPEST // 2):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return bool(brackets)


def find_too_deep(data: bytes) -> str | None:
    """The path where the nesting passes DEEPEST, cut to its first levels; None if it never does."""
    place = _Place(data)
    for _ in place.steps():
        if len(place.path) >= DEEPEST:
            return ".".join(map(str, place.path[:8]))
    return None


def find_not_canonical(data: bytes) -> str | None:
    """The path of the first token that canonical JSON would write otherwise: a key out of order, a number, a blank."""
    place = _Place(data)
    for token, is_key in place.steps():
        if token in (b"{", b"}", b"[", b"]", b",", b":"):
            continue
        try:
            value = json.loads(token)
            if canonical(value) != token or (is_key and not place.is_new(value)):
                return str(place)
        except (ValueError, Misuse):
            return str(place)
    return None


@dataclass(frozen=True)
class Version:
    """One version of a shared object: who wrote it, which version it reads, and the signed bytes that say so.

    `answer` is the other side's signed consent where that is a message of its own (LIP-1's response).
    """

    name: str
    reads: str | None
    author: str
    signed: str
    answer: str | None = None

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

    def compute_agreed(self) -> list[Version]:
        """The versions that both sides signed for: by an answer of its own, or because the next version cites it."""
        cited = [True] * (len(self) - 1) + [False]
        return [version for version, is_cited in zip(self, cited, strict=False) if version.answer or is_cited]

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
