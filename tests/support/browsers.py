"""Debian's Chromium, driven by playwright, and pages in it in which nothing may go wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from programs import PATIENCE_SECONDS, program

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. It needs no sandbox for pages of our own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, width: int = 1280, height: int = 720) -> Iterator[Page]:
    """A page in which nothing may go wrong: no message, no error, no request that fails, none to anybody else."""
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    own = page.url.partition("/?")[0].partition("#")[0]
    context.close()
    assert not wrong, wrong
    assert [url for url in asked if not url.startswith((own, "data:"))] == []
