"""What a server answers, of whatever kind it is: enough of it to tell one answer from another."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from attacker.moves.playback import Playback
from attacker.moves.replay import Course
from lab.tls.alerts import AlertDescription, alert_name


class Ending(StrEnum):
    """How a connection went; the value is what JSON holds."""

    ANSWERED = "answered"
    UNREADABLE = "unreadable"
    """The server answered, and not in this protocol."""
    ALERT = "alert"
    """The server sent a fatal TLS alert, in the handshake or right after it."""
    CLOSED = "closed"
    """The server closed or reset the connection without an alert and without an answer."""
    SILENT = "silent"
    """The server neither answered nor closed in time."""
    FAILED = "failed"
    """There was no connection, or it broke down on our side: this says nothing about the certificate."""


HANDSHAKE = "a complete handshake"
"""The kind of answer where nothing is spoken above TLS and nothing came."""


NO_TLS = "no TLS"
"""The kind of answer where the server did not begin TLS."""


@dataclass(frozen=True)
class ServerAnswer:
    """What came back.

    `kind` is what two answers have in common that mean the same: `HTTP 200`, `PostgreSQL 28000`, `closed`. `words` says
    more about it, for people. `content` is the SHA-256 of what was answered, in hex, empty where that is nothing.
    """

    ending: Ending
    kind: str
    words: str = ""
    content: str = ""

    @property
    def text(self) -> str:
        """The answer in one line."""
        return f"{self.kind}: {self.words}" if self.words else self.kind


def answered(kind: str, words: str = "", content: bytes = b"") -> ServerAnswer:
    """An answer of the protocol above TLS."""
    return ServerAnswer(Ending.ANSWERED, kind, words, sha256(content).hexdigest() if content else "")


def alerted(alert: int) -> ServerAnswer:
    """A fatal alert."""
    words = "name the protocol that it speaks, by --alpn" if alert == AlertDescription.NO_APPLICATION_PROTOCOL else ""
    return ServerAnswer(Ending.ALERT, f"alert {alert_name(alert)} ({alert})", words)


def closed(words: str) -> ServerAnswer:
    """The end of the connection, without an answer and without an alert."""
    return ServerAnswer(Ending.CLOSED, "closed without a word", words)


def answer_to(course: Course, said: ServerAnswer | None) -> ServerAnswer:
    """What a connection's course amounts to, with what was `said` above TLS if anything was."""
    failed = course.failed
    if said:
        return said
    if failed.sent_by == "server" and failed.alert not in (None, AlertDescription.CLOSE_NOTIFY):
        return alerted(failed.alert)
    if failed.sent_by == "server" and failed.alert is None:
        return ServerAnswer(Ending.ALERT, "an encrypted alert", "its keys are the server's and the owner's")
    if failed.sent_by == "client" or not course.local:
        return ServerAnswer(Ending.FAILED, "failed", failed.reason)
    if failed.reason.startswith("no answer within"):
        return ServerAnswer(Ending.SILENT, "silence", failed.reason)
    if isinstance(course.engine, Playback) and course.engine.ends_protected:
        return ServerAnswer(Ending.CLOSED, "closed after an encrypted record", "which can be an alert")
    return closed(failed.reason)
