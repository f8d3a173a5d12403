"""Links as functions of size: monotone, vectorised, never slower at more bandwidth; and each class by its own rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import DOCS

from codecbench.errors import DataError, UsageError
from codecbench.links.model import BackgroundLink, FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.registry import links, manager

PAYLOAD_BYTES = st.integers(0, 10_000_000)
BANDWIDTHS = st.floats(1e5, 1e9)
SHARES = st.floats(0, 0.99)
NAMES = st.just("a-link")
FIXED = st.builds(FixedRateLink, name=NAMES, bandwidth_bit_per_s=BANDWIDTHS, latency_s=st.floats(0, 0.3))
RAMPS = st.builds(
    TcpRampLink,
    name=NAMES,
    round_trip_s=st.floats(1e-4, 0.3),
    bandwidth_bit_per_s=BANDWIDTHS,
    base_s=st.floats(0, 0.1),
    initial_window_bytes=st.integers(1_000, 100_000),
    handshake_round_trips=st.sampled_from([0, 1, 2]),
    loss=st.sampled_from([0.0, 1e-4, 0.01, 0.3]),
)
TRACES = (
    st.lists(st.integers(0, 500), min_size=1, max_size=30).filter(any).map(lambda t: TraceLink("a-link", sorted(t)))
)
PLAIN = st.one_of(FIXED, RAMPS, TRACES)
LINKS = st.one_of(PLAIN, st.builds(BackgroundLink, PLAIN, SHARES))


def at_most(less_s: float, more_s: float) -> bool:
    """Whether the one is not the greater, but for the rounding of sums."""
    return less_s <= more_s * (1 + 1e-9)


# --- every link -----------------------------------------------------------------------------------------------------


@given(LINKS, PAYLOAD_BYTES, PAYLOAD_BYTES)
def test_more_bytes_never_take_less_time(link: Link, one: int, other: int) -> None:
    less_s, more_s = link.seconds(sorted([one, other]))
    assert at_most(less_s, more_s)


@given(LINKS, st.lists(PAYLOAD_BYTES, min_size=1, max_size=6))
def test_an_array_gives_what_its_elements_give(link: Link, payload_bytes: list[int]) -> None:
    together = link.seconds(np.array(payload_bytes).reshape(1, -1))
    assert together.shape == (1, len(payload_bytes))
    assert together[0].tolist() == [float(link.seconds(n)) for n in payload_bytes]


@given(LINKS, PAYLOAD_BYTES, BANDWIDTHS, BANDWIDTHS)
def test_more_bandwidth_is_never_slower(link: Link, payload_bytes: int, one: float, other: float) -> None:
    slow, fast = (link.with_bandwidth(bandwidth) for bandwidth in sorted([one, other]))
    assert at_most(float(fast.seconds(payload_bytes)), float(slow.seconds(payload_bytes)))


@given(LINKS, BANDWIDTHS, PAYLOAD_BYTES)
def test_a_bandwidth_is_the_bandwidth_and_the_links_own_changes_nothing(
    link: Link, bandwidth: float, payload_bytes: int
) -> None:
    assert link.with_bandwidth(bandwidth).bandwidth_bit_per_s == pytest.approx(bandwidth)
    assert link.bandwidth_bit_per_s is not None
    if not isinstance(link, TraceLink):  # whose opportunities may round to one more
        same = link.with_bandwidth(link.bandwidth_bit_per_s)
        assert float(same.seconds(payload_bytes)) == pytest.approx(float(link.seconds(payload_bytes)))


@given(LINKS, PAYLOAD_BYTES, st.lists(SHARES, min_size=2, max_size=2))
def test_more_background_is_never_faster(link: Link, payload_bytes: int, shares: list[float]) -> None:
    quiet, busy = (link.with_background(share) for share in sorted(shares))
    assert at_most(float(quiet.seconds(payload_bytes)), float(busy.seconds(payload_bytes)))


@given(LINKS, PAYLOAD_BYTES)
def test_no_background_is_the_same_link(link: Link, payload_bytes: int) -> None:
    assert link.with_background(0) is link
    assert float(BackgroundLink(link, 0).seconds(payload_bytes)) == float(link.seconds(payload_bytes))


@given(LINKS, PAYLOAD_BYTES, st.floats(0, 0.5))
def test_a_delay_is_added_at_least_once(link: Link, payload_bytes: int, delay_s: float) -> None:
    delayed_s = float(link.with_delay(delay_s).seconds(payload_bytes))
    assert at_most(float(link.seconds(payload_bytes)) + delay_s, delayed_s)


@given(LINKS)
def test_the_argument_is_left_as_it_was(link: Link) -> None:
    payload_bytes = np.array([1e6, 5.0])
    link.seconds(payload_bytes)
    assert payload_bytes.tolist() == [1e6, 5.0]


class Odd(Link):
    """A plugin's link that says nothing but its time."""

    name, description = "odd", ""

    def seconds(self, payload_bytes: object) -> np.ndarray:
        return np.zeros(np.shape(payload_bytes))


def test_a_link_without_a_bandwidth_says_so() -> None:
    assert Odd().bandwidth_bit_per_s is None
    assert Odd().with_background(0).seconds([1, 2]).tolist() == [0, 0]
    with pytest.raises(UsageError, match="link 'odd' has no bandwidth that could be changed"):
        Odd().with_bandwidth(1e6)
    with pytest.raises(UsageError, match="link 'odd' has no bandwidth that others could take"):
        Odd().with_background(0.5)
    with pytest.raises(UsageError, match="link 'odd' cannot delay"):
        Odd().with_delay(0.5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FixedRateLink("l", 0.0), "bandwidth_bit_per_s must be a number above 0, not 0.0"),
        (lambda: FixedRateLink("l", 1e6, latency_s=-1), "latency_s must be a number from 0, not -1"),
        (lambda: TcpRampLink("l", 0.1, float("nan")), "bandwidth_bit_per_s must be a number above 0, not nan"),
        (lambda: TcpRampLink("l", 0.1, 1e6, loss=1.0), "loss must be a number from 0 to below 1, not 1.0"),
        (lambda: TcpRampLink("l", True, 1e6), "round_trip_s must be a number from 0, not True"),
        (lambda: TcpRampLink("", 0.1, 1e6), "a link needs a name, not ''"),
        (lambda: FixedRateLink("l", 1e6).with_background(1.0), "give the share that others take"),
        (lambda: FixedRateLink("l", 1e6).with_background(-0.1), "give the share that others take"),
        (lambda: TraceLink("l", [3, 2]), "goes back in time"),
        (lambda: TraceLink("l", []), "has no length"),
        (lambda: TraceLink("l", [0, 0]), "has no length"),
        (lambda: TraceLink("l", [1.5]), "needs whole milliseconds"),  # type: ignore[list-item]
    ],
)
def test_constants_that_are_none_are_refused(make: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()  # type: ignore[operator]


def test_the_page_on_links_has_the_constants_of_every_registered_one() -> None:
    text = (DOCS / "guides" / "links.md").read_text()
    for name, link in links(manager()).items():
        assert isinstance(link, TcpRampLink)
        constants = (
            f"{link.round_trip_s * 1e3:g} ms", f"{link.bandwidth_bit_per_s / 1e6:g} Mb/s", f"{link.base_s * 1e3:g} ms",
            f"{link.initial_window_bytes:,} bytes",
        )  # fmt: skip
        assert f"| `{name}` | {' | '.join(constants)} |" in text


# --- TCP ------------------------------------------------------------------------------------------------------------


@given(RAMPS, PAYLOAD_BYTES)
def test_no_message_is_faster_than_base_and_bandwidth(link: TcpRampLink, payload_bytes: int) -> None:
    fixed_s = link.base_s + link.handshake_round_trips * link.round_trip_s
    bound_s = fixed_s + payload_bytes * 8 / link.bandwidth_bit_per_s
    assert at_most(bound_s, float(link.seconds(payload_bytes)))
    if payload_bytes <= link.initial_window_bytes and not link.loss:
        assert float(link.seconds(payload_bytes)) == bound_s


def test_each_doubling_of_the_window_costs_the_rest_of_a_round_trip() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.1, bandwidth_bit_per_s=8e6, initial_window_bytes=10_000)
    # 100,000 bytes fill the path: windows of 10, 20, 40 and 80 thousand bytes stall, 160 thousand do not.
    stalls_s = [0.1 - window / 1e6 for window in (10_000, 20_000, 40_000, 80_000)]
    assert float(link.seconds(10_000)) == pytest.approx(0.01)
    assert float(link.seconds(10_001)) == pytest.approx(0.010001 + stalls_s[0])
    assert float(link.seconds(1_000_000)) == pytest.approx(1.0 + sum(stalls_s))


def test_a_fresh_connection_costs_its_handshake() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.1, bandwidth_bit_per_s=8e6)
    for payload_bytes in (0, 1_000, 1_000_000):
        reused_s = float(link.seconds(payload_bytes))
        assert float(link.on_fresh_connections().seconds(payload_bytes)) == pytest.approx(reused_s + 0.1)
        assert float(link.on_fresh_connections(2).seconds(payload_bytes)) == pytest.approx(reused_s + 0.2)


@given(RAMPS, PAYLOAD_BYTES)
def test_losses_are_never_faster_than_none(link: TcpRampLink, payload_bytes: int) -> None:
    without_s = float(replace(link, loss=0.0).seconds(payload_bytes))
    assert at_most(without_s, float(link.seconds(payload_bytes)))


def test_a_long_transfer_with_losses_goes_at_the_rate_of_mathis() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.05, bandwidth_bit_per_s=1e9, loss=0.001)
    marginal_s = float(link.seconds(2e9) - link.seconds(1e9))
    assert 8e9 / marginal_s == pytest.approx(1460 * 8 / 0.05 * (1.5 / 0.001) ** 0.5)


def test_losses_without_a_round_trip_leave_the_bandwidth() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.0, bandwidth_bit_per_s=1e9, loss=0.001)
    assert 8e9 / float(link.seconds(2e9) - link.seconds(1e9)) == pytest.approx(1e9)


def test_the_expected_wait_for_a_lost_segment() -> None:
    link = TcpRampLink("a-link", round_trip_s=0.05, bandwidth_bit_per_s=1e9, loss=0.01)
    # One segment, lost with 1 %: a round trip, and a timeout of 0.2 s and a round trip, since nothing follows it.
    assert float(link.seconds(1_460)) == pytest.approx(1_460 * 8 / 1e9 + 0.01 * 0.05 + 0.01 * 0.25)


# --- background -----------------------------------------------------------------------------------------------------


def test_background_leaves_the_rest_behind_an_md1_queue() -> None:
    busy = FixedRateLink("a-link", 8e6, latency_s=0.01, description="eight").with_background(0.75)
    assert isinstance(busy, BackgroundLink)
    # A packet of 1,500 bytes takes 1.5 ms at 8 Mb/s; 0.75 / (2 * 0.25) of them wait before each.
    assert busy.waiting_s == pytest.approx(0.00225)
    assert float(busy.seconds(10_000)) == pytest.approx(0.01 + 0.00225 + 0.04)
    assert (busy.name, busy.description) == ("a-link", "eight, 75 % of it taken by others")


def test_the_mean_wait_is_that_of_simulated_packets() -> None:
    generator = np.random.default_rng(0)
    service_s, share = 1_500 * 8 / 8e6, 0.6
    arrivals_s = np.cumsum(generator.exponential(service_s / share, 200_000))
    # Lindley's recursion: each waits for the one before, less the time between them.
    step = service_s - np.diff(arrivals_s)
    total = np.concatenate([[0.0], np.cumsum(step)])
    waits_s = total - np.minimum.accumulate(total)
    busy = BackgroundLink(FixedRateLink("a-link", 8e6), share)
    assert busy.waiting_s == pytest.approx(float(waits_s.mean()), rel=0.05)


def test_background_on_background_is_of_what_was_left() -> None:
    twice = FixedRateLink("a-link", 8e6).with_background(0.5).with_background(0.5)
    assert isinstance(twice, BackgroundLink)
    assert twice.share == 0.75
    assert not isinstance(twice.link, BackgroundLink)


# --- traces ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any), st.integers(1, 30))
def test_a_trace_gives_the_mean_over_starting_times(times: list[int], opportunities: int) -> None:
    times.sort()
    starts_ms = (np.arange(4_000 * times[-1]) + 0.5) / 4_000
    passes = np.concatenate([np.array(times) + times[-1] * i for i in range(opportunities // len(times) + 3)])
    waits_ms = passes[np.searchsorted(passes, starts_ms) + opportunities - 1] - starts_ms
    mean_s = float(TraceLink("a-link", times).seconds(1_500 * opportunities))
    assert mean_s == pytest.approx(float(waits_ms.mean()) / 1e3, abs=1e-9)


def test_a_trace_of_one_packet_a_millisecond() -> None:
    link = TraceLink("a-link", [1], latency_s=0.01)
    assert link.bandwidth_bit_per_s == 12e6
    assert link.seconds([0, 1, 1_500, 1_501, 15_000]).tolist() == pytest.approx([0.01, 0.0105, 0.0105, 0.0115, 0.0195])
    assert link.with_bandwidth(24e6).opportunity_bytes == 3_000


def test_a_long_trace_keeps_to_the_millisecond() -> None:
    times = np.cumsum(np.random.default_rng(0).integers(0, 20, 100_000)).tolist()
    link, gaps = TraceLink("a-link", times), np.diff(times, prepend=0)
    count = 77_777
    ends = np.concatenate([times, np.array(times) + times[-1]])[count - 1 :][: len(times)]
    expected_ms = (gaps * (ends - np.array(times) + gaps / 2)).sum() / times[-1]
    assert float(link.seconds(1_500 * count)) == pytest.approx(expected_ms / 1e3, rel=1e-12)


def test_a_trace_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "verizon.trace"
    path.write_text("0\n2\n2\n10\n\n")
    link = TraceLink.read(path, latency_s=0.02)
    assert (link.name, link.times_ms, link.latency_s) == ("verizon", (0, 2, 2, 10), 0.02)
    assert link.description == "Mahimahi trace verizon.trace, replayed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\ntwo\n", r"line 2: 'two' is no time; a line is one whole number of ms"),
        ("1\n\n3\n", r"line 2: '' is no time"),
        ("-1\n", r"line 1: '-1' is no time"),
        ("5\n4\n", "goes back in time"),
        ("", "has no length"),
        ("\x80", "cannot be read"),
    ],
)
def test_a_damaged_trace_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.trace"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=said):
        TraceLink.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        TraceLink.read(tmp_path / "none.trace")
