"""A plan put to the test: the fastest codec and split run for real, request by request, over a path that is shaped.

The device process runs head and encoder, the payload crosses TCP through a relay of known rate and delay, the edge
process decodes and runs the tail, and its outputs come back the same way. Seconds are counted from the input to the
answer. The plan knows nothing of this: its link is fitted to a probe of the same path, its other steps are those of the
records.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from codecbench import measure, planner
from codecbench.cell import point_label
from codecbench.codec import UsageError
from codecbench.config import RunConfig
from codecbench.latency import LOCAL, Scenario
from codecbench.link import Link, TcpRampLink
from codecbench.link_fit import fit_pairs
from codecbench.link_probe import Address, LinkClient, Listener, link_server, probe, received
from codecbench.link_relay import relay
from codecbench.pair import Pair
from codecbench.planner import Candidate, Limits
from codecbench.record import Record
from codecbench.run import Reporter, Run
from codecbench.worker import Worker

PROBE_SIZES = (1, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PROBE_REPEATS = 15
WARM_UP = 5
RETIMED = 40
TIMEOUT_S = 60.0

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Path:
    """What the relay does: bits a second, and seconds of delay in each direction."""

    rate_bit_per_s: float
    delay_s: float


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What was planned over the fitted link, and the seconds of each request that was made.

    `retimed_s` is the plan's median with steps timed anew, one by one, in the processes that then served the requests:
    what is left of the error is the plan's, the rest is that of a machine that is not as fast as when it was measured.
    """

    link: TcpRampLink
    planned: Candidate
    retimed_s: float
    measured_s: Sequence[float]

    @property
    def median_s(self) -> float:
        """Of the requests made."""
        return measure.percentile(list(self.measured_s), 0.5)

    @property
    def p95_s(self) -> float:
        """Of the requests made."""
        return measure.percentile(list(self.measured_s), 0.95)

    @property
    def error(self) -> float:
        """How far the plan's median is from the measured one, as a share of the measured."""
        return self.planned.latency.median_s / self.median_s - 1

    @property
    def retimed_error(self) -> float:
        """The same with the steps timed anew."""
        return self.retimed_s / self.median_s - 1


def rehearse(
    config: RunConfig, records: Sequence[Record], limits: Limits, path: Path, requests: int, reporter: Reporter
) -> Rehearsal:
    """Probe the path, plan on the host over it, and make so many requests of what was planned.

    `records` are of one workload. `config` says where plugins and data lie; its codec and split are the plan's.
    Raises UsageError where nothing that offloads is feasible.
    """
    reporter.stage("probing the path")
    link = fitted_link(path)
    found = [c for c in planner.candidates(records, Scenario(link)) if c.row != LOCAL]
    planned = planner.plan(found, limits).best
    if planned is None:
        raise UsageError("no codec is feasible within these limits; loosen them, or measure more points")
    record = next(r for r in records if (r.status, r.key.split, r.row) == ("ok", planned.split, planned.row)
                  and point_label(r.key.point) == planned.point)  # fmt: skip
    codec = f"{record.key.codec}:{planned.point}" if planned.point else record.key.codec
    asked = config.model_copy(
        update={"codec": [codec], "split": [planned.split],
                "seed": record.key.seed, "samples": min(requests, record.task.n if record.task else requests)}
    )  # fmt: skip
    run = Run(asked, reporter)
    with run.pair, run.fitter:
        (cell,) = run.plan()
        reporter.stage(f"setting up {cell.label}")
        handles = run.ready(cell)
        with run.pair.single_threaded(), _through(run.pair.edge, handles[1], path) as ask:
            reporter.stage(f"{requests} requests over {path.rate_bit_per_s / 1e6:g} Mbit/s")
            count = min(requests, run.counts["test"])
            run.pair.device.call("load_inputs", {"subset": "test", "positions": list(range(count))})

            def one(at: int) -> bytes:
                return ask(_offload(run.pair.device, handles[0], at))

            retimed_s = _retimed_s(run.pair, handles, link, count)
            seconds = [measure.timed(lambda at=i % count: one(at))[1] for i in range(WARM_UP + requests)]  # type: ignore[misc]
    return Rehearsal(link, planned, retimed_s, seconds[WARM_UP:])


def fitted_link(path: Path) -> TcpRampLink:
    """A link fitted to a probe of this path, as `codecbench link probe` would through `codecbench link relay`."""
    with link_server().running() as server, _shaped(server, path) as near, LinkClient(near) as client:
        pairs = probe(client, PROBE_SIZES, PROBE_REPEATS)
    sizes, ms = zip(*pairs, strict=True)
    return fit_pairs(sizes, ms, name="shaped loopback").link


def _retimed_s(pair: Pair, handles: tuple[int, int], link: Link, count: int) -> float:
    """The median of head, encode, network, decode and tail of samples whose steps are timed one by one."""
    totals = []
    for position in range(min(count, RETIMED) + WARM_UP):
        at = {"subset": "test", "position": position % count}
        head = pair.device.call("time_head", at).fields
        encoded = pair.device.call("time_encode", {"handle": handles[0], **at})
        served = pair.edge.call("time_decode", {"handle": handles[1]}, encoded.blobs).fields
        network_s = float(link.seconds(len(encoded.blobs[0])))
        totals.append(head["head_s"] + encoded.fields["encode_s"] + network_s + served["decode_s"] + served["tail_s"])
    return measure.percentile(totals[WARM_UP:], 0.5)


def _offload(device: Worker, handle: int, at: int) -> bytes:
    """Head and encoder on one of the loaded inputs: the payload."""
    (payload,) = device.call("offload", {"handle": handle, "at": at}).blobs
    return payload


@contextmanager
def _shaped(target: Address, path: Path) -> Iterator[Address]:
    with relay(target, rate_bit_per_s=path.rate_bit_per_s, delay_s=path.delay_s).running() as near:
        yield near


@contextmanager
def _through(edge: Worker, handle: int, path: Path) -> Iterator[Callable[[bytes], bytes]]:
    """A function that carries a payload over the path to the edge process, and gives its answer."""

    def serve(far: socket.socket) -> None:
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (payload := _received(far)) is not None:
            answer = edge.call("serve", {"handle": handle}, [payload], timeout_s=TIMEOUT_S)
            _send(far, b"".join(answer.blobs))

    with (
        Listener("127.0.0.1", 0, serve).running() as server,
        _shaped(server, path) as address,
        socket.create_connection(address, timeout=TIMEOUT_S) as near,
    ):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(payload: bytes) -> bytes:
            _send(near, payload)
            answer = _received(near)
            if answer is None:
                raise UsageError(
                    "the edge process gave no answer; 'codecbench check' tells what is wrong with the codec"
                )
            return answer

        yield ask


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(message)) + message)


def _received(connection: socket.socket) -> bytes | None:
    """One message, or None where the other side has ended."""
    header = received(connection, _LENGTH.size)
    return None if header is None else received(connection, _LENGTH.unpack(header)[0])
