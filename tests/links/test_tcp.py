"""Addresses, as users write them."""

from __future__ import annotations

import pytest

from codecbench.errors import UsageError
from codecbench.links.tcp import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [("pi.local:7413", ("pi.local", 7413)), ("[::1]:80", ("::1", 80)), ("10.0.0.1:65535", ("10.0.0.1", 65535))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "pi.local", "pi.local:", ":80", "::1:80", "a:0", "a:65536", "a:b", "a b:80", "a:-1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is no address; write HOST:PORT"):
        parse_address(text)
