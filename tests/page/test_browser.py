"""The page in a real browser: Debian's Chromium, driven by playwright."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from browsers import chromium, watched
from lab.events.run import open_run
from lab.judging.verdicts import JudgedRun
from lab.page.director import tell_page
from lab.page.report import render_report
from pages import served
from programs import wait_until


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "x.html"
    file.write_text(render_report(tell_page(JudgedRun(open_run(finished_run)))))
    return file.as_uri()


SHOWN = "document.querySelector('.scene.now')?.id === (location.hash.slice(1).split('.')[0] || 'why')"
"""Whether the page shows the scene that its address names."""


def press_right(page: Page) -> None:
    """Returns once the page shows where the key led. The page forbids the script that playwright would wait with."""
    page.keyboard.press("ArrowRight")
    wait_until(lambda: page.evaluate(SHOWN), "the scene of the address")


def headline(page: Page) -> str:
    return page.locator(".scene.now h2").inner_text()


def test_the_keys_go_through_all_of_a_report_and_back(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(report)
        expect(page.locator(".scene.now h2")).to_have_text("Why isn't the certificate enough?")
        seen = [headline(page)]
        for _ in range(60):
            press_right(page)
            if headline(page) != seen[-1]:
                seen.append(headline(page))
        assert len(seen) == len(set(seen)) == 17
        for _ in range(60):
            page.keyboard.press("ArrowLeft")
        expect(page.locator(".scene.now h2")).to_have_text(seen[0])


def test_no_key_is_lost_however_fast_they_come(browser: Browser, report: str) -> None:
    """The browser tells of a new address only when all keys that are waiting have been worked on."""
    with watched(browser) as page:
        page.goto(report)
        expect(page.locator(".scene.now h2")).to_have_text("Why isn't the certificate enough?")
        for _ in range(7):
            press_right(page)
        reached = headline(page)
        page.goto(f"{report}#why")
        page.evaluate(
            "for (let i = 0; i < 7; i++)"
            " document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"
        )
        expect(page.locator(".scene.now h2")).to_have_text(reached)


def test_an_answer_that_is_given_twice_counts_once(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(f"{report}#old-proof")
        expect(page.locator(".scene.now .question")).to_be_visible()
        page.evaluate(
            "for (let i = 0; i < 2; i++)"
            " document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
        )
        expect(page.locator(".scene.now .your-answer")).to_have_text("You said: it lets her in.")


def test_a_prediction_is_shown_beside_what_happened(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(f"{report}#old-proof")
        asked = page.locator(".scene.now .question")
        expect(asked).to_have_text("This is a genuine signature of Alice's. What does gateway 2 do?")
        expect(page.locator(".scene.now .pill")).to_be_hidden()
        page.keyboard.press("1")
        expect(page.locator(".scene.now .pill")).to_have_text("refused")
        expect(page.locator(".scene.now .your-answer")).to_have_text("You said: it lets her in.")


def test_a_cell_opens_its_evidence_and_a_message_its_bytes(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(f"{report}#matrix")
        page.locator(".scene.now").get_by_title("replay-proof at pinned-mtls@instrument: refused").click()
        expect(page.locator("#closeup h2")).to_contain_text("replay-proof at pinned-mtls@instrument, TLS 1.2")
        expect(page.locator("#closeup .comparison")).to_be_visible()
        page.locator("#closeup .ladder a", has_text="CertificateVerify").click()
        expect(page.locator("#closeup .hex")).to_contain_text("0f 00 00")
        fields = page.locator("#closeup .fields li[data-field]")
        fields.nth(1).focus()
        page.keyboard.press("ArrowDown")
        expect(fields.nth(2)).to_be_focused()
        expect(page.locator("#closeup .hex .lit").first).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".scene.now h2")).to_have_text("Where the proof is checked, no move gets in.")


def test_a_phone_shows_all_scenes_and_evidence_within_its_width(browser: Browser, report: str) -> None:
    """What is wider scrolls in a box of its own. The way back is in sight."""
    with watched(browser, 360, 740) as page:
        page.goto(report)
        ids = [scene.get_attribute("id") for scene in page.locator("#stage > .scene[data-steps]").all()]
        cell = page.locator("#matrix a.cell").first.get_attribute("href") or ""
        connection = page.locator("#connections td a").first.get_attribute("href") or ""
        for place in (*ids, cell[1:], connection[1:]):
            page.evaluate("place => { location.hash = place }", place)
            expect(page.locator(".scene.now h2")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
        expect(page.locator("#closeup h2").first).to_contain_text("Alice's login at ")
        expect(page.locator("#closeup .back")).to_be_in_viewport(ratio=1)


def test_what_goes_on_below_fades_until_it_is_reached(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(f"{report}#certificate")
        octets = page.locator(".scene.now .hex")
        expect(octets).to_have_class("hex more")
        octets.evaluate("box => box.scrollTo(0, box.scrollHeight)")
        expect(octets).to_have_class("hex")


def test_an_address_that_was_cut_opens_the_story(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(f"{report}#why%")
        expect(page.locator(".scene.now h2")).to_have_text("Why isn't the certificate enough?")


def test_a_report_asks_nobody_for_anything(browser: Browser, report: str) -> None:
    with watched(browser) as page:
        page.goto(report)
        page.goto(f"{report}#connections")
        page.locator(".scene.now a").first.click()
        expect(page.locator("#closeup .ladder").first).to_be_visible()


def test_a_second_browser_follows_the_first(browser: Browser, finished_run: Path) -> None:
    with served(finished_run) as server, watched(browser) as teacher, watched(browser, 390, 844) as student:
        teacher.goto(server.address.url())
        assert "token" not in teacher.url, "it is not left in the address"
        student.goto(server.address.url(looking=True))
        teacher.keyboard.press("c")
        teacher.locator("#titles a", has_text="Alice signed another conversation.").click()
        expect(student.locator(".scene.now h2")).to_have_text("Alice signed another conversation.")
        teacher.keyboard.press("ArrowRight")
        expect(student.locator(".scene.now .moment:not(.off)")).to_contain_text("Mallory's connection")
        student.reload()
        expect(student.locator(".scene.now h2")).to_have_text("Alice signed another conversation.")


def test_scenes_come_in_while_the_run_goes_on(browser: Browser, finished_run: Path, tmp_path: Path) -> None:
    """The events of a run, part by part in the order of time, written while a browser watches."""
    lines = sorted(
        (json.loads(line)["time"], path.parent.name, number, line)
        for path in finished_run.glob("*/events.jsonl")
        for number, line in enumerate(path.read_text().splitlines(keepends=True))
    )

    def write(some: list[tuple[str, str, int, str]]) -> None:
        for _, part, _, line in some:
            (tmp_path / part).mkdir(exist_ok=True)
            with (tmp_path / part / "events.jsonl").open("a") as file:
                file.write(line)

    first = next(at for at, one in enumerate(lines) if '"certificate-captured"' in one[3])
    with served(tmp_path, until_told=False) as server, watched(browser) as page:
        page.goto(server.address.url())
        expect(page.locator(".scene.now h2")).to_have_text("The run is under way.")
        write(lines[:first])
        expect(page.locator(".scene.now h2")).to_have_text("Why isn't the certificate enough?")
        expect(page.locator("#progress li.pending").first).to_be_attached()
        for _ in range(60):  # a key that comes while a scene does is not heard
            if page.locator(".scene.now h2").text_content() == "The run is under way.":
                break
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(50)
        expect(page.locator(".scene.now h2")).to_have_text("The run is under way.")
        write(lines[first:])
        (tmp_path / "verdicts.json").write_text((finished_run / "verdicts.json").read_text())
        expect(page.locator(".scene.now h2")).to_have_text("Alice shows her certificate, then a proof.")
        expect(page.locator("#progress li.pending")).to_have_count(0)
        assert page.locator("#progress li").count() == page.locator("#titles li").count() == 17


MARKUP = "</script><img src=http://127.0.0.1:9/x onerror=alert(1)><script>alert(2)</script>\u202eevil {{ 7 * 7 }}"
NAMES = ("subject", "issuer")
FREE = ("detail", "body", "reason", "file", "files", "server_records", "client_records")
"""Fields that hold what somebody else wrote, and from which nothing is derived."""


@pytest.fixture(scope="module")
def hostile_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with markup and turned letters in all these fields, texts of 100 kB, and many more connections."""
    folder = tmp_path_factory.mktemp("hostile") / f"run{MARKUP.replace('/', '')}"
    shutil.copytree(finished_run, folder)
    for log in folder.glob("*/events.jsonl"):
        events = [json.loads(line) for line in log.read_text().splitlines()]
        seen = [one for one in events if one["type"] in ("certificate-captured", "handshake-seen")]
        events += [{**one, **dict.fromkeys(NAMES, MARKUP)} if "subject" in one else dict(one) for one in seen * 30]
        for number, event in enumerate(events, start=1):
            event["sequence"] = number
            event.update({name: _hostile(event[name], number % 50 == 1) for name in FREE if event.get(name)})
        log.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return folder


def _hostile(value: Any, long: bool) -> Any:
    return [_hostile(one, long) for one in value] if isinstance(value, list) else f"{MARKUP}{'x' * 100_000 * long}"


def _look_everywhere(page: Page) -> str:
    """Goes through all scenes and opens what the last ones link to; the text of it all."""
    seen = []
    for scene in page.locator("#stage > .scene[data-steps]").all():
        page.evaluate("id => { location.hash = id }", scene.get_attribute("id"))
        expect(scene).to_be_visible()
        seen.append(scene.inner_text())
        for link in scene.locator("a[href*='/']").all()[:2]:
            page.evaluate("href => { location.hash = href }", link.get_attribute("href"))
            expect(page.locator("#closeup h2")).to_be_visible()
            seen.append(page.locator("#closeup").inner_text())
    return "".join(seen)


def test_a_hostile_run_commands_neither_the_page_nor_a_report(
    browser: Browser, hostile_run: Path, tmp_path: Path
) -> None:
    """No script of its runs, nothing is asked for, no line is turned round, and the tab answers."""
    director = tell_page(JudgedRun(open_run(hostile_run)))
    assert len(director.page.scenes) > 12
    report = tmp_path / "x.html"
    report.write_text(render_report(director))
    with served(hostile_run) as server:
        for address in (server.address.url(), report.as_uri()):
            with watched(browser) as page:
                page.goto(address)
                shown = _look_everywhere(page)
                assert "<img src=http://127.0.0.1:9/x onerror=alert(1)>" in shown
                assert "{{ 7 * 7 }}" in shown
                assert "\u202e" not in page.content()
                assert page.locator("img").count() == 0


def test_axe_finds_nothing_wrong(browser: Browser, report: str) -> None:
    """On an attempt's evidence, and on all scenes at once, in both themes: the page without a script shows them so."""
    with watched(browser) as page:
        page.goto(f"{report}#old-proof")
        page.locator(".scene.now [data-answer]").first.click()
        page.locator(".scene.now .links a").first.click()
        expect(page.locator("#closeup .comparison")).to_be_visible()
        assert_accessible(page)
        page.evaluate("document.documentElement.classList.remove('paged')")
        for theme in ("light", "dark"):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
            assert_accessible(page)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
