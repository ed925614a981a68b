"""Claims about what opens without the key, and about the proof that takes it, settled by events made by hand."""

from claimed import (
    ANY_OF_CHAIN,
    BLIND,
    MTLS,
    NAMES_ONLY,
    NOT_HER_LOGINS,
    NOT_HERS,
    PINNED,
    PINNED_BLIND,
    SEARCHED,
    file_searched,
    login,
    seen,
    told,
    tried,
    with_key,
)
from handmade import ATTACKER, CLIENT, OTHER_NAME, SERVER, with_fields
from lab.catalogue.gateways import find_gateway
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, REFUSED, Outcome
from lab.catalogue.searches import PASSWORD, TRANSCRIPT_HASHES
from lab.events.types import CertificateCaptured, Event, ProofRelayed, ProofRenegotiated
from lab.judging.claims import Holding
from lab.judging.claims.possession import FIRST_HANDSHAKE_AND_HASH, OF_THAT_NAME, RENEGOTIATED
from lab.judging.own_proof import own_proof
from lab.judging.proof_comparison import ProofReason
from lab.judging.relays import EITHER_SHARE, SERVERS_KEY, Mismatch, RelayedProof, Why
from lab.tls.messages import Certificate, CertificateVerify, ServerHelloDone, serialize
from lab.tls.proof import SCHEME_IDS, challenge12, prove_with
from lab.words import counted
from made_up import KEY, certificate_of

IN, OUT = tried(BLIND), tried(MTLS, REFUSED)
GOT_IN, SHUT = tried(MTLS), tried(BLIND, REFUSED)
CONTROL = with_key(MTLS)
OTHER_OPEN = "pinned-mtls@openssl"


def both(checked: str, unchecked: str) -> str:
    return (
        f"where the proof is checked {checked} succeeded, where the certificate alone is checked {unchecked} succeeded"
    )


def without_each(claim: str, everything: tuple[Event, ...], others: tuple[Event, ...]) -> None:
    """Each of these events is needed for a verdict, and the others do not stand in for it."""
    for lacking in everything:
        assert told(claim, *others, *(one for one in everything if one != lacking)) is None


def test_checking_adds_nothing_if_a_proof_or_its_key_is_had_with_the_certificate() -> None:
    claim = "checking-adds-nothing"
    stored = (
        "they are stored together but do not travel together: the certificate was found in what mallory captured, the "
        "key was not; "
    )
    everything = (IN, OUT, SEARCHED, CONTROL)
    others = (
        *(tried(MTLS, leak="log"), tried(BLIND, REFUSED, "log"), tried(MTLS, INCONCLUSIVE), tried(NAMES_ONLY)),
        *(
            with_key(BLIND),
            with_key(PINNED, REFUSED),
            with_key(MTLS, leak="wire"),
            with_fields(SEARCHED, certificate_at=()),
        ),
    )
    without_each(claim, everything, others)
    assert told(claim, *everything, *others) == (
        *(Holding.FAILS, stored + both("0 of 1 attempt", "1 of 1 attempt"), [SEARCHED, OUT, IN, CONTROL], ""),
    )
    assert told(claim, *everything, GOT_IN) == (
        Holding.HOLDS,
        both("1 of 2 attempts", "1 of 1 attempt"),
        [GOT_IN, IN],
        "",
    )
    assert told(claim, SHUT, *everything[1:]) == (Holding.HOLDS, both("0 of 1 attempt", "0 of 1 attempt"), [SHUT], "")
    key_too = with_fields(SEARCHED, key_at=("byte 1",))
    assert told(claim, *everything, key_too) == (
        *(
            Holding.HOLDS,
            both("0 of 1 attempt", "1 of 1 attempt") + "; the key itself was in the capture",
            [key_too, IN],
            "",
        ),
    )


def test_what_a_shop_was_shown_opens_the_issuers_gateway_or_another() -> None:
    claim, leak = "only-the-issuer-is-fooled", "rogue-server"
    fooled, issuer = tried(BLIND, leak=leak), tried(PINNED_BLIND, leak=leak)
    unfooled, shut = tried(BLIND, REFUSED, leak), tried(PINNED_BLIND, REFUSED, leak)
    others = IN, tried(PINNED_BLIND), tried(MTLS, leak=leak)
    assert told(claim, fooled, *others) is None
    assert told(claim, issuer, *others) is None
    assert told(claim, unfooled, issuer, shut, *others) == (
        *(Holding.HOLDS, "what was shown to one server opened no other", [unfooled, issuer], ""),
    )
    assert told(claim, fooled, shut, *others) == (
        Holding.FAILS,
        "a certificate from an authority, shown to a shop, opened the bank; one that the bank issued did not",
        [fooled, shut],
        "",
    )
    assert told(claim, fooled, unfooled, issuer, shut, *others) == (
        Holding.CONDITIONAL,
        "a certificate from an authority, shown to a shop, opened the bank; so did one of the bank's own, at the "
        "gateway that accepts no other (1 of 2 attempts succeeded there)",
        [fooled, issuer],
        "no other server accepts the certificate, as it is self-signed and only its issuer pins it",
    )


def test_every_server_could_impersonate_where_the_proof_is_not_checked() -> None:
    claim, leak = "every-server-could-impersonate", "rogue-server"
    fooled, shut, refused, got_in = (
        *(tried(BLIND, leak=leak), tried(PINNED_BLIND, REFUSED, leak)),
        *(tried(MTLS, REFUSED, leak), tried(PINNED, leak=leak)),
    )
    others = IN, OUT, GOT_IN, SHUT
    assert told(claim, fooled, *others) is None
    assert told(claim, refused, *others) is None
    condition = "the server does not check the proof of possession"
    for events, holding, counts, evidence, said in (
        (
            (fooled, shut, refused),
            Holding.CONDITIONAL,
            ("0 of 1 attempt", "1 of 2 attempts"),
            [fooled, refused],
            condition,
        ),
        (
            (fooled, refused, got_in),
            Holding.HOLDS,
            ("1 of 2 attempts", "1 of 1 attempt"),
            [fooled, refused, got_in],
            "",
        ),
        ((shut, refused, got_in), Holding.FAILS, ("1 of 2 attempts", "0 of 1 attempt"), [refused, got_in], ""),
        ((shut, refused), Holding.FAILS, ("0 of 1 attempt", "0 of 1 attempt"), [refused], ""),
    ):
        assert told(claim, *events, *others) == (holding, both(*counts), evidence, said)


def test_a_certificate_costs_privacy_and_where_it_alone_is_checked_the_identity() -> None:
    claim, name = "privacy-but-not-identity", seen(subject="CN=alice,O=Bank")
    others = seen(sha256=NOT_HERS), seen(subject="CN=somebody")
    said = "it shows the name CN=alice,O=Bank to every reader; with the {}, "
    everything = (name, IN, OUT)
    without_each(claim, everything, others)
    assert told(claim, *others, *everything) == (
        Holding.CONDITIONAL,
        said.format("leak wire") + both("0 of 1 attempt", "1 of 1 attempt"),
        [name, OUT, IN],
        "every server that accepts it checks the proof",
    )
    logged, in_by_log = tried(MTLS, REFUSED, "log"), tried(BLIND, leak="database")
    assert told(claim, *everything, logged, in_by_log, GOT_IN) == (
        *(
            Holding.FAILS,
            said.format("leaks log, wire") + both("1 of 3 attempts", "2 of 2 attempts"),
            [name, OUT, logged, IN, in_by_log, GOT_IN],
        ),
        "",
    )
    assert told(claim, name, OUT, SHUT) == (
        *(Holding.HOLDS, said.format("leak wire") + both("0 of 1 attempt", "0 of 1 attempt"), [name, OUT], ""),
    )


def test_a_register_of_certificates_is_a_liability_where_they_are_used_as_passwords() -> None:
    claim, leak = "database-is-a-liability", "database"
    names = [seen(leak, subject=f"CN={name}") for name in ("bob", "alice", "bob")]
    fell = [tried(PINNED_BLIND, leak=leak, customer=name) for name in ("alice", "bob", "bob", "bob", "bob")]
    kept = tried(PINNED_BLIND, REFUSED, leak, customer="bob")
    checking, got_in = tried(PINNED, REFUSED, leak, customer="bob"), tried(PINNED, leak=leak, customer="bob")
    others: tuple[Event, ...] = (
        *(seen(subject="CN=carol"), tried(PINNED_BLIND), tried(PINNED)),
        *(tried(one, leak=leak, customer="carol") for one in (BLIND, MTLS)),
        tried(PINNED_BLIND, leak=leak, customer="carol", move="no-certificate"),
    )
    said = (
        "the leaked register has 2 customers, and opened {} where only the certificate is checked; with the same "
        "register {} succeeded where the proof is checked"
    )
    assert told(claim, fell[0], checking, *others) is None
    assert told(claim, *names, checking, *others) is None
    assert told(claim, *names, fell[0], *others) is None
    assert told(claim, *names, *fell, kept, checking, *others) == (
        *(Holding.HOLDS, said.format("2 accounts", "0 of 1 attempt"), [*fell[:4], checking], ""),
    )
    assert told(claim, *names, kept, checking, *others) == (
        Holding.FAILS,
        said.format("0 accounts", "0 of 1 attempt"),
        [checking],
        "",
    )
    assert told(claim, *names, fell[0], checking, got_in, *others) == (
        *(Holding.FAILS, said.format("1 account", "1 of 2 attempts"), [fell[0], checking, got_in], ""),
    )


def test_any_proof_is_enough_where_it_need_not_belong_to_the_name() -> None:
    claim, control = "any-proof-is-enough", with_key(NAMES_ONLY)
    look_alikes = [tried(NAMES_ONLY, move="look-alike", round=round_) for round_ in (1, 2, 3)]
    own_leaf, shut = tried(ANY_OF_CHAIN, move="own-leaf-first"), tried(NAMES_ONLY, REFUSED)
    said = (
        "where a proof is checked, but not that it belongs to the name, {} succeeded{}; where it has to "
        "belong to the name, {} succeeded"
    )
    opened = " (look-alike at names-only, own-leaf-first at any-certificate-of-the-chain)"
    everything = (own_leaf, OUT, control)
    without_each(claim, everything, (IN, CONTROL))
    assert told(claim, *everything, *look_alikes, shut, IN, CONTROL) == (
        *(
            Holding.CONDITIONAL,
            said.format("4 of 5 attempts", opened, "0 of 1 attempt"),
            [own_leaf, *look_alikes[:2], OUT],
            OF_THAT_NAME,
        ),
    )
    assert told(claim, shut, OUT, control) == (
        Holding.HOLDS,
        said.format("0 of 1 attempt", "", "0 of 1 attempt"),
        [OUT],
        "",
    )
    assert told(claim, shut, OUT, GOT_IN, control) == (
        *(Holding.FAILS, said.format("0 of 1 attempt", "", "1 of 2 attempts"), [OUT, GOT_IN], ""),
    )


# A proof that is passed on.

PASSED_ON = "proof-can-be-passed-on"
RELAYED = ProofRelayed(
    *(CLIENT, "127.0.0.1:7443", ATTACKER, SERVER, "1.2", "ECDHE", "alice", "ab" * 32, False, (), (), "0f00"),
    *(REFUSED, 51, "server", None, None, 0, None, 1.0, OTHER_NAME),
)
REASON = ProofReason("", "", "", "", "", "", (), True, False, "1.2", "", True)


def relayed(
    number: int, outcome: Outcome = REFUSED, gateway_id: str = MTLS, takes: str | None = None, **fields: object
) -> RelayedProof:
    event, gateway = with_fields(RELAYED, outcome=outcome, **fields), find_gateway(gateway_id)
    assert gateway
    mismatch = Mismatch("Certificate", "certificate 1", "00", "01", 0, 0, Why(takes, ""))
    return RelayedProof(f"attacker#{number}", event, gateway, (), (), (mismatch,), REASON)


def relays_said(count: int, got_in: int) -> str:
    return (
        f"of {counted(count, 'fresh proof')} that a careless client made and mallory passed on at once, {got_in} got "
        "in where proofs are checked"
    )


def test_a_fresh_proof_is_of_no_use_on_another_connection() -> None:
    elsewhere, undecided = relayed(8, ACCEPTED, BLIND), relayed(9, INCONCLUSIVE)
    assert told(PASSED_ON, relayed=(elsewhere, undecided)) is None
    some = (relayed(1), relayed(2, gateway_id=PINNED))
    assert told(PASSED_ON, relayed=(*some, elsewhere, undecided)) == (
        *(Holding.FAILS, relays_said(2, 0), [one.event for one in some], FIRST_HANDSHAKE_AND_HASH),
    )
    taken = relayed(3, ACCEPTED)
    assert told(PASSED_ON, relayed=(*some, taken)) == (Holding.HOLDS, relays_said(3, 1), [taken.event], "")


def test_a_fresh_proof_is_told_with_the_keys_that_it_would_have_taken() -> None:
    needs = [
        relayed(1, takes=EITHER_SHARE),
        relayed(2, takes=SERVERS_KEY, key_exchange="RSA", same_keys=True),
        relayed(3),
    ]
    found = told(PASSED_ON, relayed=tuple(needs))
    assert found
    assert found.because == (
        f"{relays_said(3, 0)}, though 1 time both connections had the very same keys; to pass on every message as it "
        f"is and have the keys, mallory would need with ECDHE {EITHER_SHARE}, with RSA {SERVERS_KEY}"
    )


def test_a_proof_that_mallory_only_relayed_fitted_and_left_her_without_keys() -> None:
    at = with_fields(seen(), server="127.0.0.1:7443")
    through = login(url="https://127.0.0.1:7443"), login(gateway=PINNED, url="https://127.0.0.1:7443/")
    others: tuple[Event, ...] = (
        *(login(), login("1.3", url="https://127.0.0.1:7443"), login(gateway=BLIND, url="https://127.0.0.1:7443")),
        *(with_fields(one, url="https://127.0.0.1:7443", resumed=True) for one in NOT_HER_LOGINS[:2]),
        with_fields(at, tls="1.3", server="127.0.0.1:9001"),
    )
    one = relayed(1)
    assert told(PASSED_ON, at, *through, *others, relayed=(one,)) == (
        Holding.FAILS,
        f"{relays_said(1, 0)}; where she relayed every byte as it was, without any such key, the proof fitted (2 "
        "logins where it is checked), but both ends had keys and she had none",
        [one.event, *through],
        FIRST_HANDSHAKE_AND_HASH,
    )


def triple(peers: str, outcome: Outcome, subject: str = "") -> ProofRenegotiated:
    return ProofRenegotiated(peers, "programs", "CN=alice", "/", subject, 200, "0f00", outcome, "")


def test_a_proof_can_be_passed_on_in_a_renegotiated_handshake() -> None:
    taken, shut, undecided = (
        triple("old peers", ACCEPTED),
        triple("new peers", REFUSED),
        triple("no peers", INCONCLUSIVE),
    )
    said = "by the triple handshake {} of {} got in between peers that the lab did not write"
    at, through = with_fields(seen(), server="127.0.0.1:7443"), login(url="https://127.0.0.1:7443")
    assert told(PASSED_ON, undecided) is None
    assert told(PASSED_ON, taken, undecided, at, through) == (
        *(Holding.CONDITIONAL, said.format(1, 1), [taken], RENEGOTIATED),
    )
    assert told(PASSED_ON, shut, shut, undecided) == (
        Holding.FAILS,
        said.format(0, 2) + ", and none with new peers",
        [shut, shut],
        FIRST_HANDSHAKE_AND_HASH,
    )
    one = relayed(1)
    assert told(PASSED_ON, taken, shut, relayed=(one,)) == (
        Holding.CONDITIONAL,
        f"{relays_said(1, 0)}; {said.format(1, 2)}, and none with new peers",
        [one.event, taken],
        RENEGOTIATED,
    )


# What the client signs.

HASH = "client-sends-a-hash"


def signed(*, hashed: bool = False, valid: bool = True) -> CertificateCaptured:
    """A captured proof over a transcript: a signature, or the hash of the transcript in place of one."""
    certificate = serialize(Certificate((certificate_of("alice"),)))
    transcript = serialize(ServerHelloDone()), certificate
    made = prove_with(KEY)(challenge12(b"".join(transcript), SCHEME_IDS))
    assert made
    capture = seen(message=certificate.hex(), transcript=tuple(one.hex() for one in transcript))
    capture = with_fields(capture, proof=serialize(made).hex())
    if hashed or not valid:
        own = own_proof(capture)
        assert own
        signature = bytes.fromhex(own.captured_hash) if hashed else b"\0" + made.signature
        capture = with_fields(capture, proof=serialize(CertificateVerify(made.scheme, signature)).hex())
    return capture


SOUGHT = file_searched("wire", TRANSCRIPT_HASHES, sought=("one", "two"))


def test_a_client_sends_a_signature_and_no_hash() -> None:
    proof = signed()
    others = (
        *(seen(), with_fields(signed(hashed=True), sha256=NOT_HERS), with_fields(proof, transcript=())),
        file_searched("wire", PASSWORD, found_at=("there",)),
        file_searched("wire", TRANSCRIPT_HASHES, control_at=(), found_at=("there",)),
    )
    assert told(HASH, SOUGHT, *others) is None
    assert told(HASH, proof, *others) is None
    assert told(HASH, SOUGHT, proof, signed(valid=False)) is None
    assert told(HASH, SOUGHT, SOUGHT, proof, *others) == (
        Holding.FAILS,
        "1 captured proof: each is a signature over the handshake, valid by the certificate's key, and has no hash in "
        "it; the capture was searched for 4 of the hashes that were signed, and has none: the server computes the hash "
        "itself",
        [proof, SOUGHT, SOUGHT],
        "",
    )


def test_a_client_sends_a_hash_if_there_is_one() -> None:
    proof, hashed, found = signed(), signed(hashed=True), with_fields(SOUGHT, found_at=("there",))
    said = "the hash of the handshake is in {} of {}"
    assert told(HASH, SOUGHT, proof, hashed) == (Holding.HOLDS, said.format(1, "2 proofs"), [hashed], "")
    assert told(HASH, SOUGHT, found, proof) == (
        *(Holding.HOLDS, said.format(0, "1 proof") + "; it was in the capture", [found], ""),
    )


# Self-signed certificates.


def test_the_check_is_needed_with_its_own_issuer_too() -> None:
    """Only gateways of one implementation are compared."""
    claim, blind, shut = "needed-with-its-own-issuer", tried(PINNED_BLIND), tried(PINNED_BLIND, REFUSED)
    out, control, got_in = tried(PINNED, REFUSED), with_key(PINNED), tried(PINNED, round=2)
    others = tried(OTHER_OPEN), with_key(OTHER_OPEN), IN, GOT_IN, with_key(MTLS)
    everything = (blind, out, control)
    said = "with the self-signed certificates that the server itself issued, "
    without_each(claim, everything, others)
    for events, holding, counts, evidence in (
        ((blind, out), Holding.HOLDS, ("0 of 1 attempt", "1 of 1 attempt"), [blind, out, control]),
        ((blind, out, got_in), Holding.FAILS, ("1 of 2 attempts", "1 of 1 attempt"), [blind, out, got_in, control]),
        ((shut, out), Holding.FAILS, ("0 of 1 attempt", "0 of 1 attempt"), [out, control]),
    ):
        assert told(claim, *events, control, *others) == (holding, said + both(*counts), evidence, "")


def test_self_signed_certificates_are_of_use_where_the_server_knows_them() -> None:
    claim, hers, out, control = (
        "self-signed-is-useless",
        login(gateway=PINNED),
        tried(PINNED, REFUSED),
        with_key(PINNED),
    )
    others = login(), login(gateway=PINNED, resumed=True), GOT_IN, CONTROL, tried(PINNED_BLIND)
    everything = (hers, out, control)
    without_each(claim, everything, others)
    assert told(claim, *everything, *others) == (
        Holding.FAILS,
        "the server knows the certificates that it issued: alice is let in, and 0 of 1 attempt succeeded without her "
        "key",
        [hers, out, control],
        "",
    )
    got_in = tried(PINNED)
    assert told(claim, *everything, got_in) == (
        *(Holding.HOLDS, "1 of 2 attempts succeeded with a stolen self-signed certificate", [got_in], ""),
    )
