"""One side of a handshake played by hand against an engine, so that any step can be left out, altered or misplaced."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof, records
from lab.tls.alerts import FATAL, Alert, parse_alert
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Data, EngineEvent, Established, Failed, Party
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    parse,
    serialize,
)
from lab.tls.records import ContentType, Protection
from lab.tls.secrets12 import Secrets12
from lab.tls.server import Server
from lab.tls.versions import TLS12

M = TypeVar("M")
SUITE = keys.CIPHER_SUITES[0]
GROUP = keys.SECP256R1


class Script:
    """What both sides do. `steps` is the honest order; `play` goes through it, `say` says whatever it is given."""

    steps: Sequence[str]

    def __init__(self, engine: Connection) -> None:
        self.engine = engine
        self.role: Party = engine.peer
        self.events: list[EngineEvent] = []
        self.heard: list[Message] = []
        self.alerts: list[Alert] = []
        self.handshake = b""
        self.random = os.urandom(32)
        self.write: Protection | None = None
        self._read: Protection | None = None
        self._protections: dict[Party, Protection] = {}
        self._master = b""
        self._records = records.RecordReader()
        self._joiner = records.MessageJoiner()
        self.cut: Callable[[bytes], list[bytes]] = lambda raw: [raw]
        self.listen()

    # What goes to the engine.

    def play(self, *names: str) -> None:
        """Takes these honest steps."""
        for name in names:
            getattr(self, name)()

    def play_before(self, name: str) -> None:
        """Takes all honest steps up to but not including this one; all of them where there is none of that name."""
        for step in self.steps:
            if step == name:
                return
            self.play(step)

    def say(self, message: Message) -> None:
        """One handshake message, in a record of its own unless `cut` has it otherwise."""
        raw = serialize(message)
        self.handshake += raw
        self.say_raw(*self.cut(raw))

    def say_raw(self, *fragments: bytes) -> None:
        for fragment in fragments:
            self.send(ContentType.HANDSHAKE, fragment)

    def say_together(self, *messages: Message) -> None:
        """Several handshake messages in one record."""
        raw = b"".join(map(serialize, messages))
        self.handshake += raw
        self.say_raw(raw)

    def send(self, kind: int, fragment: bytes, version: int = TLS12) -> None:
        """One record, protected where it is time for that."""
        if self.write:
            kind, fragment = self.write.seal(kind, fragment)
        self.give(records.write_record(kind, fragment, version))

    def give(self, data: bytes) -> None:
        """Bytes as they are."""
        self.events += self.engine.receive(data)
        self.listen()

    def change_cipher_spec(self) -> None:
        self.send(ContentType.CHANGE_CIPHER_SPEC, b"\x01")
        self.write = self._protections.get(self.role)

    def finished(self) -> None:
        self.say(self.make_finished())

    def make_finished(self) -> Finished:
        return Finished(keys.verify_data(self._master, self.role, self.handshake, SUITE))

    def play_all(self) -> Self:
        """Takes all honest steps, which lead to a connection."""
        self.play(*self.steps)
        assert self.established, self.events
        return self

    # What comes from it.

    def listen(self) -> None:
        for record in self._records.feed(self.engine.data_to_send()):
            _, fragment = self._read.open(record.type, record.fragment) if self._read else (0, record.fragment)
            match record.type:
                case ContentType.HANDSHAKE:
                    for raw in self._joiner.feed(fragment):
                        self.handshake += raw
                        message = parse(raw)
                        self.heard.append(message)
                        self.on_message(message)
                case ContentType.CHANGE_CIPHER_SPEC:
                    self._read = self._protections[self.engine.role]
                case ContentType.ALERT:
                    self.alerts.append(parse_alert(fragment))

    def on_message(self, message: Message) -> None: ...

    def find(self, kind: type[M]) -> M:
        (found,) = [message for message in self.heard if isinstance(message, kind)]
        return found

    @property
    def established(self) -> bool:
        return Established() in self.events

    @property
    def data(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Data))

    @property
    def refusal(self) -> str:
        """The name of the alert with which the engine ended the connection: on the wire, fatal, and reported."""
        (failed,) = [event for event in self.events if isinstance(event, Failed)]
        assert failed.sent_by == self.engine.role, failed
        assert failed.alert is not None
        assert self.alerts[-1] == Alert(FATAL, failed.alert)
        return self.alerts[-1].name

    def derive(self, premaster: bytes, client_random: bytes, server_random: bytes) -> None:
        self._master = keys.extended_master_secret(premaster, self.handshake, SUITE)
        self._protections = dict(Secrets12(self._master, client_random, server_random, SUITE).protections)


class ScriptedClient(Script):
    """A client by hand; `alice` is whose certificate it presents."""

    steps = ("hello", "certificate", "key_exchange", "proof", "change_cipher_spec", "finished")

    def __init__(self, engine: Server, alice: pki.Identity) -> None:
        super().__init__(engine)
        self._alice = alice

    def make_hello(self, **changes: Any) -> ClientHello:
        """An honest ClientHello but for the `changes`; `replace` and `add` are extensions."""
        extensions = {
            extension.type: extension
            for extension in (
                ext.number_list(ext.SUPPORTED_GROUPS, (GROUP,)),
                ext.number_list(ext.SIGNATURE_ALGORITHMS, proof.SCHEME_IDS),
                ext.point_formats(),
                ext.extended_master_secret(),
                ext.renegotiation_info(),
            )
        }
        extensions |= {extension.type: extension for extension in changes.pop("replace", ())}
        for kind in changes.pop("without", ()):
            del extensions[kind]
        block = (*extensions.values(), *changes.pop("add", ()))
        fields: dict[str, Any] = {
            "random": self.random,
            "session_id": b"",
            "cipher_suites": (SUITE.id,),
            "extensions": block,
        }
        return ClientHello(**(fields | changes))

    def hello(self) -> None:
        self.say(self.make_hello())

    def certificate(self) -> None:
        self.say(self.make_certificate())

    def make_certificate(self) -> Certificate:
        return Certificate((self._alice.der,))

    def key_exchange(self) -> None:
        message, premaster = self.make_key_exchange()
        self.handshake += serialize(message)
        self.derive(premaster, self.random, self.find(ServerHello).random)
        self.say_raw(*self.cut(serialize(message)))

    def make_key_exchange(self) -> tuple[ClientKeyExchange, bytes]:
        """The message and the premaster secret that it leads to."""
        share = keys.new_key_share(GROUP, os.urandom)
        return ClientKeyExchange.ecdhe(share.public), share.shared_secret(self.find(ServerKeyExchange).point)

    def proof(self) -> None:
        self.say(self.make_proof())

    def make_proof(self) -> CertificateVerify:
        scheme = proof.choose_scheme(self._alice.key, proof.SCHEME_IDS)
        assert scheme
        return CertificateVerify(scheme.id, proof.sign(self._alice.key, scheme, self.handshake))


class ScriptedServer(Script):
    """A server by hand; `bank` is whose certificate it presents."""

    steps = ("hello", "certificate", "key_exchange", "request", "done", "change_cipher_spec", "finished")

    def __init__(self, engine: Client, bank: pki.Identity) -> None:
        super().__init__(engine)
        self._bank = bank
        self.share = keys.new_key_share(GROUP, os.urandom)

    def make_hello(self, **changes: Any) -> ServerHello:
        """An honest ServerHello but for the `changes`; `add` are further extensions."""
        block = (ext.extended_master_secret(), ext.renegotiation_info(), *changes.pop("add", ()))
        fields: dict[str, Any] = {
            "random": self.random,
            "session_id": b"",
            "cipher_suite": SUITE.id,
            "extensions": block,
        }
        return ServerHello(**(fields | changes))

    def hello(self) -> None:
        self.say(self.make_hello())

    def certificate(self) -> None:
        self.say(Certificate((self._bank.der,)))

    def key_exchange(self) -> None:
        self.say(self.make_key_exchange())

    def make_key_exchange(self, group: int = GROUP, point: bytes | None = None) -> ServerKeyExchange:
        """Signed as it should be, whatever the group and the point."""
        message = ServerKeyExchange(group, self.share.public if point is None else point, 0x0403, b"")
        scheme = proof.choose_scheme(self._bank.key, (message.scheme,))
        assert scheme
        signed = self.find(ClientHello).random + self.random + message.params()
        return ServerKeyExchange(
            message.group, message.point, message.scheme, proof.sign(self._bank.key, scheme, signed)
        )

    def request(self) -> None:
        self.say(CertificateRequest((64,), proof.SCHEME_IDS))

    def done(self) -> None:
        self.say(ServerHelloDone())

    def on_message(self, message: Message) -> None:
        if isinstance(message, ClientKeyExchange):
            premaster = self.share.shared_secret(message.point())
            self.derive(premaster, self.find(ClientHello).random, self.random)
