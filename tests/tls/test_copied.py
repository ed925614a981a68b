"""A copied ClientHello: a server's choice out of it that the instrument cannot do is told from a wrong one."""

import os
from dataclasses import replace
from typing import Any

import pytest

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.client import Client
from lab.tls.copied import within_reach
from lab.tls.extensions import Extension
from lab.tls.messages import ClientHello, parse
from lab.tls.messages13 import EncryptedExtensions
from lab.tls.versions import TLS12, TLS13, Version
from tls13_script import ScriptedServer13
from tls_peers import cases, our_client
from tls_script import GROUP, ScriptedServer

X448, ED448 = 30, 0x0808
CBC = 0xC024
HEARTBEAT = Extension(15, b"\x01")
H2_AND_HTTP = Extension(ext.ALPN, b"\0\x0c\x02h2\x08http/1.1")
HTTP = Extension(ext.ALPN, b"\0\x09\x08http/1.1")
H2 = Extension(ext.ALPN, b"\0\x03\x02h2")


def a_hello(version: Version, schemes: tuple[int, ...] = (*proof.SCHEME_IDS, ED448)) -> ClientHello:
    """Another client's hello, which offers more than the instrument can do: a suite, a group, a scheme, a protocol."""
    own = parse(our_client(versions=(version,), groups=(GROUP, keys.X25519)).transcript.entries[0].raw)
    assert isinstance(own, ClientHello)
    lists = {
        ext.SUPPORTED_GROUPS: ext.number_list(ext.SUPPORTED_GROUPS, (GROUP, keys.X25519, X448)),
        ext.SIGNATURE_ALGORITHMS: ext.number_list(ext.SIGNATURE_ALGORITHMS, schemes),
    }
    same = tuple(lists.get(one.type, one) for one in own.extensions or () if one.type != ext.SUPPORTED_VERSIONS)
    versions = ext.versions((TLS13, TLS12))
    suites = (*own.cipher_suites, CBC)
    return replace(own, cipher_suites=suites, extensions=(*same, versions, HEARTBEAT, H2_AND_HTTP))


def copying(hello: ClientHello, version: Version) -> Client:
    return Client(entropy=os.urandom, versions=(version,), suites=keys.ALL_SUITES, hello=hello, shares=(GROUP,))


@pytest.fixture
def server12(bank: pki.Identity) -> ScriptedServer:
    """A scripted server for a client that copies a hello, in TLS 1.2."""
    return ScriptedServer(copying(a_hello(TLS12), TLS12), bank)


@pytest.fixture
def server13(bank: pki.Identity) -> ScriptedServer13:
    """The same in TLS 1.3."""
    return ScriptedServer13(copying(a_hello(TLS13), TLS13), bank)


def out_of_reach(script: ScriptedServer | ScriptedServer13) -> bool:
    """Whether the client ended the handshake as it could not do what it had offered."""
    client = script.engine
    assert isinstance(client, Client)
    assert script.refusal == ("handshake_failure" if client.out_of_reach else "illegal_parameter"), script.events
    return client.out_of_reach


def test_a_copied_hello_is_sent_as_it_is(server12: ScriptedServer) -> None:
    sent = server12.find(ClientHello)
    assert sent == replace(a_hello(TLS12), random=sent.random)


@cases(
    ("changes", "expected"),
    {
        "a suite": ({"cipher_suite": CBC}, True),
        "another suite": ({"cipher_suite": 0xC028}, False),
        "TLS 1.3": ({"add": (ext.chosen_version(TLS13),)}, True),
        "a version of the future": ({"add": (ext.chosen_version(0x0305),)}, False),
        "HTTP/2": ({"add": (H2,)}, True),
        "HTTP/3": ({"add": (ext.protocols((b"h3",)),)}, False),
        "an extension": ({"add": (HEARTBEAT,)}, True),
    },
)
def test_a_server_hello_that_is_out_of_reach_is_told_from_a_wrong_one(
    server12: ScriptedServer, changes: dict[str, Any], expected: bool
) -> None:
    server12.say(server12.make_hello(**changes))
    assert out_of_reach(server12) is expected


def test_what_is_left_of_a_copied_hello_still_offers_the_protocols_that_are_spoken() -> None:
    left = within_reach(a_hello(TLS12), (TLS12,), (b"h2", b"h3"))
    assert ext.read_protocols(left.extensions) == (b"h2",)
    assert ext.read_protocols(within_reach(a_hello(TLS12), (TLS12,)).extensions) is None


def test_what_is_left_of_a_copied_hello_has_the_suites_that_the_instrument_knows() -> None:
    hello = replace(a_hello(TLS12), cipher_suites=(CBC, 0xC02B, keys.RENEGOTIATION_SCSV, 0x1301))
    assert within_reach(hello, (TLS12,)).cipher_suites == (0xC02B, keys.RENEGOTIATION_SCSV, 0x1301)


@pytest.mark.parametrize("protocol", [b"h2", b"http/1.1"])
def test_a_protocol_that_is_spoken_is_taken_out_of_a_copied_hello(bank: pki.Identity, protocol: bytes) -> None:
    client = Client(
        entropy=os.urandom,
        versions=(TLS12,),
        suites=keys.ALL_SUITES,
        hello=a_hello(TLS12),
        protocols=(b"h2", b"http/1.1"),
    )
    script = ScriptedServer(client, bank)
    script.say(script.make_hello(add=(ext.protocols((protocol,)),)))
    script.play("certificate", "key_exchange", "request", "done", "change_cipher_spec", "finished")
    assert script.established
    assert client.protocol == protocol


@cases("answer", {"HTTP/1.1": HTTP, "certificate transparency": Extension(18, b"\0\0")})
def test_an_answer_that_the_copied_hello_asked_for_is_taken(bank: pki.Identity, answer: Extension) -> None:
    hello = a_hello(TLS12)
    asked = replace(hello, extensions=(*(hello.extensions or ()), Extension(18, b"")))
    script = ScriptedServer(copying(asked, TLS12), bank)
    script.say(script.make_hello(add=(answer,)))
    script.play("certificate", "key_exchange", "request", "done", "change_cipher_spec", "finished")
    assert script.established


def test_an_answer_about_protocols_has_exactly_one(server12: ScriptedServer) -> None:
    server12.say(server12.make_hello(add=(H2_AND_HTTP,)))
    assert server12.refusal == "decode_error"


@cases(
    ("change", "expected"),
    {
        "a group": ({"group": X448}, True),
        "another group": ({"group": 24}, False),
        "a scheme": ({"scheme": ED448}, True),
        "another scheme": ({"scheme": 0x0203}, False),
    },
)
def test_a_key_exchange_that_is_out_of_reach_is_told_from_a_wrong_one(
    server12: ScriptedServer, change: dict[str, Any], expected: bool
) -> None:
    server12.play_before("key_exchange")
    server12.say(replace(server12.make_key_exchange(), **change))
    assert out_of_reach(server12) is expected


def test_a_group_that_the_copied_hello_does_not_offer_is_wrong_though_the_lab_can_do_it(bank: pki.Identity) -> None:
    hello = a_hello(TLS12)
    others = ext.number_list(ext.SUPPORTED_GROUPS, (X448, keys.X25519))
    extensions = tuple(others if one.type == others.type else one for one in hello.extensions or ())
    script = ScriptedServer(copying(replace(hello, extensions=extensions), TLS12), bank)
    script.play_before("done")
    assert not out_of_reach(script)


@cases(("group", "expected"), {"a group": (X448, True), "another group": (24, False)})
def test_a_retry_that_is_out_of_reach_is_told_from_a_wrong_one(
    server13: ScriptedServer13, group: int, expected: bool
) -> None:
    server13.say(server13.make_retry(group))
    assert out_of_reach(server13) is expected


@cases(("answer", "expected"), {"HTTP/1.1": (HTTP, None), "HTTP/2": (H2, True), "an extension": (HEARTBEAT, True)})
def test_encrypted_extensions_that_are_out_of_reach(
    server13: ScriptedServer13, answer: Extension, expected: bool | None
) -> None:
    server13.hello()
    server13.say(EncryptedExtensions((answer,)))
    if expected is None:
        server13.play("request", "certificate", "proof", "finished")
        assert server13.established
    else:
        assert out_of_reach(server13) is expected


@cases(
    ("offered", "signed_with", "expected"),
    {
        "not offered, and the lab can do it": ((0x0503, 0x0804), 0x0403, "illegal_parameter"),
        "offered, and the lab can do it": ((0x0403,), 0x0403, None),
        "offered, and the lab cannot do it": ((0x0403, ED448), ED448, "handshake_failure"),
    },
)
def test_a_servers_proof_is_in_a_scheme_that_was_offered(
    bank: pki.Identity, offered: tuple[int, ...], signed_with: int, expected: str | None
) -> None:
    """RFC 8446 section 4.4.3: even if the signature is right."""
    script = ScriptedServer13(copying(a_hello(TLS13, offered), TLS13), bank)
    script.play_before("proof")
    script.say(replace(script.make_proof(), scheme=signed_with))
    if expected:
        assert script.refusal == expected
    else:
        script.finished()
        assert script.established


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=str)
def test_what_is_within_reach_is_what_the_lab_can_do(version: Version) -> None:
    hello = a_hello(version)
    left = within_reach(hello, (version,))
    assert set(left.cipher_suites) < {suite.id for suite in keys.ALL_SUITES}
    assert ext.read_versions(left.extensions) == (version,)
    assert ext.read_number_list(left.extensions, ext.SUPPORTED_GROUPS) == (GROUP, keys.X25519)
    assert ext.read_number_list(left.extensions, ext.SIGNATURE_ALGORITHMS) == proof.SCHEME_IDS
    kinds = [one.type for one in left.extensions or ()]
    assert kinds == [one.type for one in hello.extensions or () if one not in (HEARTBEAT, H2_AND_HTTP)]
    assert (left.random, left.session_id) == (hello.random, hello.session_id)
    assert within_reach(left, (version,)) == left


def test_a_list_of_which_the_lab_can_do_nothing_is_left_out_whole() -> None:
    hello = ClientHello(bytes(32), b"", (CBC, 0xC02B), (ext.number_list(ext.SUPPORTED_GROUPS, (X448,)),))
    assert within_reach(hello, (TLS12,)).extensions == ()
    assert within_reach(replace(hello, extensions=None), (TLS12,)).extensions is None
