"""Carries out a probe: the owner logs in, the controls are made, the attacker tries her moves, and all is judged."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from attacker.collected import common_name
from attacker.moves.make import Loot, Script, fresh_key, no_certificate, self_issued_certificate, stolen_key
from attacker.moves.replay import Attempt
from attacker.probe.answers import Ending, ServerAnswer
from attacker.probe.attempt import attempt
from attacker.probe.dialects import DIALECTS
from attacker.probe.orders import Order, Pace, Target
from attacker.probe.prefixed import prefixed
from attacker.scope import OutOfScope, check_target
from lab.address import Address
from lab.catalogue.gateways import find_gateway
from lab.catalogue.moves import MOVES, OTHER_DOOR, PREFIX, REAL_MOVES, find_move
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.shapes import Leaf
from lab.events.log import Recorded, from_line
from lab.events.types import CertificateCaptured, HandshakeSeen, MoveTried, PositionTaken, ServerAnswered, Trouble
from lab.judging.attempts import Tried
from lab.judging.shapes import Known, departure
from lab.probing.judge import Answered, Attempted, Controls, Judged, judge
from lab.probing.owner import Owner
from lab.tls.bundle import Bundle
from lab.tls.flight import SendFinished
from lab.tls.streams import SocketConnection
from lab.tls.versions import Version, find_version

HINT = (
    "the attacker stays on loopback: bring a server of yours there first, with `ssh -L 8443:localhost:443 HOST` or "
    "`kubectl port-forward service/NAME 8443:443`, and probe localhost:8443"
)
REACH_SECONDS = 5.0
MOVE_IDS = tuple(move.id for move in (*MOVES, *REAL_MOVES) if not move.with_key)


@dataclass(frozen=True)
class Probed:
    """What a probe found: by version, with the attacker's reports as they came, and what she saw of the owner."""

    target: Target
    customer: str
    judged: dict[Version, Judged]
    events: tuple[Recorded, ...]
    connections: int
    """How many connections were made to the server."""

    @property
    def certificate_seen(self) -> bool:
        """Whether the wire showed the certificate."""
        return any(isinstance(one.event, CertificateCaptured) for one in self.events)


class ProbeFailed(Exception):
    """The probe could not be carried out; the text says why, in one line."""


async def probe(target: Target, bundle: Bundle, other: Bundle | None, tell: Callable[[str], object]) -> Probed:
    """Carries it all out; ProbeFailed where it can't be. `tell` gets a line for each stage.

    The attacker is a process of her own. She gets the owner's certificate, which is no secret, and not the key.
    """
    try:
        check_target(*target.address)
    except OutOfScope as error:
        raise ProbeFailed(f"{error}; {HINT}") from None
    return await _Probe(target, bundle, other, tell).run()


class _Probe:
    def __init__(self, target: Target, bundle: Bundle, other: Bundle | None, tell: Callable[[str], object]) -> None:
        self._target, self._bundle, self._other, self._tell = target, bundle, other, tell
        self._dialect = DIALECTS[target.dialect](target.question)
        self._customer = common_name(bundle.chain[0])
        self._pace = Pace(target.rate, target.at_once)
        self._connections = 0

    async def run(self) -> Probed:
        own = self._other.to_pem() if self._other else ""
        await self._reach()
        attacker = await _Attacker.start(Order(self._target, self._customer, self._bundle.chain, own))
        try:
            relay = await attacker.position()
            self._tell("the owner logs in through the attacker's relay")
            owners = {version: await self._log_in(version, relay) for version in self._target.versions}
            if all(one.ending is Ending.FAILED for answers in owners.values() for one in answers):
                raise ProbeFailed(f"{self._target.address}: {next(iter(owners.values()))[0].text}")
            self._tell("the controls")
            before = {version: await self._controls(version) for version in self._target.versions}
            self._tell("the attacker tries her moves")
            spoken = [version for version, answers in owners.items() if answers[0].ending is Ending.ANSWERED]
            events = await attacker.events(spoken)
            attempts = attempts_in(events, self._bundle)
            attempts = [await self._prefixed(one) if one.event.move == PREFIX else one for one in attempts]
            again = {version: await self._control(version, self._with(self._bundle)) for version in before}
        finally:
            await attacker.stop()
        self._connections += sum(one.attempts + (one.event.move == OTHER_DOOR) for one in attempts if one.answer)
        judged = {
            version: judge(
                version,
                Controls(
                    owners[version],
                    found["key"],
                    found["none"],
                    found["stranger"],
                    found["spoiled"],
                    again[version],
                    found.get("other"),
                ),
                [one for one in attempts if one.event.tls == str(version)],
            )
            for version, found in before.items()
        }
        return Probed(self._target, self._customer, judged, tuple(events), self._connections)

    async def _reach(self) -> None:
        """Connects once; ProbeFailed where nothing takes the connection."""
        self._connections += 1
        try:
            async with asyncio.timeout(REACH_SECONDS):
                (await SocketConnection.open(self._target.address)).close()
        except TimeoutError:
            raise ProbeFailed(f"{self._target.address}: no connection within {REACH_SECONDS:g} s") from None
        except OSError as error:
            raise ProbeFailed(f"{self._target.address}: {error.strerror}; does the server run?") from None

    async def _log_in(self, version: Version, relay: Address) -> tuple[ServerAnswer, ...]:
        """Twice: only a client that comes again shows its ticket (RFC 8446 section 4.2.11)."""
        owner = Owner(self._bundle, version, self._target, self._dialect)
        found = []
        for _ in range(2):
            self._connections += 1
            found.append(await owner.log_in(relay))
            if found[0].ending is not Ending.ANSWERED:
                break
        return tuple(found)

    async def _controls(self, version: Version) -> dict[str, Answered]:
        stranger = stranger_like(self._bundle.chain[0])
        scripts: dict[str, Callable[[Version], Script]] = {
            "key": self._with(self._bundle),
            "none": lambda version: no_certificate(Loot((), None), version),
            "stranger": self._with(stranger),
            "spoiled": lambda version: _spoiled(stolen_key(self._bundle, version)),
        }
        if self._other:
            scripts["other"] = self._with(self._other)
        return {name: await self._control(version, script) for name, script in scripts.items()}

    async def _prefixed(self, attempted: Attempted) -> Attempted:
        """The move `prefix`, where the protocol has it: as the attacker has no key, the owner's connection is the lab's
        own, with the attacker's command in it. Where it has not, what the attacker says of it."""
        target, version = self._target, find_version(attempted.event.tls)
        dialect = prefixed(target.dialect, target.question)
        if dialect is None or version is None:
            return attempted
        it = self._attempt(PREFIX, version)
        async with self._pace:
            tried, answer = await attempt(it, stolen_key(self._bundle, version), dialect)
        return Attempted(tried, _answer_in(answer), True, answer.completed)

    def _attempt(self, move: str, version: Version) -> Attempt:
        target = self._target
        return Attempt(move, version, target.address, target.server_name, self._customer, protocols=target.protocols)

    @staticmethod
    def _with(bundle: Bundle) -> Callable[[Version], Script]:
        return lambda version: stolen_key(bundle, version)

    async def _control(self, version: Version, script: Callable[[Version], Script]) -> Answered:
        it = self._attempt("control", version)
        async with self._pace:
            self._connections += 1
            _, answered = await attempt(it, script(version), self._dialect)
        return Answered(_answer_in(answered), answered.asked or not answered.completed)


class _Attacker:
    """The attacker's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._events: list[Recorded] = []

    @classmethod
    async def start(cls, order: Order) -> "_Attacker":
        it = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "attacker.probe",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=1 << 24,
            )
        )
        await it._say(order.to_json())
        return it

    async def position(self) -> Address:
        """Where her relay listens."""
        event = await self._next()
        if not event or not isinstance(event.event, PositionTaken):
            raise ProbeFailed(await self._last_words(event))
        host, _, port = event.event.detail[0].rpartition(":")
        return Address(host, int(port))

    async def events(self, versions: Sequence[Version]) -> list[Recorded]:
        """Lets her try her moves in these versions: all that she reports, to the end."""
        await self._say(" ".join(map(str, versions)))
        while event := await self._next():
            pass
        if await self._process.wait():
            raise ProbeFailed(await self._last_words(event))
        return self._events

    async def stop(self) -> None:
        """Ends the process, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _next(self) -> Recorded | None:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            return None
        self._events.append(from_line(line.decode()))
        return self._events[-1]

    async def _last_words(self, event: Recorded | None) -> str:
        assert self._process.stderr
        words = (await self._process.stderr.read()).decode("utf-8", "replace").strip()
        if event and isinstance(event.event, Trouble):
            return event.event.what
        return words.splitlines()[-1] if words else "the attacker's process ended early"


def attempts_in(events: Sequence[Recorded], bundle: Bundle) -> list[Attempted]:
    """The attempts among the attacker's reports, each with the answer to it, held against its move's shape."""
    captured = tuple(one.event for one in events if isinstance(one.event, CertificateCaptured))
    seen = [one.event for one in events if isinstance(one.event, HandshakeSeen)]
    known = Known(
        captured,
        frozenset({sha256(bundle.chain[0]).hexdigest()}),
        frozenset(one.client_random for one in seen),
        frozenset((one.server, one.session) for one in seen if one.session),
    )
    answers = {
        (one.event.move, one.event.tls, one.event.round): one.event
        for one in events
        if isinstance(one.event, ServerAnswered)
    }
    found = []
    for recorded in events:
        event = recorded.event
        if not isinstance(event, MoveTried):
            continue
        answered = answers.get((event.move, event.tls, event.round))
        if answered is None:
            found.append(Attempted(event, None, made=False))
            continue
        wrong = _departure(recorded, known) if answered.made else ""
        answer = _answer_in(answered)
        found.append(Attempted(event, answer, answered.made, answered.completed, wrong, answered.attempts))
    return sorted(found, key=lambda one: MOVE_IDS.index(one.event.move))


def _spoiled(script: Script) -> Script:
    """The same, except that its Finished is wrong: no server may complete that handshake."""
    flight = script.flight or ()
    return replace(
        script, flight=tuple(SendFinished(spoiled=True) if isinstance(step, SendFinished) else step for step in flight)
    )


def _answer_in(event: ServerAnswered) -> ServerAnswer:
    return ServerAnswer(Ending(event.ending), event.kind, event.words, event.content)


def _departure(recorded: Recorded, known: Known) -> str:
    """What keeps an attempt from being its move, as far as this can be told of a server that is not the bank's."""
    event = recorded.event
    assert isinstance(event, MoveTried)
    move, gateway, version = find_move(event.move), find_gateway("mtls@openssl"), find_version(event.tls)
    if not (move and gateway and version and known.captured) or _uses_mallorys(move.shape.certificates):
        return ""
    if move in REAL_MOVES and not move.shape.certificates:
        return ""  # where the server does not go along, a full handshake follows
    whole = any(name == "ServerHello" for _, name, _ in event.steps)
    judged = replace(event, outcome=REFUSED if event.alert_by == "server" else ACCEPTED)
    return departure(Tried(recorded.number, judged, gateway, version, (), recorded.version), known) if whole else ""


def _uses_mallorys(certificates: Iterable[Iterable[Leaf]]) -> bool:
    return any(leaf is Leaf.MALLORYS for leaves in certificates for leaf in leaves)


def stranger_like(certificate: bytes) -> Bundle:
    """A bundle that nobody issued, with a key of the same kind and another name."""
    key = fresh_key(certificate)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a stranger")])
    return Bundle((self_issued_certificate(name, key),), key)
