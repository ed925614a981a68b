"""What a probe found, for machines: JSON, JUnit, SARIF 2.1.0, and the baseline of findings that were accepted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from junitparser import Error as Undecided
from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

import lab
from lab import files
from lab.catalogue.moves import find_move
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE
from lab.probing.checks import CHECKS, STRANGER, Advice
from lab.probing.judge import Judged, MoveVerdict, status
from lab.probing.probe import Probed
from lab.tls.versions import find_version

STRANGER_ID = "stranger"
IN_BASELINE = "accepted in the baseline"
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


class BaselineError(Exception):
    """The baseline cannot be read; the text says why."""


@dataclass(frozen=True)
class Finding:
    """Somebody got in without the key: by which move, in which version, and how to tell this finding from others."""

    id: str
    tls: str
    check: Advice
    words: str
    fingerprint: str
    """The same in every probe of the same server: it depends on the server's name and port, the move and the
    version."""


def findings(probed: Probed) -> list[Finding]:
    """All of them, in the order of the checks."""
    found = []
    for judged in probed.judged.values():
        if judged.stranger_in:
            found.append(_finding(probed, STRANGER_ID, str(judged.version), STRANGER))
        found += [_finding(probed, verdict.move, verdict.tls, CHECKS[verdict.move]) for verdict in judged.accepted]
    return found


def _finding(probed: Probed, id_: str, tls: str, check: Advice) -> Finding:
    server = f"{probed.target.server_name}:{probed.target.address.port}"
    stable = "\n".join((server, probed.target.dialect, id_, tls))
    words = f"{server} in TLS {tls}: {check.family}"
    return Finding(id_, tls, check, words, sha256(stable.encode()).hexdigest())


def as_dict(probed: Probed, accepted: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Everything, with the bytes of every attempt. `accepted` are the fingerprints of a baseline."""
    return {
        "server": str(probed.target.address),
        "server_name": probed.target.server_name,
        "dialect": probed.target.dialect,
        "customer": probed.customer,
        "status": status_with(probed, accepted),
        "connections": probed.connections,
        "certificate_seen_on_the_wire": probed.certificate_seen,
        "versions": [_version(one) for one in probed.judged.values()],
        "findings": [
            {
                "id": one.id,
                "tls": one.tls,
                "family": one.check.family,
                "cases": list(one.check.cases),
                "cure": one.check.cure,
                "fingerprint": one.fingerprint,
                "accepted_in_baseline": one.fingerprint in accepted,
            }
            for one in findings(probed)
        ],
    }


def _version(judged: Judged) -> dict[str, Any]:
    controls = judged.controls
    named = {
        "owner": controls.owner[0],
        "key": controls.key.answer,
        "none": controls.none.answer,
        "stranger": controls.stranger.answer,
        "wrong_finished": controls.spoiled.answer,
        **({"other": controls.other.answer} if controls.other else {}),
        "key_at_the_end": controls.again.answer,
    }
    return {
        "tls": str(judged.version),
        "spoken": judged.spoken,
        "unfit": judged.unfit,
        "notes": list(judged.notes),
        "stranger_in": judged.stranger_in,
        "controls": {name: {"kind": answer.kind, "words": answer.words} for name, answer in named.items()},
        "checks": [_check(verdict) for verdict in judged.verdicts],
    }


def _check(verdict: MoveVerdict) -> dict[str, Any]:
    return {
        "id": verdict.move,
        "verdict": str(verdict.outcome),
        "answer": verdict.answer,
        "reason": verdict.reason,
        "clauses": clauses(verdict),
        "milliseconds": verdict.event.milliseconds,
        "bytes": [list(step) for step in verdict.event.steps],
    }


def clauses(verdict: MoveVerdict) -> list[str]:
    """What the RFCs say about the move in that version."""
    move, version = find_move(verdict.move), find_version(verdict.tls)
    return [failure.clause for failure in move.fails[version]] if move and version else []


def status_with(probed: Probed, accepted: frozenset[str]) -> int:
    """The exit status where findings of the baseline do not count."""
    return status(probed.judged, any(one.fingerprint not in accepted for one in findings(probed)))


def read_baseline(file: Path) -> frozenset[str]:
    """The fingerprints in a baseline file; BaselineError where it is none."""
    try:
        fields = json.loads(files.read(file))
        return frozenset(str(one["fingerprint"]) for one in fields["accepted"])
    except (ValueError, KeyError, TypeError) as error:
        raise BaselineError(f"{file}: no baseline of certreplay ({error}); --write-baseline makes one") from None


def baseline(probed: Probed) -> str:
    """A baseline that accepts all that was found; whoever keeps it says why, in `because`."""
    rows = [{"id": one.id, "tls": one.tls, "fingerprint": one.fingerprint, "because": ""} for one in findings(probed)]
    return json.dumps({"accepted": rows}, indent=2) + "\n"


def junit(probed: Probed, accepted: frozenset[str] = frozenset()) -> str:
    """JUnit's XML: a suite for each version, a case for each check. Findings of the baseline are skipped."""
    left = {(one.id, one.tls) for one in findings(probed) if one.fingerprint in accepted}
    whole = JUnitXml()
    for judged in probed.judged.values():
        suite = TestSuite(f"certreplay {probed.target.address} TLS {judged.version}")
        for case in _cases(judged, left):
            suite.add_testcase(case)
        whole.add_testsuite(suite)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    return str(whole.tostring(), "utf-8")  # type: ignore[no-untyped-call]


def _cases(judged: Judged, left: set[tuple[str, str]]) -> Iterator[TestCase]:
    name = f"certreplay.tls{str(judged.version).replace('.', '')}"
    control = TestCase("the controls carry a verdict", name)
    if not judged.spoken:
        control.result = [Skipped("the server does not speak this version")]
    elif judged.unfit:
        control.result = [Undecided(judged.unfit)]
    yield control
    if not judged.spoken or judged.unfit:
        return
    stranger = TestCase(STRANGER_ID, name)
    if (STRANGER_ID, str(judged.version)) in left:
        stranger.result = [Skipped(IN_BASELINE)]
    elif judged.stranger_in:
        stranger.result = [Failure(f"{STRANGER.family}. {STRANGER.cure}")]
    yield stranger
    for verdict in judged.verdicts:
        case = TestCase(verdict.move, name, verdict.event.milliseconds / 1000)
        said = verdict.reason or verdict.answer
        if (verdict.move, verdict.tls) in left:
            case.result = [Skipped(IN_BASELINE)]
        elif verdict.outcome == ACCEPTED:
            check = CHECKS[verdict.move]
            case.result = [Failure(f"{check.family}: {verdict.answer}. {check.cure}")]
        elif verdict.outcome == INCONCLUSIVE:
            case.result = [Undecided(said)]
        elif verdict.outcome == NOT_APPLICABLE:
            case.result = [Skipped(said)]
        yield case


def sarif(probed: Probed, accepted: frozenset[str] = frozenset()) -> str:
    """SARIF 2.1.0: a rule for each check, a result for each finding and none for a server without any."""
    rules = {STRANGER_ID: STRANGER, **CHECKS}
    ids = list(rules)
    server = f"{probed.target.server_name}:{probed.target.address.port}"
    results = [
        {
            "ruleId": one.id,
            "ruleIndex": ids.index(one.id),
            "level": "error",
            "message": {"text": f"{one.words}. {one.check.cure}"},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": server, "kind": "resource"}]}],
            "partialFingerprints": {"certreplay/v1": one.fingerprint},
            **({"suppressions": [{"kind": "external"}]} if one.fingerprint in accepted else {}),
        }
        for one in findings(probed)
    ]
    driver = {
        "name": "certreplay",
        "version": lab.__version__,
        "rules": [
            {
                "id": id_,
                "shortDescription": {"text": _capital(check.family)},
                "help": {"text": check.cure},
                "properties": {"cases": list(check.cases)},
            }
            for id_, check in rules.items()
        ],
    }
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "utf16CodeUnits"}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
