"""Mirrors: a client that repeats another client's hello, and a server that repeats another server's messages.

Each is as much like its model as is possible without the model's keys.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.alerts import parse_alert
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.copied import within_reach
from lab.tls.engine import Failed
from lab.tls.errors import DecodeError
from lab.tls.messages import ClientHello, Message, ServerKeyExchange
from lab.tls.messages13 import CertificateRequest13, parse
from lab.tls.model import Model
from lab.tls.records import ContentType, MessageJoiner, RecordReader
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.streams import READ_SIZE, ConnectionFailed
from lab.tls.versions import TLS12, TLS13, Version

ECDHE, RSA = "ECDHE", "RSA"
_TRANSPORTING = {suite.id for suite in keys.RSA_TRANSPORT_SUITES}
_BOUND_TO_KEYS = (ext.PRE_SHARED_KEY, ext.EARLY_DATA)
"""Extensions of a client's hello that need the secret of an earlier session, so no other client can send them."""


async def read_hello(reader: asyncio.StreamReader) -> tuple[ClientHello, bytes]:
    """A client's first message, and all the bytes that were read for it; ConnectionFailed or TlsError if it is another.

    The reader limits how many bytes the client may send.
    """
    message, received = await read_first(reader)
    if not isinstance(message, ClientHello):
        raise DecodeError(f"the first message is {message.name} and no ClientHello")
    return message, received


async def read_first(reader: asyncio.StreamReader) -> tuple[Message, bytes]:
    """A peer's first message, and all the bytes that were read for it; ConnectionFailed or TlsError if none comes."""
    records, joiner, received = RecordReader(), MessageJoiner(), b""
    while data := await reader.read(READ_SIZE):
        received += data
        for record in records.feed(data):
            if record.type == ContentType.ALERT:
                alert = parse_alert(record.fragment)
                raise ConnectionFailed(Failed(alert.description, None, f"the first that came is alert {alert.name}"))
            for raw in joiner.feed(record.fragment):
                return parse(raw, TLS12), received
    raise ConnectionFailed(Failed(None, None, "the peer left before it had sent a whole message"))


def mirror_client(hello: ClientHello) -> Client:
    """A client that repeats another client's hello, and waits before it sends its flight.

    If the hello offers RSA key transport only, the extended master secret (RFC 7627) is left out. Both connections can
    then have the same master secret, which that extension prevents. A group for which only the other client can make a
    key share, such as X25519MLKEM768, is left out too: a server would ask for it.
    """
    versions = _versions(hello)
    left_out = [*_BOUND_TO_KEYS, ext.COMPRESS_CERTIFICATE]
    if _transports_only(hello.cipher_suites):
        left_out.append(ext.EXTENDED_MASTER_SECRET)
    shared = tuple(ext.read_key_shares(hello.extensions) or ())
    shares = tuple(group for group in shared if group in keys.GROUPS)
    extensions = _without(hello.extensions, *left_out)
    if extensions is not None and shares != shared:
        extensions = tuple(_without_groups(extensions, set(shared) - set(shares)))
    return Client(
        entropy=os.urandom,
        versions=versions,
        suites=keys.ALL_SUITES,
        hello=replace(hello, extensions=extensions),
        shares=shares or None,
        patient=True,
    )


def simplified(hello: ClientHello) -> ClientHello:
    """The hello for a server that chose what the instrument cannot do: without all of that."""
    return within_reach(hello, _versions(hello))


def _versions(hello: ClientHello) -> tuple[Version, ...]:
    offered = ext.read_versions(hello.extensions) or (TLS12,)
    return tuple(version for version in (TLS13, TLS12) if version in offered) or (TLS12,)


def _without(extensions: ext.Extensions | None, *kinds: int) -> ext.Extensions | None:
    return None if extensions is None else tuple(one for one in extensions if one.type not in kinds)


def _without_groups(extensions: Iterable[ext.Extension], groups: set[int]) -> Iterator[ext.Extension]:
    for one in extensions:
        if one.type == ext.SUPPORTED_GROUPS:
            offered = ext.read_number_list((one,), ext.SUPPORTED_GROUPS) or ()
            yield ext.number_list(one.type, (group for group in offered if group not in groups))
        else:
            yield one


def _transports_only(suites: Iterable[int]) -> bool:
    known = {suite.id for suite in keys.ALL_SUITES} & set(suites)
    return bool(known) and known <= _TRANSPORTING


def mirror_server(client: Client, identity: Bundle, asks: bool = True) -> Server:
    """A server that repeats what the real server sent to `client`, as far as that is possible with another key.

    It asks for a certificate, even where the real one does not; never if `asks` is false. It never asks for a
    compressed certificate (RFC 8879), as the instrument cannot read that message.
    """
    said = list(messages_of(client, "server"))
    model = Model.of(said)
    if isinstance(model.request, CertificateRequest13):
        asked = _without(model.request.extensions, ext.COMPRESS_CERTIFICATE) or ()
        model = replace(model, request=replace(model.request, extensions=asked))
    suite = next(suite for suite in keys.ALL_SUITES if suite.id == model.hello.cipher_suite)
    group = next((message.group for message in said if isinstance(message, ServerKeyExchange)), None)
    if client.version == TLS13:
        share = ext.read_key_share(model.hello.extensions)
        group = share[0] if share else None
    return Server(
        entropy=os.urandom,
        chain=identity.chain,
        key=identity.key,
        client_auth=ClientAuth(lambda chain: None, Proof.NOT_CHECKED) if asks else None,
        versions=(client.version or TLS12,),
        suites=(suite,),
        groups=(group,) if group else keys.GROUPS,
        model=model,
    )


def key_exchange(client: Client) -> str:
    """ECDHE or RSA, from the server's messages."""
    ephemeral = client.version == TLS13 or any(
        isinstance(message, ServerKeyExchange) for message in messages_of(client, "server")
    )
    return ECDHE if ephemeral else RSA


def messages_of(engine: Client | Server, sender: str) -> Iterable[Message]:
    """The handshake messages of one side, in order."""
    for step in engine.steps:
        if step.sender == sender and step.name != "ChangeCipherSpec" and not step.name.startswith("alert"):
            yield parse(step.raw, engine.version or TLS12)
