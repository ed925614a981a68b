"""What the wire shows: a login, the certificate in it byte by byte, and a login in TLS 1.3."""

from collections.abc import Iterator
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from lab.catalogue.leaks import WIRE
from lab.events.types import (
    CaptureSearched,
    CertificateCaptured,
)
from lab.judging.connections import ClientConnection
from lab.judging.facts import certificate_in_tls13
from lab.judging.proof_comparison import chain_in
from lab.page import evidence, ladders
from lab.page.model import (
    Highlight,
    Highlighted,
    Ladders,
    Moment,
    Scene,
)
from lab.page.teaching import Teaching
from lab.story import acts
from lab.tls.der import layout
from lab.tls.errors import Abort
from lab.tls.versions import TLS12
from lab.words import listed


def _shown_login(given: Teaching) -> tuple[CertificateCaptured, ClientConnection, str] | None:
    """The login that the story tells, with the number of the attacker's event."""
    found = acts.told_login(given.judged, given.over)
    if found is None:
        return None
    seen, connection = found
    number = next(one.number for one in given.judged.run.events if one.event is seen)
    return seen, connection, number


def login(given: Teaching) -> Scene | None:
    """Alice logs in, message by message."""
    shown = _shown_login(given)
    if shown is None:
        return None
    seen, connection, number = shown
    ladder = ladders.of_capture(seen, connection.read, given.messages)
    client = [one.name for one in ladder.rows if one.sender == "client"]
    rows = []
    step, done = 1, False
    for one in ladder.rows:
        if one.mark == "certificate":
            step = 3
        elif one.mark == "proof":
            step = 4
        elif step == 4 or done:
            step, done = 5, True
        elif one.sender == "server" and one.name != "ServerHello" and step < 2:
            step = 2
        rows.append(replace(one, since=step))
    said = [
        "Both say hello, each with random bytes that are new in every handshake.",
        "The bank shows its certificate, and asks for hers.",
        "Alice shows her certificate. Anyone on the way can read it.",
        "Then a proof: with her private key she signs everything said so far.",
        "Only now the encryption starts.",
    ][: max((one.since for one in rows), default=1)]
    proof = "CertificateVerify" in client
    title = "Alice shows her certificate, then a proof." if proof else "Alice shows her certificate."
    at = f" at {connection.gateway.id}" if connection.gateway else ""
    return Scene(
        "login",
        title,
        tuple(map(Moment, said)),
        Ladders((replace(ladder, rows=tuple(rows)),)),
        where="wire",
        links=((evidence.connection_id(number), f"this login{at}, TLS {seen.tls}"),),
    )


def certificate(given: Teaching) -> Scene | None:
    """The certificate, byte by byte."""
    shown = _shown_login(given)
    if shown is None:
        return None
    seen, _, _ = shown
    raw = bytes.fromhex(seen.message)
    highlights = tuple(_highlights(raw, seen))
    whole = next(
        (one for one in ladders.captured_messages(seen) if (one.sender, one.message) == ("client", "Certificate")), None
    )
    signer = "her own signature" if seen.issuer == seen.subject else "the authority's signature"
    return Scene(
        "certificate",
        "Mallory has Alice's certificate. It holds no secret.",
        (
            Moment(f"This is what crossed the wire: {len(raw)} bytes, and every one is made to be shown."),
            Moment(f"Her name, her public key, {signer} under both. The private key is not in here."),
        ),
        Highlighted(raw, highlights, "private key", given.messages.add(whole) if whole else ""),
    )


def _highlights(message: bytes, seen: CertificateCaptured) -> Iterator[Highlight]:
    """The four fields that matter first; none if the certificate is unreadable."""
    try:
        der = chain_in(message, TLS12)[0]
        places, read = layout(der), x509.load_der_x509_certificate(der)
        algorithm = read.signature_hash_algorithm
    except (Abort, ValueError, UnsupportedAlgorithm):
        return
    start = message.index(der)
    itself = seen.issuer == seen.subject
    key = read.public_key()
    kind = getattr(getattr(key, "curve", None), "name", "") or type(key).__name__.strip("_").removesuffix("PublicKey")
    hashed = f"with {algorithm.name}" if algorithm else ""
    for place, name, value, sentence in (
        (
            places.issuer,
            "issuer",
            seen.issuer,
            "Alice herself; the bank has it on its list." if itself else "Who vouches for it.",
        ),
        (places.subject, "subject", seen.subject, "Who this is."),
        (places.public_key, "public key", kind, "The public half. The private half is never sent."),
        (
            places.signature,
            "signature",
            hashed,
            "Made with the certificate's own key."
            if itself
            else "By the issuer, over the part that is signed (tbsCertificate).",
        ),
    ):
        yield Highlight(start + place.start, place.stop - place.start, name, value, sentence)


def tls13(given: Teaching) -> Scene | None:
    """What the wire shows of TLS 1.3, and what alice's own keys show."""
    found = acts.told_tls13(given.judged, given.over)
    if found is None:
        return None
    seen, connection = found
    number = next(one.number for one in given.judged.run.events if one.event is seen)
    drawn = [replace(ladders.of_records(seen), until=1 if connection.read else 0)]
    said = ["Everything after the hellos is encrypted. No certificate, no proof: the wire shows sizes, no more."]
    if connection.read:
        drawn.append(replace(ladders.of_login(connection.read), since=2))
        said.append("The same, opened with Alice's own key log, which Mallory does not have. The certificate is there.")
    later = [leak.title for leak in given.judged.leaks if leak != WIRE]
    if later:
        said.append(
            f"It still gets out in other ways: {listed([title[0].lower() + title[1:] for title in later[:4]])}."
        )
    else:
        said.append("A careless client, a shop, a log, a register can still give it away.")
    searched = given.judged.run.first(CaptureSearched)
    in_sight = bool(searched and certificate_in_tls13(given.judged.run, searched))
    title = "Finding: her certificate in TLS 1.3." if in_sight else "TLS 1.3 hides the certificate on the wire."
    at = f" at {connection.gateway.id}" if connection.gateway else ""
    links = ((evidence.connection_id(number), f"this login{at}, TLS {seen.tls}"),)
    return Scene("tls13", title, tuple(map(Moment, said)), Ladders(tuple(drawn)), links=links)
