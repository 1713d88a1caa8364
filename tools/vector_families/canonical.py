"""Canonical bytes and digests: JSON text in, RFC 8785 text out.

Most cases are such that Python's own writer, with sorted keys and no blanks, gives something else; some are such that
JavaScript's does, which sorts keys that look like numbers first.
"""

from __future__ import annotations

import json

from protocol.errors import Misuse
from protocol.example import DRAFT_EXAMPLE
from protocol.objects import canonical, digest
from tools.vector_families import Family, Json, case

# RFC 8785 3.2.2 and 3.2.3: the input and the output that are printed there, byte for byte.
RFC_INPUT = r"""{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}"""
RFC_OUTPUT = (
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
)
SORTING_INPUT = r"""{
  "\u20ac": "Euro Sign",
  "\r": "Carriage Return",
  "\ufb33": "Hebrew Letter Dalet With Dagesh",
  "1": "One",
  "\ud83d\ude00": "Emoji: Grinning Face",
  "\u0080": "Control",
  "\u00f6": "Latin Small Letter O With Diaeresis"
}"""
SORTING_VALUES = [
    "Carriage Return",
    "One",
    "Control",
    "Latin Small Letter O With Diaeresis",
    "Euro Sign",
    "Emoji: Grinning Face",
    "Hebrew Letter Dalet With Dagesh",
]


def write_plainly(value: object) -> str:
    """What a writer gives that sorts keys, leaves blanks out, and has not heard of RFC 8785."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def list_as_javascript(value: Json) -> list[str]:
    """The order in which JavaScript lists sorted members: names that look like numbers come first, as numbers."""
    numbers = sorted((name for name in value if name.isdigit()), key=int)
    return [*numbers, *sorted(set(value) - set(numbers))]


def write(name: str, comment: str, text: str, *, holds: object = None) -> Json:
    """A case with an output. Without `holds` it is there because a plain writer gives another text."""
    value = json.loads(text)
    written = canonical(value).decode()
    is_useful = written != write_plainly(value) if holds is None else holds
    return case(name, comment, {"json": text}, holds=is_useful, expect={"text": written, "digest": digest(value)})


def refuse(name: str, comment: str, text: str, reason: str) -> Json:
    """A case without a canonical form."""
    try:
        canonical(json.loads(text))
        has_none = False
    except Misuse:
        has_none = True
    return case(name, comment, {"json": text}, holds=has_none, code="", reason=reason)


def writes(text: str, expected: str) -> bool:
    return canonical(json.loads(text)).decode() == expected


def make_numbers() -> list[Json]:
    largest = '{"a":9007199254740991}'
    return [
        write("number-whole", "A number that is whole has no fraction, however it was written.", '{"a":1.0}'),
        write("number-minus-zero", "There is one zero, and it has no sign.", '{"a":-0.0}'),
        write("number-below-1e21", "Up to 21 digits stand in full.", '{"a":1e20}'),
        write("number-1e21", "From 10 to the 21 on there is an exponent, with its sign.",
              '{"a":1000000000000000000000.0}', holds=writes("1000000000000000000000.0", "1e+21")),
        write("number-1e-6", "Down to six places a fraction stands in full.", '{"a":0.000001}'),
        write("number-1e-7", "Below that there is an exponent without leading zero.", '{"a":0.0000001}'),
        write("number-smallest", "The smallest number that a double holds.", '{"a":4.9406564584124654e-324}',
              holds=writes("4.9406564584124654e-324", "5e-324")),
        write("number-largest", "The largest number that a double holds.", '{"a":1.7976931348623157e308}',
              holds=writes("1.7976931348623157e308", "1.7976931348623157e+308")),
        write("number-shortest", "Of all notations of the same double the shortest is written.",
              '{"a":0.10000000000000001}', holds=writes("0.10000000000000001", "0.1")),
        write("number-largest-integer", "Beyond this one not every integer has a double of its own.", largest,
              holds=json.loads(largest)["a"] == 2**53 - 1 and float(2**53) == float(2**53 + 1)),
        refuse("number-beyond-doubles", "A writer that makes null or Infinity of it has changed the message.",
               '{"a":1e400}', "a number beyond what a double holds has no canonical form"),
    ]  # fmt: skip


def make_texts() -> list[Json]:
    half = "half a surrogate pair has no canonical form"
    return [
        write("text-beyond-ascii", "Letters beyond ASCII stand as they are, in UTF-8.", r'{"a":"\u00e9\u20ac"}'),
        write("text-not-normalised", "Two notations of one letter stay two texts: nothing is normalised.",
              r'{"a":"e\u0301","b":"\u00e9"}'),
        write("text-beyond-16-bits", "A surrogate pair is one character of four bytes.", r'{"a":"\ud83d\ude00"}'),
        write("text-line-separators", "U+2028 and U+2029 are not escaped.", r'{"a":"\u2028\u2029"}'),
        write("text-delete", "U+007F is no control character in JSON and is not escaped.", r'{"a":"\u007f"}',
              holds=writes(r'"\u007f"', '"\x7f"')),
        write("text-short-escapes", "Five control characters, quote and backslash have a short escape.",
              r'{"a":"\u0008\u0009\u000a\u000c\u000d\u0022\u005c"}', holds=writes(r'"\u0008\u000a"', r'"\b\n"')),
        write("text-other-controls", "The other control characters are escaped with small hexadecimal digits.",
              r'{"a":"\u0000\u000B\u001F"}', holds=writes(r'"\u0000\u000B\u001F"', r'"\u0000\u000b\u001f"')),
        write("text-slash", "A slash is not escaped.", r'{"a":"\/"}', holds=writes(r'"\/"', '"/"')),
        refuse("text-half-a-pair", "RFC 8785 3.2.2.2: it is an error, never a replacement character.",
               r'{"a":"\ud800"}', half),
        refuse("name-half-a-pair", "The same in the name of a member.", r'{"\udc00":1}', half),
    ]  # fmt: skip


def make_structures() -> list[Json]:
    numbered, wide = '{"10":1,"9":2,"a":3}', r'{"\ufb33":1,"\ud83d\ude00":2}'
    own = '{"constructor":1,"__proto__":{"a":2}}'
    return [
        write("names-by-utf-16", "Names are sorted by UTF-16 units: beyond 16 bits comes before U+FB33.", wide,
              holds=list(json.loads(canonical(json.loads(wide)))) == ["\U0001f600", "\ufb33"]),
        write("names-that-look-like-numbers", "They are sorted as text; JavaScript lists them as numbers, and first.",
              numbered, holds=sorted(json.loads(numbered)) != list_as_javascript(json.loads(numbered))),
        write("names-of-the-language", "A name that means something in a programming language is one like any other.",
              own, holds=writes(own, '{"__proto__":{"a":2},"constructor":1}')),
        write("names-that-begin-alike", "The shorter name comes first.", '{"ab":1,"a":2,"":3}',
              holds=writes('{"ab":1,"a":2,"":3}', '{"":3,"a":2,"ab":1}')),
        write("names-in-capitals", "Capitals come before small letters.", '{"a":1,"B":2}',
              holds=writes('{"a":1,"B":2}', '{"B":2,"a":1}')),
        write("sorted-at-every-depth", "Objects inside arrays and objects are sorted too; arrays are not.",
              '{"b":[{"d":1,"c":2},3,1],"a":{"z":1,"y":2}}', holds=writes('[{"d":1,"c":2},3]', '[{"c":2,"d":1},3]')),
        write("no-blanks", "There is no blank anywhere.", ' { "a" : [ 1 , { } , [ ] ] } ',
              holds=writes(' { "a" : [ 1 , { } , [ ] ] } ', '{"a":[1,{},[]]}')),
        write("null-is-a-value", "A member that is null stands there; it is not the same as an absent one.",
              '{"b":null,"a":1}', holds=not writes('{"b":null,"a":1}', '{"a":1}')),
        write("not-an-object", "Any JSON value has a canonical form, although messages are objects.",
              "[true, false, null]", holds=writes("[true, false, null]", "[true,false,null]")),
    ]  # fmt: skip


def make() -> Family:
    sorting = json.loads(SORTING_INPUT)
    proposal = json.dumps(DRAFT_EXAMPLE, indent=2)
    return Family(
        name="canonical",
        about="JSON text is read and written again in canonical form (RFC 8785); the digest is SHA-256 of those bytes.",
        sections=("RFC 8785", "SATP 5.3.13"),
        operation="canonicalize",
        cases=[
            write("rfc-8785-example", "The example of RFC 8785 3.2.2.", RFC_INPUT,
                  holds=canonical(json.loads(RFC_INPUT)).decode() == RFC_OUTPUT),
            write("rfc-8785-sorting", "The example of RFC 8785 3.2.3.", SORTING_INPUT,
                  holds=list(json.loads(canonical(sorting)).values()) == SORTING_VALUES),
            *make_numbers(),
            *make_texts(),
            *make_structures(),
            write("satp-proposal", "The example of SATP 8.3, as the draft prints it but for line breaks.", proposal,
                  holds=canonical(DRAFT_EXAMPLE).decode() != proposal),
        ],
    )  # fmt: skip
