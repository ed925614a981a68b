"""What an attacker is told: which server, how it is spoken to, what to try there, and how fast."""

import asyncio
import json
from dataclasses import dataclass

from attacker.probe.dialects import PROTOCOLS, Question
from lab.address import Address
from lab.process import BadInput
from lab.tls.versions import Version, find_version


@dataclass(frozen=True)
class Target:
    """The server, how it is spoken to, and what is tried there.

    `server_name` is its name in the handshake, `rate` connections a second, `at_once` how many there may be at a time.
    `other_name` is another name of the server, and `other_port` its port, where the attacker's own bundle gets in.
    `alpn` is what to offer by ALPN; what its dialect offers if it is empty.
    """

    address: Address
    server_name: str
    dialect: str
    question: Question
    versions: tuple[Version, ...]
    moves: tuple[str, ...]
    rate: float = 20.0
    at_once: int = 4
    other_name: str = ""
    other_port: int = 0
    alpn: tuple[str, ...] = ()

    @property
    def protocols(self) -> tuple[bytes, ...]:
        """The protocols above TLS that each client of this server offers (RFC 7301); empty for no offer."""
        return tuple(name.encode() for name in self.alpn or PROTOCOLS.get(self.dialect, ()))


@dataclass(frozen=True)
class Order:
    """A target, and the customer whose certificate (`chain`, DER) is known.

    `own` is the attacker's own bundle, in PEM, empty for none; `customer` is the name in the certificate.
    """

    target: Target
    customer: str
    chain: tuple[bytes, ...]
    own: str = ""

    def to_json(self) -> str:
        """One line."""
        target, question = self.target, self.target.question
        return json.dumps(
            {
                "target": {
                    **vars(target),
                    "address": list(target.address),
                    "question": {**vars(question), "send": question.send.hex()},
                    "versions": list(map(str, target.versions)),
                },
                "customer": self.customer,
                "chain": [der.hex() for der in self.chain],
                "own": self.own,
            }
        )

    @classmethod
    def from_json(cls, line: str) -> "Order":
        """Reads it back; BadInput where it is none."""
        try:
            fields = json.loads(line)
            target, question = fields["target"], fields["target"]["question"]
            headers = tuple((str(name), str(value)) for name, value in question["headers"])
            return cls(
                Target(
                    **{
                        **target,
                        "address": Address(*target["address"]),
                        "question": Question(
                            **{**question, "headers": headers, "send": bytes.fromhex(question["send"])}
                        ),
                        "versions": tuple(version for text in target["versions"] if (version := find_version(text))),
                        "moves": tuple(target["moves"]),
                        "alpn": tuple(target["alpn"]),
                    }
                ),
                fields["customer"],
                tuple(map(bytes.fromhex, fields["chain"])),
                fields["own"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"the order on standard input is not readable: {error}") from None


class Pace:
    """Lets connections begin no faster than `rate` a second and no more than `at_once` at a time."""

    def __init__(self, rate: float, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._pause = 1 / rate
        self._next = 0.0

    async def __aenter__(self) -> None:
        await self._places.acquire()
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._pause
        await asyncio.sleep(at - now)

    async def __aexit__(self, *_error: object) -> None:
        self._places.release()
