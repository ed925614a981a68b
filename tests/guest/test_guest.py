"""A student's file in a process of its own: what it gives back, and one line, with file and number, if it fails."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from attacker.moves.student import proof_of
from lab.guest import host
from lab.guest.host import Guest, Refusal
from lab.guest.kinds import CHECK, PROVE
from lab.guest.loading import GuestError
from lab.tls.messages import CertificateVerify
from lab.tls.proof import Challenge
from programs import wait_until

CHALLENGE = Challenge(b"before", b"\0signed", (0x0403,), 0x0303)
ANSWER = CertificateVerify(0x0403, b"\xff\0")


def calls(file: Path, source: str) -> Iterator[object]:
    file.write_text(source)
    with closing(Guest(file, *CHECK, ("NAME", "NUMBER"))) as guest:
        yield guest.values
        while True:
            yield guest.call(b"der", CHALLENGE, ANSWER)


def failure(file: Path, body: str) -> str:
    """What is said of a file whose check has this body, which begins in line 2."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    with pytest.raises(GuestError) as error:
        for _ in calls(file, f"def check_proof(certificate, challenge, answer):\n{lines}"):
            pass
    said = str(error.value)
    assert said.startswith(str(file))
    assert "\n" not in said
    return said.removeprefix(str(file))


def test_a_guest_gets_and_gives_back_the_instruments_own_types(tmp_path: Path) -> None:
    source = (
        "NAME, NUMBER = 'mine', 1\n"
        "def check_proof(certificate, challenge, answer):\n"
        "    print('its own output', challenge.transcript)\n"
        "    return [certificate, challenge, answer]\n"
    )
    it = calls(tmp_path / "server.py", source)
    assert next(it) == {"NAME": "mine"}
    assert next(it) == next(it) == [b"der", CHALLENGE, ANSWER]


def test_a_guest_refuses_by_refuse_or_by_an_error_of_the_instrument(tmp_path: Path) -> None:
    refuse = "from lab.guest import Refuse\ndef check_proof(*given):\n    raise Refuse('no', 'bad_certificate')\n"
    *_, said = (one for one, _ in zip(calls(tmp_path / "a.py", refuse), range(2), strict=False))
    assert said == Refusal("no", "bad_certificate")
    wrong = (
        "from lab.tls.errors import ProofError\ndef check_proof(*given):\n    raise ProofError(51, 'it does not fit')\n"
    )
    *_, said = (one for one, _ in zip(calls(tmp_path / "b.py", wrong), range(2), strict=False))
    assert said == Refusal("it does not fit", "decrypt_error")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return nobody", ", line 2: NameError: name 'nobody' is not defined"),
        ("return certificate.nothing\n", ", line 2: AttributeError: "),
        ("def of(it):\n    raise KeyError(it)\nof(1)", ", line 3: KeyError: 1"),
        ("raise SystemExit", ", line 2: SystemExit"),
        ("return object()", ", line 1: check_proof gives back <object"),
        ("import os\nos._exit(3)", ": its process ended with status 3"),
        ("import os\nos.kill(os.getpid(), 9)", ": its process ended by signal 9"),
        ("many = []\nwhile True:\n    many.append(bytes(1 << 26))", ", line 4: it takes more memory than 512 MiB"),
        ("while True:\n    try:\n        pass\n    except Exception:\n        pass", "takes too long: at most 2 s"),
    ],
)
def test_a_function_that_fails_is_told_with_its_line(tmp_path: Path, body: str, says: str) -> None:
    assert says in failure(tmp_path / "server.py", body)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def check_proof(:\n", ", line 1: SyntaxError: "),
        ("if True:\nx = 1\n", ", line 2: IndentationError: "),
        ("x = 1\ny = x / 0\n", ", line 2: ZeroDivisionError: "),
        ("import nothing_like_it\n", ", line 1: ModuleNotFoundError: "),
        ("x = 1\n", ": there is no function check_proof(certificate, challenge, answer) in it"),
        ("check_proof = 1\n", ": there is no function check_proof(certificate, challenge, answer) in it"),
        ("\0", "ource code "),
        ("def check_proof(one):\n    pass\n", ", line 1: TypeError: check_proof() takes 1 positional argument but 3"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_with_its_line(tmp_path: Path, source: str, says: str) -> None:
    file = tmp_path / "server.py"
    with pytest.raises(GuestError) as error:
        for _ in calls(file, source):
            pass
    assert str(error.value).startswith(str(file))
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"server\.py: No such file"):
        Guest(tmp_path / "server.py", *CHECK)


def test_a_guest_has_no_secrets_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_SECRET", "of the teacher")
    source = "import os\ndef check_proof(*given):\n    return sorted(os.environ)\n"
    it = calls(tmp_path / "server.py", source)
    next(it)
    found = next(it)
    assert isinstance(found, list)
    assert "PATH" in found
    assert "COURSE_SECRET" not in found


def test_what_a_guest_started_ends_with_it(tmp_path: Path) -> None:
    """A child that holds the guest's output keeps nobody waiting."""
    source = (
        "import os, time\n"
        "def check_proof(*given):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        time.sleep(600)\n"
        "    return child\n"
    )
    it = calls(tmp_path / "server.py", source)
    next(it)
    child = next(it)
    assert isinstance(child, int)
    assert Path(f"/proc/{child}/comm").exists()
    it.close()  # type: ignore[attr-defined]
    wait_until(lambda: ended(child), "the child has ended")


def ended(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_an_answer_that_trickles_in_has_one_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import os, threading, time\n"
        "def trickle():\n"
        "    while True:\n"
        "        time.sleep(0.05)\n"
        "        os.write(3, b' ')\n"
        "def check_proof(*given):\n"
        "    time.sleep(600)\n"
        "threading.Thread(target=trickle, daemon=True).start()\n"
    )
    monkeypatch.setattr(host, "SECONDS", 0.5)
    it = calls(tmp_path / "server.py", source)
    next(it)
    with pytest.raises(GuestError, match="no answer within 1 s"):
        next(it)


@pytest.mark.parametrize("proof", ["70000, b''", "-1, b''", "1, bytes(65536)"])
def test_a_proof_that_does_not_fit_into_its_message_is_told(tmp_path: Path, proof: str) -> None:
    file = tmp_path / "move.py"
    file.write_text(
        "from lab.tls.messages import CertificateVerify\n"
        "NAME, FAILS = 'my-move', 'signature'\n"
        "def prove(certificate, captured, challenge):\n"
        f"    return CertificateVerify({proof})\n"
    )
    with (
        closing(Guest(file, *PROVE)) as guest,
        pytest.raises(GuestError, match=r"move\.py: prove gives back the scheme"),
    ):
        proof_of(guest, b"der", ANSWER, CHALLENGE)
