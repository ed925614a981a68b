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
    assert message.fields[1] == ByteField(4, b"\x08\x07", "ed25519")


@pytest.mark.parametrize("name", ["Certificate", "CertificateVerify", "Finished"])
def test_bytes_that_make_no_sense_are_shown_as_they_are(name: str) -> None:
    (message,) = exchange([Sent("client", name, "ff00")], "1.2").messages
    assert message.fields == (ByteField(0, b"\xff\x00"),)
