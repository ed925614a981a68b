"""Addresses as text and as parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.address import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8441", Address("127.0.0.1", 8441)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]:443", Address("fe80::1%eth0", 443)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":443", "::1:443", "[::1]", "[]:443", "[host]:443", "host:65536", "host:-1", "host:٣"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text)


@given(st.text(max_size=12) | st.from_regex(r"\A[\[\]:.%0-9a-f]{0,12}:[0-9]{1,6}\Z"))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


def test_a_socket_name_of_ipv6_has_four_parts() -> None:
    assert Address.of_socket(("::1", 8441, 0, 0)) == Address("::1", 8441)
    assert Address.of_socket(("127.0.0.1", 8441)) == Address("127.0.0.1", 8441)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://localhost:8441", Address("localhost", 8441)),
        ("https://localhost:8441/account", Address("localhost", 8441)),
        ("https://[::1]:8441", Address("::1", 8441)),
        ("https://localhost", Address("localhost", 443)),
    ],
)
def test_a_url_names_an_address(url: str, address: Address) -> None:
    assert Address.of_url(url) == address


@pytest.mark.parametrize(
    "url", ["", "localhost:8441", "http://localhost:8441", "https://", "https://:8441", "https://a:b", "https://["]
)
def test_what_is_no_https_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Address.of_url(url)
