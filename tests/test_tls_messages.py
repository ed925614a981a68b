"""Messages, extensions and alerts: parse and serialize are each other's inverse, and any bytes give a clear answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.tls import extensions as ext
from lab.tls import messages
from lab.tls.alerts import Alert, AlertDescription, alert_name, parse_alert
from lab.tls.errors import DecodeError
from lab.tls.extensions import Extension
from lab.tls.messages import Message, parse, serialize

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
randoms = st.binary(min_size=32, max_size=32)
blocks = st.none() | st.lists(st.builds(Extension, u16, st.binary(max_size=40)), max_size=5).map(tuple)
numbers = st.lists(u16, max_size=8).map(tuple)
names = st.lists(st.binary(max_size=40), max_size=4).map(tuple)

MESSAGES: dict[type, st.SearchStrategy[Message]] = {
    messages.HelloRequest: st.builds(messages.HelloRequest),
    messages.ClientHello: st.builds(
        messages.ClientHello, randoms, st.binary(max_size=32), numbers, blocks, u16, st.binary(max_size=4)
    ),
    messages.ServerHello: st.builds(messages.ServerHello, randoms, st.binary(max_size=32), u16, blocks, u16, u8),
    messages.NewSessionTicket: st.builds(messages.NewSessionTicket, u32, st.binary(max_size=64)),
    messages.Certificate: st.builds(messages.Certificate, names),
    messages.ServerKeyExchange: st.builds(
        messages.ServerKeyExchange, u16, st.binary(max_size=133), u16, st.binary(max_size=80)
    ),
    messages.CertificateRequest: st.builds(
        messages.CertificateRequest, st.lists(u8, max_size=5).map(tuple), numbers, names
    ),
    messages.ServerHelloDone: st.builds(messages.ServerHelloDone),
    messages.CertificateVerify: st.builds(messages.CertificateVerify, u16, st.binary(max_size=300)),
    messages.ClientKeyExchange: st.builds(messages.ClientKeyExchange, st.binary(max_size=140)),
    messages.Finished: st.builds(messages.Finished, st.binary(max_size=40)),
}


def test_every_message_is_tested() -> None:
    assert set(MESSAGES) == set(messages.KNOWN)


@given(st.one_of(*MESSAGES.values()))
def test_what_is_serialized_parses_to_the_same(message: Message) -> None:
    assert parse(serialize(message)) == message


@given(st.one_of(*MESSAGES.values()), st.data())
def test_a_message_that_is_cut_off_is_a_decode_error(message: Message, data: st.DataObject) -> None:
    raw = serialize(message)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(DecodeError):
        parse(cut)


@given(st.sampled_from([kind.type for kind in messages.KNOWN]), st.binary(max_size=200))
def test_any_body_gives_a_message_with_the_same_bytes_or_a_decode_error(kind: int, body: bytes) -> None:
    raw = bytes([kind]) + len(body).to_bytes(3, "big") + body
    try:
        message = parse(raw)
    except DecodeError:
        return
    assert serialize(message) == raw


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_with_the_same_bytes_or_a_decode_error(raw: bytes) -> None:
    try:
        message = parse(raw)
    except DecodeError:
        return
    assert serialize(message) == raw


def test_an_error_says_what_is_wrong_and_where() -> None:
    hello = serialize(messages.ClientHello(bytes(32), b"", (1, 2), None))
    broken = hello[:1] + (len(hello) - 4 - 3).to_bytes(3, "big") + hello[4:-3]
    with pytest.raises(DecodeError, match=r"ClientHello: cipher_suites at byte 37 is cut off, 1 bytes short"):
        parse(broken)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).filter(lambda s: s.strip("-") == s))
def test_a_server_name_is_read_back(name: str) -> None:
    assert ext.read_server_name((ext.server_name(name),)) == name


@given(numbers)
def test_a_number_list_is_read_back(values: tuple[int, ...]) -> None:
    extensions = (ext.number_list(ext.SUPPORTED_GROUPS, values),)
    assert ext.read_number_list(extensions, ext.SUPPORTED_GROUPS) == values


@given(st.binary(max_size=60), st.sampled_from([ext.read_server_name, ext.selected_version, ext.read_versions]))
def test_any_extension_content_is_read_or_a_decode_error(content: bytes, read: object) -> None:
    kinds = {ext.read_server_name: ext.SERVER_NAME}
    extension = Extension(kinds.get(read, ext.SUPPORTED_VERSIONS), content)  # type: ignore[call-overload]
    try:
        read((extension,))  # type: ignore[operator]
    except DecodeError:
        pass


def test_an_extension_that_comes_twice_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="2 times"):
        ext.find((ext.extended_master_secret(),) * 2, ext.EXTENDED_MASTER_SECRET)


@pytest.mark.parametrize("description", AlertDescription)
@pytest.mark.parametrize("level", [1, 2])
def test_every_alert_is_read_back_under_its_name(level: int, description: AlertDescription) -> None:
    alert = Alert(level, description)
    assert parse_alert(alert.serialize()) == alert
    assert alert.name == description.name.lower()


@given(st.binary(max_size=4))
def test_any_bytes_are_an_alert_or_a_decode_error(data: bytes) -> None:
    try:
        assert parse_alert(data).serialize() == data
    except DecodeError:
        assert len(data) != 2 or data[0] not in (1, 2)


def test_an_alert_without_a_name_has_its_number() -> None:
    assert alert_name(200) == "alert 200"
