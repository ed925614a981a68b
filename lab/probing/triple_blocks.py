"""The triple handshake as blocks: what each of the three handshakes shares, and what shuts it."""

from collections.abc import Iterator, Sequence

from attacker.triple.reports import ConnectionReport
from lab.catalogue.outcomes import ACCEPTED
from lab.document import Block, Column, Compared, Comparison, Facts, Heading, Inline, Paragraph, Section, Span, Table
from lab.probing.triple import Served, TripleTried
from lab.story.octets import octets
from lab.tls.dissect import dissect
from lab.tls.versions import TLS12

SIDES = ("", "alice and mallory", "mallory and the bank")
FIRST = ("client_random", "server_random", "session_id", "master_secret", "client verify_data", "server verify_data")
RESUMED = FIRST[:3] + FIRST[4:]
RENEGOTIATED = (
    "ClientHello renegotiation_info",
    "ServerHello renegotiation_info",
    "handshake_messages, SHA-256",
)


def tell(tried: Sequence[TripleTried]) -> Iterator[Block]:
    """The three handshakes of the first pair with which it worked, and then every pair."""
    yield Heading("Past the proof: the triple handshake")
    yield Paragraph(
        "Can mallory pass a fresh proof on to a bank that checks it? Between some peers she can. Alice visits "
        "mallory's shop. She verifies its certificate and its name, and both are right. Mallory has the shop's key, "
        "and neither alice's nor the bank's."
    )
    worked = next((one for one in tried if one.outcome is ACCEPTED), None)
    if worked:
        yield from _handshakes(worked)
    done = [one for one in tried if not one.missing]
    if done:
        yield Section("What shuts it", tuple(_all(done)))
    for one in tried:
        if one.missing:
            yield Paragraph((Span(f"Not tried: {one.peers.title}", "warning"), f": {one.missing}"))


def document(tried: Sequence[TripleTried]) -> Iterator[Block]:
    """docs/triple-handshake.md."""
    yield Heading("The triple handshake", 1)
    yield Paragraph(
        "Generated from a run of certreplay triple-handshake --markdown; what it says was measured in that run. The "
        "attack is that of RFC 7627 section 1 (Bhargavan, Delignat-Lavaud, Fournet, Pironti and Strub, 2014)."
    )
    yield Paragraph(
        "It has a command of its own and is no leak of the lab's runs: mallory gets no certificate that she could "
        "present later, and the lab's gateways renegotiate nothing. It takes Apache and curl (Debian: apache2 curl), "
        "and all of it runs on loopback."
    )
    yield from tell(tried)


def _handshakes(tried: TripleTried) -> Iterator[Block]:
    first = next(one for one in tried.reports if not one.resumed and one.shared)
    last = tried.last
    assert last
    assert tried.request
    yield Facts((("programs", tried.versions), ("peers", tried.peers.title)))
    yield Section(
        "1. A full handshake, twice",
        (
            Paragraph(
                "Mallory sends alice's random number to the bank, and the bank's number and session ID to alice. Alice "
                "encrypts the premaster secret with the shop's key. Mallory decrypts it, and encrypts it for the bank."
            ),
            _compared(first, FIRST),
            Paragraph(_alike(first, "master_secret", "The master secret")),
        ),
    )
    yield Section(
        "2. Alice resumes her session",
        (
            Paragraph(
                "No certificate and no premaster secret is sent. Mallory passes every message on as it is, and has the "
                "keys of both connections."
            ),
            _compared(last, RESUMED),
            Paragraph(_alike(last, "client verify_data", "Alice's Finished")),
            Paragraph(f"Then mallory writes to the bank, in records of her own: GET {last.request}"),
        ),
    )
    proof = bytes.fromhex(last.proof)
    yield Section(
        "3. The bank renegotiates",
        (
            Paragraph(
                "That path takes a certificate, so the bank asks for another handshake. By RFC 5746 the "
                "hellos repeat the verify_data of the Finished messages of the one before: the client's hello has the "
                "client's, the server's hello both. They are the same on both connections, so nobody sees a "
                f"difference. Mallory passes on: {', '.join(last.renegotiated)}."
            ),
            _compared(last, RENEGOTIATED),
            octets("CertificateVerify", "client", True, dissect(proof, TLS12)),
            Paragraph("It is fresh, alice made it, and it is right. From here on mallory has no keys."),
            Facts(
                (
                    ("alice herself", f"the bank's log has {_said(tried.control)}"),
                    ("mallory's request", f"the bank's log has {_said(tried.request)}"),
                    ("alice got", tried.alice_got),
                )
            ),
            Paragraph(
                "The bank takes the request that came before the proof for alice's. Its answer comes under keys that "
                "only alice has."
            ),
        ),
    )


def _compared(report: ConnectionReport, names: Sequence[str]) -> Comparison:
    rows = ((name, *report.shared[name]) for name in names if name in report.shared)
    return Comparison(
        SIDES, tuple(Compared(name, bytes.fromhex(one), bytes.fromhex(other)) for name, one, other in rows)
    )


def _alike(report: ConnectionReport, name: str, words: str) -> str:
    one, other = report.shared[name]
    return f"{words} is {'the same on' if one == other else 'different on'} both connections."


def _all(tried: Sequence[TripleTried]) -> Iterator[Block]:
    columns = (
        Column("peers", "name"),
        Column("expected", "outcome"),
        Column("outcome", "outcome"),
        Column("the bank's log of mallory's request"),
    )
    yield Table(columns, tuple(_row(one) for one in tried))
    yield Paragraph(
        "Accepted means that the bank's log has alice's name beside the request that only mallory knew. Refused means "
        "that alice's client or the bank ended it by an alert. A row is inconclusive unless alice gets in herself and "
        "a client without a certificate does not."
    )
    for one in tried:
        yield Section(one.peers.id, tuple(_one(one)), "entry")


def _row(one: TripleTried) -> tuple[Inline, ...]:
    return one.peers.id, _word(one.peers.expected), _word(one.outcome), _said(one.request) if one.request else "nothing"


def _one(tried: TripleTried) -> Iterator[Block]:
    yield Paragraph(f"{tried.peers.title}. {tried.peers.why} ({tried.peers.source})")
    last = tried.last
    rows: list[tuple[str, Inline]] = [
        ("alice herself", _said(tried.control)),
        ("mallory's request", _said(tried.request)),
    ]
    if last:
        rows.append(("mallory got to", _furthest(last)))
        rows += [("ended by", last.ended)] if last.ended else []
    rows += [("alice's client", tried.alice_said)] if tried.alice_said else []
    rows += [("the bank's log" if not at else "", line) for at, line in enumerate(tried.log)]
    yield Facts(tuple(rows))
    if last and last.replaced:
        yield _compared(last, FIRST[4:])
    if not tried.as_written:
        yield Paragraph((Span("FINDING: ", "finding", strong=True), "this is not what the RFCs predict."))


def _furthest(last: ConnectionReport) -> str:
    if last.passed_on:
        return "the end of the third handshake"
    if last.renegotiated:
        return f"the third handshake, {last.renegotiated[-1]}"
    return "the second handshake" if last.resumed else "the first handshake"


def _said(served: Served | None) -> str:
    if not served:
        return "not served"
    return f"{served.subject or 'nobody'}, HTTP {served.status}"


def _word(outcome: object) -> Span:
    return Span("ACCEPTED", "accepted") if outcome is ACCEPTED else Span(str(outcome), "refused")
