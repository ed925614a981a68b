"""The exercises beside a run's page: what they answer, that they only read, and how a student does one in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browsers import chromium, watched
from lab.exercises.table import EXERCISES
from lab.page.server import PageServer
from pages import Answer, ask, path_of, served
from programs import certreplay


@pytest.fixture(scope="module")
def server(finished_run: Path) -> Iterator[PageServer]:
    with served(finished_run) as server:
        yield server


@pytest.fixture(scope="module")
def fingerprint(finished_run: Path) -> str:
    return str(json.loads(certreplay("verdicts", finished_run, "--json").stdout)["capture"]["sha256"])


def asked(server: PageServer, path: str) -> Answer:
    """As somebody who looks on."""
    cookie = ask(server, path_of(server.address.url(looking=True))).headers["set-cookie"].partition(";")[0]
    return ask(server, path, cookie=cookie)


def test_the_page_has_all_tasks_and_no_hints(server: PageServer) -> None:
    html = asked(server, "/exercises").text
    for one in EXERCISES:
        assert f'id="exercise-{one.number}"' in html
    assert "jsonraw" not in html, "a hint of exercise 3"
    assert html.count("<script") == 1
    assert 'href="exercises"' in asked(server, "/").text


def test_nobody_gets_an_exercise_without_the_token(server: PageServer) -> None:
    for path in ("/exercises", "/exercises/1/hint?number=1", "/exercises/1/answer?answer=00"):
        assert ask(server, path).status == 403


def test_an_answer_is_checked_and_nothing_on_the_disk_changes(
    server: PageServer, finished_run: Path, fingerprint: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.parent.rglob("*")}
    right = json.loads(asked(server, f"/exercises/1/answer?answer={fingerprint}").text)
    assert right["right"] is True
    wrong = json.loads(asked(server, f"/exercises/1/answer?answer={quote('<b>&#' + 'a' * 64)}").text)
    assert wrong["right"] is False
    assert json.loads(asked(server, "/exercises/11/answer").text)["why"].startswith(
        "Mallory tried nothing over TLS 1.3"
    )
    assert json.loads(asked(server, "/exercises/1/answer?answer=").text)["right"] is False
    assert json.loads(asked(server, f"/exercises/1/answer?answer={'a' * 2001}").text)["right"] is False
    assert {path: path.stat().st_mtime_ns for path in finished_run.parent.rglob("*")} == before


def test_hints_come_one_by_one_and_name_the_run(server: PageServer, finished_run: Path) -> None:
    hints = [asked(server, f"/exercises/1/hint?number={number}") for number in (1, 2, 3, 4, 0)]
    assert [hint.status for hint in hints] == [200, 200, 200, 404, 404]
    assert f"{finished_run.name}/attacker/capture.pcapng" in hints[0].text
    assert any("\n" in block["text"] for block in json.loads(hints[0].text))
    assert asked(server, "/exercises/1/hint?number=-1").status == 404


@pytest.mark.parametrize(
    "path", ["/exercises/8/answer?answer=/etc/passwd", "/exercises/99/answer", "/exercises/x/hint"]
)
def test_what_is_not_answered_here(server: PageServer, path: str) -> None:
    assert asked(server, path).status == 404


def test_a_student_does_an_exercise_in_a_browser(server: PageServer, fingerprint: str) -> None:
    with chromium() as browser, watched(browser) as page:
        page.goto(server.address.url())
        page.goto(f"http://127.0.0.1:{server.address.port}/exercises")
        first = page.locator("#exercise-1")
        expect(first.locator(".state")).to_have_text("to do")
        first.get_by_role("button", name="One hint more").click()
        expect(first.locator(".hints li")).to_have_count(1)
        expect(first.locator(".left")).to_have_text("2 left")
        first.get_by_role("textbox").fill("00")
        first.get_by_role("button", name="Check").click()
        expect(first.locator(".verdict")).to_contain_text("Not yet. A sha256 has 64 hex digits")
        first.get_by_role("textbox").fill(fingerprint)
        first.get_by_role("button", name="Check").click()
        expect(first.locator(".verdict")).to_contain_text("Right. TLS 1.2 sends the client's Certificate")
        page.reload()
        expect(first.locator(".state")).to_have_text("done")
        expect(first.locator(".hints li")).to_have_count(1)
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        page.get_by_role("link", name="Back to the story").click()
        expect(page.locator(".scene.now h2")).to_be_visible()
