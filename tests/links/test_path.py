"""Models against a real path: messages over TCP, shaped by the kernel's token bucket (tbf) or by our own relay.

A link is fitted to some sizes of a probe and held to the medians of others. The rate of the path is checked by one long
message: bytes over seconds. The figures are printed: `pytest tests/links/test_path.py --run-slow -rP`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.paths import SUPPORT
from tabulate import tabulate

from codecbench.links.files import read_pairs
from codecbench.links.fitting import fit_pairs
from codecbench.links.model import FixedRateLink, Link, TcpRampLink
from codecbench.links.probe import DEFAULT_SIZES

CHECKED_SIZES = (1_024, 1_500, 3_000, 7_000, 15_000, 25_000, 30_000, 70_000, 150_000, 300_000, 588 * 1024)
LONG_BYTES = {"20Mbit": 8_000_000, "450Mbit": 60_000_000}
BIT_PER_S = {"20Mbit": 20e6, "450Mbit": 450e6}
REPEATS = {"20Mbit": 15, "450Mbit": 51}
BURST = "4kb"
"""What tbf lets pass at once: hardly more than two packets, so that short messages are shaped, too."""
SHARE_OF_PAYLOAD = 1_448 / 1_514
"""Of a full Ethernet frame as tbf counts it: without the headers of Ethernet, IPv4 and TCP with timestamps."""
SERVER, CLIENT = "10.213.0.2", "10.213.0.1"
Pairs = tuple[np.ndarray, np.ndarray]
LINK = [sys.executable, "-m", "codecbench.cli.main", "link"]


def shell(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@contextmanager
def running(words: list[str]) -> Iterator[str]:
    """A process for the length of a block, and the first line that it writes."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process.stderr.readline().rstrip()
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def listening(words: list[str]) -> Iterator[str]:
    """A server process for the length of a block; its address."""
    with running(words) as line:
        assert line.endswith("; Ctrl-C ends it"), line
        yield line.rpartition(" on ")[2].partition(";")[0]


@contextmanager
def namespaces(*after_cable: list[str], tun: tuple[float, float] | None = None) -> Iterator[tuple[list[str], str]]:
    """Two network namespaces and a cable between them: how to run a command in one, and a server in the other.

    The commands after it are run in both. With `tun` the cable is our own, of this rate and delay each way.
    """
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("tc"):
        pytest.skip("network namespaces need root, ip and tc")
    spaces = [f"codecbench-{os.getpid()}-{side}" for side in "ab"]
    devices = [f"cb{os.getpid()}{side}" for side in "ab"]
    with ExitStack() as ends:
        try:
            for space in spaces:
                shell("ip", "netns", "add", space)
                ends.callback(shell, "ip", "netns", "del", space)
            if tun is None:
                shell("ip", "link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
            else:
                program = [sys.executable, str(SUPPORT / "tun_path.py"), *devices, *map(str, tun)]
                if ends.enter_context(running(program)) != "carrying packets":
                    pytest.skip("no TUN devices here")
            for space, device, address in zip(spaces, devices, (CLIENT, SERVER), strict=True):
                shell("ip", "link", "set", device, "netns", space)
                shell("ip", "-n", space, "address", "add", f"{address}/24", "dev", device)
                shell("ip", "-n", space, "link", "set", device, "up")
                for words in after_cable:
                    shell("ip", "netns", "exec", space, *(device if word == "DEVICE" else word for word in words))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no such network here: {error.stderr.decode().strip()}")
        server = ["ip", "netns", "exec", spaces[1], *LINK, "serve", "--host", SERVER, "--port", "0"]
        yield ["ip", "netns", "exec", spaces[0]], ends.enter_context(listening(server))


def bucketed(rate: str) -> AbstractContextManager[tuple[list[str], str]]:
    """A cable that the kernel's tbf shapes at both ends."""
    tbf = f"tc qdisc add dev DEVICE root tbf rate {rate.lower()} burst {BURST} limit 4mb"
    return namespaces(tbf.split())


@contextmanager
def relayed(rate: str) -> Iterator[tuple[list[str], str]]:
    """A server behind our relay, 2 ms each way."""
    with listening([*LINK, "serve", "--port", "0"]) as server:
        shaped = [*LINK, "relay", "--to", server, "--rate", rate, "--delay-ms", "2", "--port", "0"]
        with listening(shaped) as address:
            yield [], address


def measured(where: list[str], address: str, out: Path, sizes: Sequence[int], repeats: int, *more: str) -> Pairs:
    """What a probe of these sizes wrote."""
    options = ["--sizes", ",".join(map(str, sizes)), "--repeats", str(repeats), "--out", str(out), *more]
    done = subprocess.run([*where, *LINK, "probe", address, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    payload_bytes, ms = read_pairs(out)
    return np.array(payload_bytes), np.array(ms)


def fitted_to(pairs: Pairs, sizes: Sequence[int], handshake_round_trips: float = 0.0) -> TcpRampLink:
    """A link fitted to the pairs of these sizes alone."""
    payload_bytes, ms = pairs
    own = np.isin(payload_bytes, sizes)
    return fit_pairs(payload_bytes[own], ms[own], handshake_round_trips=handshake_round_trips).link


def compared(link: Link, pairs: Pairs, sizes: Sequence[int]) -> list[tuple[int, float, float, float]]:
    """For each size: the median measured ms, the model's ms, and the model's error in percent. Prints them."""
    payload_bytes, ms = pairs
    rows = []
    for size in sizes:
        measured_ms, modelled_ms = float(np.median(ms[payload_bytes == size])), float(link.seconds(size)) * 1e3
        rows.append((size, measured_ms, modelled_ms, 100 * (modelled_ms / measured_ms - 1)))
    print(f"{link!r}\n{tabulate(rows, ['bytes', 'measured ms', 'model ms', 'error %'], floatfmt='.3f')}\n")
    return rows


def hold_to_the_bar(link: Link, pairs: Pairs) -> None:
    """Within 15 % above 20 KB, within 0.6 ms below."""
    for size, measured_ms, modelled_ms, error_percent in compared(link, pairs, CHECKED_SIZES):
        if size > 20_000:
            assert abs(error_percent) <= 15, (size, measured_ms, modelled_ms)
        else:
            assert abs(modelled_ms - measured_ms) <= 0.6, (size, measured_ms, modelled_ms)


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["20Mbit", "450Mbit"])
@pytest.mark.parametrize("shaped_by", ["tbf", "relay"])
def test_a_probed_link_predicts_sizes_that_it_was_not_fitted_to(shaped_by: str, rate: str, tmp_path: Path) -> None:
    assert not set(CHECKED_SIZES) & set(DEFAULT_SIZES)
    with (bucketed if shaped_by == "tbf" else relayed)(rate) as (where, address):
        # One probe of both, in rounds, so that what else runs here meets them alike.
        pairs = measured(where, address, tmp_path / "pairs.csv", [*DEFAULT_SIZES, *CHECKED_SIZES], REPEATS[rate])
        # A probe fits, and a fit needs five sizes.
        long_sizes = [LONG_BYTES[rate] // n for n in (1, 2, 4, 8, 16)]
        payload_bytes, ms = measured(where, address, tmp_path / "long.csv", long_sizes, 1)
    found_bit_per_s = LONG_BYTES[rate] * 8e3 / float(ms[payload_bytes == LONG_BYTES[rate]][0])
    rate_bit_per_s = BIT_PER_S[rate] * (SHARE_OF_PAYLOAD if shaped_by == "tbf" else 1)
    print(f"{shaped_by} at {rate}: {LONG_BYTES[rate]:,} bytes at {found_bit_per_s / 1e6:.2f} Mb/s")
    assert found_bit_per_s == pytest.approx(rate_bit_per_s, rel=0.05), "the path does not have its rate"
    hold_to_the_bar(fitted_to(pairs, DEFAULT_SIZES), pairs)
    if shaped_by == "tbf":
        # What is known of this path without a probe will do, too. The relay adds the time of its own program, about
        # half a millisecond with nothing else running, which the constants of the shaping do not tell.
        hold_to_the_bar(FixedRateLink("known", rate_bit_per_s), pairs)


@pytest.mark.slow
def test_a_ramp_predicts_the_slow_start_of_the_kernel(tmp_path: Path) -> None:
    """Each message over a fresh connection, 20 ms each way: handshake, initial window and doublings are real."""
    rate_bit_per_s, delay_s = 20e6, 0.02
    sizes = DEFAULT_SIZES[:-1]
    with namespaces(tun=(rate_bit_per_s, delay_s)) as (where, address):
        pairs = measured(where, address, tmp_path / "pairs.csv", [*sizes, *CHECKED_SIZES], 7, "--fresh")
    fitted = fitted_to(pairs, sizes, handshake_round_trips=1)
    payload_bit_per_s = rate_bit_per_s * 1_448 / 1_500  # TUN carries IP packets, without a frame
    known = TcpRampLink("known", 2 * delay_s, payload_bit_per_s, 2 * delay_s, handshake_round_trips=1)
    for link in (fitted, known):
        assert max(abs(error_percent) for *_, error_percent in compared(link, pairs, CHECKED_SIZES)) <= 15
    assert fitted.initial_window_bytes == 14_600
