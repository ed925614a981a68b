"""What another server said in its handshake, for a server that is to say the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lab.tls.messages import CertificateRequest, Message, ServerHello
from lab.tls.messages13 import CertificateRequest13, EncryptedExtensions


@dataclass(frozen=True)
class Model:
    """Everything that a server says and that takes no key of its own to say. In TLS 1.3 the hello's key share does."""

    hello: ServerHello
    encrypted_extensions: EncryptedExtensions | None = None
    request: CertificateRequest | CertificateRequest13 | None = None

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Self:
        """Out of the messages of a handshake, which has to have a ServerHello; of two, the last one counts."""
        said = {type(message): message for message in messages}
        hello, extensions = said[ServerHello], said.get(EncryptedExtensions)
        request = said.get(CertificateRequest) or said.get(CertificateRequest13)
        assert isinstance(hello, ServerHello)
        assert extensions is None or isinstance(extensions, EncryptedExtensions)
        assert request is None or isinstance(request, CertificateRequest | CertificateRequest13)
        return cls(hello, extensions, request)
