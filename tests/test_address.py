"""Addresses as text and as parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.address import Address, find_address, host_port


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
    assert find_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":443", "::1:443", "[::1]", "[]:443", "host:65536", "host:-1", "host:+1", "host:٣"],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert find_address(text) is None


@given(st.text(max_size=12) | st.from_regex(r"\A[\[\]:.%0-9a-f]{0,12}:[0-9]{1,6}\Z"))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = find_address(text)
    assert address is None or find_address(str(address)) == address


def test_a_socket_name_of_ipv6_has_four_parts() -> None:
    assert host_port(("::1", 8441, 0, 0)) == "[::1]:8441"  # type: ignore[arg-type]
    assert host_port(("127.0.0.1", 8441)) == "127.0.0.1:8441"
