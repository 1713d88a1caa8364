"""Lab keys are computed from a printed seed: good for a notebook, and for nothing that opens a real connection."""

from __future__ import annotations

import ast
import re

import pytest

from protocol.errors import Misuse, Refused
from protocol.network import World
from protocol.signing import KeyPair, PublicKey, refuse_lab_key
from tests.test_tidy import MODULES

STORES = ("postgres",)
LOOPS = ("rule_lab",)


def test_a_lab_key_is_marked_wherever_it_goes() -> None:
    pair = KeyPair.lab("GW1", "seed")
    assert pair.public.jwk["lab"] is True
    assert PublicKey.from_jwk(pair.public.jwk).is_lab
    assert "lab" not in KeyPair.generate("GW1").public.jwk


def test_a_lab_key_is_refused_for_a_real_connection_and_a_generated_one_is_not() -> None:
    pair = KeyPair.lab("GW1", "seed")
    for key in (pair, pair.public, PublicKey.from_jwk(pair.public.jwk)):
        with pytest.raises(Misuse, match="must not be used on a real connection"):
            refuse_lab_key(key)
    fresh = KeyPair.generate("GW1")
    refuse_lab_key(fresh)
    refuse_lab_key(fresh.public)


def test_every_key_of_a_world_is_a_lab_key(world: World) -> None:
    assert all(world.key(name).is_lab for name in ("GW1", "GW2", "network 1"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_opens_a_socket_refuses_lab_keys_first(path: object) -> None:
    """A module that imports anything which can open a connection must call refuse_lab_key.

    But for a store: it holds no key and proves nothing with one, neither to its own database nor to a peer. And but
    for what only takes its turn in an event loop.
    """
    text = path.read_text()  # type: ignore[attr-defined]
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    if path.stem in STORES:  # type: ignore[attr-defined]
        assert not {"protocol.signing", "protocol.tls"} & set(re.findall(r"from (\S+) import", text))
    elif path.stem in LOOPS:  # type: ignore[attr-defined]
        assert set(re.findall(r"\basyncio\.(\w+)", text)) == {"get_running_loop"}
    elif imported & {"socket", "ssl", "asyncio", "http", "urllib", "httpx", "psycopg"}:
        assert "refuse_lab_key(" in text


def test_the_same_name_and_seed_give_the_same_key_and_others_another() -> None:
    kids = {KeyPair.lab(name, seed).public.kid for name in ("GW1", "GW2") for seed in ("a", "b")}
    assert len(kids) == 4
    assert KeyPair.lab("GW1", "a").public.kid in kids


def test_a_world_has_the_keys_of_its_own_seed() -> None:
    worlds = [World(seed) for seed in ("a", "b", "a")]
    kids = [world.key("GW1").public.kid for world in worlds]
    for world in worlds:
        world.close()
    assert kids == [KeyPair.lab("GW1", seed).public.kid for seed in ("a", "b", "a")]
    assert kids[0] != kids[1]


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    private = KeyPair.generate("GW1").key.as_dict(private=True)
    with pytest.raises(Refused, match="not the JWK of a public P-256 key"):
        PublicKey.from_jwk(private)


def test_signatures_are_those_of_rfc_6979() -> None:
    """Appendix A.2.5: P-256, SHA-256, message "sample"."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from joserfc.jwk import ECKey

    from protocol.signing import DeterministicES256

    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    pem = ec.derive_private_key(secret, ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signature = DeterministicES256().sign(b"sample", ECKey.import_key(pem)).hex().upper()
    assert signature == (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
