"""The judge: from a run's events to its verdicts.

A verdict says what a gateway did with a move, beside what the RFCs predict (`lab.judging.expectations`). Every verdict
is framed by controls that must succeed: alice herself, and the same replay code with the real key. If one is missing
there are no verdicts, but errors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from lab.capture.key_forms import WORDS
from lab.catalogue.cast import LAB, MALLORY
from lab.catalogue.checks import Check
from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, ROGUE_SERVER, WIRE, Leak, LootKind, find_leak
from lab.catalogue.moves import Move, find_move, moves_for
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, NOT_APPLICABLE, REFUSED
from lab.catalogue.schemes import ProofOf
from lab.events.run import Run
from lab.events.types import (
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    HandshakeSeen,
    LoggedIn,
    LoginFailed,
    MoveTried,
    RunStarted,
    Trouble,
)
from lab.judging.attempts import NAMES_CONNECTIONS, Attempts, Tried
from lab.judging.connections import ClientConnection, ConnectionIndex
from lab.judging.expectations import Expectation, expectation
from lab.judging.facts import captured, has_seen_tls13, listening_gateways, plan_of, unknown_names
from lab.judging.gateway_reports import GatewayReports, sentence
from lab.judging.judgement import (
    CLIENT,
    CapturedCertificate,
    Control,
    Evidence,
    HttpAnswer,
    Judgement,
    Sent,
    SentAlert,
    Verdict,
)
from lab.judging.ledger import Ledger
from lab.judging.logs import event_counts, other_verdicts
from lab.judging.proof_comparison import presented, proof_reason, scheme_suits
from lab.judging.relays import RelayedProof, missing_relays, relay_verdict, relayed_proofs
from lab.judging.shapes import departure, known
from lab.judging.student_client import careless, met_mallory, students_client, yields_nothing
from lab.judging.whose_proof import whose
from lab.judging.witnesses import contradictions, refused_events
from lab.tls.alerts import AlertDescription, alert_name
from lab.tls.versions import TLS13, Version

S = TypeVar("S", CertificateCaptured, HandshakeSeen)


def judge(run: Run) -> Judgement | None:
    """The run's outcome; None while something that belongs to it is missing."""
    judged = JudgedRun(run)
    return None if judged.missing else judged.judgement


class JudgedRun:
    """A run as far as it got, and all that can be said of it so far. Every view reads this and judges nothing itself.

    It is a snapshot: when the run has new events, make a new one. Everything is computed once, when it is first read.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = plan_of(run)
        self.gateways = listening_gateways(run)
        self.reports = GatewayReports(run)
        self.attempts = Attempts(run, self.reports)
        self.ledger = Ledger(run)
        self._verdicts: dict[tuple[str, str, Version], tuple[Verdict, ...]] = {}

    def seen(self, kind: type[S]) -> Iterator[tuple[S, ClientConnection]]:
        """What the attacker saw on connections, each with its connection, in order."""
        for seen in self.run.all(kind):
            yield seen, self.connections.of(seen)

    @cached_property
    def connections(self) -> ConnectionIndex:
        """The connections that the attacker saw, as the other witnesses report them."""
        return ConnectionIndex(self.run, self.gateways, self.reports)

    @property
    def leaks(self) -> list[Leak]:
        """The leaks of the plan."""
        return [leak for leak in map(find_leak, self.plan.leaks) if leak]

    def _moves_of(self, leak: Leak, version: Version) -> list[Move]:
        """Those that this run tries with a leak's loot; in TLS 1.3 earlier runs had none that resumes a session."""
        early = version == TLS13 and any(one.version < NAMES_CONNECTIONS for one in self.run.events[:1])
        return [move for move in moves_for(leak, self.plan.moves) if not (early and LootKind.SESSION in move.needs)]

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """What the run still lacks for its verdicts, a sentence each, with the last known reason."""
        return tuple(self._missing())

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Names in the run that this version does not know; everything else is still judged."""
        names = unknown_names(self.run)
        told = [f"the run has a {kind} that this version does not know: {name}" for kind, name in names]
        listening = self.gateways.values()
        absent = dict.fromkeys(gateway.id for gateway, _ in self.plan.targets() if gateway not in listening)
        strange = any(kind == "gateway" for kind, _ in names)
        return (*told, *(f"the gateway {name} is not listening" for name in absent if strange))

    @cached_property
    def departures(self) -> Mapping[str, str]:
        """The attempts that were not their move, by number, each with what is wrong; earlier runs do not show it."""
        there = known(self.run)
        found = (
            (tried.number, departure(tried, there))
            for tried in self.attempts.all
            if tried.recorded_in >= NAMES_CONNECTIONS
        )
        return {number: why for number, why in found if why}

    @cached_property
    def judgement(self) -> Judgement:
        """The outcome as it stands: with something missing, errors and no verdicts."""
        seen = captured(self.run, next(iter(self.plan.leaks), WIRE.id))
        started = self.run.first(RunStarted)
        there = [target for target in self.plan.targets() if target[0] in self.gateways.values()]
        targets = [(leak, *target) for leak in self.leaks for target in there]
        complete = not self.missing
        judgement = Judgement(
            run=self.run.name,
            lab=started.lab if started else "",
            student=self.plan.student,
            capture=CapturedCertificate(seen.subject, seen.sha256, seen.tls, seen.source)
            if seen
            else CapturedCertificate("", "", "", ""),
            controls=tuple(self._controls()),
            verdicts=tuple(one for target in targets for one in self.verdicts_at(*target)) if complete else (),
            errors=(
                *(() if complete else self._noticed()),
                *(*self.missing, *self.unknown, *self._not_their_moves(), *careless(self.run)),
            ),
            relays=tuple(map(relay_verdict, self.relayed_proofs)) if complete else (),
            contradictions=refused_events(self.run),
            events=event_counts(self.run),
        )
        if not complete:
            return judgement
        told = contradictions(self.run, self.plan, self.attempts.all, self.relayed_proofs, self.ledger)
        told = (*judgement.contradictions, *told, *other_verdicts(self.run, judgement))
        return replace(judgement, contradictions=told)

    @cached_property
    def relayed_proofs(self) -> list[RelayedProof]:
        """The proofs that were relayed while they were fresh, in order."""
        return relayed_proofs(self.run, self.gateways, self.reports)

    def verdicts_at(self, leak: Leak, gateway: Gateway, version: Version) -> tuple[Verdict, ...]:
        """The verdicts on all planned moves at one gateway; all of them must have been tried."""
        key = (leak.id, gateway.id, version)
        if key not in self._verdicts:
            self._verdicts[key] = tuple(self._verdicts_at(leak, gateway, version))
        return self._verdicts[key]

    def missing_at(self, leak: Leak, gateway: Gateway, version: Version) -> list[str]:
        """What keeps a gateway's moves from having verdicts."""
        if gateway.scheme.trusts not in leak.certificates:
            return []
        lacking: list[str] = []
        where = f"{gateway.id}, TLS {version}" + (f", leak {leak.id}" if leak != WIRE else "")
        for move in self._moves_of(leak, version):
            attempts = self.attempts.at(leak.id, gateway, version, move.id)
            if len(attempts) < self.plan.rounds:
                times = f" {self.plan.rounds} times" if self.plan.rounds > 1 else ""
                lacking.append(f"{move.id} at {where}: not tried{times}")
            lacking += [f"{move.id} at {where}: {why}" for why in map(_undecided, attempts) if why][:1]
        return lacking

    def _noticed(self) -> Iterator[str]:
        """What the lab itself reported as troubles: they may be why something is missing."""
        return (one.event.what for one in self.run.events if one.part == LAB and isinstance(one.event, Trouble))

    def _not_their_moves(self) -> Iterator[str]:
        for tried in self.attempts.all:
            if why := self.departures.get(tried.number):
                where = f"{tried.gateway.id}, TLS {tried.version} ({tried.number})"
                yield f"{tried.event.move} at {where}: the attempt was not this move: {why}"

    def _missing(self) -> Iterator[str]:
        run, leaks = self.run, self.leaks
        if not run.first(RunStarted):
            yield "the run does not say what it set out to try; only the lab can say it"
        elif not len(self.plan):
            yield "the run set out to try nothing that this version knows; its plan names no move, gateway or leak"
        kinds = {gateway.scheme.trusts for gateway, _ in self.plan.targets()}
        for leak in leaks:
            if yields_nothing(run, leak) and not captured(run, leak.id):
                if not met_mallory(run):
                    yield f"{students_client(run)} never met mallory in the server's place, through the leak {leak.id}"
            elif kinds & leak.certificates and not captured(run, leak.id):
                what = "captured together with its proof" if leak == WIRE else f"obtained through the leak {leak.id}"
                yield f"no client certificate was {what}{_because(self._failures(leak))}"
        if WIRE in leaks and not has_seen_tls13(run):
            yield "alice's login over TLS 1.3 was not seen"
        if WIRE in leaks:
            yield from _missing_search(run)
        listening = set(self.gateways.values())
        if not listening:
            yield "no gateway is listening"
        for gateway, version in self.plan.targets():
            if gateway in listening:
                yield from self._missing_controls(gateway, version)
                for leak in leaks:
                    if captured(run, leak.id):  # without a certificate nothing was tried; that was said above
                        yield from self.missing_at(leak, gateway, version)
                if LIVE_RELAY in leaks and not yields_nothing(run, LIVE_RELAY):
                    yield from missing_relays(self.run, self.relayed_proofs, gateway, version)
            elif listening and not any(kind == "gateway" for kind, _ in unknown_names(run)):
                yield f"the gateway {gateway.id} is not listening"

    def _failures(self, leak: Leak) -> list[str]:
        """What was reported that can explain why a leak yielded nothing."""
        if leak == INTERCEPTION:
            return [trouble.what for trouble in self.run.all(Trouble)]
        if leak == ROGUE_SERVER:
            ours = {gateway.id for gateway in self.gateways.values()}
            return [f"{one.url}: {one.reason}" for one in self.run.all(LoginFailed) if one.gateway not in ours]
        return []

    def _missing_controls(self, gateway: Gateway, version: Version) -> Iterator[str]:
        """The controls of a gateway that did not succeed."""
        where, here = f"{gateway.id}, TLS {version}", (gateway.id, str(version))
        if not any((login.gateway, login.tls) == here for login in self.run.all(LoggedIn)):
            failures = [one.reason for one in self.run.all(LoginFailed) if (one.gateway, one.tls) == here]
            yield f"control {CLIENT} at {where}: alice did not log in{_because(failures)}"
        control = next(iter(self.attempts.controls(gateway, version)), None)
        if control is None or control.event.outcome != ACCEPTED:
            it = "password" if gateway.scheme.takes_password else "real key"
            why = "not run" if control is None else f"the {it} did not get in: {_what_came_back(control.event)}"
            yield f"control {gateway.scheme.control} at {where}: {why}"

    def _controls(self) -> Iterator[Control]:
        logins = {(login.gateway, login.tls) for login in self.run.all(LoggedIn)}
        for gateway, version in self.plan.targets():
            if (gateway.id, str(version)) in logins:
                yield Control(gateway.id, str(version), CLIENT, ACCEPTED)
            for tried in self.attempts.controls(gateway, version)[:1]:
                yield Control(gateway.id, str(version), tried.event.move, tried.event.outcome)

    def _verdicts_at(self, leak: Leak, gateway: Gateway, version: Version) -> Iterator[Verdict]:
        for move in self._moves_of(leak, version):
            attempts = self.attempts.at(leak.id, gateway, version, move.id)
            suits = all(scheme_suits(tried.event) for tried in attempts)
            expected = expectation(gateway, version, move, leak, suits)
            if any(tried.number in self.departures for tried in attempts):
                continue  # that is an error, and no verdict
            deviating = [tried for tried in attempts if tried.outcome != expected.outcome]
            unusual = [tried for tried in attempts if tried not in deviating and not _conforms(tried, expected)]
            shown = next(iter(deviating or unusual or attempts), None)
            yield Verdict(
                leak=leak.id,
                gateway=gateway.id,
                scheme=gateway.scheme.id,
                implementation=gateway.implementation.id,
                tls=str(version),
                move=move.id,
                expected=expected.outcome,
                outcome=shown.outcome if shown else NOT_APPLICABLE,
                evidence=self._evidence(shown, expected, (len(attempts), len(deviating), len(unusual)))
                if shown
                else _nothing(expected),
            )

    def _evidence(self, tried: Tried, expected: Expectation, counts: tuple[int, int, int]) -> Evidence:
        alert, seen_by = _alert(tried)
        event = tried.event
        attempts, deviations, unusual = counts
        seen_in, capture = self._made_of(event)
        return Evidence(
            attempt=tried.number,
            alert=alert,
            alert_seen_by=seen_by,
            http=None if event.status is None else HttpAnswer(event.status, event.body),
            reason=sentence(tried.report) or event.error or "",
            ms=event.milliseconds,
            stolen=event.stolen,
            messages=tuple(Sent(*step) for step in event.steps),
            clause=expected.reason,
            expected_alerts=tuple(SentAlert(due.label, due, "server") for due in expected.alerts),
            expected_statuses=expected.statuses,
            proof=proof_reason(capture, event) if capture and _rests_on_the_proof(tried, expected, alert) else None,
            proof_seen=tried.report.proof if isinstance(tried.report, ClientAuthenticated) else "",
            header=event.header,
            attempts=attempts,
            deviations=deviations,
            unusual=unusual,
            transfer=_transfer(event),
            note=_made_in_another_version(capture, event),
            whose=_whose(tried),
            began=tuple(Sent(*step) for step in event.elsewhere),
            events=tuple(
                dict.fromkeys(
                    (
                        *((seen_in,) if capture else ()),
                        *self._ticket_seen(event),
                        tried.number,
                        *(report.number for report in tried.reports),
                        *(entry.number for entry in self.ledger.on(event.connection)),
                    )
                )
            ),
        )

    def _made_of(self, event: MoveTried) -> tuple[str, CertificateCaptured | None]:
        """The capture that an attempt was made of, after its event's number: that of its very proof, or else of the
        same certificate, preferably with a proof and in the same version."""
        shown, proofs = presented(event), {raw for sender, _, raw in event.steps if sender == "client"}

        def likeness(capture: tuple[str, CertificateCaptured]) -> tuple[bool, ...]:
            _, one = capture
            return one.proof in proofs, one.sha256 in shown, one.proof is not None, one.tls == event.tls

        return max(self._captures.get((event.leak, event.seen_at), ()), key=likeness, default=("", None))

    def _ticket_seen(self, event: MoveTried) -> Iterator[str]:
        """The event in which the attacker saw the ticket that an attempt offered in TLS 1.3, by its number."""
        sent = "".join(raw for sender, _, raw in event.steps if sender == "client")
        return (number for server, ticket, number in self._tickets if server == event.seen_at and ticket in sent)

    @cached_property
    def _tickets(self) -> tuple[tuple[str, str, str], ...]:
        """The tickets that were offered in TLS 1.3, with the server's address before and the event's number behind."""
        seen = ((recorded.event, recorded.number) for recorded in self.run.events)
        return tuple((e.server, e.session, no) for e, no in seen if isinstance(e, HandshakeSeen) and e.session)

    @cached_property
    def _captures(self) -> Mapping[tuple[str, str], list[tuple[str, CertificateCaptured]]]:
        """The captures by leak and place, each after its event's number."""
        found: dict[tuple[str, str], list[tuple[str, CertificateCaptured]]] = {}
        for recorded in self.run.events:
            if isinstance(one := recorded.event, CertificateCaptured):
                found.setdefault((one.leak, one.server), []).append((recorded.number, one))
        return found


def _whose(tried: Tried) -> str:
    """Whose key and whose name, where a gateway let a client in that does not hold them against each other."""
    scheme = tried.gateway.scheme
    told = isinstance(tried.report, ClientAuthenticated) and scheme.proof_of is ProofOf.SOMEBODY
    return whose(tried.event, scheme.name_from) if told else ""


def _rests_on_the_proof(tried: Tried, expected: Expectation, alert: SentAlert | None) -> bool:
    """Whether the proof's validity explains the outcome: a server refused it as not valid, and not for its scheme
    (illegal_parameter), or let the client in whether it is valid or not."""
    if tried.outcome == ACCEPTED:
        return not tried.gateway.scheme.checks_proof
    invalid = alert is not None and alert.number == AlertDescription.DECRYPT_ERROR
    return tried.outcome == REFUSED and expected.check is Check.PROOF_VALID and invalid


def _undecided(tried: Tried) -> str:
    """Why an attempt has no outcome; empty if it has one."""
    if tried.event.outcome == NOT_APPLICABLE:
        return ""
    if not tried.report:
        return "no gateway report for this attempt"
    return f"neither accepted nor refused: {tried.event.error}" if tried.outcome == INCONCLUSIVE else ""


def _missing_search(run: Run) -> list[str]:
    """What keeps the search of the capture from showing that alice's key was never on the wire."""
    searched = run.first(CaptureSearched)
    if not searched:
        return ["the capture was not searched for alice's key"]
    if searched.key_in_bundle is not None:
        found = {name.partition(",")[0] for name in searched.key_in_bundle if not name.endswith(WORDS)}
        if len(found) < searched.keys:
            return ["the keys that were looked for are not in alice's bundles; the key search proves nothing"]
    if not searched.certificate_at:
        return ["alice's certificate is not in the capture; the key search proves nothing"]
    return [f"alice's key was on the wire: {'; '.join(searched.key_at)}"] if searched.key_at else []


def _conforms(tried: Tried, expected: Expectation) -> bool:
    """Whether a refusal came in a way that the RFCs have for it."""
    if expected.outcome != REFUSED:
        return True
    alert, _ = _alert(tried)
    if expected.alerts:
        return alert is not None and alert.sent_by == "server" and alert.number in expected.alerts
    return alert is None and tried.event.status in expected.statuses


def _alert(tried: Tried) -> tuple[SentAlert | None, str | None]:
    """The alert that ended an attempt and who saw it; from the gateway's report if the attacker cannot read it."""
    event, report = tried.event, tried.report
    if event.alert is not None and event.alert_by == "server":
        return SentAlert(alert_name(event.alert), event.alert, "server"), "attacker"
    if event.status is None and isinstance(report, ClientRefused) and report.alert is not None:
        return SentAlert(alert_name(report.alert), report.alert, "server"), "gateway"
    if event.alert is not None:
        return SentAlert(alert_name(event.alert), event.alert, event.alert_by), "attacker"
    return None, None


def _transfer(event: MoveTried) -> str:
    """What became of the order to move money."""
    if event.stolen:
        return f"{event.stolen} moved from {event.customer} to {MALLORY}"
    return f"the bank refused the transfer: HTTP {event.transfer_status}" if event.transfer_status else ""


def _made_in_another_version(capture: CertificateCaptured | None, event: MoveTried) -> str:
    """A captured proof that signs another version's handshake fits no handshake of this one, whatever the randoms."""
    move = find_move(event.move)
    if capture is None or not capture.tls or capture.tls == event.tls or not move or LootKind.PROOF not in move.needs:
        return ""
    return f"the proof was captured in TLS {capture.tls}; this leak yields none of TLS {event.tls}"


def _nothing(expected: Expectation) -> Evidence:
    """The evidence of what cannot be tried."""
    return Evidence(
        "", None, None, None, expected.reason, 0.0, 0, (), expected.reason, (), (), None, "", "", 0, 0, 0, "", "", ()
    )


def _because(reasons: list[str]) -> str:
    return f": {reasons[-1]}" if reasons else ""


def _what_came_back(event: MoveTried) -> str:
    if event.alert is not None:
        return f"alert {alert_name(event.alert)} ({event.alert})"
    return event.error or f"HTTP {event.status}"
