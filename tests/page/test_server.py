"""The served page: who gets it, what they may ask for, and what goes with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.page.server import ASSETS, PageServer
from pages import Answer, ask, path_of, served


@pytest.fixture(scope="module")
def server(finished_run: Path) -> Iterator[PageServer]:
    with served(finished_run) as server:
        yield server


def opened(server: PageServer, looking: bool = False, **headers: str) -> Answer:
    return ask(server, path_of(server.address.url(looking)), **headers)


def cookie(server: PageServer, looking: bool = False) -> str:
    return opened(server, looking).headers["set-cookie"].partition(";")[0]


def test_the_token_turns_into_a_cookie(server: PageServer) -> None:
    assert ask(server, "/").status == 403
    answer = opened(server)
    assert answer.status == 200
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert ask(server, "/", cookie=cookie(server)).status == 200
    name = cookie(server).partition("=")[0]
    assert ask(server, "/", cookie=f"{name}=wrong").status == 403
    assert ask(server, "/", cookie=f"{name}=\xe9".encode().decode("latin-1")).status == 403


@pytest.mark.parametrize("path", ["/", "/assets/page.css", "/events", "/evidence/event/lab-1", "/at?place=%23why"])
def test_nobody_gets_anything_without_the_token(server: PageServer, path: str) -> None:
    for one in (path, f"{path}{'&' if '?' in path else '?'}token=guessed"):
        answer = ask(server, one)
        assert answer.status == 403
        assert "alice" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_only_get_is_answered(server: PageServer, method: str) -> None:
    assert ask(server, path_of(server.address.url()), method).status == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8440", "127.0.0.1.evil.example", "[::1", "localhost."])
def test_another_name_for_this_address_is_refused(server: PageServer, host: str) -> None:
    assert opened(server, host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8440", "localhost:8440", "[::1]:8440", "192.0.2.7:80"])
def test_an_address_is_no_name(server: PageServer, host: str) -> None:
    assert opened(server, host=host).status == 200


def test_another_page_is_refused(server: PageServer) -> None:
    mine = cookie(server)
    path, own = "/evidence/event/lab-1", f"http://127.0.0.1:{server.address.port}"
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9"):
        assert ask(server, path, cookie=mine, origin=origin).status == 403
    for site in ("cross-site", "same-site"):
        assert ask(server, path, cookie=mine, sec_fetch_site=site).status == 403
    assert ask(server, path, cookie=mine, origin=own, sec_fetch_site="same-origin").status == 200


def test_every_answer_keeps_to_itself(server: PageServer) -> None:
    mine = cookie(server)
    paths = ("/", "/assets/page.js", "/nothing", "/evidence/nothing")
    for answer in (ask(server, "/"), *(ask(server, path, cookie=mine) for path in paths)):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_has_nothing_inline(server: PageServer) -> None:
    html = opened(server).text
    assert "<style" not in html
    assert " style=" not in html
    assert " onclick" not in html
    assert html.count("<script") == 1
    assert '<script type="module" src="assets/page.js"></script>' in html


def test_all_assets_are_served_and_no_other_file(server: PageServer) -> None:
    mine = cookie(server)
    folder = Path(__file__).parents[2] / "lab" / "page" / "assets"
    assert {path.name for path in folder.iterdir() if path.suffix in (".css", ".js")} == set(ASSETS)
    for name in ASSETS:
        assert ask(server, f"/assets/{name}", cookie=mine).status == 200
    for name in ("assets/../server.py", "assets/..%2fserver.py", "assets/__init__.py", "evidence/../keys.log"):
        assert ask(server, f"/{name}", cookie=mine).status == 404


def test_only_the_presenter_says_where_to_look(server: PageServer) -> None:
    student, teacher = cookie(server, looking=True), cookie(server)
    assert "data-presenter" not in opened(server, looking=True).text
    assert ask(server, "/at?place=%23matrix", cookie=student).status == 403
    assert server.following.place == ""
    assert "data-presenter" in opened(server).text
    assert ask(server, "/at?place=%23matrix", cookie=teacher).status == 204
    assert server.following.place == "#matrix"


def test_the_budget_of_a_demos_page(server: PageServer) -> None:
    mine = cookie(server)
    whole = [
        ask(server, f"/{name}", cookie=mine, accept_encoding="gzip") for name in ("", *(f"assets/{a}" for a in ASSETS))
    ]
    assert all(one.headers["content-encoding"] == "gzip" for one in whole)
    assert sum(len(one.content) for one in whole) <= 100_000
