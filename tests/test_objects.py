"""Canonical bytes, refusals with their place, and the chain of versions."""

import contextlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Misuse, NotYet, Refused
from protocol.objects import DEEPEST, History, Version, canonical, digest, find_not_canonical, parse

INTEGERS, FLOATS = st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e15, 1e15)  # beyond 2^53 all floats are integers
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
OBJECTS = st.dictionaries(st.text(), VALUES)


@given(OBJECTS | VALUES)
def test_canonical_bytes_are_those_of_the_library_of_rfc_8785(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (UnicodeEncodeError, rfc8785.CanonicalizationError):
        with pytest.raises(Misuse):
            canonical(value)
    else:
        assert canonical(value) == expected


@given(OBJECTS)
def test_what_is_canonical_is_read_back_and_anything_else_has_a_place(value: Any) -> None:
    try:
        data = canonical(value)
    except Misuse:
        return
    assert canonical(parse(data)) == data and find_not_canonical(data) is None
    spaced = json.dumps(value).encode()
    if spaced != data:
        with pytest.raises(Refused) as refusal:
            parse(spaced)
        assert refusal.value.field is not None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(parse(data), dict)


@pytest.mark.parametrize(
    "value", [{"a": 2**53}, {"a": float("nan")}, {"a": [float("inf")]}, {"a": "\ud800"}, {"a": object()}, {1: 1.5}]
)
def test_what_json_cannot_say_exactly_is_a_misuse(value: Any) -> None:
    with pytest.raises(Misuse):
        canonical(value)


@pytest.mark.parametrize("text", ["\u20ac", "\U0001f600", "\x7f", "\x1f", '"\\\b\f\n\r\t/', "1" * 16, "1.0e5"])
def test_strings_are_written_as_the_library_writes_them(text: str) -> None:
    assert canonical({text: text}) == rfc8785.dumps({text: text})


def test_keys_are_sorted_by_utf_16_and_not_by_code_point() -> None:
    assert list(parse(canonical({"\ufb33": 1, "\U0001f600": 2}))) == ["\U0001f600", "\ufb33"]


def test_depth_is_bounded_wherever_it_is_read() -> None:
    deepest = b'{"a":' + b"[" * (DEEPEST - 2) + b"]" * (DEEPEST - 2) + b"}"
    assert parse(deepest)
    with pytest.raises(Refused, match="deeper"):
        parse(b'{"a":' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}")
    assert parse(canonical({"text": "[" * 1000})), "brackets in a text are no depth"


def test_the_digest_of_bytes_is_of_these_bytes_and_of_anything_else_of_its_canonical_bytes() -> None:
    assert digest({"b": 1, "a": 2}) == digest(b'{"a":2,"b":1}') != digest(b'{"b":1,"a":2}')


# History


def chain(*names: str, answered: bool = True) -> History:
    history = History()
    for name in names:
        history.append(Version(name, history.head, "C", f"signed {name}", "yes" if answered else None))
    return history


def test_a_version_is_read_once() -> None:
    history = chain("1", "2")
    with pytest.raises(Refused, match="used"):
        history.append(Version("3", "1", "C", ""))
    with pytest.raises(Refused, match="exists"):
        history.append(Version("1", "2", "C", ""))
    with pytest.raises(NotYet):
        history.append(Version("4", "3", "C", ""))
    assert history.head == "2" and len(history) == 2, "an invalid append changes nothing"


def test_common_prefix_missing_and_fork() -> None:
    short, long, other = chain("1", "2"), chain("1", "2", "3", "4"), chain("1", "x")
    assert [version.name for version in short.compute_common_prefix(long)] == ["1", "2"]
    assert [version.name for version in short.compute_missing(long)] == ["3", "4"]
    assert long.compute_missing(short) == [] and short.compute_fork(long) is None
    fork = short.compute_fork(other)
    assert fork is not None and (fork[0].name, fork[1].name) == ("2", "x")
    assert [version.name for version in long.after("2")] == ["3", "4"] and len(long.after(None)) == 4
    with pytest.raises(NotYet):
        short.after("9")


def test_a_version_is_agreed_by_an_answer_or_because_the_next_one_cites_it() -> None:
    assert len(chain("1", "2").compute_agreed()) == 2
    assert [version.name for version in chain("1", "2", "3", answered=False).compute_agreed()] == ["1", "2"]
    assert chain().compute_agreed() == []
