"""The exercises in which a student writes code: begun, solved, and gone about the wrong way, as a student does it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.capture.writer import CaptureFile
from lab.course.grading import grade_one
from lab.events.run import open_run
from lab.exercises import progress
from lab.exercises.checks.rule import _judged as rule_judged
from lab.exercises.checks.rule import fires_on
from lab.exercises.exercise import ExerciseError
from lab.exercises.starting import begin_anew
from lab.exercises.table import find_exercise
from lab.guest.loading import GuestError
from lab.judging.verdicts import JudgedRun
from programs import certreplay, program

MENDED = "    if not result:\n        raise Refuse('it does not fit')\n"
CAREFUL = "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n    context.load_verify_locations(cafile=ca_file)\n"
HALF = "captured.signature[: len(captured.signature) // 2]"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The student's own folder, in which everything is done."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun(number: int) -> Path:
    done = certreplay("exercise", str(number), "--start")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return Path(find_exercise(str(number)).file)


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def checked(number: int, *file: str) -> tuple[int, str]:
    done = certreplay("exercise", "check", str(number), *file)
    return done.returncode, " ".join((done.stdout or done.stderr).split())


def test_8_mend_the_server() -> None:
    file = begun(8)
    status, why = checked(8)
    assert (status, "its result has no effect" in why) == (1, True), why
    file.write_text(file.read_text() + MENDED)
    status, why = checked(8)
    assert (status, why.startswith("Right, for the file server.py.")) == (0, True), why
    assert "alice and the attack code with her key got in 8 of 8 times" in why
    assert "done, with the file server.py" in certreplay("exercise").stdout


@pytest.mark.parametrize(
    ("added", "status", "says"),
    [
        ("    raise Refuse('no')", 1, "refuses everybody, alice too"),
        ("    if result:\n        raise Refuse('no')", 1, "the wrong way round"),
        (
            "    if not result and challenge.version == 0x0303:\n        raise Refuse",
            1,
            "In TLS 1.3: A proof",
        ),
        ("    if not result:\n        raise ValueError('no')", 2, "ValueError: no; to refuse a client, raise Refuse"),
        ("    if not result:\n        refuse()", 2, "server.py, line 32: NameError: name 'refuse' is not defined"),
        ("    return result", 2, "server.py: check_proof gives back False; to refuse a client, raise Refuse"),
    ],
)
def test_8_wrong_ways(added: str, status: int, says: str) -> None:
    file = begun(8)
    file.write_text(f"{file.read_text()}{added}\n")
    found, why = checked(8)
    assert (found, says in why) == (status, True), why


def test_a_server_that_keeps_its_promise_is_no_finding_and_another_is() -> None:
    file = begun(8)
    call = ("matrix", "--scheme", f"mtls={file}", "--move", "foreign-key", "--tls", "1.2")
    broken = certreplay(*call)
    assert (broken.returncode, "FINDING: foreign-key at mtls@student" in broken.stdout) == (1, True), broken.stdout
    file.write_text(file.read_text() + MENDED)
    mended = certreplay(*call, "--gateway", "certificate-only@instrument")
    assert (mended.returncode, "FINDING" in mended.stdout) == (0, False), mended.stdout + mended.stderr
    assert "certificate-only@instrument" in (Path("runs") / newest() / "verdicts.json").read_text()
    told = certreplay("explain", "--move", "foreign-key", "--gateway", "mtls@student")
    assert (told.returncode, "does not fit" in told.stdout) == (0, True), told.stdout


def newest() -> str:
    return max(path.name for path in Path("runs").glob("*Z"))


def test_a_server_that_fails_in_a_run_ends_it_in_one_line() -> None:
    Path("server.py").write_text("def check_proof(certificate, challenge, answer):\n    return nobody\n")
    done = certreplay("matrix", "--scheme", "pinned-mtls=server.py", "--move", "foreign-key", "--tls", "1.2")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "server.py, line 2: NameError" in done.stderr


def test_7_a_careful_client() -> None:
    file = begun(7)
    status, why = checked(7)
    assert (status, "nobody vouches for" in why) == (1, True), why
    careless = "    context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE\n"
    edit(file, careless, "")
    status, why = checked(7)
    assert (status, "Alice does not get in at the right server any more" in why) == (1, True), why
    nameless = "    context.check_hostname = False\n"
    edit(file, "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n", CAREFUL + nameless)
    status, why = checked(7)
    assert (status, "check the name as well" in why) == (1, True), why
    edit(file, nameless, "")
    status, why = checked(7)
    assert (status, why.startswith("Right")) == (0, True), why


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("    return None\n", "client.py, line 12: make_context must give back an ssl.SSLContext"),
        ("    return ssl.nothing()\n", "client.py, line 13: AttributeError: "),
    ],
)
def test_7_a_client_that_fails(body: str, says: str) -> None:
    file = begun(7)
    text = file.read_text()
    head = "def make_context(ca_file: str) -> ssl.SSLContext:\n"
    file.write_text(text[: text.index(head)] + head + body)
    status, why = checked(7)
    assert (status, says in why) == (2, True), why


def test_a_client_gets_no_secrets_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTREPLAY_TOKEN", "of the student")
    Path("client.py").write_text("import os\ndef make_context(ca_file):\n    raise OSError(sorted(os.environ))\n")
    run = certreplay("matrix", "--client", "client.py", "--gateway", "mtls@openssl", "--move", "omit-proof")
    for status, said in (checked(7), (run.returncode, run.stderr)):
        assert (status, "client.py, line 3: OSError: [" in said, "'PATH'" in said) == (2, True, True), said
        assert "CERTREPLAY_TOKEN" not in said


def test_a_careless_client_is_a_finding_of_the_run() -> None:
    file = begun(7)
    choice = ("--leak", "live-relay", "--gateway", "mtls@openssl", "--move", "omit-proof", "--tls", "1.2")
    done = certreplay("matrix", "--client", file, *choice)
    said = " ".join(done.stdout.split())
    assert (done.returncode, "client.py showed alice's certificate to mallory" in said) == (1, True), said


def test_9_a_move_of_your_own() -> None:
    file = begun(9)
    status, why = checked(9)
    assert (status, "the captured proof, byte for byte" in why) == (1, True), why
    edit(file, "(captured.scheme, captured.signature)", f"(captured.scheme, {HALF})")
    edit(file, '"my-move"', '"half-proof"')
    status, why = checked(9)
    assert (status, why.startswith("Right")) == (0, True), why


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            'FAILS = "signature"',
            'FAILS = "proof"',
            'what is wrong with the proof: "signature" or "scheme"',
        ),
        ('NAME = "my-move"', 'NAME = "My Move"', "NAME must name the move in small letters"),
        ("def prove(", "def proof(", "there is no function prove(certificate, captured, challenge)"),
        ("import CertificateVerify", "import Certificateverify", "move.py, line 10: ImportError"),
    ],
)
def test_9_a_file_that_does_not_say_what_it_must(before: str, after: str, says: str) -> None:
    edit(begun(9), before, after)
    status, why = checked(9)
    assert (status, says in why) == (2, True), why


def test_a_file_is_never_written_over_and_kept_when_all_begins_anew() -> None:
    file = begun(8)
    file.write_text("my work")
    again = certreplay("exercise", "8", "--start")
    assert (again.returncode, again.stderr.count("\n"), file.read_text()) == (2, 1, "my work")
    begun(9)
    reset = certreplay("exercise", "--reset")
    assert "server.py.kept-1" in reset.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "server.py.kept-1"]
    assert Path("server.py.kept-1").read_text() == "my work"
    begun(8).write_text("more work")
    certreplay("exercise", "--reset")
    assert Path("server.py.kept-1").read_text() == "my work"
    assert Path("server.py.kept-2").read_text() == "more work"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("exercise", "check", "8"), "`certreplay exercise 8 --start` writes one"),
        (("exercise", "check", "8", "--run", "."), "leave --run out"),
        (("exercise", "1", "--start"), "has no file to begin with"),
        (("exercise", "--start"), "give the exercise's number"),
        (("matrix", "--scheme", "mended=server.py"), "choose one of mtls, pinned-mtls"),
        (("matrix", "--move", "nothing.py"), "nothing.py: No such file"),
        (("demo", "--client", "nothing.py"), "nothing.py: No such file"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    done = certreplay(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_a_file_is_taken_from_where_the_student_is() -> None:
    shutil.copy(begun(8), "mine.py")
    Path("server.py").unlink()
    status, why = checked(8, "mine.py")
    assert (status, "for the file mine.py" in why) == (1, True), why


def test_13_a_real_server() -> None:
    program("nginx")
    file = begun(13)
    assert Path("nginx-keys/alice.pem").exists()
    todo = "        ssl_verify_client optional_no_ca;\n"
    trusting = "        ssl_client_certificate nginx-keys/ca.pem;\n"
    refusing = f"{todo}        if ($ssl_client_verify = NONE) {{ return 403; }}\n"
    for now, status, says in (
        (todo, 1, "a client without any certificate gets what alice gets"),
        (refusing, 1, "a certificate that nobody issued gets in"),
        (
            "        ssl_client_certificate nginx-keys/server.pem;\n        ssl_verify_client on;\n",
            1,
            "Which CA signed",
        ),
        (
            "        ssl_verify_client on;\n",
            2,
            "nginx.conf: nginx says: no ssl_client_certificate for ssl_verify_client",
        ),
        (
            "        ssl_verify_clients on;\n",
            2,
            'nginx.conf, line 21: nginx says: unknown directive "ssl_verify_clients"',
        ),
        (f"{trusting}        ssl_verify_client on;\n", 0, "Right, for the file nginx.conf."),
    ):
        before, _, after = find_exercise("13").beginning.partition(todo)
        file.write_text(before + now + after)
        found, why = checked(13)
        assert (found, says in why) == (status, True), now + why
    edit(file, "TLSv1.2 TLSv1.3", "TLSv1.3")
    found, why = checked(13)
    assert (found, "In TLS 1.2 your server does not answer" in why) == (1, True), why
    certreplay("exercise", "--reset")
    assert not Path("nginx-keys").exists()
    assert Path("nginx.conf.kept-1").exists()


def test_10_a_rule() -> None:
    for name in ("tshark", "jq"):
        program(name)
    file = begun(10)
    status, why = checked(10)
    assert (status, "a rule that accuses customers is soon turned off" in why) == (1, True), why
    for rule, expected, says in (
        ("tshark tls.alert_message.level == 2", 0, "Right, for the file rule.txt. "),
        ('jq select(.type == "client-refused")', 0, "Right, for the file rule.txt. "),
        ("tshark ip.src == 127.0.0.3", 1, "attempts. Addresses and ports are others"),
        ("tshark tls.alert_message.desc == 51", 1, "no-certificate"),
    ):
        file.write_text(f"# mine\n\n{rule}\n")
        status, why = checked(10)
        assert (status, says in why) == (expected, True), why


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "rule.txt: holds 0 rules"),
        ("tshark tls\njq .", "rule.txt: holds 2 rules"),
        ("grep alert", "rule.txt, line 1: the rule is `tshark FILTER` or `jq PROGRAM`"),
        ("# mine\njq", "rule.txt, line 2: the rule is"),
    ],
)
def test_10_what_is_no_rule(rule: str, says: str) -> None:
    Path("rule.txt").write_text(rule)
    status, why = checked(10)
    assert (status, says in why) == (2, True), why


def test_10_a_rule_that_its_program_cannot_read() -> None:
    Path("events.jsonl").write_text('{"type": "client-refused"}\n')
    CaptureFile(Path("capture.pcapng")).close()
    for name, rule in (("tshark", "tls.alert_mess == 2"), ("jq", "select("), ("jq", ".type")):
        program(name)
        with pytest.raises(GuestError, match=rf"rule\.txt, line 3: ({name} says: |this prints)"):
            fires_on(Path(), Path("rule.txt"), 3, name, rule)


def test_a_teacher_grades_the_file_that_was_handed_in(here: Path) -> None:
    file = begun(8)
    handed_in = here / "s07"
    handed_in.mkdir()
    progress.save(handed_in, progress.Progress().with_done("mend-the-server", "server.py", ""))
    assert [one.finding for one in grade_one(handed_in).answers] == ["the file server.py was not handed in"]
    shutil.copy(file, handed_in)
    (answer,) = grade_one(handed_in).answers
    assert answer.finding.startswith("server.py is not right: A proof by another key still gets in.")
    (handed_in / "server.py").write_text("def check_proof(:\n")
    (answer,) = grade_one(handed_in).answers
    assert answer.finding.startswith(f"cannot be checked: {handed_in / 'server.py'}, line 1: SyntaxError")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("daemon off;", "", "Keep `daemon off;`"),
        ("daemon off;", "# daemon off;", "Keep `daemon off;`"),
        ("daemon off;", "daemon on;", "Keep `daemon off;`"),
        ("listen 127.0.0.1:8443 ssl", "listen 8443 ssl", "let nginx listen at 127.0.0.1:8443"),
        (
            "listen 127.0.0.1:8443 ssl;",
            "listen 127.0.0.1:8443 ssl; listen [::]:8443 ssl;",
            "nginx listens at [::]:8443",
        ),
    ],
)
def test_13_a_server_that_would_stay_or_be_reached_from_elsewhere_is_not_started(
    before: str, after: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # starting a program fails
    file = begun(13)
    edit(file, before, after)
    checked = find_exercise("13").check_file
    assert checked
    found = checked(file)
    assert (found.right, says in found.why) == (False, True), found.why


def test_10_a_rule_that_fires_on_everything_is_wrong_where_alice_and_mallory_have_one_address(
    finished_run: Path, here: Path
) -> None:
    run = Path(shutil.copytree(finished_run, here / finished_run.name))
    for events in run.glob("*/events.jsonl"):
        events.write_text(re.sub(r"127\.0\.0\.[23]\b", "127.0.0.1", events.read_text()))
    judged = JudgedRun(open_run(run))
    everything = {getattr(one.event, "peer", "") for one in judged.run.events}
    found = rule_judged(judged, everything)
    assert (found.right, "It fires on all" in found.why, "of alice's 0" in found.why) == (False, True, False), found.why
    (run / "victim-client" / "events.jsonl").unlink()
    with pytest.raises(ExerciseError, match="no logins"):
        rule_judged(JudgedRun(open_run(run)), everything)


def test_a_reset_touches_no_file_that_was_not_begun_here(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("diary.txt", "nginx.conf"):
        (elsewhere / name).write_text("mine")
    (elsewhere / "nginx-keys").mkdir()
    (elsewhere / "nginx-keys" / "ca.pem").write_text("mine")
    (here / "diary.txt").write_text("mine")
    stays = [f"your {elsewhere / 'nginx.conf'} is in another folder, so it stays as it is"]
    for started, told in ((elsewhere / "nginx.conf", stays), (elsewhere / "diary.txt", []), (here / "diary.txt", [])):
        progress.save(here, progress.Progress(started={"a-real-server": str(started)}))
        assert begin_anew(here, here) == told
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["ca.pem", "diary.txt", "nginx-keys", "nginx.conf"]
    assert [path.name for path in here.iterdir()] == ["diary.txt"]
