"""`python -m bench.fuzz`: throws damaged and random bytes at everything that parses, and counts.

Inputs are real ones (handshakes between the lab's own two engines, captures of them, certificates, events, logs) with
bits flipped, lengths changed, pieces cut, doubled, moved or spliced; one in ten is random from its first byte. Each
target may raise one family of errors and no other. Everything follows from the seed, so a failure can be repeated.
"""

import argparse
import base64
import random
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from attacker.collected import Collected, Sighting, common_name, is_self_signed
from attacker.errors import AttackerError
from attacker.leak import files
from lab.address import Address
from lab.capture.errors import CaptureFileError
from lab.capture.handshake import Capture
from lab.capture.packets import segment
from lab.capture.reader import Tracker, read_file
from lab.capture.search import find_in_capture
from lab.capture.synthetic import SyntheticConnection
from lab.capture.writer import ETHERNET, CaptureFile
from lab.catalogue import cast
from lab.events.log import Recorded, from_line, to_line
from lab.events.types import Event, Trouble
from lab.inspect.certificates import seen_certificate
from lab.staging import pki
from lab.tls import keys, messages, messages13, proof, records
from lab.tls.client import Client
from lab.tls.connection import Connection
from lab.tls.errors import Abort
from lab.tls.proof import Prover
from lab.tls.server import ClientAuth, Proof, Server
from lab.tls.versions import TLS12, TLS13, Version
from victim_server.forwarding import CLIENT_CERT, read_client_cert

RANDOM_SHARE = 0.1
MAX_RANDOM = 300
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF)
VERSIONS = (TLS12, TLS13)
CHALLENGE = proof.challenge12(b"everything that was said so far", proof.SCHEME_IDS)


@dataclass(frozen=True)
class FuzzTarget:
    """What is fuzzed: real inputs, what takes one, and the errors that it may answer with.

    `weight` is its share of all inputs: what is quick gets more.
    """

    name: str
    seeds: tuple[bytes, ...]
    take: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    weight: int


@dataclass
class Count:
    """What became of a target's inputs: `refused` with a clear error; `slowest_ms` is of a single one."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0


class Escaped(Exception):
    """An input that was answered with another error than the target may raise."""

    def __init__(self, target: str, data: bytes, cause: BaseException) -> None:
        super().__init__(f"{target}: {type(cause).__name__}: {cause}\n  input: {data.hex()}")


def fuzz(target: FuzzTarget, inputs: int, seed: int) -> Count:
    """Gives a target that many damaged inputs; raises Escaped at the first error that it may not answer with."""
    chance = random.Random(f"{seed} {target.name}")
    count = Count()
    began = time.perf_counter()
    for _ in range(inputs):
        data = damaged(chance, target.seeds)
        at = time.perf_counter()
        try:
            target.take(data)
        except target.errors:
            count.refused += 1
        except Exception as error:
            raise Escaped(target.name, data, error) from error
        count.slowest_ms = max(count.slowest_ms, (time.perf_counter() - at) * 1000)
    count.inputs, count.seconds = inputs, time.perf_counter() - began
    return count


def damaged(chance: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One input: a real one, damaged in one to four places, or random bytes."""
    if chance.random() < RANDOM_SHARE:
        return chance.randbytes(chance.randrange(MAX_RANDOM))
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_DAMAGES)(chance, data, seeds)
    return bytes(data)


def _flip(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _number(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    """Puts an interesting number where one may stand, big- or little-endian."""
    size = chance.choice((1, 2, 3, 4))
    if len(data) >= size:
        at = chance.randrange(len(data) - size + 1)
        value = chance.choice(INTERESTING) % (1 << 8 * size)
        data[at : at + size] = value.to_bytes(size, chance.choice(("big", "little")))


def _nudge(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    """A length that is a little wrong."""
    if data:
        at = chance.randrange(len(data))
        data[at] = (data[at] + chance.choice((-2, -1, 1, 2))) % 256


def _cut(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.choice((1, 2, 16, len(data)))]


def _double(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(data) + 1)
    piece = bytes(data[at : at + chance.randrange(1, 64)])
    data[at:at] = piece * chance.choice((1, 1, 1, 8))


def _splice(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    """Goes on with another real input."""
    other = chance.choice(seeds)
    at = chance.randrange(len(data) + 1)
    data[at:] = other[chance.randrange(len(other) + 1) :]


def _insert(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 40)))


_DAMAGES = (_flip, _flip, _number, _nudge, _cut, _double, _splice, _insert)


@dataclass
class _Talk:
    """A handshake between the lab's own two engines that goes the same way each time."""

    version: int
    authority: pki.Identity
    server: pki.Identity
    client: pki.Identity
    from_client: bytes = b""
    from_server: bytes = b""
    messages: list[bytes] = field(default_factory=list)

    def new_server(self) -> Server:
        auth = ClientAuth(lambda chain: None, Proof.REQUIRED)
        return Server(
            entropy=random.Random(1).randbytes,
            chain=(self.server.der,),
            key=self.server.key,
            client_auth=auth,
            versions=(self.version,),
        )

    def new_client(self) -> Client:
        prove: Prover = proof.prove_with(self.client.key)
        return Client(
            entropy=random.Random(2).randbytes,
            server_name=cast.SERVER_NAME,
            chain=(self.client.der,),
            prove=prove,
            versions=(self.version,),
        )

    def hold(self) -> "_Talk":
        """Lets both talk, some data and the goodbyes too, and records what they say."""
        client, server = self.new_client(), self.new_server()
        said = False
        while True:
            up, down = client.data_to_send(), server.data_to_send()
            if not (up or down):
                if said:
                    break
                said = True
                client.send(b"GET /account HTTP/1.1\r\nHost: bank.example\r\n\r\n")
                server.send(b"HTTP/1.1 200 OK\r\n\r\n")
                client.close()
                server.close()
                continue
            self.from_client += up
            self.from_server += down
            server.receive(up)
            client.receive(down)
        self.messages = [step.raw for step in client.steps if len(step.raw) >= messages.HEADER_LENGTH]
        return self

    def packets(self) -> Iterator[bytes]:
        """The same as packets."""
        sent: list[bytes] = []
        tcp = SyntheticConnection(Address("127.0.0.1", 40000), Address("127.0.0.1", 443), sent.append)
        tcp.open()
        hello, rest = _first_record(self.from_client)
        for from_client, data in ((True, hello), (False, self.from_server), (True, rest)):
            tcp.data(from_client, data)
        tcp.end(True)
        tcp.end(False)
        return iter(sent)


def targets(folder: Path) -> tuple[FuzzTarget, ...]:
    """Everything that parses; files are written to `folder`."""
    authority = pki.new_authority()
    talks = {
        version: _Talk(
            version, authority, pki.new_server(authority, "ed25519"), pki.new_client(authority, "alice", "ed25519")
        ).hold()
        for version in VERSIONS
    }
    captures = tuple(_pcapngs(talks, folder)) + tuple(_pcaps(talks))
    packets = tuple(packet for talk in talks.values() for packet in talk.packets())
    certificates = tuple(identity.der for identity in (authority, talks[TLS12].client, talks[TLS12].server))
    scratch, log = folder / "capture", folder / "log"
    scratch.write_bytes(captures[0])
    (seen,) = read_file(scratch).captures
    # So that a message that is read can be written again: what was understood is all there was.
    return (
        FuzzTarget("messages, TLS 1.2", tuple(talks[TLS12].messages), _round_trip12, (Abort,), 30),
        FuzzTarget("messages, TLS 1.3", tuple(talks[TLS13].messages), _round_trip13, (Abort,), 30),
        FuzzTarget(
            "records", tuple(t.from_client + t.from_server for t in talks.values()), _read_records, (Abort,), 15
        ),
        FuzzTarget("protected records", _protected(), _open_record, (Abort,), 4),
        FuzzTarget("packets", packets, lambda data: [segment(kind, data) for kind in (1, 101, 113, 276)], (), 10),
        FuzzTarget("streams of packets", tuple(_joined(talk.packets()) for talk in talks.values()), _track, (), 1),
        FuzzTarget("capture files", captures, _reading(scratch, read_file), (CaptureFileError,), 2),
        FuzzTarget("search", captures, _reading(scratch, _search), (CaptureFileError,), 1),
        FuzzTarget("leaked files", _leaked(certificates), _reading(log, _certificates), (AttackerError,), 1),
        FuzzTarget("certificates", certificates, _sighting_of(seen), (), 1),
        FuzzTarget("proofs", tuple(_proofs(talks[TLS12].client)), _check_proof, (Abort,), 2),
        FuzzTarget("stolen certificates", certificates, _steal(folder), (ValueError,), 1),
        FuzzTarget("Client-Cert", certificates, _forward, (ValueError,), 1),
        FuzzTarget("events", _lines(), lambda data: from_line(data.decode("utf-8", "replace")), (ValueError,), 5),
        *(_engine(f"server, {name}", talk.from_client, talk.new_server) for name, talk in _named(talks)),
        *(_engine(f"client, {name}", talk.from_server, talk.new_client) for name, talk in _named(talks)),
    )


def _named(talks: dict[Version, _Talk]) -> Iterator[tuple[str, _Talk]]:
    return ((f"TLS 1.{version - 0x0301}", talk) for version, talk in talks.items())


def _engine(name: str, flight: bytes, make: Callable[[], Connection]) -> FuzzTarget:
    def take(data: bytes) -> list[str]:
        engine = make()
        engine.data_to_send()
        half = len(data) // 2
        events = [*engine.receive(data[:half]), *engine.receive(data[half:])]
        engine.data_to_send()
        return [type(event).__name__ for event in events]

    return FuzzTarget(name, (flight,), take, (), 1)


def _round_trip12(data: bytes) -> None:
    message = messages.parse(data)
    assert messages.serialize(message) == data, f"{message.name} is written otherwise than it was read"


def _round_trip13(data: bytes) -> None:
    message = messages13.parse(data, TLS13)
    assert messages.serialize(message) == data, f"{message.name} is written otherwise than it was read"


def _read_records(data: bytes) -> None:
    reader, joiner = records.RecordReader(), records.MessageJoiner()
    for record in reader.feed(data):
        if record.type == records.ContentType.HANDSHAKE:
            for raw in joiner.feed(record.fragment):
                messages.parse(raw)


def _protections() -> Iterator[tuple[keys.CipherSuite, type[records.Protection12] | type[records.Protection13]]]:
    for suite in (*keys.CIPHER_SUITES, *keys.TLS13_SUITES):
        yield suite, records.Protection13 if suite.version == TLS13 else records.Protection12


def _traffic_key(suite: keys.CipherSuite) -> keys.TrafficKey:
    return keys.TrafficKey(bytes(suite.key_length), bytes(suite.salt_length))


def _protected() -> tuple[bytes, ...]:
    """Sealed records, each behind the number of its cipher suite in our list."""
    sealed = (
        bytes((number,)) + kind(suite, _traffic_key(suite)).seal(23, b"GET /account HTTP/1.1")[1]
        for number, (suite, kind) in enumerate(_protections())
    )
    return tuple(sealed)


def _open_record(data: bytes) -> None:
    suites = list(_protections())
    suite, kind = suites[data[0] % len(suites)] if data else suites[0]
    kind(suite, _traffic_key(suite)).open(23, data[1:])


def _proofs(identity: pki.Identity) -> Iterator[bytes]:
    """A certificate behind its length, and a CertificateVerify's scheme and signature: a right one, and wrong ones for
    RSA keys of several lengths, which cryptography would not make so short."""
    right = proof.prove_with(identity.key)(CHALLENGE)
    assert right
    yield _proof(identity.der, right.scheme, right.signature)
    for bits in (256, 512, 1024):
        der = _with_key(rsa.RSAPublicNumbers(65537, (1 << bits - 1) + 1).public_key())
        for scheme in proof.SCHEME_IDS:
            yield _proof(der, scheme, bytes(bits // 8))


def _proof(certificate: bytes, scheme: int, signature: bytes) -> bytes:
    return len(certificate).to_bytes(2, "big") + certificate + scheme.to_bytes(2, "big") + signature


def _with_key(key: rsa.RSAPublicKey) -> bytes:
    name, now = x509.Name([]), datetime(2030, 1, 1, tzinfo=UTC)
    blank = x509.CertificateBuilder(name, name, key, 1, now, now)
    return blank.sign(pki.new_key("ed25519"), None).public_bytes(Encoding.DER)


def _check_proof(data: bytes) -> None:
    end = 2 + int.from_bytes(data[:2], "big")
    answer = messages.CertificateVerify(int.from_bytes(data[end : end + 2], "big"), data[end + 2 :])
    proof.check(proof.public_key(data[2:end]), CHALLENGE, answer)


def _joined(packets: Iterator[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)


def _track(data: bytes) -> None:
    """Packets, each behind its length."""
    tracker, at = Tracker(), 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        seen = segment(ETHERNET, data[at + 2 : end])
        if seen:
            tracker.feed(0, seen)
        at = end
    tracker.finish()


def _reading(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def take(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return take


def _search(path: Path) -> object:
    return find_in_capture(path, {"one": b"alice", "another": bytes(40)})


def _certificates(path: Path) -> object:
    return list(files.certificates_in(path))


def _sighting_of(capture: Capture) -> Callable[[bytes], object]:
    return lambda data: seen_certificate(Path("fuzz"), replace(capture, chain=(data,)))


def _forward(data: bytes) -> object:
    return read_client_cert([(CLIENT_CERT, b":" + base64.b64encode(data) + b":")])


class _Nobody:
    """A Reporter that nobody reads."""

    def report(self, event: Event) -> None:
        pass


def _steal(folder: Path) -> Callable[[bytes], object]:
    def take(data: bytes) -> None:
        collected = Collected(_Nobody(), folder, "wire", "fuzzing")
        collected.add(data, Sighting("127.0.0.1:1", "127.0.0.1:2", "1.2"))
        is_self_signed(data)
        common_name(data)

    return take


def _first_record(data: bytes) -> tuple[bytes, bytes]:
    end = 5 + int.from_bytes(data[3:5], "big")
    return data[:end], data[end:]


def _pcapngs(talks: dict[Version, _Talk], folder: Path) -> Iterator[bytes]:
    path = folder / "seed.pcapng"
    for talk in talks.values():
        path.unlink(missing_ok=True)
        file = CaptureFile(path)
        for number, packet in enumerate(talk.packets()):
            file.write(number, packet)
        file.close()
        yield path.read_bytes()


def _pcaps(talks: dict[Version, _Talk]) -> Iterator[bytes]:
    for order, talk in zip("<>", talks.values(), strict=True):
        head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, 1)
        yield head + b"".join(struct.pack(f"{order}IIII", 1, 2, len(p), len(p)) + p for p in talk.packets())


def _leaked(certificates: tuple[bytes, ...]) -> tuple[bytes, ...]:
    pems = [ssl.DER_cert_to_PEM_cert(der) for der in certificates]
    return ("".join(pems).encode(), "\n".join(quote(pem, safe="") for pem in pems).encode(), b"SQLite format 3\0" * 64)


def _lines() -> tuple[bytes, ...]:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    return tuple(to_line(Recorded("lab", 1, now, Trouble(what))).encode() for what in ("rain", "a long story " * 9))


def run(inputs: int, seed: int, only: str = "") -> Iterator[tuple[FuzzTarget, Count]]:
    """Shares the inputs among the targets, and fuzzes them one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = [target for target in targets(Path(folder)) if only in target.name]
        total = sum(target.weight for target in chosen)
        for target in chosen:
            share = inputs * target.weight // total if total else inputs // len(chosen)
            yield target, fuzz(target, max(share, 1), seed)


def main() -> NoReturn:
    it = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    it.add_argument("--inputs", type=int, default=100_000, help="how many, all targets together (%(default)s)")
    it.add_argument("--seed", type=int, default=1, help="another one makes other inputs (%(default)s)")
    it.add_argument("--target", default="", help="only targets with this in their names")
    arguments = it.parse_args()
    counts: list[Count] = []
    print("| target | inputs | refused with a clear error | seconds | slowest input, ms |\n|---|---|---|---|---|")
    try:
        for target, count in run(arguments.inputs, arguments.seed, arguments.target):
            counts.append(count)
            cells = (target.name, f"{count.inputs:,}", f"{count.refused:,}", f"{count.seconds:.0f}")
            print(f"| {' | '.join(cells)} | {count.slowest_ms:.1f} |", flush=True)
    except Escaped as escaped:
        sys.exit(f"ESCAPED, seed {arguments.seed}: {escaped}")
    print(f"\n{sum(count.inputs for count in counts):,} inputs, seed {arguments.seed}, and nothing but clear errors.")
    sys.exit(0)


if __name__ == "__main__":
    main()
