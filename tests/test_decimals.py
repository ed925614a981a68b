"""Numbers in text that others wrote."""

import pytest

from lab.decimals import decimal


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("8443", 8443), ("999999999", 999_999_999)])
def test_a_number_is_read(text: str, number: int) -> None:
    assert decimal(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", " 1", "٣", "²", "1" * 10, "1" * 5000])
def test_anything_else_is_none(text: str) -> None:
    assert decimal(text) is None
