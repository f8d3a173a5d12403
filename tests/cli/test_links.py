"""`codecbench link`: what it prints, what it writes, and errors of one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.paths import DOCS

from codecbench import TcpRampLink
from codecbench.cli.main import main
from codecbench.links.files import read_pairs
from codecbench.links.probe import link_server
from codecbench.links.relay import relay

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in an empty folder: its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def cli(*words: str) -> tuple[int, str, str]:
        status = 0
        try:
            main(["link", *words])
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return cli


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs of a path of 20 Mb/s."""
    link, sizes = TcpRampLink("l", 0.0, 20e6, 0.003), np.array([1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000])
    path = tmp_path / "pairs.csv"
    lines = (f"{size},{s * 1e3:.4f}\n" for size, s in zip(sizes, link.seconds(sizes), strict=True))
    path.write_text("bytes,ms\n" + "".join(lines))
    return path


def test_show_prints_a_row_a_size(cli: Cli) -> None:
    status, out, err = cli("show", "lte", "--sizes", "0,7500")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "lte: LTE uplink, assumed: 6 Mb/s, 70 ms round trip"
    assert [line.split() for line in out.splitlines()[-2:]] == [["0", "70.00", "0.00"], ["7,500", "80.00", "0.75"]]


def test_show_changes_bandwidth_and_background(cli: Cli) -> None:
    _, out, _ = cli("show", "lte", "--sizes", "7500", "--bandwidth", "60Mbit", "--background", "0.5")
    assert out.startswith(
        "lte: LTE uplink, assumed: 6 Mb/s, 70 ms round trip, 50 % of it taken by others, now at 60Mbit\n"
    )
    # 7,500 bytes in half of 60 Mb/s, behind half a packet of 0.2 ms.
    assert out.splitlines()[-1].split() == ["7,500", "72.10", "0.83"]


def test_a_fitted_link_can_be_shown(cli: Cli, pairs: Path) -> None:
    status, out, err = cli("fit", str(pairs), "--out", "mine.json", "--name", "mine")
    assert (status, err) == (0, "wrote mine.json; use it with --link mine.json\n")
    assert out.splitlines()[0] == "mine: 6 pairs of 6 sizes"
    assert {"base           3 ms", "bandwidth      20 Mb/s"} <= {line.strip() for line in out.splitlines()}
    assert "relative error: mean 0.0 %, median 0.0 %" in out
    assert "of sizes held out: mean 0.0 %" in out
    assert json.loads(Path("mine.json").read_text())["description"] == "Fitted to 6 pairs of pairs.csv"
    assert cli("show", "mine.json", "--sizes", "25000")[1].split()[-3:] == ["25,000", "13.00", "15.38"]


def test_no_throughput_is_shown_where_no_time_passes(cli: Cli) -> None:
    Path("now.json").write_text('{"kind": "fixed-rate", "name": "now", "bandwidth_bit_per_s": 8e6}')
    assert cli("show", "now.json", "--sizes", "0")[1].split()[-3:] == ["0", "0.00", "-"]


def test_a_trace_can_be_shown(cli: Cli) -> None:
    Path("one.trace").write_text("1\n")
    assert cli("show", "one.trace", "--sizes", "3000")[1].split()[-3:] == ["3,000", "1.50", "16.00"]


def test_the_plugin_on_the_page_can_be_shown(cli: Cli) -> None:
    page = DOCS / "guides" / "links.md"
    ((name, body),) = re.findall(r"^```python (\S+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    Path(name).write_text(body)
    assert cli("show", "office", "--plugin", name)[1].startswith("office: Our office\n")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_probe_prints_and_writes_what_it_measured(cli: Cli, fresh: bool) -> None:
    sizes = [1_000, 100_000, 200_000, 400_000, 800_000]
    with link_server().running() as server, relay(server, rate_bit_per_s=100e6).running() as address:
        options = ["--sizes", ",".join(map(str, sizes)), "--repeats", "3", "--out", "p.csv", "--link-out", "p.json"]
        status, out, err = cli("probe", str(address), *options, *(["--fresh"] if fresh else []))
    assert status == 0
    assert err.splitlines() == ["wrote p.csv", "wrote p.json; use it with --link p.json"]
    assert [line.split()[0] for line in out.splitlines()[2:7]] == [f"{size:,}" for size in sizes]
    assert "probed: 15 pairs of 5 sizes" in out
    assert read_pairs(Path("p.csv"))[0] == [float(size) for size in sizes] * 3
    link = json.loads(Path("p.json").read_text())
    assert link["handshake_round_trips"] == float(fresh)
    assert (
        link["description"] == f"Measured, 15 messages over {'a fresh connection each' if fresh else 'one connection'}"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "wifi-540"], "no link 'wifi-540'; did you mean 'wifi-450'?"),
        (["show", "no.json"], "link file no.json cannot be read: No such file or directory"),
        (["show", "lte", "--sizes", "1k"], "--sizes 1k: write whole numbers of bytes, like 1000,20000,300000"),
        (["show", "lte", "--sizes", ""], "--sizes : write whole numbers of bytes, like 1000,20000,300000"),
        (
            ["show", "lte", "--sizes", "1" * 16],
            f"--sizes {'1' * 16}: write whole numbers of bytes, like 1000,20000,300000",
        ),
        (
            ["show", "lte", "--bandwidth", "9" * 400 + "Gbit"],
            f"{'9' * 40!r} is no rate; write 20Mbit, 512kbit or 1.5Gbit",
        ),
        (
            ["relay", "--to", "a:1", "--rate", "1Mbit", "--delay-ms", "inf"],
            "--delay-ms is a number of milliseconds from 0 on, not inf",
        ),
        (["probe", "a:1", "--pause-ms", "inf"], "--pause-ms is a number of milliseconds from 0 on, not inf"),
        (["show", "lte", "--bandwidth", "fast"], "'fast' is no rate; write 20Mbit, 512kbit or 1.5Gbit"),
        (["show", "lte", "--background", "1"], "background of 1.0: give the share that others take, from 0 to below 1"),
        (["fit", "no.csv"], "no.csv cannot be read: No such file or directory"),
        (["probe", "localhost"], "'localhost' is no address; write HOST:PORT, like localhost:7413"),
        (["probe", "127.0.0.1:9", "--sizes", "1,2"], "2 different sizes are too few for a fit; give at least 5"),
        (["relay", "--to", "a:1", "--rate", "0bit"], "'0bit' is no rate; write 20Mbit, 512kbit or 1.5Gbit"),
        (["show", "lte", "--bandwith", "1"], "no option --bandwith; did you mean --bandwidth?"),
    ],
)
def test_errors_are_one_line(cli: Cli, words: list[str], said: str) -> None:
    assert cli(*words) == (2, "", f"codecbench: {said}\n")


@pytest.mark.parametrize(
    "sizes",
    [["1", "2", "3", "4", "1e15"], ["0", "1e5", "1e9", "1e12", "1e15"], ["1e15", "9e14", "8e14", "7e14", "6e14"]],
)
@pytest.mark.parametrize("times", [["1e-6"] * 5, ["1e12", "1e-6", "1", "1e12", "1e-6"], ["1", "2", "3", "4", "1e12"]])
def test_a_fit_of_pairs_far_apart_fits_or_is_refused(cli: Cli, sizes: list[str], times: list[str]) -> None:
    lines = [f"{size},{ms}" for size, ms in zip(sizes, times, strict=True)]
    Path("p.csv").write_text("\n".join(["bytes,ms", *lines]))
    status, _, err = cli("fit", "p.csv")
    assert (status, err) == (0, "") or (status == 2 and len(err.splitlines()) == 1)


def test_a_file_that_cannot_be_written_is_an_error(cli: Cli, pairs: Path) -> None:
    status, _, err = cli("fit", str(pairs), "--out", "none/mine.json")
    assert (status, err) == (
        2,
        "codecbench: cannot write none/mine.json (No such file or directory); choose another file\n",
    )


@pytest.mark.parametrize("words", [["serve"], ["relay", "--to", "127.0.0.1:9", "--rate", "1Mbit", "--delay-ms", "2.5"]])
def test_serving_says_where_and_ends_with_ctrl_c(words: list[str]) -> None:
    # A shell lets its background jobs ignore Ctrl-C, and what they start inherits that.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    call = f"from codecbench.cli.main import main; main(['link', *{words!r}, '--port', '0'])"
    with subprocess.Popen([sys.executable, "-c", heeds + call], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert " on 127.0.0.1:" in line
        assert ("at 1Mbit, 2.5 ms each way" in line) == (words[0] == "relay")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "ended\n"
        assert process.wait(30) == 0
