"""The evidence on the page: the matrix, the claims, the ledger, the connections. `closeups` has all about each of them.

What is opened on demand has an id: `cell/LEAK/GATEWAY/TLS/MOVE`, `connection/NUMBER`, `event/NUMBER`, `message/HASH`.
A number is that of an event, `attacker-12`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, product

from lab.catalogue.gateways import Gateway, find_gateway, gateways_named
from lab.catalogue.leaks import LEAKS, WIRE
from lab.catalogue.moves import STOLEN_KEY, moves_named
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.schemes import ProofOf
from lab.document import Break, Heading
from lab.events.log import Recorded
from lab.events.types import (
    AccountOpened,
    BundleIssued,
    CertificateCaptured,
    HandshakeSeen,
    MoneyMoved,
    MoveTried,
    ProofRelayed,
    TransferRefused,
)
from lab.judging.claims import CLAIMS, settle
from lab.judging.claims.claim import Claim, Holding, Settled
from lab.judging.judgement import Judgement, Verdict
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.page.model import (
    Cell,
    CellTable,
    Claims,
    Connections,
    GatewayHead,
    Holds,
    LedgerLine,
    LedgerSheet,
    Matrix,
    Moment,
    Scene,
    SeenConnection,
    SettledClaim,
    Sight,
)
from lab.page.teaching import Teaching
from lab.story.evidence import due, unusual
from lab.story.matrix import tell_lessons
from lab.tls.versions import TLS13, VERSIONS
from lab.words import counted, listed

MAX_LISTED = 200
"""How many connections and ledger entries are listed."""


def cell_id(verdict: Verdict) -> str:
    return f"cell/{verdict.leak}/{verdict.gateway}/{verdict.tls}/{verdict.move}"


def connection_id(number: str) -> str:
    return f"connection/{number.replace('#', '-')}"


def event_id(number: str) -> str:
    return f"event/{number.replace('#', '-')}"


def ids_of_events(judged: JudgedRun) -> dict[str, str]:
    """By the number of each event the id under which all about it is shown."""
    found = {
        one.number: connection_id(one.number) if on_a_network(one.event) else event_id(one.number)
        for one in judged.run.events
    }
    return found | {one.evidence.attempt: cell_id(one) for one in judged.judgement.verdicts if one.evidence.attempt}


def cell(verdict: Verdict) -> Cell:
    """What a gateway did with a move."""
    note = f"expected {due(verdict)}" if not verdict.as_expected else unusual(verdict)
    return Cell(verdict.outcome, cell_id(verdict), not verdict.as_expected, note)


def matrix(given: Teaching) -> Scene | None:
    """Every verdict of the run, once it is over."""
    judgement = given.judged.judgement
    if not given.over or not judgement.verdicts:
        return None
    tables = tuple(_tables(judgement, given))
    lessons = tuple(one for one in tell_lessons(judgement) if not isinstance(one, Break | Heading))
    said = Moment(_sentence("; ".join(_opened(judgement))))
    return Scene("matrix", _matrix_title(judgement), (said,), Matrix(tables, lessons))


_ONE_OF = {
    ProofOf.CUSTOMER: "a gateway that checks the proof",
    ProofOf.NOBODY: "one that does not",
    ProofOf.SOMEBODY: "one that checks a proof, but not whose it is",
}


def _opened(judgement: Judgement) -> Iterator[str]:
    """How many moves without the key opened a gateway, of each group."""
    for group, where in _ONE_OF.items():
        tried = [
            one
            for one in judgement.verdicts
            if (found := find_gateway(one.gateway))
            and found.scheme.proof_of is group
            and one.move != STOLEN_KEY
            and one.outcome in (ACCEPTED, REFUSED)
        ]
        moves, opened = {one.move for one in tried}, {one.move for one in tried if one.outcome == ACCEPTED}
        if moves:
            yield f"{len(opened) or 'none'} of {counted(len(moves), 'move')} opened {where}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _matrix_title(judgement: Judgement) -> str:
    """What the matrix says in one line: whether a move without the key got in where the proof is checked."""
    tried = [
        one
        for one in judgement.verdicts
        if (found := find_gateway(one.gateway))
        and found.scheme.proof_of is ProofOf.CUSTOMER
        and one.outcome in (ACCEPTED, REFUSED)
    ]
    without_key = [one for one in tried if one.move != STOLEN_KEY]
    got_in = {one.move for one in without_key if one.outcome == ACCEPTED}
    if not without_key:
        return "What each move did at each gateway."
    if got_in:
        return f"Finding: {counted(len(got_in), 'move')} got in where the proof is checked."
    if judgement.contradictions:
        return "The witnesses disagree, so this decides nothing."
    if judgement.errors:
        return "Not every attempt could be judged."
    return "Where the proof is checked, no move gets in."


def _tables(judgement: Judgement, given: Teaching) -> Iterator[CellTable]:
    found = {(one.leak, one.tls, one.gateway, one.move): one for one in judgement.verdicts}
    tried = {(one.leak, one.tls) for one in judgement.verdicts}
    for leak, version in product(LEAKS, map(str, VERSIONS)):
        if (leak.id, version) not in tried:
            continue
        mine = {one.gateway for one in judgement.verdicts if (one.leak, one.tls) == (leak.id, version)}
        there = gateways_named(mine)
        groups = [[one for one in there if one.scheme.proof_of is group] for group in _ONE_OF]
        rows = []
        for move in moves_named({one.move for one in judgement.verdicts}):
            cells = [found.get((leak.id, version, gateway.id, move.id)) for gateway in chain(*groups)]
            if any(cells):
                rows.append((move.id, move.title, tuple(cell(one) if one else None for one in cells)))
        checking, others, not_whose = (tuple(_head(one, given) for one in some) for some in groups)
        yield CellTable(leak.id, leak.title, version, checking, others, tuple(rows), not_whose)


def _head(gateway: Gateway, given: Teaching) -> GatewayHead:
    name = given.roles.name(gateway)
    return GatewayHead(gateway.id, gateway.scheme.id, gateway.implementation.id, "" if name == gateway.id else name)


_HOLDINGS: dict[Holding, Holds] = {
    Holding.HOLDS: "holds",
    Holding.FAILS: "fails",
    Holding.CONDITIONAL: "conditional",
}


def claims(given: Teaching) -> Scene | None:
    """Each claim of the discussion with its verdict."""
    if not given.over or not given.judged.judgement.verdicts:
        return None
    judged = given.judged
    ids = ids_of_events(judged)
    settled = [_settled(claim, said, ids) for claim, said in settle(CLAIMS, RunQueries(judged))]
    decided = tuple(one for one in settled if one.holding != "none")
    left = tuple(one for one in settled if one.holding == "none")
    if not decided:
        return None
    counts = [
        (len([one for one in decided if one.holding == holding]), word)
        for holding, word in (("holds", "hold"), ("conditional", "hold under a condition"), ("fails", "fail"))
    ]
    said = ", ".join(f"{number} {word}" for number, word in counts if number)
    more = f" {len(left)} take more than this run tried." if left else ""
    moment = Moment(f"Of {counted(len(decided), 'claim')} that this run settles, {said}.{more}")
    return Scene("claims", "What the discussion got right.", (moment,), Claims(decided, left))


def _settled(claim: Claim, settled: Settled, ids: Mapping[str, str]) -> SettledClaim:
    verdict = settled.holding.value + (f": {settled.condition}" if settled.condition else "")
    holding: Holds = _HOLDINGS.get(settled.holding, "none")
    links = tuple((number, ids[number]) for number in settled.evidence if number in ids)
    return SettledClaim(claim.id, claim.by, claim.claim, verdict, holding, claim.experiment, settled.because, links)


def ledger(given: Teaching) -> Scene | None:
    """The bank's ledger, the third witness."""
    if not given.over:
        return None
    judged = given.judged
    orders = {
        one.event.connection: one
        for one in judged.run.events
        if isinstance(one.event, MoveTried | ProofRelayed) and one.event.connection
    }
    kinds = AccountOpened | MoneyMoved | TransferRefused
    told = [one for one in judged.run.events if isinstance(one.event, kinds)]
    ids = ids_of_events(judged)
    lines = [_line(recorded, orders, ids) for recorded in told[:MAX_LISTED]]
    if not lines:
        return None
    return Scene(
        "ledger",
        "The bank's ledger is the third witness.",
        (Moment(_moved(judged.run.all(MoneyMoved), orders)),),
        LedgerSheet(tuple(lines), len(told) - len(lines)),
        part="evidence",
    )


def _moved(transfers: Iterable[MoneyMoved], orders: Mapping[str, Recorded]) -> str:
    """How much the bank moved, and who ordered it; older runs name no connections, and so nobody."""
    moved = list(transfers)
    if not moved:
        return "The bank moved nothing."
    by = Counter(_ordered_by(orders.get(one.connection)) for one in moved)
    total = f"The bank moved {sum(one.amount for one in moved):,} in {counted(len(moved), 'transfer')}"
    if not any(one.connection for one in moved):
        return f"{total}."
    if len(by) == 1:
        return f"{total}, {'each' if len(moved) > 1 else 'ordered'} {next(iter(by))}."
    return f"{total}: {listed([f'{number} {how}' for how, number in by.items()])}."


def _ordered_by(order: Recorded | None) -> str:
    """In which way a transfer was ordered."""
    match order and order.event:
        case MoveTried(leak=""):
            return "by the lab's control"
        case MoveTried():
            return "by a move of Mallory's"
        case ProofRelayed():
            return "by Mallory in a login of Alice's that she relayed"
    return "in a connection that nobody reports"


def _line(recorded: Recorded, orders: Mapping[str, Recorded], ids: Mapping[str, str]) -> LedgerLine:
    event = recorded.event
    balance: int | None
    when = f"{recorded.time:%H:%M:%S}"
    match event:
        case AccountOpened():
            return LedgerLine(recorded.number, when, f"{event.customer}'s account is opened", 0, event.balance, "", "")
        case MoneyMoved():
            what, amount, balance = f"{event.customer} to {event.to}", event.amount, event.balance
        case TransferRefused():
            what, amount, balance = f"refused, HTTP {event.status}: {event.reason}", 0, None
        case _:
            raise AssertionError(event)
    order, words = orders.get(event.connection), ""
    if order and isinstance(order.event, MoveTried | ProofRelayed):
        tried = order.event.move if isinstance(order.event, MoveTried) else "a relayed proof"
        words = f"{tried}, TLS {order.event.tls}"
    return LedgerLine(recorded.number, when, what, amount, balance, ids[order.number] if order else "", words)


def connections(given: Teaching) -> Scene | None:
    """Every connection that mallory saw."""
    if not given.over:
        return None
    seen = [one for one in given.judged.run.events if on_a_network(one.event)]
    if not seen:
        return None
    listed = tuple(_connection(one, given.judged) for one in seen[:MAX_LISTED])
    hers = {one.subject for one in given.judged.run.all(BundleIssued)}
    shown = [one.event.subject in hers for one in seen if isinstance(one.event, CertificateCaptured)]
    others = f", and in {shown.count(False)} another customer's" if not all(shown) else ""
    of = counted(len(seen), "handshake")
    said = f"In {shown.count(True)} of {of} Alice's certificate could be read{others}. Open any of them."
    return Scene(
        "connections",
        "What Mallory recorded.",
        (Moment(said),),
        Connections(listed, len(seen) - len(listed)),
        part="evidence",
    )


def on_a_network(event: object) -> bool:
    return isinstance(event, HandshakeSeen) or (isinstance(event, CertificateCaptured) and bool(event.client))


def _connection(recorded: Recorded, judged: JudgedRun) -> SeenConnection:
    event = recorded.event
    assert isinstance(event, CertificateCaptured | HandshakeSeen)
    on = judged.connections.of(event)
    if isinstance(event, CertificateCaptured):
        shows = "certificate and proof" if event.proof else "certificate"
        sight: Sight = "readable"
        by = "" if event.leak == WIRE.id else event.leak
    else:
        sealed = event.tls == str(TLS13)
        shows, sight, by = ("neither: encrypted", "encrypted", "") if sealed else ("no certificate", "absent", "")
    return SeenConnection(
        recorded.number,
        f"{recorded.time:%H:%M:%S}",
        event.client,
        event.server,
        (on.gateway.id if on.gateway else "") or by,
        event.tls,
        shows,
        sight,
        on.login is not None,
        connection_id(recorded.number),
    )
