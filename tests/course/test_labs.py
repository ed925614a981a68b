"""Many labs on one host: what the teacher's commands do with a real engine, and what they say where they cannot."""

import json
import os
from pathlib import Path

import docker
import pytest

from engines import TAG
from lab.course.labs import CLASS_FILE
from programs import certreplay, wait_until

ROOT = Path(__file__).parents[2]
NAME = f"course{os.getpid()}"


def of_class(engine: docker.DockerClient) -> tuple[set[str], set[str], set[str]]:
    """The projects that have containers, networks and volumes of this class."""
    label = "com.docker.compose.project"
    kinds = (engine.containers.list(all=True), engine.networks.list(), engine.volumes.list())
    found = [
        {(one.attrs.get("Labels") or one.attrs.get("Config", {}).get("Labels") or {}).get(label, "") for one in kind}
        for kind in kinds
    ]
    containers, networks, volumes = ({one for one in projects if one.startswith(NAME)} for projects in found)
    return containers, networks, volumes


def test_a_class_is_up_looked_at_mended_graded_and_down(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTREPLAY_TAG", TAG)
    runs, roster = tmp_path / "runs", tmp_path / "roster.csv"
    here = ("--runs", runs, "--compose", ROOT / "compose.yaml", "--json")
    up = ("class", "up", "--roster", roster, "--name", NAME, "--every", "1", "--first-port", "18451", *here)
    try:
        roster.write_text("student\ns07\n")
        done = certreplay(*up)
        assert done.returncode == 0, done.stderr + done.stdout
        plan = json.loads((runs / CLASS_FILE).read_text())
        networks = {one.name: one.attrs["IPAM"]["Config"][0]["Subnet"] for one in engine.networks.list(names=[NAME])}
        (lab,) = plan["labs"]
        assert networks[f"{NAME}-s07_lan"] == lab["subnet"]
        assert networks[f"{NAME}-s07_page"] == lab["page_subnet"]
        (state,) = json.loads(certreplay("class", "status", *here).stdout)
        assert state["state"] in ("starting", "worked"), state
        assert state["page"].startswith("http://127.0.0.1:18451/?token=")

        engine.containers.list(filters={"name": f"{NAME}-s07-victim-server"})[0].kill()
        looked = certreplay("class", "status", "--runs", runs, "--compose", ROOT / "compose.yaml")
        assert looked.returncode == 1
        assert "s07: victim-server (Exited (137)" in " ".join(looked.stdout.split())
        again = certreplay("class", "restart", "s07", *here)
        assert again.returncode == 0, again.stderr + again.stdout
        assert [one["student"] for one in json.loads(again.stdout)] == ["s07"]

        roster.write_text("student\ns12\n")
        more = certreplay(*up)
        assert more.returncode == 0, more.stderr + more.stdout
        later = json.loads((runs / CLASS_FILE).read_text())["labs"]
        assert (later[0], later[1]["student"]) == (lab, "s12")
        assert later[1]["subnet"] not in lab.values()
        wait_until(lambda: any(runs.glob("s12/*/verdicts.json")), "the verdicts", seconds=300)
        graded = json.loads(certreplay("grade", runs / "s12", "--json").stdout)
        assert [run["students"] for run in graded[0]["runs"]] == [["s12"]]
    finally:
        down = certreplay("class", "down", *here)
    assert down.returncode == 0, down.stderr
    assert of_class(engine) == (set(), set(), set())
    assert not (runs / CLASS_FILE).exists()
    assert list(runs.glob("s12/*/*/events.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("up", "--compose", "nowhere.yaml"), "nowhere.yaml: no such file; call this in certreplay's checkout"),
        (("up", "--name", "Class"), "--name Class"),
        (("up", "--network", "10.0.0.0/8"), "is no private /20"),
        (("up", "--first-port", "80"), "--first-port"),
        (("status",), "no class was started there; `certreplay class up` starts one"),
        (("down",), "no class was started there"),
        (("reset", "s07"), "no class was started there"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    engine: docker.DockerClient, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    (tmp_path / "roster.csv").write_text("student\ns07\n")
    compose = () if "--compose" in arguments else ("--compose", ROOT / "compose.yaml")
    roster = ("--roster", tmp_path / "roster.csv") if arguments[0] == "up" else ()
    done = certreplay("class", *arguments, *roster, *compose, "--runs", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert why in done.stderr
    assert not (tmp_path / CLASS_FILE).exists()


def test_a_missing_docker_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "roster.csv").write_text("student\ns07\n")
    compose = ("--compose", ROOT / "compose.yaml")
    done = certreplay("class", "up", "--roster", tmp_path / "roster.csv", *compose, "--runs", tmp_path)
    assert (done.returncode, done.stderr) == (2, "certreplay: `docker` is not installed, and a class needs it\n")


@pytest.mark.parametrize(
    "content", ["[", "{}", '{"version": 1, "name": "class", "network": "", "labs": [{"student": 7}]}']
)
def test_a_class_file_that_is_none_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / CLASS_FILE).write_text(content)
    done = certreplay("class", "status", "--runs", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "holds no class that this version can read" in done.stderr


def test_a_roster_tells_who_has_no_lab_and_takes_nobody_elses_down(engine: docker.DockerClient, tmp_path: Path) -> None:
    lab = {"student": "s07", "subnet": "10.231.0.0/28", "page_subnet": "10.231.0.16/28", "page_port": 18451}
    content = {"version": 1, "name": NAME, "network": "10.231.0.0/20", "labs": [lab]}
    (tmp_path / CLASS_FILE).write_text(json.dumps(content))
    (tmp_path / "roster.csv").write_text("student\ns12\n")
    here = ("--runs", tmp_path, "--compose", ROOT / "compose.yaml", "--roster", tmp_path / "roster.csv", "--json")
    looked = certreplay("class", "status", *here)
    assert looked.returncode == 1
    states = {one["student"]: (one["state"], one["why"]) for one in json.loads(looked.stdout)}
    assert states == {"s07": ("not up", ""), "s12": ("not up", "has no lab yet")}
    assert json.loads(certreplay("class", "down", *here).stdout) == {"down": [], "failed": []}
    assert json.loads((tmp_path / CLASS_FILE).read_text()) == content


@pytest.mark.parametrize("failing", ["ls", "inspect"])
def test_a_docker_that_cannot_tell_its_networks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$2" != {failing} ] || {{ echo no such network >&2; exit 1; }}\necho 1\n')
    docker.chmod(0o755)
    ip = tmp_path / "ip"
    ip.write_text("#!/bin/sh\necho []\n")
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "roster.csv").write_text("student\ns07\n")
    up = ("class", "up", "--roster", tmp_path / "roster.csv", "--runs", tmp_path / "runs")
    done = certreplay(*up, "--compose", ROOT / "compose.yaml")
    assert (done.returncode, done.stderr) == (
        2,
        f"certreplay: `docker network {failing}` does not work: no such network\n",
    )
    named = certreplay(*up, "--compose", ROOT / "compose.yaml", "--name", "Class")
    assert (named.returncode, named.stderr.startswith("certreplay: --name Class: ")) == (2, True), named.stderr
