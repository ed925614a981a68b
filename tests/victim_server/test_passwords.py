"""How the bank keeps passwords, and what its gateway makes of them."""

import base64
from pathlib import Path

import pytest

from lab.events.types import ClientAuthenticated, ClientRefused
from lab.process import BadInput
from programs import output_of
from victim_server import register
from victim_server.passwords import BLOCK_SIZE, COST, HASH_LENGTH, PARALLEL, PasswordCheck, keep, read_basic
from victims import BY_PASSWORD, GATEWAY_IDS, Curl, Victims, bundle_at, curl, run_curl


def test_openssl_makes_the_same_hash_of_a_password() -> None:
    kept = keep("correct horse")
    cost = ("-kdfopt", f"n:{COST}", "-kdfopt", f"r:{BLOCK_SIZE}", "-kdfopt", f"p:{PARALLEL}")
    given = ("-kdfopt", "pass:correct horse", "-kdfopt", f"hexsalt:{kept.salt.hex()}")
    made = output_of("openssl", "kdf", "-keylen", str(HASH_LENGTH), *given, *cost, "SCRYPT")
    assert bytes.fromhex(made.strip().replace(":", "")) == kept.hash


def test_a_password_is_right_for_its_owner_alone() -> None:
    check = PasswordCheck({"alice": keep("one"), "bob": keep("two")})
    assert check("alice", "one")
    assert not check("alice", "two")
    assert not check("bob", "one")
    assert not check("mallory", "one")
    assert not check("alice", "")
    assert not check("alice", keep("one").hash.hex())


def test_equal_passwords_are_kept_differently() -> None:
    assert keep("one").hash != keep("one").hash


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (base64.b64encode(b"alice:one"), ("alice", "one")),
        (base64.b64encode(b"alice:a:b"), ("alice", "a:b")),
        (base64.b64encode("alice:\N{SNOWMAN}".encode()), ("alice", "\N{SNOWMAN}")),
        (base64.b64encode(b":"), ("", "")),
    ],
)
def test_name_and_password_are_read(value: bytes, given: tuple[str, str]) -> None:
    assert read_basic([(b"authorization", b"Basic " + value)]) == given


@pytest.mark.parametrize("value", [b"", b"Basic", b"Basic !", b"Basic YWxpY2U=", b"Bearer YTpi", b"Basic /w=="])
def test_what_is_no_name_and_password_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="is not Basic with a name and a password"):
        read_basic([(b"authorization", value)])


def test_two_headers_are_refused() -> None:
    with pytest.raises(ValueError, match="is not Basic"):
        read_basic([(b"authorization", b"Basic YTpi")] * 2)


def test_without_passwords_the_register_has_none(tmp_path: Path) -> None:
    register.create(tmp_path / "r", [])
    assert register.read_passwords(tmp_path / "r") == {}
    (tmp_path / "x").write_bytes(b"SQLite format 3\0" + bytes(200))
    with pytest.raises(BadInput, match="is no register of customers"):
        register.read_passwords(tmp_path / "x")


# --- the gateway ---


def ask_with(victims: Victims, *options: str) -> Curl:
    url = f"https://localhost:{victims.port(BY_PASSWORD)}/account"
    return run_curl(url, "--cacert", str(victims.issued.ca_pem), *options)


def test_curl_logs_in_with_name_and_password(victims: Victims) -> None:
    assert victims.issued.password
    answer = ask_with(victims, "--user", f"alice:{victims.issued.password.read_text().strip()}")
    assert (answer.status, answer.body) == (200, {"customer": "alice", "balance": 1000})
    (event,) = victims.reports.all(ClientAuthenticated)
    assert (event.gateway, event.subject, event.sha256) == (BY_PASSWORD, "CN=alice", "")


@pytest.mark.parametrize("user", ["alice:", "alice:wrong", "nobody:wrong", ":"])
def test_a_wrong_password_is_refused_with_a_challenge(victims: Victims, user: str) -> None:
    answer = ask_with(victims, "--user", user, "--dump-header", "-")
    assert answer.status == 401
    assert 'www-authenticate: Basic realm="bank"' in answer.body
    (event,) = victims.reports.wait_for(ClientRefused)
    assert event.reason == "name and password do not belong together"


def test_no_certificate_takes_the_place_of_a_password(victims: Victims) -> None:
    answer = ask_with(victims, "--cert", str(victims.issued.client_pem))
    assert (answer.status, answer.body) == (401, {"error": "the request has no Authorization header"})


@pytest.mark.parametrize("gateway_id", GATEWAY_IDS)
def test_a_forged_remote_user_changes_nothing(victims: Victims, gateway_id: str) -> None:
    answer = curl(victims, gateway_id, "/account", "--header", "Remote-User: bob")
    assert answer.body["customer"] == "alice"
    if gateway_id == BY_PASSWORD:
        bundle = bundle_at(victims.issued, gateway_id)
        assert curl(victims, gateway_id, "/account", "--header", "Remote-User: alice", bundle=bundle).status == 401
