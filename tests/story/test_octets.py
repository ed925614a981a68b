"""Messages as blocks: which of them crossed the wire encrypted, and what their bytes mean."""

import pytest

from lab.document import ByteField
from lab.judging.judgement import Sent
from lab.story.octets import PROTECTED, exchange

PROOF = bytes.fromhex("0f000008 0807 0004 01020304")


def encrypted(version: str, *sent: str) -> list[str]:
    """Which of these messages, each with its sender, were encrypted."""
    messages = [Sent(sender, name, "0228") for sender, _, name in (one.partition(" ") for one in sent)]
    return [f"{one.sender} {one.message}" for one in exchange(messages, version).messages if one.encrypted]


def test_in_tls12_a_sides_messages_are_encrypted_after_its_change_cipher_spec() -> None:
    assert encrypted(
        "1.2",
        *("client ClientHello", "server ServerHello", "server Certificate", "client Certificate"),
        *("client CertificateVerify", "client ChangeCipherSpec", "client Finished", "server alert decrypt_error"),
    ) == ["client Finished"]


def test_in_tls13_everything_after_the_hellos_is_encrypted() -> None:
    assert encrypted(
        "1.3",
        *("client ClientHello", "server ServerHello", "client ClientHello", "server ServerHello"),
        *("server ChangeCipherSpec", "server Certificate", "client Certificate", "server alert decrypt_error"),
    ) == ["server Certificate", "client Certificate", "server alert decrypt_error"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_alert_before_the_hello_is_plaintext(version: str) -> None:
    assert encrypted(version, "client ClientHello", "server alert protocol_version") == []


def test_bytes_without_keys_are_encrypted() -> None:
    assert encrypted("1.3", "client ClientHello", f"client {PROTECTED}") == [f"client {PROTECTED}"]


def test_a_proof_is_explained_byte_by_byte() -> None:
    (message,) = exchange([Sent("client", "CertificateVerify", PROOF.hex())], "1.2").messages
    assert message.octets == PROOF
    assert [field.at for field in message.fields] == [0, 4, 6, 8]
    assert message.fields[1] == ByteField(4, b"\x08\x07", "ed25519", "algorithm")


@pytest.mark.parametrize("name", ["Certificate", "CertificateVerify", "Finished"])
def test_bytes_that_make_no_sense_are_shown_as_they_are(name: str) -> None:
    (message,) = exchange([Sent("client", name, "ff00")], "1.2").messages
    why = "unreadable: handshake message is cut off, 2 bytes short"
    assert message.fields == (ByteField(0, b"\xff\x00", why),)


def test_what_is_no_handshake_message_is_explained_too() -> None:
    sent = (
        Sent("client", "ChangeCipherSpec", "01"),
        Sent("server", "alert decrypt_error", "0233"),
        Sent("server", PROTECTED, "aabb"),
    )
    shown = exchange(sent, "1.2").messages
    assert [(field.at, field.meaning) for message in shown for field in message.fields] == [
        (0, "from here on the new keys; in TLS 1.3 without meaning"),
        (0, "level: fatal"),
        (1, "description: decrypt_error"),
        (0, "encrypted"),
    ]
