"""`codecbench link`: show a link, measure a real path, fit a link to it, and slow a path down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codecbench.cli.errors import CommandGroup
from codecbench.cli.options import Plugins, check_file, check_milliseconds, echo, show
from codecbench.errors import UsageError
from codecbench.registry import links, manager
from codecbench.system.files import write_file

if TYPE_CHECKING:
    from codecbench.links.fitting import LinkFit
    from codecbench.links.tcp import Listener

app = typer.Typer(
    cls=CommandGroup, help="Models of networks: show one, measure a real path, fit a link to it.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip

SHOWN_SIZES = (100, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
MAX_DIGITS = 15
"""The most digits of a message size that an option takes."""
PORT = 7413

Host = Annotated[
    str, typer.Option("--host", metavar="HOST", help="Where to listen; 0.0.0.0 is every address of this machine.")
]
Sizes = Annotated[str | None, typer.Option("--sizes", metavar="N,N,...", help="Message sizes in bytes.")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The fitted link's name.")]


@app.command("show")
def show_link(
    link: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A link's name, a fitted link or a trace.")],
    sizes: Sizes = None,
    bandwidth: Annotated[
        str | None, typer.Option(metavar="RATE", help="The same path at another bandwidth, like 20Mbit.")
    ] = None,
    background: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of capacity that other traffic takes, from 0 to below 1.")
    ] = 0.0,
    plugin: Plugins = None,
) -> None:
    """Print the time and the throughput of a link for some message sizes."""
    from codecbench.links.files import pick_link
    from codecbench.links.relay import parse_rate

    chosen = pick_link(link, links(manager(plugin or ())))
    if bandwidth is not None:
        chosen = chosen.with_bandwidth(parse_rate(bandwidth))
    chosen = chosen.with_background(background)
    shown = _parse_sizes(sizes, SHOWN_SIZES)
    seconds = [float(s) for s in chosen.seconds(shown)]
    rows = [
        (f"{n:,}", f"{s * 1e3:.2f}", f"{n * 8e-6 / s:.2f}" if s else "-") for n, s in zip(shown, seconds, strict=True)
    ]
    title = ", ".join(filter(None, [chosen.description or "no description", bandwidth and f"now at {bandwidth}"]))
    show(f"{chosen.name}: {title}\n\n{_table(rows, ['bytes', 'ms', 'Mb/s'])}")


@app.command()
def fit(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS.csv", help="A header with the columns bytes and ms, then one pair a line.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="LINK.json", help="Write the fitted link, for --link.")
    ] = None,
    name: Name = "fitted",
) -> None:
    """Fit a TCP ramp to measured pairs of bytes and ms, and print its constants and errors."""
    from codecbench.links.files import read_pairs
    from codecbench.links.fitting import fit_pairs

    payload_bytes, ms = read_pairs(pairs)
    _end_fit(fit_pairs(payload_bytes, ms, name=name, description=f"Fitted to {len(ms)} pairs of {pairs.name}"), out)


@app.command("probe")
def probe_path(
    server: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where `codecbench link serve` listens.")],
    sizes: Sizes = None,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Messages of each size.")] = 20,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Open a connection for each message and time its handshake.")
    ] = False,
    pause_ms: Annotated[
        float,
        typer.Option("--pause-ms", metavar="N", min=0, help="Wait before each; about 3000 restarts TCP slow start."),
    ] = 0.0,
    reply_bytes: Annotated[int, typer.Option("--reply-bytes", metavar="N", min=0, help="Bytes of a reply.")] = 64,
    out: Annotated[Path | None, typer.Option("--out", metavar="PAIRS.csv", help="Write the measured pairs.")] = None,
    link_out: Annotated[
        Path | None, typer.Option("--link-out", metavar="LINK.json", help="Write the fitted link, for --link.")
    ] = None,
    name: Name = "probed",
) -> None:
    """Measure a real path by sending messages to `codecbench link serve`, and fit a link to it."""
    from codecbench.links.files import write_pairs
    from codecbench.links.fitting import check_sizes, fit_pairs
    from codecbench.links.probe import DEFAULT_SIZES, LinkClient, probe
    from codecbench.links.tcp import parse_address
    from codecbench.measure import percentile

    check_file("--out", out)
    check_file("--link-out", link_out)
    address, probe_sizes = parse_address(server), _parse_sizes(sizes, DEFAULT_SIZES)
    check_sizes(probe_sizes)
    check_milliseconds("--pause-ms", pause_ms)
    with LinkClient(address, fresh=fresh) as client:
        found = probe(client, probe_sizes, repeats, pause_s=pause_ms / 1e3, reply_bytes=reply_bytes)
    payload_bytes, ms = [size for size, _ in found], [time for _, time in found]
    if out is not None:
        write_pairs(out, payload_bytes, ms)
        echo(f"wrote {out}")
    way = "a fresh connection each" if fresh else "one connection"
    fitted = fit_pairs(
        payload_bytes, ms, name=name, description=f"Measured, {len(ms)} messages over {way}",
        handshake_round_trips=float(fresh),
    )  # fmt: skip
    rows = []
    for size in dict.fromkeys(payload_bytes):
        times = [time for n, time in found if n == size]
        modelled = float(fitted.link.seconds(size)) * 1e3
        rows.append((f"{size:,}", *(f"{t:.3f}" for t in (percentile(times, 0.5), percentile(times, 0.95), modelled))))
    show(_table(rows, ["bytes", "median ms", "p95 ms", "fitted ms"]) + "\n")
    _end_fit(fitted, link_out)


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 is any free one.")] = PORT,
) -> None:
    """Answer the messages of `codecbench link probe`, until Ctrl-C."""
    from codecbench.links.probe import link_server

    _listen(link_server(host, port), "answering probes")


@app.command("relay")
def relay_path(
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The address to forward to.")],
    rate: Annotated[str, typer.Option(metavar="RATE", help="Bits a second in each direction, like 20Mbit.")],
    delay_ms: Annotated[float, typer.Option("--delay-ms", metavar="N", min=0, help="Delay in each direction.")] = 0.0,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 is any free one.")] = PORT + 1,
) -> None:
    """Forward connections at a limited rate and with a delay, until Ctrl-C."""
    from codecbench.links.relay import parse_rate, relay
    from codecbench.links.tcp import parse_address

    target = parse_address(to)
    check_milliseconds("--delay-ms", delay_ms)
    listener = relay(target, rate_bit_per_s=parse_rate(rate), delay_s=delay_ms / 1e3, host=host, port=port)
    _listen(listener, f"forwarding to {target} at {rate}, {delay_ms:g} ms each way")


def _listen(listener: Listener, doing: str) -> None:
    with listener:
        try:
            echo(f"{doing} on {listener.address}; Ctrl-C ends it")
            listener.serve_forever()
        except KeyboardInterrupt:
            echo("ended")


def _end_fit(fitted: LinkFit, out: Path | None) -> None:
    from codecbench.links.files import to_json

    link = fitted.link
    rows = [
        ("base", f"{link.base_s * 1e3:g} ms"), ("round trip", f"{link.round_trip_s * 1e3:g} ms"),
        ("bandwidth", f"{link.bandwidth_bit_per_s / 1e6:g} Mb/s"),
        ("initial window", f"{link.initial_window_bytes:,} bytes"),
        ("handshake", f"{link.handshake_round_trips:g} round trips"),
    ]  # fmt: skip
    errors = [
        f"{label}: mean {100 * mean:.1f} %, median {100 * median:.1f} %"
        for label, mean, median in (
            ("relative error", fitted.mean_error, fitted.median_error),
            ("of sizes held out", fitted.held_out_mean_error, fitted.held_out_median_error),
        )
    ]
    count = f"{fitted.pairs} pairs of {fitted.sizes} sizes"
    show("\n".join([f"{link.name}: {count}", *(f"  {key:15}{value}" for key, value in rows), *errors]))
    if out is not None:
        write_file(out, to_json(link))
        echo(f"wrote {out}; use it with --link {out}")


def _parse_sizes(text: str | None, default: Sequence[int]) -> list[int]:
    if text is None:
        return list(default)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) <= MAX_DIGITS for word in words):
        raise UsageError(f"--sizes {text[:80]}: write whole numbers of bytes, like 1000,20000,300000")
    return [int(word) for word in words]


def _table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=header, colalign=["right"] * len(header), disable_numparse=True)
