"""What `certreplay explain --recipe` prints is run: by a shell, real tshark and openssl, with every kind of key."""

import asyncio
import json
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.capture.pcap import read_packets
from lab.capture.writer import CaptureFile
from lab.catalogue.cast import VICTIM_CLIENT
from lab.catalogue.plan import KEY_TYPES, KeyType, full_matrix
from lab.events.parts import KEY_LOG_FILE
from lab.events.run import Folders, open_run
from lab.events.types import CertificateCaptured
from lab.staging import embedded, pki
from lab.story import recipe
from lab.tls import proof
from lab.tls.proof import SignatureScheme
from lab.tls.versions import VERSION_NAMES
from programs import PATIENCE_SECONDS, certreplay, program

ROOT = Path(__file__).parent.parent.parent
FITS = r"Verified OK|Signature Verified Successfully"
DOES_NOT_FIT = r"Verification failure|Signature Verification Failure"
USUAL = ("cmp", "cut", "grep", "head", "mktemp", "paste", "realpath", "sed", "tac", "tail")
GATEWAYS = ("certificate-only@instrument", "mtls@instrument", "mtls@openssl")

Runs = Callable[[KeyType], Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of a kind of key, in both versions. Tests only read it; one that changes it takes a copy."""

    @cache
    def run(key_type: KeyType) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        moves = ("replay-proof", "replay-flight", "foreign-key")
        plan = full_matrix(gateways=GATEWAYS, moves=moves, key_type=key_type)
        return folder / asyncio.run(embedded.run_embedded(folder, plan, None, lambda run: None)).run

    return run


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> Folders:
    """A run that a test may change."""
    return Folders(Path(shutil.copytree(runs("p256"), tmp_path / "copy")))


def printed(run: Path, *arguments: str) -> str:
    done = certreplay("explain", run, "--recipe", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all the programs that a recipe may call, none of them the lab's own."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("tshark", "xxd", "openssl", *USUAL):
        (folder / name).symlink_to(program(name))
    return folder


Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(programs: Path, tmp_path: Path) -> Shell:
    """Gives a script to a shell on its standard input."""

    def run(script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program("sh")],
            input=script,
            cwd=tmp_path,
            env={"PATH": str(programs), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    return run


@pytest.mark.parametrize("tls", VERSION_NAMES)
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_alices_proof_fits_her_handshake_and_not_the_attempts(
    runs: Runs, shell: Shell, key_type: KeyType, tls: str
) -> None:
    done = shell(printed(runs(key_type), "--tls", tls))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(f"(?s)({FITS}).*({DOES_NOT_FIT})", done.stdout), done.stdout
    assert re.findall(r"subject=(.*)", done.stdout) == ["CN = alice, O = Bank of Example"]


def test_the_hashes_are_those_that_explain_shows(runs: Runs, shell: Shell) -> None:
    call = ("explain", runs("p384"), "--move", "replay-proof", "--gateway", "mtls@openssl", "--json")
    reason = json.loads(certreplay(*call).stdout)["evidence"]["proof"]
    done = shell(printed(runs("p384"), "--gateway", "mtls@openssl"))
    assert re.findall(r"signed\)= (\w+)", done.stdout) == [reason["captured_hash"], reason["server_hash"]]


def test_a_scheme_that_tls13_has_not_for_the_key_is_an_illegal_parameter_too(runs: Runs) -> None:
    """RFC 8446 section 4.4.3: the proof of TLS 1.2 is in a scheme that TLS 1.3 has for P-256 alone."""
    call = ("explain", runs("p384"), "--move", "replay-proof", "--gateway", "mtls@openssl", "--tls", "1.3", "--json")
    evidence = json.loads(certreplay(*call).stdout)["evidence"]
    assert {alert["name"] for alert in evidence["expected_alerts"]} == {"illegal_parameter", "decrypt_error"}
    assert evidence["deviations"] == 0


def test_it_is_run_from_the_folder_where_the_runs_are(
    runs: Runs, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs("p256"), tmp_path / "runs" / "2026-01-01T00-00-00.000Z it's mine")
    monkeypatch.chdir(tmp_path)
    done = shell(certreplay("explain", "--recipe").stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_steps_as_json_are_the_script(runs: Runs, shell: Shell) -> None:
    told = json.loads(printed(runs("p256"), "--json"))
    commands = [command for step in told["steps"] for command in step["commands"]]
    done = shell("\n".join(["set -e", *commands]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(step["why"] for step in told["steps"])


def test_a_signature_that_was_altered_in_the_capture_fits_nothing(copied: Folders, shell: Shell) -> None:
    script = printed(copied.path)
    captured = [one.proof for one in open_run(copied.path).all(CertificateCaptured) if one.proof]
    data = copied.capture.read_bytes()
    for right in map(bytes.fromhex, captured):
        assert right in data
        data = data.replace(right, right[:-1] + bytes((right[-1] ^ 1,)))
    copied.capture.write_bytes(data)
    done = shell(script)
    assert done.returncode != 0
    assert re.search(DOES_NOT_FIT, done.stdout + done.stderr)
    assert not re.search(FITS, done.stdout)


def test_a_message_that_was_altered_in_the_capture_breaks_the_proof(copied: Folders, shell: Shell) -> None:
    script = printed(copied.path)
    data = copied.capture.read_bytes()
    for seen in open_run(copied.path).all(CertificateCaptured):
        key_exchange = bytes.fromhex(seen.transcript[-1])
        assert key_exchange in data
        data = data.replace(key_exchange, key_exchange[:-1] + bytes((key_exchange[-1] ^ 1,)))
    copied.capture.write_bytes(data)
    done = shell(script)
    assert done.returncode != 0
    assert not re.search(FITS, done.stdout)


def test_packets_that_were_passed_on_are_read_once(copied: Folders, shell: Shell) -> None:
    """As ARP spoofing has them: once from alice to mallory, once from mallory to the bank, one hop further."""
    script = printed(copied.path)
    packets = list(read_packets(copied.capture))
    copied.capture.unlink()
    file = CaptureFile(copied.capture, packets[0].link_type)
    for packet in packets:
        file.write(packet.time_ns, packet.data)
        file.write(packet.time_ns + 1000, packet.data[:22] + bytes((packet.data[22] - 1,)) + packet.data[23:])
    file.close()
    done = shell(script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(f"(?s)({FITS}).*({DOES_NOT_FIT})", done.stdout)


@pytest.mark.parametrize("scheme", proof.SIGNATURE_SCHEMES, ids=lambda scheme: scheme.name)
def test_there_is_a_command_for_every_signature_scheme(
    authority: pki.Identity, shell: Shell, tmp_path: Path, scheme: SignatureScheme
) -> None:
    kinds: dict[str, KeyType] = {"ECDSA": "p256", "RSA": "rsa", "RSASSA-PSS": "rsa", "Ed25519": "ed25519"}
    identity = pki.new_client(authority, "alice", kinds[scheme.key])
    public = identity.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "alice.pub").write_bytes(public)
    (tmp_path / "alice.signed").write_bytes(b"all messages before the proof")
    command = recipe._verify(scheme, "alice.signed")
    right = proof.sign(identity.key, scheme, b"all messages before the proof")
    for signature, words in ((right, FITS), (right[:-1] + bytes((right[-1] ^ 1,)), DOES_NOT_FIT)):
        (tmp_path / "signature").write_bytes(signature)
        done = shell(command)
        assert re.search(words, done.stdout + done.stderr), done.stdout + done.stderr
        assert (done.returncode == 0) is (words == FITS)


def _without_this_runs_values(text: str) -> str:
    text = re.sub(r"realpath \S+", "realpath RUN", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "RANDOM", text)
    return re.sub(r"(?<=port == )\d+|(?<=port==)\d+|(?<=\"sequence\": )\d+", "NUMBER", text)


def test_the_page_that_walks_through_it_has_these_very_commands(runs: Runs) -> None:
    page = _without_this_runs_values((ROOT / "docs" / "recompute.md").read_text())
    for step in json.loads(printed(runs("p256"), "--gateway", "mtls@openssl", "--json"))["steps"]:
        block = "\n".join(step["commands"])
        assert textwrap.indent(_without_this_runs_values(block), "    ") in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--move", "foreign-key"), "sent no proof as the wire showed it; --move replay-proof does"),
        (("--move", "replay-flight"), "not in the order of one plain handshake"),
        (("--gateway", "mtls@openssl", "--scheme", "mtls"), "one of them"),
        (("--leak", "database"), "leak database"),
    ],
)
def test_where_there_is_nothing_to_recompute_one_line_says_so(
    runs: Runs, arguments: tuple[str, ...], words: str
) -> None:
    done = certreplay("explain", runs("p256"), "--recipe", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


def test_without_the_key_log_tls13_has_no_recipe(copied: Folders) -> None:
    (copied.part(VICTIM_CLIENT) / KEY_LOG_FILE).unlink()
    done = certreplay("explain", copied.path, "--recipe", "--tls", "1.3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "TLS 1.3 encrypts the proof, and" in done.stderr
    assert certreplay("explain", copied.path, "--recipe").returncode == 0


def test_only_the_recipe_chooses_a_move_by_itself(runs: Runs) -> None:
    done = certreplay("explain", runs("p256"), "--gateway", "mtls@openssl")
    assert done.returncode == 2
    assert "give --move" in done.stderr
