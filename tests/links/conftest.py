"""A server for tests of the probe and of the relay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from codecbench.links.probe import link_server
from codecbench.links.tcp import Address


@pytest.fixture
def server() -> Iterator[Address]:
    with link_server().running() as address:
        yield address
