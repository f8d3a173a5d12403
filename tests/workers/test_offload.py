"""Requests over TCP: payloads of any length are answered one after another, and a refused one ends the connection."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench.errors import DataError, PayloadError
from codecbench.workers.offload import request_client, request_server


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_each_payload_has_its_answer(payloads: list[bytes]) -> None:
    with request_server(lambda payload: payload[::-1] + b"!").running() as address, request_client(address) as request:
        assert [request(payload) for payload in payloads] == [payload[::-1] + b"!" for payload in payloads]


def test_long_messages_arrive_whole() -> None:
    payload = bytes(range(256)) * 8000
    with request_server(lambda payload: payload + payload).running() as address, request_client(address) as request:
        assert request(payload) == payload + payload


def test_a_refused_payload_ends_the_connection_and_no_other() -> None:
    def answer(payload: bytes) -> bytes:
        if not payload:
            raise PayloadError("empty")
        return payload

    with (
        request_server(answer).running() as address,
        request_client(address) as request,
        request_client(address) as other,
    ):
        assert request(b"a") == b"a"
        with pytest.raises(DataError, match="the edge process gave no answer"):
            request(b"")
        assert other(b"b") == b"b"
