"""Each exercise is solved as a student would: in a real run, with the tools that the task names. Wrong ways, too."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from programs import PATIENCE_SECONDS, certreplay, program

Shell = Callable[[str], str]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a demo run, in a folder of runs."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / finished_run.name))


@pytest.fixture
def shell(run: Path, tmp_path: Path) -> Shell:
    """Carries out commands in the shell, as a student would, and gives what they print; `$run` is the run's folder."""
    for name in ("tshark", "openssl", "xxd"):
        program(name)
    folder = tmp_path / "work"
    folder.mkdir()

    def carry_out(script: str) -> str:
        done = subprocess.run(
            ["bash", "-eu", "-c", f"run={run}\n{script}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return carry_out


def right(run: Path, number: int, answer: str) -> None:
    done = certreplay("exercise", "check", str(number), *answer.split(), "--runs", run.parent)
    assert (done.returncode, done.stdout.startswith("Right")) == (0, True), done.stdout + done.stderr


def wrong(run: Path, number: int, answer: str, says: str) -> None:
    done = certreplay("exercise", "check", str(number), *answer.split(), "--runs", run.parent)
    told = " ".join(done.stdout.split())
    assert (done.returncode, says in told) == (1, True), told + done.stderr


def certificates(place: str) -> str:
    """Commands that write the first certificate sent by a side to a file, with tshark."""
    which = "tls.handshake.type == 16" if place == "alice" else "tls.handshake.type == 2"
    return (
        f"tshark -r $run/attacker/capture.pcapng -Y 'tls.handshake.type == 11 && {which}' "
        f"-T fields -e tls.handshake.certificate | sed -n 1p | cut -d, -f1 > {place}.hex\n"
        f"xxd -r -p {place}.hex > {place}.der\n"
    )


CHAIN = (
    "tshark -r $run/attacker/capture.pcapng -Y 'tls.handshake.type == 16' -T fields -e tls.handshake.certificate "
    "| grep , | sed -n 1p"
)
"""A login with the certificate from the authority, which sends that of the authority, too."""


def test_1_her_certificate(run: Path, shell: Shell) -> None:
    mine = shell(certificates("alice") + "openssl x509 -inform DER -in alice.der -noout -fingerprint -sha256")
    assert mine.count(":") == 31
    right(run, 1, mine)
    right(run, 1, mine.replace(":", "").lower())
    right(run, 1, shell("sha256sum alice.der"))
    right(run, 1, shell("openssl dgst -sha256 alice.der"))
    right(run, 1, shell("openssl dgst -sha256 -c alice.der"))


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ("sha256sum bank.der", "the bank's certificate"),
        (f"{CHAIN} | xxd -r -p | sha256sum", "Hash hers alone"),
        (f"{CHAIN} | cut -d , -f 2 | xxd -r -p | sha256sum", "the authority's certificate"),
        ("openssl x509 -inform DER -in alice.der | sha256sum", "the PEM file"),
        ("sha256sum alice.hex", "as text"),
        ("tr -d '\\n' < alice.hex | sha256sum", "as text"),
        ("sha1sum alice.der", "sha1"),
        ("sha512sum alice.der", "sha512"),
        ("openssl x509 -inform DER -in alice.der -noout -serial", "serial number"),
        ("openssl x509 -inform DER -in alice.der -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum", "key"),
        ("head -c 100 alice.der | sha256sum", "Look at what you hashed"),
        ("sha256sum alice.der | cut -c 1-60", "cut off"),
        ("echo nothing to see", "no hash"),
    ],
)
def test_1_wrong_ways(run: Path, shell: Shell, commands: str, says: str) -> None:
    wrong(run, 1, shell(certificates("alice") + certificates("bank") + commands), says)


def test_2_who_said_no(run: Path, shell: Shell) -> None:
    asked = ("omit-proof", "replay-proof", "foreign-key")
    alerts = "\n".join(
        shell(
            f'grep \'"move": "{move}"\' $run/attacker/events.jsonl | grep -o \'"server", "alert [a-z_]*"\' | '
            f"head -n 1 | cut -d '\"' -f 4 | sed 's/^alert/{move}/'"
        )
        for move in asked
    )
    assert len(alerts.splitlines()) == 3
    right(run, 2, alerts)
    right(run, 2, "omit-proof: Unexpected Message (10), replay-proof: 51, foreign-key: 0233")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("omit-proof=decrypt_error replay-proof=51 foreign-key=51", "is the alert for replay-proof and foreign-key"),
        ("omit-proof=10 replay-proof=2 foreign-key=51", "the alert's level, fatal"),
        ("omit-proof=10 replay-proof=51", "names no alert for it"),
        ("omit-proof=10 replay-proof=accepted foreign-key=51", "Others let mallory in"),
        ("omit-proof=10 replay-proof=bad_certificate foreign-key=51", "no gateway sent bad_certificate"),
        ("omit-proof=close_notify replay-proof=51 foreign-key=51", "in good order"),
        ("the server", "omit-proof: the answer names no alert"),
    ],
)
def test_2_wrong_ways(run: Path, answer: str, says: str) -> None:
    wrong(run, 2, answer, says)


STREAM = """stream=$(tshark -r $run/attacker/capture.pcapng -Y 'tls.handshake.type == 16 && tls.handshake.type == 15' \\
    -T fields -e tcp.stream -e tls.handshake.client_cert_vrfy.sig | tr -d ':' | grep "${1:-}" | head -n 1 | cut -f 1)
tshark -r $run/attacker/capture.pcapng -Y "tcp.stream == $stream && tls.handshake" -T jsonraw -J tls |
    sed -n '/"tls.handshake_raw"/{n;s/[^0-9a-f]//gp;}' | sed -n '1,/^0f/p' > alice.hex
sed '$d' alice.hex | xxd -r -p > alice.signed
"""
PROOF = """grep '^0b' alice.hex | tail -n 1 | cut -c 21- | xxd -r -p > alice.der
tail -n 1 alice.hex | cut -c 17- | xxd -r -p > signature
openssl x509 -inform DER -in alice.der -noout -pubkey > alice.pub
"""
ATTEMPT = """grep '"move": "replay-proof"' $run/attacker/events.jsonl | grep decrypt_error | head -n 1 |
    grep -o '\\["[a-z]*", "[A-Za-z]*", "[0-9a-f]*"\\]' | grep -v ChangeCipherSpec |
    sed '/"client", "CertificateVerify"/q' | cut -d '"' -f 6 > attempt.hex
sed '$d' attempt.hex | xxd -r -p > attempt.signed
"""


def test_3_verify_her_proof(run: Path, shell: Shell) -> None:
    said = shell(STREAM + PROOF + "openssl dgst -sha256 -verify alice.pub -signature signature alice.signed")
    assert said == "Verified OK"
    answer = shell("openssl dgst -sha256 alice.signed")
    right(run, 3, answer)
    right(run, 3, f"{answer} {said}")


def test_3_wrong_ways(run: Path, shell: Shell) -> None:
    shell(STREAM + PROOF + ATTEMPT)
    for commands, says in (
        ("xxd -r -p alice.hex | sha256sum", "stop before it"),
        ("sed '$d' alice.hex | sha256sum", "as text"),
        ("sed '$d' alice.hex | tr -d '\\n' | sha256sum", "as text"),
        ("sed '$d' alice.hex | cut -c 9- | xxd -r -p | sha256sum", "headers are missing"),
        ("sed '$d' alice.hex | sed '$d' | xxd -r -p | sha256sum", "ends after Certificate"),
        ("sed '$d' alice.hex | sed 1d | xxd -r -p | sha256sum", "the ClientHello"),
        ("sed '$d' alice.hex | sed '2,/^0e/d' | xxd -r -p | sha256sum", "the messages of both sides"),
        ("sed '$d' alice.hex | sed '1d;/^0e/q' | xxd -r -p | sha256sum", "the messages of both sides"),
        ("openssl x509 -inform DER -in alice.der -outform DER | sha256sum", "fingerprint of her certificate"),
        ("sha256sum attempt.signed", "mallory's attempt"),
        ("sha1sum alice.signed", "sha1"),
        ("echo Verification failure", "`Verified OK`"),
        ("echo Verified OK", "no hash"),
    ):
        wrong(run, 3, shell(commands), says)


def test_4_why_it_does_not_fit(run: Path, shell: Shell) -> None:
    """The login is the one whose proof mallory sent, as the last hint says."""
    signature = shell(ATTEMPT + "tail -n 1 attempt.hex | cut -c 17-")
    shell(f"set -- {signature}\n" + STREAM + PROOF)
    assert shell("tail -n 1 alice.hex") == shell("tail -n 1 attempt.hex")
    said = shell("openssl dgst -sha256 -verify alice.pub -signature signature attempt.signed 2>&1 || true")
    assert "Verification failure" in said
    at = int(shell("cmp alice.signed attempt.signed | grep -o 'byte [0-9]*' | cut -c 6- || true"))
    hello = len(shell("sed -n 1p alice.hex")) // 2
    assert hello + 6 < at <= hello + 6 + 32, "not in ServerHello's random"
    value = shell("sha256sum attempt.signed")
    right(run, 4, f"{value} ServerHello random")
    right(run, 4, f"{value} Server Hello: Random")
    right(run, 4, f"{value} server random")
    for answer, says in (
        (value, "Name the first field"),
        (f"{value} byte {at}", "Name the first field"),
        (f"{value} random", "Which message"),
        (f"{value} ClientHello random", "Both ClientHellos are the same"),
        (f"{value} ServerHello", "Which field of ServerHello"),
        (f"{value} ServerKeyExchange signature", "differs, too"),
        (f"{value} certificate", "not the first field"),
        (shell("sha256sum alice.signed") + " ServerHello random", "from exercise 3"),
        (shell("xxd -r -p attempt.hex | sha256sum") + " ServerHello random", "stop before it"),
        (shell("sha256sum attempt.hex") + " ServerHello random", "Look at what you hashed"),
        (shell("sed '$d' attempt.hex | sha256sum") + " ServerHello random", "as text"),
    ):
        wrong(run, 4, answer, says)


def test_4_an_accepted_attempt_is_not_the_one(run: Path, shell: Shell) -> None:
    accepted = ATTEMPT.replace("grep decrypt_error", "grep -v decrypt_error")
    wrong(run, 4, shell(accepted + "sha256sum attempt.signed") + " ServerHello random", "it does not look")


def test_5_open_tls13(run: Path, shell: Shell) -> None:
    shell(
        "sig=tls.handshake.client_cert_vrfy.sig\n"
        "tshark -r $run/attacker/capture.pcapng -o tls.keylog_file:$run/victim-client/keys.log "
        "-Y 'tls.handshake.type == 15' -T fields -e tcp.stream -e $sig | tr -d : > proofs\n"
        "tshark -r $run/attacker/capture.pcapng -Y 'tls.handshake.type == 15' -T fields -e $sig "
        "| tr -d : > plain"
    )
    stream = shell("cut -f 1 proofs | sort | uniq -c | awk '$1 == 2 {print $2; exit}'")
    bank, hers = shell(f"awk '$1 == {stream} {{print $2}}' proofs").splitlines()
    assert hers not in shell("cat plain")
    types = shell(
        "tshark -r $run/attacker/capture.pcapng -o tls.keylog_file:$run/victim-client/keys.log "
        f"-Y 'tcp.stream == {stream} && tls.handshake.type == 15' -T fields -e tls.handshake.type"
    )
    assert types.splitlines()[-1] in ("11,15,20", "11,15")
    names = "Certificate CertificateVerify Finished"
    right(run, 5, f"{names} {hers}")
    right(run, 5, f"Certificate, Certificate Verify, Finished: {hers[:24].upper()}")
    for answer, says in (
        (f"{names} {bank}", "the bank's proof"),
        (f"{names} {shell('sed -n 1p plain')}", "in TLS 1.2"),
        (f"{names} {hers[:10]}", "this answer has 10"),
        (f"{names} {'ab' * 40}", "No CertificateVerify"),
        (f"CertificateVerify Finished {hers}", "one of her messages is missing"),
        (hers, "3 of her 3 messages"),
        (f"ClientHello {names} {hers}", "ClientHello is plaintext"),
        (f"EncryptedExtensions {names} {hers}", "a message of the bank's"),
        (names, "this answer has 0"),
    ):
        wrong(run, 5, answer, says)


def test_6_what_never_left(run: Path, shell: Shell) -> None:
    def offsets(file: str) -> list[int]:
        return [int(one) // 2 for one in shell(f"grep -b -o -f {file} capture.hex | cut -d : -f 1 || true").split()]

    shell("xxd -p $run/attacker/capture.pcapng | tr -d '\\n' > capture.hex")
    shell("openssl x509 -in $run/victim-client/alice.pem -outform DER | xxd -p | tr -d '\\n' > certificate.hex")
    shell(
        "openssl pkey -in $run/victim-client/alice.pem -noout -text 2>&1 | sed -n '/priv:/,/pub:/p' | grep '^ ' "
        "| tr -d ' :\\n' > key.hex"
    )
    assert len(shell("cat key.hex")) >= 64
    assert offsets("key.hex") == []
    at = offsets("certificate.hex")[0]
    right(run, 6, f"private key {at}")
    right(run, 6, f"the private-key, {at:#x}")
    bank = shell(
        certificates("bank") + "cat bank.hex | tr -d '\\n' > bank.hex2; cat bank.hex2 > bank.one; echo bank.one"
    )
    for answer, says in (
        (f"certificate {at}", "you found it in exercise 1"),
        (f"public key {at}", "in the certificate"),
        (f"key {at}", "two keys"),
        (f"signature {at}", "not in the bundle"),
        (f"password {at}", "opens the bundle's file"),
        (str(at), "two things"),
        ("private key", "Give the offset as well"),
        (f"private key {at + 1}", "one too many"),
        (f"private key {at + 40}", "inside her certificate"),
        (f"private key {at - 10}", "a header"),
        (f"private key {offsets(bank)[0]}", "the bank's certificate"),
        ("private key 3", "does not begin at this offset"),
    ):
        wrong(run, 6, answer, says)


def matrix(runs: Path, *arguments: str) -> Path:
    """A run of the student's own."""
    before = set(runs.glob("*Z")) if runs.exists() else set()
    assert certreplay("matrix", *arguments, "--runs", runs).returncode == 0
    (new,) = set(runs.glob("*Z")) - before
    return new


BOTH = ("--gateway", "certificate-only@instrument", "--gateway", "mtls@openssl", "--move", "omit-proof")


def test_11_not_tls13(run: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    wrong(run, 11, "", "nothing over TLS 1.3")
    shown = matrix(runs, "--tls", "1.3", "--leak", "log", *BOTH)
    right(shown, 11, "")
    right(shown, 11, shown.name)
    wrong(run, 11, run.name, "nothing over TLS 1.3")
    wrong(matrix(runs, "--tls", "1.3", *BOTH), 11, "", "off a login in TLS 1.2")
    wrong(matrix(runs, "--tls", "1.3", "--leak", "log", *BOTH[:2], *BOTH[4:]), 11, "", "to show what does help")
    wrong(matrix(runs, "--tls", "1.3", "--leak", "log", *BOTH[2:]), 11, "", "No gateway of the scheme")


def test_12_issue_it_right(run: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    wrong(run, 12, "", "no leak at the bank")
    archive, requests = ("--leak", "archive"), ("--leak", "requests")
    shown = matrix(runs, *archive, *requests, "--tls", "1.2", *BOTH)
    right(shown, 12, "")
    wrong(matrix(runs, *archive, "--tls", "1.2", *BOTH), 12, "", "Add the leak with the cure")
    wrong(matrix(runs, *requests, "--tls", "1.2", *BOTH), 12, "", "add the leak archive")
    wrong(matrix(runs, *archive, *requests, "--tls", "1.2", *BOTH[:2], *BOTH[4:]), 12, "", "Only a server that checks")
    wrong(matrix(runs, *archive, *requests, "--tls", "1.2", *BOTH[2:]), 12, "", "nobody knows that it leaked")
    right(shown, 12, shown.name)


def test_a_run_without_what_an_exercise_needs_is_told(tmp_path: Path) -> None:
    made = matrix(tmp_path, "--tls", "1.2", "--leak", "log", *BOTH)
    for number in range(1, 7):
        done = certreplay("exercise", "check", str(number), "00", "--runs", tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stdout
        assert made.name in done.stderr
