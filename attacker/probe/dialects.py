"""What is spoken before and after the handshake: HTTP, the protocols with STARTTLS, or nothing.

Each dialect asks one question that does no harm and whose answer depends on who asks. The owner of the certificate, the
attacker and the strangers ask the same one.
"""

import asyncio
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol
from xml.sax.saxutils import quoteattr

import h11

from attacker.probe import http2
from attacker.probe.answers import HANDSHAKE, ServerAnswer, answered, closed
from attacker.probe.lines import MAX_ANSWER, AnswerReader, DialectError, EndOfLine, Line, clean
from lab.tls.errors import TlsError

QUIET_SECONDS = 1.0
"""How long a handshake has to stand, where nothing is spoken above it, to count as complete: a server may check the
client after its own end of the handshake (RFC 8446 section 4.4)."""


class Dialect(Protocol):
    """How to ask a server of one kind."""

    async def before(self, line: Line) -> None:
        """What comes before the handshake; DialectError if the server does not go along."""

    async def ask(self, line: Line) -> ServerAnswer:
        """Asks the one question over TLS."""


@dataclass(frozen=True)
class Question:
    """What the caller said about the question: for HTTP the host, path and headers; else the name to log in with."""

    host: str
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    user: str = ""
    database: str = ""
    send: bytes = b""


@dataclass(frozen=True)
class Http:
    """GET of a path: by HTTP/2 where the server chose that, and else by HTTP/1.1 (RFC 9112)."""

    question: Question

    async def before(self, line: Line) -> None:
        """Nothing."""

    async def ask(self, line: Line) -> ServerAnswer:
        given = {name.lower() for name, _ in self.question.headers}
        usual = [("Host", self.question.host), ("User-Agent", "certreplay"), ("Accept", "*/*"), ("Connection", "close")]
        headers = [*(one for one in usual if one[0].lower() not in given), *self.question.headers]
        if line.protocol == http2.H2:
            return await http2.get(line, self.question.path, headers)
        try:
            return await self._ask(line, headers)
        except h11.RemoteProtocolError as error:
            raise DialectError(f"the answer is not HTTP: {error}") from None

    async def _ask(self, line: Line, headers: list[tuple[str, str]]) -> ServerAnswer:
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=self.question.path, headers=headers)
        await line.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        status, reason, body = 0, "", bytearray()
        while True:
            event = connection.next_event()
            match event:
                case h11.Response():
                    status, reason = event.status_code, event.reason.decode("latin-1")
                case h11.Data():
                    body += event.data
                    if len(body) > MAX_ANSWER:
                        break
                case h11.EndOfMessage():
                    break
                case h11.NEED_DATA:
                    try:
                        data = await line.read()
                    except (OSError, TlsError):
                        if not status:
                            raise
                        data = b""
                    if not data and not status:
                        raise EndOfLine
                    if not data:
                        break  # it is cut off, and says enough, or has no other end
                    connection.receive_data(data)
                case h11.ConnectionClosed():
                    break
        return answered(f"HTTP {status}", reason, bytes(body[:MAX_ANSWER]))


@dataclass(frozen=True)
class Raw:
    """Anything: what is sent is up to the caller, and being in is a handshake that stays, or what comes back."""

    question: Question

    async def before(self, line: Line) -> None:
        """Nothing."""

    async def ask(self, line: Line) -> ServerAnswer:
        if self.question.send:
            await line.write(self.question.send)
        try:
            async with asyncio.timeout(None if self.question.send else QUIET_SECONDS):
                data = await line.read()
        except TimeoutError:
            return answered(HANDSHAKE, f"and no alert within {QUIET_SECONDS:g} s")
        if not data:
            raise EndOfLine
        if not self.question.send:
            return answered("a greeting", clean(data), data)
        return answered(f"answer {clean(data.split()[0] if data.split() else data, 40)}", clean(data), data)


async def _reply(reader: AnswerReader) -> tuple[str, bytes]:
    """A reply of one or more lines with a code (RFC 5321 section 4.2)."""
    lines = b""
    while True:
        line = await reader.until(b"\n")
        lines += line
        if len(lines) > MAX_ANSWER:
            raise DialectError(f"the answer is longer than {MAX_ANSWER} bytes")
        if not re.match(rb"\d{3}[ -]", line):
            raise DialectError(f"no reply of SMTP: {clean(line)}")
        if line[3:4] == b" ":
            return line[:3].decode(), lines


@dataclass(frozen=True)
class Smtp:
    """STARTTLS (RFC 3207); then EHLO, and who may send mail: EXTERNAL if it is offered, and MAIL FROM, taken back."""

    question: Question

    async def before(self, line: Line) -> None:
        reader = AnswerReader(line)
        await _expect_code(reader, "220")
        await line.write(b"EHLO localhost\r\n")
        await _expect_code(reader, "250")
        await line.write(b"STARTTLS\r\n")
        await _expect_code(reader, "220")

    async def ask(self, line: Line) -> ServerAnswer:
        reader = AnswerReader(line)
        await line.write(b"EHLO localhost\r\n")
        code, words = await _reply(reader)
        said = [code]
        if code == "250" and re.search(rb"AUTH[ =].*EXTERNAL", words):
            await line.write(b"AUTH EXTERNAL =\r\n")
            code, words = await _reply(reader)
            said.append(code)
        if code[0] == "2":
            await line.write(b"MAIL FROM:<>\r\n")
            code, words = await _reply(reader)
            said.append(code)
            if code[0] == "2":
                await line.write(b"RSET\r\n")
                await _reply(reader)
        return answered(f"SMTP {' '.join(said)}", clean(words))


async def _expect_code(reader: AnswerReader, code: str) -> None:
    found, words = await _reply(reader)
    if found != code:
        raise DialectError(f"it answered {clean(words)}, and not {code}")


@dataclass(frozen=True)
class Imap:
    """STARTTLS (RFC 9051 section 6.2.1), then AUTHENTICATE EXTERNAL."""

    question: Question

    async def before(self, line: Line) -> None:
        reader = AnswerReader(line)
        greeting = await reader.until(b"\n")
        if not greeting.startswith(b"* OK"):
            raise DialectError(f"it greets with {clean(greeting)}")
        await line.write(b"a STARTTLS\r\n")
        await _tagged(reader, b"a", b"OK")

    async def ask(self, line: Line) -> ServerAnswer:
        reader = AnswerReader(line)
        await line.write(b"b AUTHENTICATE EXTERNAL\r\n")
        first = await reader.until(b"\n")
        while first.startswith(b"* "):
            first = await reader.until(b"\n")
        if first.startswith(b"+"):
            await line.write(b"\r\n")
            first = b""
        while not first.startswith(b"b "):
            first = await reader.until(b"\n")
        return answered(f"IMAP {clean(first.split()[1])}", clean(first))


async def _tagged(reader: AnswerReader, tag: bytes, due: bytes) -> None:
    line = await reader.until(b"\n")
    while not line.startswith(tag + b" "):
        line = await reader.until(b"\n")
    if line.split()[1:2] != [due]:
        raise DialectError(f"it answered {clean(line)}")


@dataclass(frozen=True)
class Pop3:
    """STLS (RFC 2595 section 4), then AUTH EXTERNAL (RFC 5034)."""

    question: Question

    async def before(self, line: Line) -> None:
        reader = AnswerReader(line)
        for sent in (b"", b"STLS\r\n"):
            if sent:
                await line.write(sent)
            if not (reply := await reader.until(b"\n")).startswith(b"+OK"):
                raise DialectError(f"it answered {clean(reply)}")

    async def ask(self, line: Line) -> ServerAnswer:
        reader = AnswerReader(line)
        await line.write(b"AUTH EXTERNAL =\r\n")
        reply = await reader.until(b"\n")
        return answered(f"POP3 {clean(reply.split()[0])}", clean(reply))


_START_TLS = b"1.3.6.1.4.1.1466.20037"
_WHO_AM_I = b"1.3.6.1.4.1.4203.1.11.3"


def _ber(tag: int, content: bytes) -> bytes:
    """A BER element (X.690 section 8.1) of less than 128 bytes."""
    assert len(content) < 128
    return bytes((tag, len(content))) + content


WHO_AM_I_REQUEST = _ber(0x30, _ber(2, b"\x03") + _ber(0x77, _ber(0x80, _WHO_AM_I)))
"""RFC 4532."""


async def _ldap_reply(reader: AnswerReader) -> tuple[int, bytes]:
    """An LDAPMessage's resultCode and the whole message (RFC 4511 section 4.1)."""
    head = await reader.exactly(2)
    length = head[1]
    if length & 0x80:
        octets = await reader.exactly(length & 0x7F)
        length = int.from_bytes(octets, "big")
    if head[0] != 0x30 or length > MAX_ANSWER:
        raise DialectError("its answer is no LDAP message")
    message = await reader.exactly(length)
    found = re.search(rb"\x0a\x01(.)", message, re.DOTALL)
    if not found:
        raise DialectError("its answer has no result code")
    return found.group(1)[0], message


@dataclass(frozen=True)
class Ldap:
    """StartTLS (RFC 4511 section 4.14), SASL EXTERNAL (RFC 4513 section 5.2.3), then who one is (RFC 4532)."""

    question: Question

    async def before(self, line: Line) -> None:
        await line.write(_ber(0x30, _ber(2, b"\x01") + _ber(0x77, _ber(0x80, _START_TLS))))
        code, _ = await _ldap_reply(AnswerReader(line))
        if code:
            raise DialectError(f"it refused StartTLS with result code {code}")

    async def ask(self, line: Line) -> ServerAnswer:
        reader = AnswerReader(line)
        sasl = _ber(0xA3, _ber(4, b"EXTERNAL") + _ber(4, b""))
        await line.write(_ber(0x30, _ber(2, b"\x02") + _ber(0x60, _ber(2, b"\x03") + _ber(4, b"") + sasl)))
        bind, _ = await _ldap_reply(reader)
        await line.write(WHO_AM_I_REQUEST)
        _, message = await _ldap_reply(reader)
        who = message.rpartition(b"dn:")[2] if b"dn:" in message else b""
        return answered(f"LDAP {bind}", f"who am I: {clean(who) or 'nobody'}", who)


@dataclass(frozen=True)
class Xmpp:
    """STARTTLS (RFC 6120 section 5), then SASL EXTERNAL (section 6)."""

    question: Question

    def _open(self) -> bytes:
        return (
            f"<?xml version='1.0'?><stream:stream to={quoteattr(self.question.host)} version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        ).encode()

    async def before(self, line: Line) -> None:
        reader = AnswerReader(line)
        await line.write(self._open())
        await reader.until(b"</stream:features>")
        await line.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        reply = await reader.until(b">")
        if not reply.startswith(b"<proceed"):
            raise DialectError(f"it answered {clean(reply)}")

    async def ask(self, line: Line) -> ServerAnswer:
        reader = AnswerReader(line)
        await line.write(self._open())
        features = await reader.until(b"</stream:features>")
        if b"EXTERNAL" not in features:
            return answered("XMPP without EXTERNAL", "this client may not log in by its certificate")
        await line.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
        reply = await reader.until(b">")
        return answered(f"XMPP {clean(reply.strip(b'</>').split()[0])}", clean(reply))


@dataclass(frozen=True)
class Postgres:
    """SSLRequest and StartupMessage (PostgreSQL's documentation, "Message Formats"): logs in as a user."""

    question: Question

    async def before(self, line: Line) -> None:
        await line.write(struct.pack("!II", 8, 80877103))
        if (answer := await AnswerReader(line).exactly(1)) != b"S":
            raise DialectError(f"it answered the request for TLS with {answer!r}, and not with 'S'")

    async def ask(self, line: Line) -> ServerAnswer:
        user = self.question.user
        fields = ("user", user, "database", self.question.database or user)
        body = struct.pack("!I", 3 << 16) + b"".join(word.encode() + b"\0" for word in fields) + b"\0"
        await line.write(struct.pack("!I", len(body) + 4) + body)
        reader = AnswerReader(line)
        kind, length = struct.unpack("!cI", await reader.exactly(5))
        message = await reader.exactly(min(max(length - 4, 0), MAX_ANSWER))
        if kind == b"E":
            found = {part[:1]: part[1:] for part in message.split(b"\0") if part}
            return answered(f"PostgreSQL {clean(found.get(b'C', b'error'))}", clean(found.get(b"M", b"")))
        if kind != b"R":
            raise DialectError(f"it answered the login with a message of type {kind!r}")
        number = int.from_bytes(message[:4], "big")
        return answered(f"PostgreSQL authentication {number}", "in" if number == 0 else "it asks for something more")


@dataclass(frozen=True)
class Mysql:
    """SSLRequest and HandshakeResponse41 (MySQL's documentation, "Connection Phase"): logs in without a password."""

    question: Question

    _PLUGIN: ClassVar[bytes] = b"mysql_native_password"
    _FLAGS: ClassVar[int] = 0x00000001 | 0x00000200 | 0x00000800 | 0x00008000 | 0x00080000
    """LONG_PASSWORD, PROTOCOL_41, SSL, SECURE_CONNECTION, PLUGIN_AUTH."""

    async def before(self, line: Line) -> None:
        _, greeting = await _mysql_packet(AnswerReader(line))
        if greeting[:1] != b"\x0a":
            raise DialectError(f"it greets with {clean(greeting)}")
        head = struct.pack("<IIB23x", self._FLAGS, 1 << 24, 45)
        await line.write(struct.pack("<I", len(head))[:3] + b"\x01" + head)

    async def ask(self, line: Line) -> ServerAnswer:
        head = struct.pack("<IIB23x", self._FLAGS, 1 << 24, 45)
        body = head + self.question.user.encode() + b"\0" + b"\0" + self._PLUGIN + b"\0"
        await line.write(struct.pack("<I", len(body))[:3] + b"\x02" + body)
        reader = AnswerReader(line)
        number, message = await _mysql_packet(reader)
        if message[:1] == b"\xfe" and len(message) > 1:  # it names another way: an empty answer says no password
            await line.write(b"\0\0\0" + bytes((number + 1 & 0xFF,)))
            _, message = await _mysql_packet(reader)
        if message[:1] == b"\xff":
            code = int.from_bytes(message[1:3], "little")
            return answered(f"MySQL {code}", clean(message[3:]))
        return answered("MySQL OK" if message[:1] == b"\0" else f"MySQL {message[:1].hex()}")


async def _mysql_packet(reader: AnswerReader) -> tuple[int, bytes]:
    """A packet's number and its payload."""
    head = await reader.exactly(4)
    return head[3], await reader.exactly(int.from_bytes(head[:3], "little"))


STARTTLS: Mapping[str, Callable[[Question], Dialect]] = {
    "smtp": Smtp,
    "imap": Imap,
    "pop3": Pop3,
    "ldap": Ldap,
    "xmpp": Xmpp,
    "postgres": Postgres,
    "mysql": Mysql,
}
"""The protocols that begin in the clear, by their names on the command line."""
HTTP = "http"
PROTOCOLS: Mapping[str, tuple[str, ...]] = {HTTP: ("http/1.1", http2.H2.decode())}
"""What is offered by ALPN (RFC 7301), by dialect: nothing in the others. A server mostly takes what it prefers itself;
where it asks the client, HTTP/1.1 says more, as it has words for a status."""
DIALECTS: Mapping[str, Callable[[Question], Dialect]] = {HTTP: Http, "raw": Raw, **STARTTLS}
"""All of them."""


def closed_in_order() -> ServerAnswer:
    """The server said goodbye by close_notify, or ended the connection, without an answer."""
    return closed("the server ended the connection before it answered")
