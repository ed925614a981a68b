"""The page's view model: what is on each scene, as data. Python makes it, templates draw it, `show --json` prints it.

Nothing in here is markup, and nothing is judged: outcomes, reasons and figures are those of `lab.judging`, and longer
texts are the blocks of `lab.story`. Texts are raw; `lab.page.rendering` makes them safe.

A scene has one or more steps, counted from 1. What appears within a scene says so in `since`, the step from which on
it is there.
"""

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

from lab.catalogue.outcomes import Outcome
from lab.document import Block, Inline, Octets

VERSION = 1
"""Grows when a field changes its meaning or goes away."""

Holding: TypeAlias = Literal["own", "copy", "none"]
Holds: TypeAlias = Literal["holds", "fails", "conditional", "none"]
Sight: TypeAlias = Literal["readable", "encrypted", "absent"]
Mark: TypeAlias = Literal["", "certificate", "proof", "alert"]
Where: TypeAlias = Literal["", "alice", "wire", "gateway 1", "gateway 2"]


@dataclass(frozen=True)
class Moment:
    """One step of a scene: what is said.

    A step with a `question` asks what a gateway will do and waits for an answer; the step after it has the `outcome`.
    """

    text: Inline
    question: str = ""
    outcome: Outcome | None = None
    finding: str = ""
    """What the RFCs predict, if the outcome is another."""


@dataclass(frozen=True)
class BundleFile:
    """The file that the bank hands out, with both things in it."""

    file: str
    subject: str
    issuer: str
    key_type: str


@dataclass(frozen=True)
class Chip:
    """Something that somebody holds: her own, a copy, or (struck through) not at all."""

    kind: Literal["certificate", "key", "proof"]
    text: str
    holding: Holding = "own"


@dataclass(frozen=True)
class GatewayBox:
    """A gateway in the network. `name` is short; `outcome` is what it did in this scene or an earlier one."""

    id: str
    name: str
    checks: str
    outcome: Outcome | None = None
    since: int = 1
    here: bool = False


@dataclass(frozen=True)
class Network:
    """Alice, mallory in between, the bank with its gateways and the account.

    `carried` is what a disc brings from mallory to the gateway that is `here`: in step 1 it is under way, in step 2 it
    is there. `more` gateways are not drawn. `balance` is what the account has; `stolen` is what leaves it in step 2.
    """

    alice: tuple[Chip, ...]
    mallory: tuple[Chip, ...]
    says: str
    file: str
    gateways: tuple[GatewayBox, ...]
    more: int = 0
    balance: int | None = None
    stolen: int = 0
    gained: int = 0
    """What mallory has moved in an earlier scene."""
    carried: Literal["", "certificate", "proof", "key"] = ""


@dataclass(frozen=True)
class Row:
    """A message in a ladder. `gist` says it in a few words; `octets` is None where its size is not known.

    `evidence` is the id of its bytes, empty where there are none.
    """

    sender: Literal["client", "server"]
    name: str
    gist: str
    octets: int | None
    encrypted: bool
    mark: Mark = ""
    since: int = 1
    evidence: str = ""


@dataclass(frozen=True)
class Ladder:
    """A conversation: what each side sent, in order. `client` is who speaks on the left."""

    client: Literal["alice", "mallory"]
    middle: str
    rows: tuple[Row, ...]
    until: int = 0
    """The last step in which it is shown; 0 for all."""
    since: int = 1


@dataclass(frozen=True)
class Highlight:
    """A field that matters: where it lies in the bytes, what it is, its value, and a sentence about it."""

    at: int
    length: int
    name: str
    value: str
    sentence: str


@dataclass(frozen=True)
class Highlighted:
    """The bytes of a message, and the fields in it that matter first."""

    octets: bytes
    highlights: tuple[Highlight, ...]
    missing: str
    """What is not in there."""
    evidence: str
    """The id of the same with every field."""


@dataclass(frozen=True)
class Said:
    """A message in one of two transcripts; `copied` if mallory sends the very bytes that alice sent."""

    sender: Literal["alice", "mallory", "bank"]
    name: str
    octets: int
    copied: bool = False
    evidence: str = ""


@dataclass(frozen=True)
class Changed:
    """A field that differs, in bytes. `changed` has for each side the places of the bytes that are not the same."""

    field: str
    left: bytes
    right: bytes
    changed: tuple[tuple[bool, ...], tuple[bool, ...]]


@dataclass(frozen=True)
class MessagePair:
    """Corresponding messages of two transcripts; None where one has no counterpart."""

    left: Said | None
    right: Said | None
    same: bool
    opened: Changed | None = None


@dataclass(frozen=True)
class TwoTranscripts:
    """What alice signed, beside what the bank checks."""

    pairs: tuple[MessagePair, ...]
    hashes: tuple[str, str]
    left_hash: str
    right_hash: str
    signer: str
    """Whose signature is checked, in a few words."""
    fits: tuple[bool, bool]
    nobody_looked: str = ""
    """Of a gateway that lets her in: what it did about the proof."""


@dataclass(frozen=True)
class Cell:
    """What a gateway did with a move; `evidence` is the id of all about it."""

    outcome: Outcome
    evidence: str
    finding: bool = False
    note: str = ""


@dataclass(frozen=True)
class GatewayHead:
    """The head of a column."""

    id: str
    scheme: str
    implementation: str
    name: str = ""


@dataclass(frozen=True)
class CellTable:
    """Moves by gateways: those that check the proof, those that do not, and those that check one but not whose it is.
    Absent cells are None."""

    leak: str
    leak_title: str
    tls: str
    checking: tuple[GatewayHead, ...]
    others: tuple[GatewayHead, ...]
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]
    """Move, its title, and a cell for each gateway: the checking ones first, then the others, then `not_whose`."""
    not_whose: tuple[GatewayHead, ...] = ()
    """Those that check a proof, but not that it belongs to the name that they let in."""


@dataclass(frozen=True)
class Matrix:
    """All tables of a run, one for each leak and version, and what follows from them."""

    tables: tuple[CellTable, ...]
    lessons: tuple[Block, ...] = ()


@dataclass(frozen=True)
class GatewaySide:
    """A gateway in the comparison of gateways: what it asks for and checks, and what each move did there."""

    name: str
    id: str
    asks: str
    checks: str
    proof: str
    implementation: str
    cells: tuple[Cell | None, ...]
    """For each move; None where it was not tried or could not be."""


@dataclass(frozen=True)
class Gateways:
    """Gateways side by side, move by move."""

    moves: tuple[tuple[str, str], ...]
    sides: tuple[GatewaySide, ...]


@dataclass(frozen=True)
class KeyControl:
    """What the refusals rest on: the network with the key, and what was searched for in the capture."""

    network: Network
    searched: tuple[tuple[str, Inline], ...]


@dataclass(frozen=True)
class SettledClaim:
    """A claim of the discussion with its verdict in this run, and links to the events that settle it."""

    id: str
    by: str
    claim: str
    verdict: str
    holding: Holds
    experiment: str
    because: str
    evidence: tuple[tuple[str, str], ...]
    """Event number and the id of what is known of it."""


@dataclass(frozen=True)
class Claims:
    """The claims that this run settles; `open` are those that it does not."""

    claims: tuple[SettledClaim, ...]
    open: tuple[SettledClaim, ...]


@dataclass(frozen=True)
class Shipped:
    """A release that shipped without the check, or with a broken one; `mended` is one that has it.

    `moves` got in there when the catalogue was written, and `cases` are public numbers of such faults.
    """

    title: str
    story: str
    moves: tuple[str, ...]
    mended: str
    cases: tuple[str, ...]


@dataclass(frozen=True)
class ShippedReleases:
    """What happened outside of the lab: from the catalogue, not from this run. `try_it` is the command for it."""

    releases: tuple[Shipped, ...]
    try_it: str


@dataclass(frozen=True)
class LedgerLine:
    """An entry of the bank's ledger."""

    number: str
    time: str
    what: str
    amount: int
    balance: int | None
    evidence: str
    evidence_text: str


@dataclass(frozen=True)
class LedgerSheet:
    """The bank's ledger; `more` entries are not shown."""

    entries: tuple[LedgerLine, ...]
    more: int = 0


@dataclass(frozen=True)
class SeenConnection:
    """A connection that mallory saw."""

    number: str
    time: str
    client: str
    server: str
    gateway: str
    tls: str
    shows: str
    """What the wire shows of the client's certificate, in words."""
    sight: Sight
    login: bool
    evidence: str


@dataclass(frozen=True)
class Connections:
    """The connections in the capture; `more` are not shown."""

    connections: tuple[SeenConnection, ...]
    more: int = 0


@dataclass(frozen=True)
class Ladders:
    """The same conversation, read in several ways, one after another."""

    ladders: tuple[Ladder, ...]


@dataclass(frozen=True)
class Opened:
    """What became of a leak's loot at a gateway: whether any move got in, and by which."""

    gateway: GatewayBox
    by: Inline


@dataclass(frozen=True)
class LeakPicture:
    """Another way in which the certificate got out: where, what mallory has, what it opened, and the whole act."""

    place: str
    has: tuple[Chip, ...]
    opened: tuple[Opened, ...]
    act: tuple[Block, ...]


@dataclass(frozen=True)
class Words:
    """Blocks of the story, as the terminal has them."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Closing:
    """The answer, with what it rests on."""

    points: tuple[tuple[Literal["certificate", "proof", "key"], Inline], ...]
    answer: Inline
    problems: tuple[Block, ...] = ()


Drawing: TypeAlias = (
    BundleFile
    | Network
    | Ladder
    | Ladders
    | Highlighted
    | TwoTranscripts
    | Gateways
    | KeyControl
    | Matrix
    | Claims
    | ShippedReleases
    | LedgerSheet
    | Connections
    | LeakPicture
    | Words
    | Closing
)


@dataclass(frozen=True)
class Scene:
    """One idea. `where` is the place in the network that the small map points at, empty for no map."""

    id: str
    title: str
    steps: tuple[Moment, ...]
    drawing: Drawing
    part: Literal["story", "evidence"] = "story"
    where: Where = ""
    links: tuple[tuple[str, str], ...] = ()
    """Ways to the evidence: its id, and what is there."""


@dataclass(frozen=True)
class Closeup:
    """What is opened on demand: everything about one cell, connection, message or event.

    `ladder`, `transcripts` and `message` are drawings of it, None where there is nothing to draw.
    """

    id: str
    title: Inline
    outcome: Outcome | None = None
    blocks: tuple[Block, ...] = ()
    ladders: tuple[Ladder, ...] = ()
    transcripts: TwoTranscripts | None = None
    after: tuple[Block, ...] = ()
    message: Octets | None = None


@dataclass(frozen=True)
class Page:
    """A run as far as it is told. `pending` are the ids of the scenes that are still to come; `student` is whose run it
    is, empty if nobody is named."""

    run: str
    mode: str
    question: str
    scenes: tuple[Scene, ...]
    pending: tuple[str, ...]
    over: bool
    student: str = ""
    version: int = VERSION


def as_data(value: Any) -> Any:
    """A part of the model for JSON: objects with a `kind` where several can stand, bytes in hex."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: as_data(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [as_data(one) for one in value]
    return value
