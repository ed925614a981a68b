"""What is spoken above TLS is agreed on in the handshake (ALPN, RFC 7301), in both versions."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls.client import Client
from lab.tls.extensions import Extension
from lab.tls.messages import ClientHello
from lab.tls.messages13 import EncryptedExtensions
from lab.tls.streams import ConnectionFailed
from lab.tls.versions import TLS12, TLS13, Version
from tls13_script import ScriptedServer13
from tls_peers import (
    Files,
    OpenSslEngine,
    call,
    cases,
    gnutls_serv,
    openssl_context,
    our_client,
    s_server,
    serving,
    talk,
    write_files,
)
from tls_script import GROUP, ScriptedServer

OFFER = (b"http/1.1", b"h2")


@pytest.fixture
def files(tmp_path: Path, authority: pki.Identity, bank: pki.Identity, alice: pki.Identity) -> Files:
    return write_files(tmp_path, authority, bank, alice)


@pytest.fixture(params=[TLS12, TLS13], ids=str)
def version(request: pytest.FixtureRequest) -> Version:
    """Each version of TLS."""
    found: Version = request.param
    return found


def answered(version: Version, bank: pki.Identity, *answers: Extension, offer: tuple[bytes, ...] = OFFER) -> Any:
    """A handshake with a scripted server that answers with these extensions, where that version has its answer."""
    client = Client(entropy=os.urandom, versions=(version,), groups=(GROUP,), protocols=offer)
    if version == TLS12:
        script = ScriptedServer(client, bank)
        script.say(script.make_hello(add=answers))
        return script
    script13 = ScriptedServer13(client, bank)
    script13.hello()
    script13.say(EncryptedExtensions(answers))
    return script13


@cases("theirs", {"the same": ["http/1.1", "h2"], "the other way round": ["h2", "http/1.1"], "one": ["h2"]})
def test_openssl_chooses_out_of_what_is_offered(
    theirs: list[str], version: Version, authority: pki.Identity, bank: pki.Identity, alice: pki.Identity
) -> None:
    context = openssl_context(True, authority, bank, versions=(version,))
    context.set_alpn_protocols(theirs)
    client = our_client(alice, versions=(version,), protocols=OFFER)
    server = OpenSslEngine(context, server_side=True)
    assert talk(client, server).established
    assert client.protocol.decode() == server.tls.selected_alpn_protocol() == theirs[0]


def test_a_server_that_knows_no_protocols_chooses_none(
    version: Version, authority: pki.Identity, bank: pki.Identity, alice: pki.Identity
) -> None:
    context = openssl_context(True, authority, bank, versions=(version,))
    client = our_client(alice, versions=(version,), protocols=OFFER)
    assert talk(client, OpenSslEngine(context, server_side=True)).established
    assert client.protocol == b""


@cases("offer", {"what the server insists on": (b"h2",), "something else": (b"x",), "nothing": ()})
def test_a_server_may_insist_on_a_protocol(
    offer: tuple[bytes, ...], version: Version, files: Files, alice: pki.Identity, tmp_path: Path
) -> None:
    priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}"
    client = our_client(alice, versions=(version,), protocols=offer)
    command = [*gnutls_serv(files, priority), "--alpn", "h2", "--alpn-fatal"]
    with serving(tmp_path / "output", *command) as port:
        if offer == (b"x",):
            with pytest.raises(ConnectionFailed, match="no_application_protocol"):
                asyncio.run(call(port, client, b"hello\n"))
        else:
            assert asyncio.run(call(port, client, b"hello\n")) == b"hello\n"
    assert client.protocol == (b"h2" if offer == (b"h2",) else b"")


def test_openssl_refuses_where_there_is_nothing_in_common(
    version: Version, files: Files, alice: pki.Identity, tmp_path: Path
) -> None:
    command = s_server(files, "-alpn", "h2", *(["-tls1_3"] if version == TLS13 else []))
    client = our_client(alice, versions=(version,), protocols=(b"x",))
    with serving(tmp_path / "output", *command) as port, pytest.raises(ConnectionFailed, match="no_application_pr"):
        asyncio.run(call(port, client, b"hello\n"))


@cases(
    ("answers", "refusal"),
    {
        "not offered": ((ext.protocols((b"h3",)),), "illegal_parameter"),
        "two": ((ext.protocols(OFFER),), "decode_error"),
        "none in the list": ((Extension(ext.ALPN, b"\0\0"),), "decode_error"),
        "an empty name": ((Extension(ext.ALPN, b"\0\x01\0"),), "decode_error"),
        "too long a list": ((Extension(ext.ALPN, b"\0\xff\x02h2"),), "decode_error"),
        "something behind it": ((Extension(ext.ALPN, b"\0\x03\x02h2x"),), "decode_error"),
        "twice": ((ext.protocols((b"h2",)), ext.protocols((b"h2",))), "decode_error"),
    },
)
def test_a_wrong_choice_is_refused(
    answers: tuple[Extension, ...], refusal: str, version: Version, bank: pki.Identity
) -> None:
    assert answered(version, bank, *answers).refusal == refusal


def test_a_choice_that_nobody_asked_for_is_refused(version: Version, bank: pki.Identity) -> None:
    assert answered(version, bank, ext.protocols((b"h2",)), offer=()).refusal == "unsupported_extension"


def test_in_tls_13_the_choice_is_no_part_of_the_server_hello(bank: pki.Identity) -> None:
    script = ScriptedServer13(Client(entropy=os.urandom, versions=(TLS13,), groups=(GROUP,), protocols=OFFER), bank)
    hello = script.make_hello()
    script.say(replace(hello, extensions=(*(hello.extensions or ()), ext.protocols((b"h2",)))))
    assert script.refusal == "illegal_parameter"


def test_the_offer_is_what_was_given_and_none_by_default(version: Version, bank: pki.Identity) -> None:
    for offer in (OFFER, ()):
        sent = answered(version, bank, offer=offer).find(ClientHello)
        assert ext.read_protocols(sent.extensions) == (offer or None)
