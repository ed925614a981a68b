"""Every byte of a handshake has a meaning: one field each, and tshark reads the same values in it."""

import asyncio
import contextlib
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tls_clients
from lab.capture.decrypt import PROTECTED, ReadHandshake, read_handshakes
from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.plan import full_matrix
from lab.events.parts import KEY_LOG_FILE
from lab.events.run import open_run
from lab.events.types import MoveTried
from lab.judging.judgement import Sent
from lab.staging import embedded, pki
from lab.story.octets import exchange
from lab.tls import extensions, names
from lab.tls.dissect import Field, dissect, dissect_record
from lab.tls.layouts import ANSWERS, EXTENSIONS, LAYOUTS, LAYOUTS13
from lab.tls.messages import KNOWN, CertificateVerify, ClientHello, ClientKeyExchange, ServerKeyExchange, serialize
from lab.tls.messages13 import KNOWN13, RETRY_RANDOM, Certificate13, CompressedCertificate
from lab.tls.versions import TLS12, TLS13, VERSIONS, Version
from programs import PATIENCE_SECONDS, output_of
from tls_peers import Files, cases, gnutls_serv, s_server, serving, write_files
from wirecraft import Flight, alice_to_bank, write

RECORDED = Path(__file__).parent.parent / "capture" / "openssl-3.5.pcapng"
READ = tuple(names.MESSAGES.values())
UNEXPLAINED = ("unreadable", "too many", "does not read")


def whole(raw: bytes, fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields, after a look at whether they are the message: each byte in exactly one, in their order."""
    found, at = tuple(fields), 0
    for one in found:
        assert one.octets
        assert one.at == at
        assert one.meaning
        at += len(one.octets)
    assert b"".join(one.octets for one in found) == raw
    return found


def explained(raw: bytes, version: int) -> tuple[Field, ...]:
    """The same, where the message is as it should be."""
    found = whole(raw, dissect(raw, version))
    assert not [one for one in found if any(words in one.meaning for words in UNEXPLAINED)], raw.hex()
    return found


def meanings(raw: bytes, version: int) -> list[str]:
    return [one.meaning for one in whole(raw, dissect(raw, version))]


def test_every_message_and_extension_that_the_instrument_knows_has_a_layout() -> None:
    assert set(LAYOUTS) == {kind.type for kind in KNOWN}
    assert set(LAYOUTS13) == {kind.type for kind in KNOWN13}
    assert all(names.MESSAGES[kind.type] == kind.name for kind in (*KNOWN, *KNOWN13))
    numbers = {value for name, value in vars(extensions).items() if name.isupper() and isinstance(value, int)}
    assert numbers <= set(EXTENSIONS) <= set(names.EXTENSIONS)
    assert {kind for _, kind in ANSWERS} <= set(EXTENSIONS)
    assert len(numbers) > 20


@given(st.binary(max_size=300), st.sampled_from((*VERSIONS, 0x0301)), st.booleans())
def test_every_byte_of_anything_belongs_to_one_field(raw: bytes, version: int, certificates: bool) -> None:
    whole(raw, dissect(raw, version, certificates))
    whole(raw, dissect_record(raw))


@pytest.mark.parametrize(
    ("header", "meaning"),
    [
        ("1603010205", "record: handshake, TLS 1.0, 517 bytes"),
        ("1403030001", "record: change_cipher_spec, TLS 1.2, 1 byte"),
        ("1703030000", "record: application_data, TLS 1.2, empty"),
        ("6303040100", "record: type 99, TLS 1.3, 256 bytes"),
    ],
)
def test_a_records_header_is_told_in_words(header: str, meaning: str) -> None:
    (field,) = dissect_record(bytes.fromhex(header))
    assert (field.name, field.meaning) == ("record", meaning)


def test_how_much_is_missing_is_told_to_the_byte() -> None:
    assert meanings(bytes.fromhex("0e000001"), TLS12) == ["ServerHelloDone (14), 1 byte, 1 of them missing"]
    assert meanings(bytes.fromhex("0e000000"), TLS12) == ["ServerHelloDone (14), empty"]


@pytest.fixture(scope="module")
def matrix_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every move at every gateway, in both versions."""
    runs = tmp_path_factory.mktemp("runs")
    return runs / asyncio.run(embedded.run_embedded(runs, full_matrix(), None, lambda run: None)).run


@pytest.fixture(params=["demo", "matrix"])
def run(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue("finished_run" if request.param == "demo" else "matrix_run")
    return found


def handshakes(run: Path) -> list[ReadHandshake]:
    folders = open_run(run).folders
    return read_handshakes(folders.capture, folders.part(VICTIM_CLIENT) / KEY_LOG_FILE)


def told(handshakes: Iterable[ReadHandshake]) -> Iterator[tuple[int, bytes]]:
    """Version and bytes of each handshake message."""
    for one in handshakes:
        for message in one.messages:
            if message.name.partition(",")[0] in READ:
                yield one.version, message.raw


def test_every_byte_of_every_message_that_mallory_heard_is_explained(run: Path) -> None:
    seen = list(told(handshakes(run)))
    assert {version for version, _ in seen} == set(VERSIONS)
    assert {raw[0] for version, raw in seen if version == TLS13} >= {1, 2, 8, 11, 13, 15, 20}
    assert {raw[0] for version, raw in seen if version == TLS12} >= {1, 2, 11, 12, 13, 14, 15, 16}
    for version, raw in seen:
        explained(raw, version)


def test_every_byte_that_mallory_sent_and_got_belongs_to_one_field(run: Path) -> None:
    tried = open_run(run).all(MoveTried)
    assert tried
    for event in tried:
        sent = [Sent(*step) for step in event.steps]
        for message, one in zip(exchange(sent, event.tls).messages, sent, strict=True):
            fields = (Field(field.at, field.octets, field.name, field.meaning) for field in message.fields)
            whole(bytes.fromhex(one.hex), fields)


Take = Callable[[Field], object]


def number(field: Field) -> int:
    return int.from_bytes(field.octets, "big")


def text(field: Field) -> str:
    return field.octets.decode()


def in_hex(field: Field) -> str:
    return field.octets.hex()


PROVING = (CertificateVerify.type, ServerKeyExchange.type)
# tshark's field; the types of the messages in which we have it, all if there are none; our names; what to compare.
SAME: tuple[tuple[str, tuple[int, ...], tuple[str, ...], Take], ...] = (
    ("tls.handshake.random", (), ("random",), in_hex),
    ("tls.handshake.session_id", (), ("session_id",), in_hex),
    ("tls.handshake.version", (), ("client_version", "server_version"), number),
    ("tls.handshake.ciphersuite", (), ("cipher_suite",), number),
    ("tls.handshake.comp_method", (), ("compression_method",), number),
    ("tls.handshake.extension.type", (), ("extension",), lambda field: int.from_bytes(field.octets[:2], "big")),
    ("tls.handshake.extension.len", (), ("extension",), lambda field: int.from_bytes(field.octets[2:], "big")),
    ("tls.handshake.extensions_server_name", (), ("HostName",), text),
    ("tls.handshake.extensions_alpn_str", (), ("ProtocolName",), text),
    ("tls.handshake.extensions_supported_group", (), ("named_group",), number),
    ("tls.handshake.extensions_ec_point_format", (), ("ec_point_format",), number),
    ("tls.handshake.extensions.supported_version", (), ("version", "selected_version"), number),
    ("tls.extension.psk_ke_mode", (), ("ke_mode",), number),
    ("tls.handshake.extensions_key_share_group", (), ("group",), number),
    ("tls.handshake.extensions_key_share_key_exchange", (), ("key_exchange",), in_hex),
    ("tls.handshake.sig_hash_alg", (), ("signature_scheme",), number),
    ("tls.handshake.sig_hash_alg", PROVING, ("algorithm",), number),
    ("tls.handshake.server_named_curve", (), ("namedcurve",), number),
    ("tls.handshake.server_point", (), ("public",), in_hex),
    ("tls.handshake.client_point", (), ("ecdh_Yc",), in_hex),
    ("tls.handshake.sig", (ServerKeyExchange.type,), ("signature",), in_hex),
    ("tls.handshake.client_cert_vrfy.sig", (CertificateVerify.type,), ("signature",), in_hex),
    ("tls.handshake.cert_type", (), ("certificate_type",), number),
    ("tls.handshake.certificate", (), ("X.509",), in_hex),
    ("tls.handshake.session_ticket", (), ("ticket",), in_hex),
)


def of_ours(handshakes: Iterable[ReadHandshake]) -> dict[str, "Counter[object]"]:
    """How often each value of each of tshark's fields is in our fields."""
    counted: dict[str, Counter[object]] = {name: Counter() for name, *_ in SAME}
    for version, raw in told(handshakes):
        for field in dissect(raw, version, whole_certificates=True):
            for name, types, ours, take in SAME:
                if field.name in ours and (not types or raw[0] in types):
                    counted[name][take(field)] += 1
    return counted


def of_tshark(capture: Path, key_log: Path, ports: Iterable[int]) -> dict[str, "Counter[object]"]:
    """The same in tshark's, of all messages but the tickets of TLS 1.3, which the lab does not read in captures."""
    words = ["-r", str(capture), "-o", f"tls.keylog_file:{key_log}"]
    words += [word for port in ports for word in ("-d", f"tcp.port=={port},tls")]
    fields = dict.fromkeys(name for name, *_ in SAME)
    words += ["-Y", "tls.handshake && !(tls.handshake.type == 4 && tls.record.opaque_type)", "-T", "fields"]
    words += ["-E", "separator=/t", "-E", "occurrence=a", *(word for name in fields for word in ("-e", name))]
    counted: dict[str, Counter[object]] = {name: Counter() for name in fields}
    takes = {name: take for name, *_, take in SAME}
    for line in output_of("tshark", *words).splitlines():
        for name, cell in zip(fields, line.split("\t"), strict=True):
            for value in filter(None, cell.split(",")):
                take = takes[name]
                counted[name][
                    value.replace(":", "") if take is in_hex else value if take is text else int(value, 0)
                ] += 1
    return counted


def assert_same_as_tshark(capture: Path, key_log: Path, seen: list[ReadHandshake], *present: str) -> None:
    ports = {int(one.server.rpartition(":")[2]) for one in seen}
    ours, theirs = of_ours(seen), of_tshark(capture, key_log, ports)
    assert ours == theirs
    assert [name for name in ("tls.handshake.random", "tls.handshake.certificate", *present) if not ours[name]] == []


def test_tshark_reads_the_same_in_a_runs_capture(run: Path) -> None:
    folders = open_run(run).folders
    key_log = folders.part(VICTIM_CLIENT) / KEY_LOG_FILE
    assert_same_as_tshark(folders.capture, key_log, handshakes(run), "tls.handshake.client_cert_vrfy.sig")


def test_tshark_reads_the_same_in_openssls_recorded_handshake() -> None:
    key_log = RECORDED.with_suffix(".keys")
    seen = read_handshakes(RECORDED, key_log)
    compressed = [raw for _, raw in told(seen) if raw[0] == CompressedCertificate.type]
    assert compressed
    for version, raw in told(seen):
        explained(raw, version)
    of_them = of_tshark(RECORDED, key_log, [44321])
    of_us = of_ours(seen)
    for counted in (of_them, of_us):  # tshark looks into compressed certificates
        del counted["tls.handshake.certificate"], counted["tls.handshake.extension.type"]
        del counted["tls.handshake.extension.len"]
    assert of_us == of_them


async def recorded_call(server: int, call: Callable[[int], list[str]], environment: dict[str, str]) -> list[Flight]:
    """What a client and a server said to each other, in its order; `call` is the client's, to the port that it gets."""
    flights: list[Flight] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                flights.append(Flight(from_client, data))
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", server)
        await asyncio.gather(pass_on(reader, onward, True), pass_on(onward_reader, writer, False))
        writer.close()
        onward.close()

    async with await asyncio.start_server(between, "127.0.0.1", 0) as relay, asyncio.timeout(PATIENCE_SECONDS):
        words = call(relay.sockets[0].getsockname()[1])
        client = await asyncio.create_subprocess_exec(
            *words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        assert client.stdin
        client.stdin.write(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(OSError):
            await client.stdin.drain()
        client.stdin.close()
        await client.wait()
    return flights


SERVERS: dict[str, Callable[[Files, Version], list[str]]] = {
    "openssl": lambda files, version: s_server(files, *(["-tls1_3"] if version == TLS13 else [])),
    "gnutls": lambda files, version: [
        word for word in gnutls_serv(files, f"NORMAL:-VERS-ALL:+VERS-TLS{version}") if word != "--echo"
    ],
}


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", tls_clients.CLIENTS)
def test_tshark_reads_the_same_in_what_real_peers_say(
    tmp_path: Path,
    authority: pki.Identity,
    alice: pki.Identity,
    bank: pki.Identity,
    client: str,
    server: str,
    version: Version,
) -> None:
    files = write_files(tmp_path, authority, bank, alice)
    key_log = tmp_path / "keys.log"
    environment = {**os.environ, "SSLKEYLOGFILE": str(key_log)}

    def call(port: int) -> list[str]:
        words = tls_clients.command(client, port, str(version), files.client)
        return [*words, *(["-keylogfile", str(key_log)] if client == "openssl" else [])]

    with serving(tmp_path / "output", *SERVERS[server](files, version)) as port:
        flights = asyncio.run(recorded_call(port, call, environment))
    capture = write(tmp_path / "capture.pcap", alice_to_bank(flights))
    seen = read_handshakes(capture, key_log)
    assert [one.version for one in seen] == [version]
    assert PROTECTED not in [message.name for message in seen[0].messages] or version == TLS12
    for one, raw in told(seen):
        explained(raw, one)
    assert_same_as_tshark(capture, key_log, seen, "tls.handshake.client_cert_vrfy.sig")


def hello(*content: tuple[int, bytes]) -> bytes:
    return serialize(ClientHello(bytes(32), b"", (0x1301,), tuple(extensions.Extension(*one) for one in content)))


def test_what_cannot_be_read_in_an_extension_is_said_and_the_next_is_read_all_the_same() -> None:
    raw = hello(
        (extensions.SUPPORTED_GROUPS, b"\x00\x03\x00\x1d\x00"),
        (0x4A4A, b"?"),
        (extensions.RECORD_SIZE_LIMIT, b"\x40\x00"),
    )
    assert meanings(raw, TLS13)[-8:] == [
        "extension supported_groups (10), 5 bytes",
        "named_group_list, 3 bytes",
        "x25519",
        "unreadable: named_group is cut off, 1 bytes short",
        "extension GREASE, 0x4a4a: a number without meaning, which a server has to ignore (19018), 1 byte",
        "1 byte that the instrument does not read",
        "extension record_size_limit (28), 2 bytes",
        "record_size_limit: 16384 bytes",
    ]


@cases(
    ("raw", "last"),
    {
        "nothing behind the length": (b"\x0e\x00\x00\x04", "ServerHelloDone (14), 4 bytes, 4 of them missing"),
        "no length": (b"\x0e\x00", "handshake message is cut off, 2 bytes short"),
        "a body where there is none": (b"\x0e\x00\x00\x01\x00", "1 byte too many for ServerHelloDone"),
        "two messages": (b"\x0e\x00\x00\x00\x0e\x00\x00\x00", "4 bytes too many for the message"),
        "a type nobody knows": (b"\x63\x00\x00\x01\x00", "what the instrument does not read"),
        "no certificate": (b"\x0b\x00\x00\x07\x00\x00\x04\x00\x00\x01\x30", "an unreadable certificate"),
        "finite field": (b"\x0c\x00\x00\x02\x01\x00", "a key exchange that the instrument does not know"),
    },
)
def test_bytes_that_make_no_sense_say_why(raw: bytes, last: str) -> None:
    assert last in meanings(raw, TLS12)[-1]


@cases(
    ("message", "meaning"),
    {
        "a point": (ClientKeyExchange.ecdhe(b"\x04" * 65), "the client's public value for the key agreement"),
        "RSA": (
            ClientKeyExchange.rsa(bytes(256)),
            "the premaster secret, for the server's RSA key alone to open",
        ),
    },
)
def test_the_length_in_front_tells_how_a_key_is_agreed_on(message: ClientKeyExchange, meaning: str) -> None:
    assert meanings(serialize(message), TLS12)[-1] == meaning


def test_a_hello_retry_request_has_extensions_of_its_own() -> None:
    body = b"\x03\x03" + RETRY_RANDOM + b"\x00\x13\x01\x00" + b"\x00\x06\x00\x33\x00\x02\x00\x18"
    raw = b"\x02" + len(body).to_bytes(3, "big") + body
    assert meanings(raw, TLS13)[-2:] == ["extension key_share (51), 2 bytes", "selected_group: secp384r1"]


def test_a_certificate_is_read_field_by_field_or_as_one(alice: pki.Identity) -> None:
    raw = serialize(Certificate13.of((alice.der,)))
    subject = alice.certificate.subject.rfc4514_string()
    by_name = {field.name: field.meaning for field in explained(raw, TLS13)}
    assert by_name["serialNumber"] == f"serialNumber: {alice.certificate.serial_number:x}"
    assert by_name["subject"] == f"subject: {subject}, whose certificate it is"
    assert by_name["notAfter"] == f"notAfter: {alice.certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    (field,) = [one for one in dissect(raw, TLS13, whole_certificates=True) if one.name == "X.509"]
    assert field.octets == alice.der
    assert subject in field.meaning


def test_no_damage_to_a_certificate_loses_a_byte(alice: pki.Identity) -> None:
    chance = random.Random(1)
    raw = serialize(Certificate13.of((alice.der,)))
    for _ in range(2000):
        damaged = bytearray(raw)
        damaged[chance.randrange(4, len(raw))] = chance.randrange(256)
        whole(bytes(damaged), dissect(bytes(damaged), TLS13))
