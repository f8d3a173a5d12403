"""Links as functions: monotone, vectorised, and `wifi-450` against the network times published in Table 1."""

import csv
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import TcpRampLink, manager
from codecbench.plugins import links

PAYLOAD_BYTES = st.integers(0, 10_000_000)
RAMPS = st.builds(
    TcpRampLink,
    name=st.just("a-link"),
    round_trip_s=st.floats(1e-4, 0.3),
    bandwidth_bit_per_s=st.floats(1e5, 1e9),
    base_s=st.floats(0, 0.1),
    initial_window_bytes=st.integers(1_000, 100_000),
)


def published(table: str) -> tuple[np.ndarray, np.ndarray]:
    """Payload bytes and network seconds of the paper's rows."""
    with (files("codecbench") / "data" / "paper_tables.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == table]
    payload_bytes = np.array([float(row["payload_kib"]) * 1024 for row in rows])
    return payload_bytes, np.array([float(row["network_ms"]) / 1000 for row in rows])


def test_wifi_450_follows_the_papers_table_1() -> None:
    payload_bytes, network_s = published("1")
    assert len(payload_bytes) == 30
    relative_error = np.abs(links(manager())["wifi-450"].seconds(payload_bytes) / network_s - 1)
    assert relative_error.mean() < 0.08
    assert np.median(relative_error) < 0.05


@given(RAMPS, PAYLOAD_BYTES, PAYLOAD_BYTES)
def test_more_bytes_never_take_less_time(link: TcpRampLink, one: int, other: int) -> None:
    less_s, more_s = link.seconds(sorted([one, other]))
    assert less_s <= more_s * (1 + 1e-12)


@given(RAMPS, st.lists(PAYLOAD_BYTES, min_size=1, max_size=6))
def test_an_array_gives_what_its_elements_give(link: TcpRampLink, payload_bytes: list[int]) -> None:
    together = link.seconds(np.array(payload_bytes).reshape(1, -1))
    assert together.shape == (1, len(payload_bytes))
    assert together[0].tolist() == [float(link.seconds(n)) for n in payload_bytes]


@given(RAMPS, PAYLOAD_BYTES)
def test_no_message_is_faster_than_base_and_bandwidth(link: TcpRampLink, payload_bytes: int) -> None:
    bound_s = link.base_s + payload_bytes * 8 / link.bandwidth_bit_per_s
    assert link.seconds(payload_bytes) >= bound_s
    if payload_bytes <= link.initial_window_bytes:
        assert link.seconds(payload_bytes) == bound_s


def test_each_doubling_of_the_window_costs_the_rest_of_a_round_trip() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.1, bandwidth_bit_per_s=8e6, initial_window_bytes=10_000)
    # 100,000 bytes fill the path: windows of 10, 20, 40 and 80 thousand bytes stall, 160 thousand do not.
    stalls_s = [0.1 - window / 1e6 for window in (10_000, 20_000, 40_000, 80_000)]
    assert float(link.seconds(10_000)) == pytest.approx(0.01)
    assert float(link.seconds(10_001)) == pytest.approx(0.010001 + stalls_s[0])
    assert float(link.seconds(1_000_000)) == pytest.approx(1.0 + sum(stalls_s))


def test_the_argument_is_left_as_it_was() -> None:
    payload_bytes = np.array([1e6, 5.0])
    TcpRampLink("a-link", round_trip_s=0.1, bandwidth_bit_per_s=8e6).seconds(payload_bytes)
    assert payload_bytes.tolist() == [1e6, 5.0]
