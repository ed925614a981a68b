"""One side of a TLS 1.3 handshake played by hand, as `tls_script.py` does it for TLS 1.2."""

import os
from typing import Any

from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys, proof, schedule
from lab.tls.alerts import parse_alert
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.engine import Party
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello, serialize
from lab.tls.messages13 import (
    RETRY_RANDOM,
    Certificate13,
    CertificateRequest13,
    EncryptedExtensions,
    KeyUpdate,
    is_retry,
    parse,
)
from lab.tls.records import ContentType, Protection13
from lab.tls.schedule import Schedule, TrafficSecrets
from lab.tls.server import Server
from lab.tls.versions import TLS12, TLS13, Version
from tls_peers import our_client, our_server
from tls_script import Script, ScriptedClient, ScriptedServer

SUITE = keys.TLS13_SUITES[0]
GROUP = keys.SECP256R1
OTHER_GROUP = keys.X25519


class Script13(Script):
    """What both sides do; `epoch` tells which secrets hold, handshake or application."""

    def __init__(self, engine: Connection) -> None:
        self.share = keys.new_key_share(GROUP, os.urandom)
        self.schedule: Schedule | None = None
        self.secrets: dict[Party, bytes] = {}
        self.handshake_secrets: dict[Party, bytes] = {}
        super().__init__(engine)

    def derive13(self, shared_secret: bytes) -> None:
        """The transcript ends with ServerHello: both directions are protected from here on."""
        self.schedule = Schedule(SUITE, shared_secret)
        self._use(self.schedule.handshake_secrets(self.handshake))
        self.handshake_secrets = dict(self.secrets)
        self.write, self._read = self.protection(self.role), self.protection(self.engine.role)

    def to_application(self) -> None:
        """The transcript ends with the server's Finished: the next secrets are known."""
        assert self.schedule
        self._use(self.schedule.application_secrets(self.handshake))

    def protection(self, party: Party) -> Protection13:
        return Protection13(SUITE, schedule.traffic_key(self.secrets[party], SUITE))

    def update_keys(self, requested: bool = False) -> None:
        """KeyUpdate, and what follows it."""
        self.say_raw(serialize(KeyUpdate(requested)))
        self.follow(self.role)

    def follow(self, party: Party) -> None:
        """One party's next secret."""
        self.secrets[party] = schedule.next_secret(self.secrets[party], SUITE)
        if party == self.role:
            self.write = self.protection(party)
        else:
            self._read = self.protection(party)

    def make_finished(self) -> Finished:
        return Finished(schedule.verify_data(self.handshake_secrets[self.role], self.handshake, SUITE))

    def hash_first(self) -> None:
        """All that was said so far stands in the transcript as its hash (RFC 8446 section 4.4.1)."""
        hashed = keys.digest(self.handshake, SUITE.hash)
        self.handshake = b"\xfe\0\0" + bytes([len(hashed)]) + hashed

    def change_cipher_spec(self) -> None:
        """In plaintext, and without meaning."""
        self.give(b"\x14\x03\x03\x00\x01\x01")

    def listen(self) -> None:
        for record in self._records.feed(self.engine.data_to_send()):
            kind, fragment = record.type, record.fragment
            if self._read and kind == ContentType.APPLICATION_DATA:
                kind, fragment = self._read.open(kind, fragment)
            match kind:
                case ContentType.HANDSHAKE:
                    for raw in self._joiner.feed(fragment):
                        message = parse(raw, TLS13)
                        if isinstance(message, ServerHello) and is_retry(message):
                            self.hash_first()
                        if not isinstance(message, KeyUpdate):
                            self.handshake += raw
                        self.heard.append(message)
                        self.on_message(message)
                case ContentType.ALERT:
                    self.alerts.append(parse_alert(fragment))

    def _use(self, secrets: TrafficSecrets) -> None:
        self.secrets = dict(secrets)


class ScriptedClient13(Script13):
    """A client by hand; `alice` is whose certificate it presents."""

    steps = ("hello", "certificate", "proof", "finished")

    def __init__(self, engine: Server, alice: pki.Identity) -> None:
        self._alice = alice
        super().__init__(engine)

    def make_hello(self, **changes: Any) -> ClientHello:
        """An honest ClientHello but for the `changes`: `replace`, `without` and `add` are extensions."""
        extensions = {
            extension.type: extension
            for extension in (
                ext.number_list(ext.SUPPORTED_GROUPS, (GROUP, OTHER_GROUP)),
                ext.number_list(ext.SIGNATURE_ALGORITHMS, proof.SCHEME_IDS),
                ext.versions((TLS13,)),
                ext.key_shares([(self.share.group, self.share.public)]),
            )
        }
        extensions |= {extension.type: extension for extension in changes.pop("replace", ())}
        for kind in changes.pop("without", ()):
            del extensions[kind]
        fields: dict[str, Any] = {
            "random": self.random,
            "session_id": bytes(32),
            "cipher_suites": (SUITE.id,),
            "extensions": (*extensions.values(), *changes.pop("add", ())),
        }
        return ClientHello(**(fields | changes))

    def hello(self) -> None:
        self.say(self.make_hello())

    def second_hello(self, **changes: Any) -> None:
        """The same with a share of the group that was asked for."""
        self.share = keys.new_key_share(OTHER_GROUP, os.urandom)
        self.say(self.make_hello(**changes))

    def certificate(self) -> None:
        self.say(self.make_certificate())

    def make_certificate(self) -> Certificate13:
        return Certificate13.of((self._alice.der,))

    def proof(self) -> None:
        self.say(self.make_proof())

    def make_proof(self) -> CertificateVerify:
        scheme = proof.choose_scheme(self._alice.key, proof.SCHEME_IDS, TLS13)
        assert scheme
        content = proof.signed_content("client", self.handshake, SUITE.hash)
        return CertificateVerify(scheme.id, proof.sign(self._alice.key, scheme, content))

    def finished(self) -> None:
        self.say(self.make_finished())
        self.write = self.protection("client")

    def on_message(self, message: Message) -> None:
        if isinstance(message, ServerHello) and not is_retry(message):
            share = ext.read_key_share(message.extensions)
            assert share
            self.derive13(self.share.shared_secret(share[1]))
        elif isinstance(message, Finished):
            self.to_application()
            self._read = self.protection("server")


class ScriptedServer13(Script13):
    """A server by hand; `bank` is whose certificate it presents."""

    steps = ("hello", "extensions", "request", "certificate", "proof", "finished")

    def __init__(self, engine: Client, bank: pki.Identity) -> None:
        self._bank = bank
        super().__init__(engine)

    @property
    def client_hello(self) -> ClientHello:
        """The client's latest."""
        return [message for message in self.heard if isinstance(message, ClientHello)][-1]

    def make_hello(self, **changes: Any) -> ServerHello:
        """An honest ServerHello but for the `changes`; `add` are further extensions."""
        shares = (ext.chosen_version(TLS13), ext.key_share(self.share.group, self.share.public))
        fields: dict[str, Any] = {
            "random": self.random,
            "session_id": self.client_hello.session_id,
            "cipher_suite": SUITE.id,
            "extensions": (*shares, *changes.pop("add", ())),
        }
        return ServerHello(**(fields | changes))

    def hello(self) -> None:
        hello = self.make_hello()
        points = ext.read_key_shares(self.client_hello.extensions)
        assert points
        raw = serialize(hello)
        self.handshake += raw
        plain = self.cut(raw)
        self.derive13(self.share.shared_secret(points[self.share.group]))
        protection, self.write = self.write, None
        self.say_raw(*plain)
        self.write = protection

    def make_retry(self, group: int | None = OTHER_GROUP, **changes: Any) -> ServerHello:
        """HelloRetryRequest."""
        asked = [ext.chosen_version(TLS13), *([] if group is None else [ext.retry_group(group)])]
        return self.make_hello(random=RETRY_RANDOM, extensions=(*asked, *changes.pop("add", ())), **changes)

    def retry(self, group: int | None = OTHER_GROUP, **changes: Any) -> None:
        if group is not None:
            self.share = keys.new_key_share(group, os.urandom)
        retry = self.make_retry(group, **changes)
        self.hash_first()
        self.say(retry)

    def extensions(self) -> None:
        self.say(EncryptedExtensions(()))

    def request(self) -> None:
        self.say(CertificateRequest13.of(proof.SCHEME_IDS))

    def certificate(self) -> None:
        self.say(Certificate13.of((self._bank.der,)))

    def proof(self) -> None:
        self.say(self.make_proof())

    def make_proof(self) -> CertificateVerify:
        scheme = proof.choose_scheme(self._bank.key, proof.SCHEME_IDS, TLS13)
        assert scheme
        content = proof.signed_content("server", self.handshake, SUITE.hash)
        return CertificateVerify(scheme.id, proof.sign(self._bank.key, scheme, content))

    def finished(self) -> None:
        finished = serialize(self.make_finished())
        self.handshake += finished
        self.to_application()
        protection = self.protection("server")
        self.say_raw(*self.cut(finished))
        self.write = protection

    def on_message(self, message: Message) -> None:
        if isinstance(message, Finished):
            self._read = self.protection("client")


def start(version: Version, role: str, alice: pki.Identity, bank: pki.Identity, **options: Any) -> Script:
    """A script against a fresh engine of this version and role, with the engine's options."""
    if version == TLS12:
        if role == "client":
            return ScriptedServer(our_client(alice, **options), bank)
        return ScriptedClient(our_server(bank, **options), alice)
    common = {"versions": (TLS13,), "suites": (SUITE,)}
    if role == "client":
        return ScriptedServer13(our_client(alice, **(common | {"groups": (GROUP, OTHER_GROUP)} | options)), bank)
    return ScriptedClient13(our_server(bank, **(common | options)), alice)
