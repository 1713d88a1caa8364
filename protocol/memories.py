"""A gateway taken apart into what its objects hold, and put together again.

    take_apart   what every part of a gateway holds, copied
    put_back     the same, copied again, into the same parts: the gateway is where it was
    freeze       what is held, as a value that can be compared

The parts themselves stay; so does what never changes: keys, rules, functions. Everything else is state. A part that
gets a new field is copied with it, and a kind of value that is not known here is an error: nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from enum import Enum
from types import FunctionType, MethodType
from typing import Any, Final

from protocol.admission import Admission, Answered
from protocol.certificates import Certificate, OwnerCA
from protocol.drafts import Drafts
from protocol.exchange import Exchange
from protocol.faults import WatchedLog, WatchedNetwork
from protocol.forward import Forward
from protocol.gateway import Gateway
from protocol.journal import Journal
from protocol.log import LogEntry
from protocol.negotiation import Capabilities, Identity
from protocol.objects import History
from protocol.offers import Offer, Offers
from protocol.peers import CertifiedKeys
from protocol.reconcile import Reconciliation
from protocol.rollback import Rollback
from protocol.rules import AskedRules, Rules
from protocol.salvage import Salvage
from protocol.session import Session
from protocol.signing import KeyRing, PublicKey
from protocol.successions import Successions

PARTS: Final = (
    Journal,
    Rollback,
    Forward,
    Salvage,
    Successions,
    Exchange,
    Admission,
    Offers,
    Reconciliation,
    Drafts,
    CertifiedKeys,
)
MUTABLE: Final = frozenset((Session, History, Answered, Offer))  # objects of memory that are copied with what they hold
FIXED: Final = frozenset(
    (*PARTS, Identity, Rules, AskedRules, Capabilities, KeyRing, WatchedLog, WatchedNetwork, FunctionType, MethodType)
)
CONSTANT: Final = frozenset(("_owners", "roots", "_seals", "_own_keys"))  # configuration, and what it is read into
NAMED: Final[dict[type, Callable[[Any], object]]] = {  # what has a name that says all
    Certificate: lambda certificate: (certificate.gateway_id, certificate.serial, certificate.key.kid),
    LogEntry: lambda entry: entry.compute_hash(),
    OwnerCA: lambda owner: owner.owner,
    PublicKey: lambda key: key.kid,
}
Contents = tuple[dict[str, Any], ...]  # what each of PARTS holds


def find_parts(gateway: Gateway) -> list[Any]:
    """The objects that a gateway is made of: those of PARTS that can be reached from it, each once."""
    found: list[Any] = []
    waiting: list[Any] = [gateway]
    while waiting:
        for value in vars(waiting.pop()).values():
            if isinstance(value, PARTS) and not any(value is part for part in found):
                found.append(value)
                waiting.append(value)
    return found


def take_apart(parts: list[Any]) -> Contents:
    """What the parts hold, copied; the parts themselves and what never changes stay where they are."""
    return tuple(
        {
            name: copy_value(value)
            for name, value in vars(part).items()
            if type(value) not in FIXED and name not in CONSTANT
        }
        for part in parts
    )


def put_back(parts: list[Any], contents: Contents) -> None:
    for part, content in zip(parts, contents, strict=True):
        if isinstance(part, CertifiedKeys) and vars(part)["_by_kid"].keys() != content["_by_kid"].keys():
            vars(part)["_seals"].clear()  # what was verified with other keys is not known here
        vars(part).update((name, copy_value(value)) for name, value in content.items())


def copy_value(value: Any) -> Any:
    """Everything that can change is copied; what cannot is shared."""
    kind = type(value)
    if kind is dict:
        return {name: copy_value(each) for name, each in value.items()}
    if kind is list:
        return [copy_value(each) for each in value]
    if kind is set:
        return set(value)
    return _copy_object(value) if kind in MUTABLE else value


def _copy_object(value: Any) -> Any:
    """An object with its own containers. What is in these, messages and receipts, never changes."""
    copied = object.__new__(type(value))
    content = vars(copied)
    for name, each in vars(value).items():
        kind = type(each)
        content[name] = kind(each) if kind in (dict, list, set) else _copy_object(each) if kind in MUTABLE else each
    return copied


def is_frozen(value: Any) -> bool:
    """Whether it is a dataclass whose fields cannot be set again."""
    return is_dataclass(value) and bool(getattr(type(value), "__dataclass_params__").frozen)  # noqa: B009


def freeze(value: Any) -> Any:
    """The content of a value, to be compared. TypeError for what is not known here: nothing is left out silently."""
    kind = type(value)
    if kind in (str, int, bool, float) or value is None:
        return value
    if kind is dict:
        return tuple((name, freeze(each)) for name, each in value.items())
    if kind in (list, tuple):
        return tuple(map(freeze, value))
    if kind is set:
        return tuple(sorted(map(freeze, value)))
    if kind in NAMED:
        return NAMED[kind](value)
    if isinstance(value, Enum):
        return value.value
    if kind in MUTABLE or is_frozen(value):
        return tuple((name, freeze(each)) for name, each in vars(value).items())
    raise TypeError(f"{kind.__name__} is not known to be part of a state")
