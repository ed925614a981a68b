"""What the lab takes out of a part's volume: files of expected names, so much of each, and nothing else."""

import os
import socket
import threading
from pathlib import Path

import pytest

from lab.events.log import FILE_NAME
from lab.events.parts import CAPTURE_FILE, INTERCEPTION_FILE, KEY_LOG_FILE, PART_FOLDERS, RECENT_FILES, STOLEN
from lab.staging import copies
from lab.staging.copies import Caps, Copies

RUN = "2030-01-02T03-04-05.678Z"
SECRET = "root:x:0:0"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """The attacker's folder of the run, in her volume; every other part has one too."""
    for part in PART_FOLDERS:
        (tmp_path / "parts" / part / RUN).mkdir(parents=True)
        (tmp_path / "parts" / part / RUN / FILE_NAME).write_text(f"{part}\n")
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path / "parts" / "attacker" / RUN


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "runs" / RUN


def copies_of(volume: Path, target: Path, caps: Caps = copies.CAPS) -> Copies:
    return Copies(volume.parents[1], RUN, target, caps=caps)


def copied(target: Path) -> dict[str, bytes]:
    """What has been copied of the attacker's, besides her events."""
    files = {str(path.relative_to(target / "attacker")): path for path in (target / "attacker").rglob("*")}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file() and name != FILE_NAME}


def test_what_a_part_is_expected_to_leave_is_copied_and_goes_on_growing(volume: Path, target: Path) -> None:
    (volume / STOLEN).mkdir()
    (volume / STOLEN / "alice.pem").write_text("a certificate")
    (volume / CAPTURE_FILE).write_text("packets")
    it = copies_of(volume, target)
    assert it.update() == []
    assert copied(target) == {f"{STOLEN}/alice.pem": b"a certificate", CAPTURE_FILE: b"packets"}
    assert all((target / part / FILE_NAME).read_text() == f"{part}\n" for part in PART_FOLDERS)
    with (volume / CAPTURE_FILE).open("a") as file:
        file.write(" and more")
    assert it.update() == []
    assert copied(target)[CAPTURE_FILE] == b"packets and more"


def test_a_file_that_takes_turns_begins_anew_in_the_copy_too_and_no_other_does(volume: Path, target: Path) -> None:
    turns = RECENT_FILES[0]
    for name in (turns, CAPTURE_FILE):
        (volume / name).write_text("older packets")
    it = copies_of(volume, target)
    it.update()
    for name in (turns, CAPTURE_FILE):
        (volume / name).write_text("newer")
    assert it.update() == []
    assert copied(target) == {turns: b"newer", CAPTURE_FILE: b"older packets"}


def test_a_part_that_has_not_begun_is_no_news(volume: Path, target: Path, tmp_path: Path) -> None:
    assert Copies(tmp_path / "nothing", RUN, target).update() == []
    assert Copies(volume.parents[1], "another run", target).update() == []


def a_link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def a_pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path, secret: Path) -> None:
    path.mkdir()
    (path / "file").write_text("x")


def a_hard_link(path: Path, secret: Path) -> None:
    path.hardlink_to(secret)


def a_socket(path: Path, secret: Path) -> None:
    there = os.getcwd()
    os.chdir(path.parent)  # the path of a socket must not be long
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(there)


KINDS = {
    a_link: "it is a symbolic link",
    a_pipe: "it is a named pipe",
    a_folder: "it is a folder",
    a_hard_link: "it has a second name, a hard link",
    a_socket: "it is a socket",
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", [CAPTURE_FILE, INTERCEPTION_FILE, FILE_NAME, f"{STOLEN}/alice.pem"])
def test_what_is_no_file_of_its_own_is_left_out_and_told_once(
    volume: Path, target: Path, tmp_path: Path, make: object, name: str
) -> None:
    (volume / FILE_NAME).unlink()
    (volume / name).parent.mkdir(exist_ok=True)
    assert callable(make)
    make(volume / name, tmp_path / "secret")
    it = copies_of(volume, target)
    assert it.update() == [f"attacker/{name} is left out: {KINDS[make]}"]
    assert it.update() == []
    assert not [path for path in (target / "attacker").rglob("*") if path.is_file()]
    assert (target / "victim-server" / FILE_NAME).exists()


@pytest.mark.parametrize("name", [STOLEN, ""])
def test_a_folder_that_is_a_link_is_left_out(volume: Path, target: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in ("alice.pem", FILE_NAME, CAPTURE_FILE):
        (elsewhere / file).write_text(SECRET)
    if not name:
        (volume / FILE_NAME).unlink()
        volume.rmdir()
    (volume / name).symlink_to(elsewhere)
    (told,) = copies_of(volume, target).update()
    assert told.endswith("is a symbolic link")
    assert copied(target) == {}
    assert name or not (target / "attacker").exists()


def test_a_device_is_not_even_opened(target: Path, tmp_path: Path) -> None:
    """`/dev` stands for a volume, and `zero` for a run's folder in it."""
    with pytest.raises(copies.NotTaken, match="is a device"), copies._opened("/dev/zero", None, os.O_RDONLY):
        pass


def test_a_file_that_cannot_be_read_is_left_out(volume: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To root, who runs these tests in some places, every file can be read."""
    (volume / CAPTURE_FILE).write_text("packets")
    really = os.open

    def no_capture(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == CAPTURE_FILE and dir_fd is not None:
            raise PermissionError(13, "Permission denied", path)
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", no_capture)
    told = copies_of(volume, target).update()
    assert told == [f"attacker/{CAPTURE_FILE} is left out: it cannot be read (Permission denied)"]


def test_a_name_that_is_not_expected_is_left_out(volume: Path, target: Path) -> None:
    """No part leaves another's files either."""
    (volume / STOLEN).mkdir()
    names = ("verdicts.json", KEY_LOG_FILE, f"{STOLEN}/key.txt", f"{STOLEN}/\x1b[31mred.pem")
    for name in names:
        (volume / name).write_text("x")
    told = copies_of(volume, target).update()
    assert len(told) == len(names)
    assert all(one.isprintable() and one.endswith("no file of that name is expected") for one in told)
    assert copied(target) == {}


def test_ten_thousand_files_cost_a_few_sentences(volume: Path, target: Path) -> None:
    (volume / STOLEN).mkdir()
    for number in range(10_000):
        (volume / f"file {number}").touch()
    (volume / CAPTURE_FILE).write_text("packets")
    it = copies_of(volume, target)
    told = it.update()
    assert len(told) == copies.MAX_TOLD
    assert told[-1] == "attacker: more is left out"
    assert it.update() == []
    assert copied(target) == {CAPTURE_FILE: b"packets"}


SMALL = Caps(events=100, file=1000, stolen=10, part=1500)


def test_a_file_is_copied_up_to_its_cap(volume: Path, target: Path) -> None:
    (volume / STOLEN).mkdir()
    for name in (CAPTURE_FILE, FILE_NAME, f"{STOLEN}/alice.pem"):
        with (volume / name).open("w") as sparse:
            sparse.truncate(3 << 30)
    it = copies_of(volume, target, SMALL)
    told = it.update()
    assert sorted(told) == [
        f"attacker/{CAPTURE_FILE} is left out: it is too long, from byte 1000 on",
        f"attacker/{FILE_NAME} is left out: it is too long, from byte 100 on",
        f"attacker/{STOLEN}/alice.pem is left out: it is too long, from byte 10 on",
    ]
    assert it.update() == []
    sizes = {name: len(content) for name, content in copied(target).items()}
    assert sizes == {CAPTURE_FILE: 1000, f"{STOLEN}/alice.pem": 10}
    assert (target / "attacker" / FILE_NAME).stat().st_size == 100


def test_all_of_a_part_has_a_cap_and_takes_nothing_from_others(volume: Path, target: Path) -> None:
    for name in (CAPTURE_FILE, INTERCEPTION_FILE):
        (volume / name).write_bytes(bytes(900))
    server = volume.parents[1] / "victim-server" / RUN / KEY_LOG_FILE
    server.write_bytes(bytes(900))
    assert [told.partition(" ")[0] for told in copies_of(volume, target, SMALL).update()] == [
        f"attacker/{INTERCEPTION_FILE}",
        f"attacker/{FILE_NAME}",
    ]
    assert {name: len(content) for name, content in copied(target).items()} == {
        CAPTURE_FILE: 900,
        INTERCEPTION_FILE: 600,
    }
    assert (target / "victim-server" / KEY_LOG_FILE).stat().st_size == 900


def test_the_caps_hold_for_a_lab_that_is_started_again(volume: Path, target: Path) -> None:
    (volume / CAPTURE_FILE).write_bytes(bytes(900))
    copies_of(volume, target, SMALL).update()
    (volume / INTERCEPTION_FILE).write_bytes(bytes(900))
    copies_of(volume, target, SMALL).update()
    everything = [path for path in (target / "attacker").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in everything) == SMALL.part


def test_a_file_that_grows_while_it_is_copied_ends_where_it_ended_at_first(volume: Path, target: Path) -> None:
    """And is copied further the next time. One that shrinks is copied as far as it goes."""
    path = volume / CAPTURE_FILE
    path.write_bytes(b"x")
    stopped = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stopped.is_set():
                file.write(bytes(1 << 16))

    growing = threading.Thread(target=grow)
    growing.start()
    it = copies_of(volume, target, Caps(file=1 << 22))
    told = [what for _ in range(20) for what in it.update()]
    stopped.set()
    growing.join()
    told += it.update()
    assert (target / "attacker" / CAPTURE_FILE).read_bytes() == path.read_bytes()[: 1 << 22]
    assert len(told) == (path.stat().st_size > 1 << 22)
    path.write_bytes(b"")
    assert it.update() == []
