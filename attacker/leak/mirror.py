"""Likeness: a client that says what another client said, and a server that says what another server said.

Each is as like its model as it can be without the model's keys: the hellos are passed on, and so is what the server
asks for.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.bundle import Bundle
from lab.tls.client import Client
from lab.tls.engine import Failed
from lab.tls.errors import DecodeError
from lab.tls.messages import ClientHello, Message, ServerKeyExchange
from lab.tls.messages13 import CertificateRequest13, parse
from lab.tls.model import Model
from lab.tls.records import MessageJoiner, RecordReader
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.streams import READ_SIZE, ConnectionFailed
from lab.tls.versions import TLS12, TLS13

MAX_HELLO = 1 << 14

ECDHE, RSA = "ECDHE", "RSA"
_SUITES = keys.DEFAULT_SUITES + keys.RSA_TRANSPORT_SUITES
_TRANSPORTING = {suite.id for suite in keys.RSA_TRANSPORT_SUITES}
_BOUND_TO_KEYS = (ext.PRE_SHARED_KEY, ext.EARLY_DATA)
"""What of a client's hello nobody else can say: it takes the secret of an earlier session."""


async def read_hello(reader: asyncio.StreamReader) -> tuple[ClientHello, bytes]:
    """A client's first message, and all the bytes that were read for it. ConnectionFailed or TlsError otherwise."""
    records, joiner, received = RecordReader(), MessageJoiner(), b""
    while len(received) < MAX_HELLO:
        data = await reader.read(READ_SIZE)
        if not data:
            raise ConnectionFailed(Failed(None, None, "it left before it had said anything"))
        received += data
        for record in records.feed(data):
            for raw in joiner.feed(record.fragment):
                message = parse(raw, TLS12)
                if not isinstance(message, ClientHello):
                    raise DecodeError(f"the first message is {message.name} and no ClientHello")
                return message, received
    raise DecodeError(f"no ClientHello within {MAX_HELLO} bytes")


def mirror_client(hello: ClientHello) -> Client:
    """A client that says what another one said, and holds its flight.

    Where the client will have nothing but RSA key transport, the extended master secret is left out: so both
    connections can come to have one master secret, which that extension (RFC 7627) is there to prevent. A group whose
    key share only the other client can make, such as X25519MLKEM768's, is not offered: a server would ask for it.
    """
    offered = ext.read_versions(hello.extensions) or (TLS12,)
    versions = tuple(version for version in (TLS13, TLS12) if version in offered)
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
        versions=versions or (TLS12,),
        suites=_SUITES,
        hello=replace(hello, extensions=extensions),
        shares=shares or None,
        patient=True,
    )


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
    known = {suite.id for suite in _SUITES} & set(suites)
    return bool(known) and known <= _TRANSPORTING


def mirror_server(client: Client, identity: Bundle) -> Server:
    """A server that says what the real one has said to `client`, as far as that is possible with another key. It asks
    for no compressed certificate (RFC 8879), a message that the instrument doesn't read."""
    said = list(messages_of(client, "server"))
    model = Model.of(said)
    if isinstance(model.request, CertificateRequest13):
        asked = _without(model.request.extensions, ext.COMPRESS_CERTIFICATE) or ()
        model = replace(model, request=replace(model.request, extensions=asked))
    suite = next(suite for suite in _SUITES if suite.id == model.hello.cipher_suite)
    group = next((message.group for message in said if isinstance(message, ServerKeyExchange)), None)
    if client.version == TLS13:
        share = ext.read_key_share(model.hello.extensions)
        group = share[0] if share else None
    return Server(
        entropy=os.urandom,
        chain=identity.chain,
        key=identity.key,
        client_auth=ClientAuth(lambda chain: None, Proof.NOT_ASKED_FOR),
        versions=(client.version or TLS12,),
        suites=(suite,),
        groups=(group,) if group else keys.GROUPS,
        model=model,
    )


def key_exchange(client: Client) -> str:
    """ECDHE or RSA, by what the server has sent."""
    ephemeral = client.version == TLS13 or any(
        isinstance(message, ServerKeyExchange) for message in messages_of(client, "server")
    )
    return ECDHE if ephemeral else RSA


def messages_of(engine: Client | Server, sender: str) -> Iterable[Message]:
    """The handshake messages of one side, in order."""
    for step in engine.steps:
        if step.sender == sender and step.name != "ChangeCipherSpec" and not step.name.startswith("alert"):
            yield parse(step.raw, engine.version or TLS12)
