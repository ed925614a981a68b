"""The shape of a run's outcome: when it is as expected, and what verdicts.json leaves out."""

import json
from dataclasses import replace
from typing import Any

import pytest

from handmade import EVIDENCE, JUDGEMENT, RELAY, SENT, VERDICT
from lab.catalogue.outcomes import ACCEPTED
from lab.judging.judgement import Sent

DEVIATES = replace(VERDICT, outcome=ACCEPTED, evidence=replace(EVIDENCE, deviations=1))
UNUSUAL = replace(VERDICT, evidence=replace(EVIDENCE, unusual=1))


@pytest.mark.parametrize(
    ("changes", "as_expected"),
    [
        ({}, True),
        ({"verdicts": ()}, False),
        ({"verdicts": (VERDICT, UNUSUAL)}, True),
        ({"verdicts": (VERDICT, DEVIATES)}, False),
        ({"relays": (RELAY,)}, True),
        ({"relays": (RELAY, replace(RELAY, as_expected=False))}, False),
        ({"errors": ("something is missing",)}, False),
        ({"contradictions": ("two witnesses disagree",)}, False),
    ],
)
def test_a_run_is_as_expected_if_every_verdict_is_and_nothing_else_is_said(
    changes: dict[str, Any], as_expected: bool
) -> None:
    judgement = replace(JUDGEMENT, **changes)
    assert judgement.as_expected == as_expected
    assert judgement.as_dict()["as_expected"] == as_expected


def test_an_unusual_refusal_is_safe_and_does_not_conform() -> None:
    assert (VERDICT.as_expected, VERDICT.conforms) == (True, True)
    assert (UNUSUAL.as_expected, UNUSUAL.conforms) == (True, False)
    assert (DEVIATES.as_expected, DEVIATES.conforms) == (False, True)


def test_verdicts_json_leaves_out_what_is_empty() -> None:
    always = {"version", "run", "capture", "controls", "verdicts", "lab", "as_expected"}
    told = {"errors": ("a",), "relays": (RELAY,), "contradictions": ("b",), "student": "s12", "events": {"lab": 3}}
    whole = replace(JUDGEMENT, **told)  # type: ignore[arg-type]
    assert set(JUDGEMENT.as_dict()) == always
    assert set(whole.as_dict()) == always | set(told)
    assert whole.to_json().startswith('{\n  "version": 3,\n  "run": "a run",\n')
    assert whole.to_json().endswith("}\n")
    assert json.loads(whole.to_json())["events"] == {"lab": 3}


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (Sent("client", "ClientHello", "01"), "ClientHello (1 byte)"),
        (Sent("client", "ClientHello", "0102"), "ClientHello (2 bytes)"),
        (Sent("server", "alert decrypt_error", "0233"), "alert decrypt_error (51)"),
        (Sent("server", "alert", "023300"), "alert (3 bytes)"),
    ],
)
def test_what_was_sent_is_named_with_its_length_and_an_alert_with_its_number(sent: Sent, text: str) -> None:
    assert str(sent) == text


def test_evidence_tells_the_messages_of_one_side() -> None:
    assert EVIDENCE.by("client") == (SENT[0], SENT[2])
    assert EVIDENCE.by("server") == (SENT[1],)
