"""Validates a plan: runs the planned codec and split, request by request, over a path of limited rate and added delay.

The device process runs head and encoder, the payload crosses TCP through a relay of known rate and delay, the edge
process decodes and runs the tail, and its outputs come back the same way. The seconds of a request run from the input
to the answer. The plan does not use these times: its link is fitted to a probe of the same path, and its other steps
come from the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from codecbench import measure
from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.planner import Candidate, Limits
from codecbench.errors import UsageError
from codecbench.experiment.cells import SCORED, Reporter
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid
from codecbench.fitting.fits import Fits
from codecbench.fitting.fitter import Fitter
from codecbench.harness.opened_cell import Handles, OpenedCell, start_deadline
from codecbench.links.fitting import fit_pairs
from codecbench.links.model import Link, TcpRampLink
from codecbench.links.relay import relay
from codecbench.links.tcp import Address
from codecbench.names import pick
from codecbench.registry import codecs, manager, reference, workloads
from codecbench.results.cell import point_label
from codecbench.results.record import Record
from codecbench.workers.client import DeviceClient, EdgeClient
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workload import Subset

PROBE_SIZES = (1, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PROBE_REPEATS = 15
WARM_UP = 5
RETIMED_SAMPLES = 40
TIMEOUT_S = 600.0


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
    with (
        _open_pair(config, record, samples, reporter) as (pair, handles),
        pair.single_threaded(),
        _reachable_edge(pair.edge, handles.edge, path) as address,
    ):
        reporter.stage(f"{requests} requests over {path.rate_bit_per_s / 1e6:g} Mbit/s")
        pair.device.load_inputs("test", range(samples))
        retimed_s = _retimed_s(pair, handles, link, samples)
        seconds = pair.device.request(handles.device, address, WARM_UP + requests, timeout_s=TIMEOUT_S + requests)
    return PlanValidation(link, planned, retimed_s, seconds[WARM_UP:])


@contextmanager
def _open_pair(config: RunConfig, record: Record, samples: int, reporter: Reporter) -> Iterator[tuple[Pair, Handles]]:
    """Yield the two processes, set up for a record's cell with `samples` test samples, and the codec's handles."""
    key = record.key
    narrowed = config.model_copy(update={"split": [key.split], "seed": key.seed, "samples": samples})
    pm = manager(config.plugin)
    workload_class = pick(workloads(pm), config.workload, "workload")
    codec = pick(codecs(pm), key.codec, "codec")
    workload = workload_class(config.data_dir)
    ids: dict[Subset, Sequence[int]] = {subset: list(workload.sample_ids(subset)) for subset in ("fit", *SCORED)}
    grid = Grid(narrowed, workload_class, [(codec, dict(key.point))], ids)
    ref = WorkloadRef(reference(workload_class), config.data_dir, config.torch_device)
    with Pair(ref, grid.counts) as pair, Fitter(ref) as fitter:
        _ = pair.device  # its start fills `pair.cuts`
        (cell,) = grid.cells(pair.cuts)
        reporter.stage(f"setting up {cell.label}")
        pair.use_split(key.split)
        state = Fits(narrowed, workload, ids["fit"], pair, fitter, reporter).state_of(cell)
        yield pair, OpenedCell(pair, cell, state).handles(start_deadline(pair, config.timeout_s))


def fitted_link(path: PathShape) -> TcpRampLink:
    """Return a link fitted to a probe of this path, between a device and an edge process as in the requests."""
    with (
        DeviceClient(threads=1) as device,
        EdgeClient(threads=1) as edge,
        _reachable_edge(edge, None, path) as address,
    ):
        pairs = device.probe(address, PROBE_SIZES, PROBE_REPEATS, timeout_s=TIMEOUT_S)
    sizes, ms = zip(*pairs, strict=True)
    return fit_pairs(sizes, ms, name="shaped loopback").link


def _retimed_s(pair: Pair, handles: Handles, link: Link, count: int) -> float:
    """Return the median seconds of head, encode, network, decode and tail, with the steps timed one by one."""
    totals = []
    for turn in range(min(count, RETIMED_SAMPLES) + WARM_UP):
        position = turn % count
        head_s = pair.device.time_head("test", position)
        encoded = pair.device.time_encode(handles.device, "test", position)
        decoded = pair.edge.time_decode(handles.edge, encoded.payload)
        network_s = float(link.seconds(len(encoded.payload)))
        totals.append(head_s + encoded.encode_s + network_s + decoded.decode_s + decoded.tail_s)
    return measure.percentile(totals[WARM_UP:], 0.5)


@contextmanager
def _reachable_edge(edge: EdgeClient, handle: int | None, path: PathShape) -> Iterator[Address]:
    """Yield an address that leads over the path to the edge process: to a codec, or to a link server if None."""
    with relay(
        edge.listen(handle), rate_bit_per_s=path.rate_bit_per_s, delay_s=path.delay_s
    ).running() as relay_address:
        yield relay_address
