"""Validates a plan: runs the planned codec and split, request by request, over a path of limited rate and added delay.

The device's process runs the head, an encoder process encodes, the payload crosses TCP through a relay of known rate
and delay, a decoder process decodes, the edge's process runs the tail, and its outputs come back the same way. This
process hands the tensors on within each side. The seconds of a request run from the input to the answer. The plan does
not use these times: its link is fitted to a probe of the same path, and its other steps come from the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from codecbench import measure
from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.planner import Candidate, Limits
from codecbench.errors import UsageError
from codecbench.experiment.cells import Reporter
from codecbench.experiment.config import RunConfig
from codecbench.harness.requests.opened_record import OpenedRecord, opened_cell
from codecbench.links.fitting import fit_pairs
from codecbench.links.model import Link, TcpRampLink
from codecbench.links.probe import LinkClient, link_server, probe
from codecbench.links.relay import relay
from codecbench.links.tcp import Address
from codecbench.names import counted
from codecbench.results.cell import point_label
from codecbench.results.record import Record
from codecbench.workers.offload import request_client, request_server

PROBE_SIZES = (1, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PROBE_REPEATS = 15
WARM_UP = 5
RETIMED_SAMPLES = 40


@dataclass(frozen=True)
class PathShape:
    """The rate of the path in bit/s, and its delay in seconds in each direction."""

    rate_bit_per_s: float
    delay_s: float


@dataclass(frozen=True, eq=False)
class PlanValidation:
    """The planned choice over the fitted link, and the measured seconds of each request.

    `retimed_s` is the plan's median with its steps timed again, one by one, in the processes that served the requests.
    `retimed_error` is thus the error of the plan itself. The rest of `error` comes from a machine that is faster or
    slower now than when the records were made.
    """

    link: TcpRampLink
    planned: Candidate
    retimed_s: float
    measured_s: Sequence[float]

    @property
    def median_s(self) -> float:
        """The median of the measured requests, in seconds."""
        return measure.percentile(list(self.measured_s), 0.5)

    @property
    def p95_s(self) -> float:
        """The 95th percentile of the measured requests, in seconds."""
        return measure.percentile(list(self.measured_s), 0.95)

    @property
    def error(self) -> float:
        """The relative error of the plan's median: planned / measured - 1."""
        return self.planned.latency.median_s / self.median_s - 1

    @property
    def retimed_error(self) -> float:
        """The relative error of `retimed_s`: retimed / measured - 1."""
        return self.retimed_s / self.median_s - 1


def validate_plan(
    config: RunConfig,
    records: Sequence[Record],
    limits: Limits,
    path: PathShape,
    requests: int,
    reporter: Reporter,
) -> PlanValidation:
    """Probe the path, plan on the host over it, and time `requests` requests with the planned codec and split.

    `records` are those of one workload. `config` gives plugins, data folder and time limits; its codec and split are
    replaced by the planned ones. Raises UsageError if no codec is feasible.
    """
    reporter.stage("probing the path")
    link = fitted_link(path)
    found = [c for c in planner.candidates(records, Scenario(link)) if c.row != LOCAL]
    planned = planner.plan(found, limits).best
    if planned is None:
        raise UsageError("no codec is feasible within these limits; loosen them, or measure more points")
    record = next(r for r in records if (r.status, r.key.split, r.row) == ("ok", planned.split, planned.row)
                  and point_label(r.key.point) == planned.point)  # fmt: skip
    samples = min(requests, record.task.n if record.task else requests)
    with opened_cell(config, record, samples, reporter) as opened, opened.pair.single_threaded():
        reporter.stage(f"{counted(requests, 'request')} over {path.rate_bit_per_s / 1e6:g} Mbit/s")
        retimed_s = _retimed_s(opened, link, samples)
        seconds = _request_seconds(opened, path, samples, WARM_UP + requests)
    return PlanValidation(link, planned, retimed_s, seconds[WARM_UP:])


def fitted_link(path: PathShape) -> TcpRampLink:
    """Return a link fitted to a probe of this path."""
    with link_server().running() as server, _behind(server, path) as address, LinkClient(address) as client:
        pairs = probe(client, PROBE_SIZES, PROBE_REPEATS)
    sizes, ms = zip(*pairs, strict=True)
    return fit_pairs(sizes, ms, name="shaped loopback").link


def _retimed_s(opened: OpenedRecord, link: Link, count: int) -> float:
    """Return the median seconds of head, encode, network, decode and tail, with the steps timed one by one."""
    totals = []
    for turn in range(min(count, RETIMED_SAMPLES) + WARM_UP):
        position = turn % count
        head_s = opened.pair.device.time_head("test", position)
        payload, encoded = opened.encoder.encode_timed(opened.pair.device.activation("test", position))
        tensor, decoded = opened.decoder.decode_timed(payload)
        tail_s = opened.pair.edge.time_tail(tensor)
        network_s = float(link.seconds(len(payload)))
        totals.append(head_s + encoded.reported_s + network_s + decoded.reported_s + tail_s)
    return measure.percentile(totals[WARM_UP:], 0.5)


def _request_seconds(opened: OpenedRecord, path: PathShape, samples: int, requests: int) -> list[float]:
    """Return the seconds of each request, one after another, over the path."""
    with (
        request_server(opened.answer).running() as server,
        _behind(server, path) as address,
        request_client(address) as send,
    ):
        for turn in range(samples):  # a device has its samples before the requests start
            opened.pair.device.activation("test", turn)
        return [measure.timed(partial(_one_request, opened, send, i % samples))[1] for i in range(requests)]


def _one_request(opened: OpenedRecord, send: Callable[[bytes], bytes], position: int) -> bytes:
    return send(opened.payload(position))


@contextmanager
def _behind(address: Address, path: PathShape) -> Iterator[Address]:
    """Yield an address that leads over the path to a local server."""
    with relay(address, rate_bit_per_s=path.rate_bit_per_s, delay_s=path.delay_s).running() as relay_server:
        yield relay_server
