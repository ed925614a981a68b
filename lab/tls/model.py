"""The messages of another server, for a server that repeats them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lab.tls.messages import CertificateRequest, Message, ServerHello
from lab.tls.messages13 import CertificateRequest13, EncryptedExtensions


@dataclass(frozen=True)
class Model:
    """The messages that a server can repeat without the keys of the other: all but key shares, proof and Finished."""

    hello: ServerHello
    encrypted_extensions: EncryptedExtensions | None = None
    request: CertificateRequest | CertificateRequest13 | None = None

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Self:
        """From the messages of a handshake with a ServerHello; of two messages of one type the last counts."""
        sent = {type(message): message for message in messages}
        hello, extensions = sent[ServerHello], sent.get(EncryptedExtensions)
        request = sent.get(CertificateRequest) or sent.get(CertificateRequest13)
        assert isinstance(hello, ServerHello)
        assert extensions is None or isinstance(extensions, EncryptedExtensions)
        assert request is None or isinstance(request, CertificateRequest | CertificateRequest13)
        return cls(hello, extensions, request)
