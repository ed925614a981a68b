"""Commands with which anybody recomputes why a replayed proof does not fit: tshark, xxd, openssl, and none of ours.

The capture has alice's logins as they crossed the wire, so her certificate, her proof and what she signed come out of
it. The attacker's own attempts are not in it: their messages come from the attempt's event.
"""

import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from lab.address import Address, find_address
from lab.capture.decrypt import decrypted_handshakes
from lab.capture.errors import CaptureFileError
from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.leaks import WIRE
from lab.catalogue.moves import REPLAY_PROOF
from lab.events.log import FILE_NAME
from lab.events.parts import KEY_LOG_FILE
from lab.events.run import Run
from lab.events.types import CertificateCaptured, MoveTried
from lab.judging.judgement import Verdict
from lab.judging.proof_comparison import chain_in
from lab.tls import proof
from lab.tls.errors import Abort
from lab.tls.messages import CertificateVerify
from lab.tls.messages13 import parse
from lab.tls.proof import SignatureScheme
from lab.tls.versions import TLS12, TLS13, Version

WIDTH = 96
CONTEXT13 = "TLS 1.3, client CertificateVerify"
"""RFC 8446 section 4.4.3."""
_LEAF_AT = {TLS12: 10, TLS13: 11}
"""The offset of the first certificate in a Certificate message, from 0 (RFC 5246 section 7.4.2; RFC 8446 section 4.4.2,
which has the length of an empty context before the list)."""
_SHA384_SUITE = "1302"
"""TLS_AES_256_GCM_SHA384, the only suite here whose hash is not SHA-256."""
_TO_OCTETS = "xxd -r -p"


class NoRecipe(Exception):
    """There is nothing to recompute for this verdict; the text says why and what to do."""


@dataclass(frozen=True)
class RecipeStep:
    """What to do and why, and the commands that do it, each for a POSIX shell."""

    why: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """Commands that end in a proof that fits alice's handshake, and does not fit the attempt's."""

    title: str
    steps: tuple[RecipeStep, ...]

    def script(self) -> str:
        """A shell script; its status is 0 if the last check fails as it must, and all before it succeeds."""
        return "\n\n".join(("#!/bin/sh", "\n".join((*_comment(self.title), "set -eu")), *self._paragraphs())) + "\n"

    def _paragraphs(self) -> Iterator[str]:
        for number, step in enumerate(self.steps, start=1):
            yield "\n".join((*_comment(f"{number}. {step.why}"), *step.commands))


@dataclass(frozen=True)
class _Login:
    """The login of alice's whose proof is checked."""

    client: Address
    server: Address
    client_random: str
    scheme: SignatureScheme


def recipe(run: Run, verdict: Verdict) -> Recipe:
    """The recipe for a verdict on a replayed proof; NoRecipe where that is not what was sent, or not what was seen."""
    if verdict.leak != WIRE.id:
        raise NoRecipe(f"the recipe reads logins that crossed the wire, not what the leak {verdict.leak} yields")
    part, tried = _attempt(run, verdict)
    captured = _captured(run, verdict, tried)
    version = TLS13 if verdict.tls == str(TLS13) else TLS12
    login = _login12(captured) if version == TLS12 else _login13(run, captured)
    what = "the proof that mallory replayed" if version == TLS12 else "a proof of alice's"
    title = (
        f"{verdict.move} at {verdict.gateway}, TLS {verdict.tls}: {what} fits alice's own handshake, and not the "
        "attempt's. Nothing here is the lab's own: tshark, xxd, openssl, and what every system has."
    )
    steps = [_places(run), _connection(login)]
    if version == TLS12:
        steps += [_messages12(login), _certificate(TLS12), _proof(login.scheme, version), _signed12(login.scheme)]
    else:
        steps += [_messages13(login), _certificate(TLS13), _proof(login.scheme, version), _signed13(login.scheme)]
    steps.append(
        RecipeStep("Check alice's proof over what she signed. It fits.", (_verify(login.scheme, "alice.signed"),))
    )
    steps.append(_attempt_messages(part, verdict))
    steps.append(_attempt_signed12(login.scheme) if version == TLS12 else _attempt_signed13(login.scheme, tried))
    steps.append(
        RecipeStep(
            "Check the same signature, with the same key, over that. It does not fit. `!` turns the failure into the "
            "script's success.",
            (f"! {_verify(login.scheme, 'attempt.signed')}",),
        )
    )
    return Recipe(title, tuple(steps))


def _attempt(run: Run, verdict: Verdict) -> tuple[tuple[str, int], MoveTried]:
    """The attempt that the verdict rests on, with its part and its number there."""
    for recorded in run.events:
        if recorded.number == verdict.evidence.attempt and isinstance(recorded.event, MoveTried):
            if not (name := f"{run.folders.path}/{recorded.part}").isprintable():
                raise NoRecipe(f"{name}: no command can be printed for this name; rename the folder")
            return (recorded.part, recorded.sequence), recorded.event
    raise NoRecipe(f"{verdict.move} was not tried at {verdict.gateway} in TLS {verdict.tls}")


def _captured(run: Run, verdict: Verdict, tried: MoveTried) -> CertificateCaptured:
    """The captured certificate whose proof the attempt sent."""
    senders = [sender for sender, *_ in tried.steps]
    sent = [raw for sender, name, raw in tried.steps if (sender, name) == ("client", CertificateVerify.name)]
    seen = run.all(CertificateCaptured)
    found = next((one for one in seen if one.leak == WIRE.id and one.transcript and one.proof in sent), None)
    what = f"{verdict.move} at {verdict.gateway} in TLS {verdict.tls}"
    if not found:
        raise NoRecipe(f"{what} sent no proof as the wire showed it; --move {REPLAY_PROOF} does")
    if senders[:2] != ["client", "server"] or sum(name == "ClientHello" for _, name, _ in tried.steps) > 1:
        raise NoRecipe(f"{what}: the messages are not in the order of one plain handshake; take --move {REPLAY_PROOF}")
    return found


def _login12(captured: CertificateCaptured) -> _Login:
    """The login in which a proof was captured."""
    try:
        verify = parse(bytes.fromhex(captured.proof or ""), TLS12)
    except Abort as error:
        raise NoRecipe(f"the captured proof is unreadable: {error}") from None
    known = {scheme.id: scheme for scheme in proof.SIGNATURE_SCHEMES}
    if not isinstance(verify, CertificateVerify) or verify.scheme not in known:
        raise NoRecipe("the captured proof is in a signature scheme that the recipe has no command for")
    return _login(captured.client, captured.server, captured.client_random, known[verify.scheme])


def _login13(run: Run, captured: CertificateCaptured) -> _Login:
    """A login of alice's in TLS 1.3 that her key log opens, at the place of the captured one if there is one."""
    key_log = run.folders.part(VICTIM_CLIENT) / KEY_LOG_FILE
    try:
        key = proof.public_key(chain_in(bytes.fromhex(captured.message), TLS12)[0])
        opened = decrypted_handshakes(run.folders.capture, {VICTIM_CLIENT: key_log})
    except (Abort, CaptureFileError, OSError) as error:
        raise NoRecipe(f"no proof of TLS 1.3 can be read: {error}") from None
    needed = {("client", "Certificate"), ("client", CertificateVerify.name)}
    usable = [
        one
        for one in opened
        if one.tls == str(TLS13) and needed <= set(one.messages) and one.messages.count(("client", "ClientHello")) == 1
    ]
    if not usable:
        raise NoRecipe(
            f"TLS 1.3 encrypts the proof, and {key_log} opens no login in {run.folders.capture} that has one"
        )
    best = max(usable, key=lambda one: one.server == captured.server)
    return _login(best.client, best.server, "", next(one for one in proof.SIGNATURE_SCHEMES if one.suits(key, TLS13)))


def _login(client: str, server: str, client_random: str, scheme: SignatureScheme) -> _Login:
    ends = find_address(client), find_address(server)
    if not (ends[0] and ends[1] and _is_numeric(ends[0].host) and _is_numeric(ends[1].host)):
        raise NoRecipe("the run does not say between which addresses the proof was seen")
    return _Login(ends[0], ends[1], client_random, scheme)


def _is_numeric(host: str) -> bool:
    """Whether it is an IP address and nothing else: it becomes a part of a command."""
    try:
        return not getattr(ip_address(host), "scope_id", None)
    except ValueError:
        return False


def _places(run: Run) -> RecipeStep:
    return RecipeStep(
        "The run's folder, and a new one for the files that follow.",
        (
            f"run=$(realpath {shlex.quote(str(run.folders.path))})",
            'cd "$(mktemp -d)"',
            'echo "files in $(pwd)"',
        ),
    )


def _connection(login: _Login) -> RecipeStep:
    """tshark numbers connections as it meets them, so the number is asked for and not written down."""
    this_one = f" &&\n        tls.handshake.random == {login.client_random}" if login.client_random else ""
    hello = f"tls.handshake.type == 1 && $from && $to{this_one}"
    return RecipeStep(
        f"Alice's login in the capture, from {login.client} to {login.server}: its number among the TCP connections.",
        (
            'capture="$run/attacker/capture.pcapng"',
            *_ends(login),
            f'stream=$(tshark -r "$capture" -d tcp.port=={login.server.port},tls -T fields -e tcp.stream \\\n'
            f'    -Y "{hello}" | head -n 1)',
        ),
    )


def _ends(login: _Login) -> tuple[str, str]:
    """Both ends, as display filters."""
    ip = "ipv6" if ":" in login.client.host else "ip"
    return (
        f"from='{ip}.src == {login.client.host} && tcp.srcport == {login.client.port}'",
        f"to='{ip}.dst == {login.server.host} && tcp.dstport == {login.server.port}'",
    )


def _all_messages(login: _Login, options: str = "") -> str:
    """A message a line, in hex. With its look at sequence numbers, tshark's default, a packet that was sent again or
    passed on is read once."""
    return (
        f'tshark -r "$capture" -d tcp.port=={login.server.port},tls {options}\\\n'
        "    -o tcp.analyze_sequence_numbers:TRUE \\\n"
        '    -Y "tcp.stream == $stream && tls.handshake" -T jsonraw -J tls |\n'
        """    sed -n '/"tls.handshake_raw"/{n;s/[^0-9a-f]//gp;}' |\n"""
    )


def _messages12(login: _Login) -> RecipeStep:
    return RecipeStep(
        "All handshake messages of that login, up to her proof, a line each in hex. A message begins with its type and "
        "its length: 01 is ClientHello, 0b Certificate, 0f CertificateVerify, the proof. A packet that is in the "
        "capture twice, as ARP spoofing makes it, is read once.",
        (f"{_all_messages(login)}    sed -n '1,/^0f/p' > alice.hex", _types("alice.hex")),
    )


def _messages13(login: _Login) -> RecipeStep:
    return RecipeStep(
        "All handshake messages of that login, up to her proof, a line each in hex. TLS 1.3 encrypts them, and mallory "
        "cannot read them: alice's own key log opens them here. A message begins with its type and its length: 01 is "
        "ClientHello, 0b Certificate, 0f CertificateVerify, the proof. The server proves itself first, so alice's is "
        "the last one: `tac` turns the lines round.",
        (
            _all_messages(login, f'-o "tls.keylog_file:$run/{VICTIM_CLIENT}/{KEY_LOG_FILE}" ')
            + "    tac | sed -n '/^0f/,$p' | tac > alice.hex",
            _types("alice.hex"),
        ),
    )


def _types(file: str) -> str:
    return f"cut -c 1-2 {file} | paste -s -d ' '"


def _certificate(version: Version) -> RecipeStep:
    at = _LEAF_AT[version]
    context = " and an empty context" if version == TLS13 else ""
    return RecipeStep(
        f"Alice's certificate: the last Certificate message, from offset {at} on, after its type, three lengths"
        f"{context}. It holds her public key.",
        (
            f"grep '^0b' alice.hex | tail -n 1 | cut -c {2 * at + 1}- | {_TO_OCTETS} > alice.der",
            "openssl x509 -inform DER -in alice.der -noout -subject",
            "openssl x509 -inform DER -in alice.der -noout -pubkey > alice.pub",
        ),
    )


def _proof(scheme: SignatureScheme, version: Version) -> RecipeStep:
    return RecipeStep(
        f"Her proof: type and length, the signature scheme ({scheme.id:04x} is "
        f"{proof.scheme_name(scheme.id, version)}), a length, the signature.",
        (
            f'test "$(tail -n 1 alice.hex | cut -c 9-12)" = {scheme.id:04x}',
            f"tail -n 1 alice.hex | cut -c 17- | {_TO_OCTETS} > signature",
        ),
    )


def _signed12(scheme: SignatureScheme) -> RecipeStep:
    return RecipeStep(
        "What she signed: all messages before the proof, as they are (RFC 5246 section 7.4.8).",
        (f"sed '$d' alice.hex | {_TO_OCTETS} > alice.signed", _hash(scheme, "alice.signed")),
    )


def _signed13(scheme: SignatureScheme) -> RecipeStep:
    return RecipeStep(
        "What she signed (RFC 8446 section 4.4.3): 64 spaces, a text, a zero, and the hash of all messages before the "
        "proof. The suite in ServerHello, the second message, says which hash.",
        (
            "suite=$(sed -n 2p alice.hex | cut -c 143-146)",
            f'if [ "$suite" = {_SHA384_SUITE} ]; then hash=sha384; else hash=sha256; fi',
            _content13("alice.hex", "$hash", "alice.signed"),
            _hash(scheme, "alice.signed"),
        ),
    )


def _content13(messages: str, hash_name: str, to: str) -> str:
    return (
        f"{{ printf '%64s' ''; printf '{CONTEXT13}\\000'\n"
        f"  sed '$d' {messages} | {_TO_OCTETS} | openssl dgst -{hash_name} -binary; }} > {to}"
    )


def _attempt_messages(at: tuple[str, int], verdict: Verdict) -> RecipeStep:
    part, number = at
    version = "" if verdict.tls == str(TLS12) else " It sent a proof that alice made in TLS 1.2, which it had."
    compare = ('test "$(tail -n 1 attempt.hex)" = "$(tail -n 1 alice.hex)"',) if verdict.tls == str(TLS12) else ()
    same = " Its last line is alice's proof, byte for byte." if compare else ""
    return RecipeStep(
        f"Now the attempt at {verdict.gateway}. The capture has what mallory heard, not what she sent, so its messages "
        f"come from her report, event {number}: sender, name and hex of each. ChangeCipherSpec is no handshake "
        f"message.{same}{version}",
        (
            f'grep \'"sequence": {number},\' "$run"/{shlex.quote(f"{part}/{FILE_NAME}")} |\n'
            """    grep -o '\\["[a-z]*", "[A-Za-z]*", "[0-9a-f]*"\\]' | grep -v ChangeCipherSpec |\n"""
            """    sed '/"client", "CertificateVerify"/q' | cut -d '"' -f 6 > attempt.hex""",
            _types("attempt.hex"),
            *compare,
        ),
    )


def _attempt_signed12(scheme: SignatureScheme) -> RecipeStep:
    return RecipeStep(
        "What the server checks a proof against: all messages of its own handshake before the proof. It puts a new "
        "random into every ServerHello, so no two handshakes are the same: `cmp` says at which byte they first differ, "
        "and counts from 1.",
        (
            f"sed '$d' attempt.hex | {_TO_OCTETS} > attempt.signed",
            _hash(scheme, "attempt.signed"),
            "cmp alice.signed attempt.signed || true",
        ),
    )


def _attempt_signed13(scheme: SignatureScheme, tried: MoveTried) -> RecipeStep:
    hello = next(raw for sender, _, raw in tried.steps if sender == "server")
    session_id_octets = int(hello[76:78], 16)
    suite = hello[78 + 2 * session_id_octets :][:4]
    return RecipeStep(
        "What the server checks a proof against: the same content, over the messages of its own handshake.",
        (
            _content13("attempt.hex", "sha384" if suite == _SHA384_SUITE else "sha256", "attempt.signed"),
            _hash(scheme, "attempt.signed"),
        ),
    )


def _hash(scheme: SignatureScheme, content: str) -> str:
    """The command that prints the hash of a file, under the scheme's hash."""
    return f"openssl dgst -{scheme.hash.name if scheme.hash else 'sha256'} {content}"


def _verify(scheme: SignatureScheme, content: str) -> str:
    """The command that checks `signature` over a file; it prints the outcome."""
    if scheme.hash is None:  # Ed25519 hashes by itself
        return f"openssl pkeyutl -verify -pubin -inkey alice.pub -rawin -in {content} -sigfile signature"
    pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest \\\n    " if scheme.pss else ""
    return f"openssl dgst -{scheme.hash.name} {pss}-verify alice.pub -signature signature {content}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
