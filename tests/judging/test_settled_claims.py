"""How claims are settled, who makes them, and what is said where a run tried too little."""

import dataclasses

from handmade import LOGIN, STARTED, run_of, with_fields
from lab.catalogue.leaks import DATABASE, LOG, WIRE
from lab.events.types import Event
from lab.judging.claims import CLAIMS, Claim, Holding, Settled, settle
from lab.judging.claims.claim import numbers
from lab.judging.claims.discussion import FIRST, SECOND
from lab.judging.queries import Numbered, RunQueries
from lab.judging.verdicts import JudgedRun


def test_a_claim_without_a_verdict_says_what_the_plan_lacks() -> None:
    def because(plan: Event, **of: object) -> str:
        claim = dataclasses.replace(CLAIMS[0], decide=lambda record: None, **of)  # type: ignore[arg-type]
        ((same, settled),) = settle([claim], RunQueries(JudgedRun(run_of(plan))))
        assert isinstance(same, Claim)
        assert (same, settled.holding, settled.evidence) == (claim, Holding.NO_EVIDENCE, ())
        return settled.because

    nothing = "no events that decide it"
    assert because(STARTED, leaks=((WIRE,),), schemes=(("mtls", "pinned-mtls"),)) == nothing
    assert because(STARTED, leaks=((DATABASE, WIRE),), schemes=()) == nothing
    assert because(STARTED, leaks=(), schemes=()) == nothing
    without = "not tried: the leak database or wire, the leak wire, the scheme password, the scheme a or b"
    schemes = (("password",), ("mtls",), ("a", "b"))
    leaks = ((DATABASE, WIRE), (WIRE,), (LOG,))
    assert because(with_fields(STARTED, leaks=("log",)), leaks=leaks, schemes=schemes) == without


def test_a_claim_is_not_settled_by_a_run_that_did_not_plan_what_it_takes() -> None:
    decided = Settled(Holding.FAILS, "0 of nothing", ())
    run = RunQueries(JudgedRun(run_of(STARTED)))
    for leaks, beyond, holding in (
        (((WIRE,),), False, Holding.FAILS),
        (((WIRE,), (LOG,)), False, Holding.NO_EVIDENCE),
        (((WIRE,), (LOG,)), True, Holding.FAILS),
    ):
        claim = dataclasses.replace(
            CLAIMS[0], decide=lambda record: decided, leaks=leaks, schemes=(), beyond_the_plan=beyond
        )
        ((_, settled),) = settle([claim], run)
        assert settled.holding == holding


LACKING = {
    "needed-with-its-own-issuer": "the scheme pinned-mtls, the scheme pinned-certificate-only",
    "one-connection-is-enough": "the leak wire, the leak log, the scheme certificate-only, the scheme "
    "pinned-certificate-only",
    "only-the-issuer-is-fooled": "the leak rogue-server, the scheme certificate-only, the scheme "
    "pinned-certificate-only",
    "self-signed-is-useless": "the scheme pinned-mtls",
    "database-is-a-liability": "the leak database, the scheme pinned-certificate-only, the scheme pinned-mtls",
    "server-needs-no-keys": "the leak requests, the scheme mtls",
    "privacy-but-not-identity": "the scheme mtls or pinned-mtls, the scheme certificate-only or "
    "pinned-certificate-only",
    "issuer-has-the-key": "the leak archive, the leak requests, the scheme mtls or pinned-mtls, the scheme "
    "certificate-only or pinned-certificate-only",
}


def test_a_run_that_tried_nothing_says_what_these_claims_take() -> None:
    nothing = RunQueries(JudgedRun(run_of(with_fields(STARTED, gateways=(), leaks=()))))
    settled = {claim.id: one.because for claim, one in settle(CLAIMS, nothing)}
    assert {claim: settled[claim] for claim in LACKING} == {
        claim: f"not tried: {lacking}" for claim, lacking in LACKING.items()
    }


SETTLES = {
    1: {"client-sends-a-hash"},
    3: {"needed-with-its-own-issuer"},
    5: {"one-connection-is-enough", "issuer-has-the-key"},
    10: {"needed-with-its-own-issuer"},
    11: {"same-as-a-password"},
    12: {"shown-to-nobody-else", "only-the-issuer-is-fooled"},
    15: {"database-is-a-liability"},
    16: {"privacy-but-not-identity"},
    17: {"issuer-has-the-key"},
    23: {"tls13-makes-it-irrelevant", "tls13-needs-the-proof"},
}


def test_these_points_of_the_discussion_are_settled_by_these_claims() -> None:
    assert {point: {claim.id for claim in CLAIMS if point in claim.points} for point in SETTLES} == SETTLES


def test_a_claim_about_several_points_is_made_by_who_makes_the_first() -> None:
    by = {claim.id: claim.by for claim in CLAIMS}
    assert by["needed-with-its-own-issuer"] == FIRST
    assert by["issuer-has-the-key"] == SECOND


def test_the_numbers_of_the_first_three_of_each_kind_are_told_once() -> None:
    many = [Numbered(f"lab#{at}", LOGIN) for at in range(6)]
    assert numbers(many, many[2:3], many[5:]) == ("lab#0", "lab#1", "lab#2", "lab#5")
    assert numbers(many, each=1) == ("lab#0",)
