"""End-to-end latency of measured cells: head + encode + network + decode + tail, sample by sample.

Nothing is run and no clock is read. Times of device and edge come from the timing pass in the records. Network time
comes from a link model and the payload of each sample. With a device profile, the steps of that side are predicted
instead of measured, and marked as predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from codecbench.analysis.agreement import DIGITS
from codecbench.analysis.selection import RAW, groups
from codecbench.devices.layers import ModelLayers
from codecbench.devices.profile import HOST, DeviceProfile
from codecbench.errors import DataError, UsageError
from codecbench.links.model import Link
from codecbench.measure import percentile
from codecbench.results.payload_sizes import SizeCounts
from codecbench.results.record import Record, Timed

STEPS = ("head", "encode", "network", "decode", "tail")
"""The steps of a request, in order. The first two run on the device, the last two on the edge."""

LOCAL = "local"
"""The name of the whole network on the device, in tables and plans."""

PREDICTED = "*"
PREDICTED_MEANS = "predicted by a device profile, not measured"
"""The mark of a predicted step, and its meaning."""

Seconds: TypeAlias = NDArray[np.float64]


class NetworkTime(NamedTuple):
    """Mean seconds of a payload on a link; with `of_mean`, those of the mean payload, which differ a little."""

    seconds: float
    of_mean: bool


@dataclass(frozen=True)
class Scenario:
    """A link, and the two machines at its ends.

    Where `device` or `edge` is None, times are as measured on the machine of the records. A profile needs `layers`, the
    layers of each workload's model by workload name. `payload_sizes` returns the payload sizes of a record's test
    samples, None where they are not known.
    """

    link: Link
    device: DeviceProfile | None = None
    edge: DeviceProfile | None = None
    layers: Mapping[str, ModelLayers] | None = None
    payload_sizes: Callable[[Record], SizeCounts | None] | None = None
    _predicted_s: dict[tuple[str, ...], float] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def device_name(self) -> str:
        """`host`, or the profile's name."""
        return self.device.name if self.device else HOST

    @property
    def edge_name(self) -> str:
        """`host`, or the profile's name."""
        return self.edge.name if self.edge else HOST

    def network_s(self, record: Record) -> NetworkTime:
        """Returns the network time of a measured record's payloads, the mean over its test samples."""
        sizes = self.payload_sizes(record) if self.payload_sizes else None
        if sizes is None:
            mean_bytes = groups(record).size.payload_bytes.mean
            return NetworkTime(float(self.link.seconds([mean_bytes])[0]), of_mean=True)
        seconds = np.average(self.link.seconds(sizes.payload_bytes), weights=sizes.counts)
        return NetworkTime(float(seconds), of_mean=False)

    def head_s(self, record: Record) -> float | None:
        """Returns the predicted seconds of the record's head on the device, None without a device profile."""
        return self._model_s(self.device, "head", record)

    def tail_s(self, record: Record) -> float | None:
        """Returns the predicted seconds of the record's tail on the edge, None without an edge profile."""
        return self._model_s(self.edge, "tail", record)

    def full_model_s(self, record: Record) -> float | None:
        """Returns the predicted seconds of the full model on the device, None without a device profile."""
        return self._model_s(self.device, "full model", record)

    def codec_s(self, profile: DeviceProfile, measured_s: Seconds, flop: int, record: Record) -> Seconds:
        """Returns the predicted seconds of an encoder or decoder by a profile, from the measured ones of each sample.

        Its FLOPs count as those of the model's layers: they take the model's time a FLOP, as measured here and as
        predicted there. The rest of the measured time is plain code.
        """
        general = profile.general_s(1.0)
        model_flop = sum(layer.flop for layer in self._layers_of(record).layers) if flop else 0
        predicted_s = self._model_s(profile, "full model", record) if model_flop else None
        if predicted_s is None:
            return measured_s * general
        timed = _timed(record)
        model_s = percentile(np.add(timed.head_s, timed.tail_s).tolist(), 0.5)
        if model_s == 0:
            return measured_s * general
        in_layers_s = np.minimum(measured_s, flop / model_flop * model_s)
        return (measured_s - in_layers_s) * general + in_layers_s * (predicted_s / model_s)

    def _model_s(self, profile: DeviceProfile | None, part: str, record: Record) -> float | None:
        if profile is None:
            return None
        split = "" if part == "full model" else record.key.split
        key = (profile.name, part, record.key.workload, split)
        model = self._layers_of(record)
        if key not in self._predicted_s:
            layers = (
                model.layers if part == "full model" else model.head(split) if part == "head" else model.tail(split)
            )
            self._predicted_s[key] = profile.model_s(layers)
        return self._predicted_s[key]

    def _layers_of(self, record: Record) -> ModelLayers:
        """Returns the layers of the record's model. Raises UsageError where they are missing or of other weights."""
        workload, weights = record.key.workload, record.provenance.weights_hash
        found = (self.layers or {}).get(workload)
        if found is None:
            raise UsageError(
                f"a device profile needs the layers of workload {workload!r}, which these results lack; run "
                "'codecbench run' with the same --out again: it adds them, and measures nothing that is there"
            )
        if found.weights_sha256 not in ("", weights):
            raise UsageError(
                f"the layers of workload {workload!r} in layers.json are of another model (weights "
                f"{found.weights_sha256[:DIGITS]}) than these records (weights {weights[:DIGITS]}), so no times can be "
                "predicted; keep the results of each model in a folder of its own, or run these cells again"
            )
        return found


@dataclass(frozen=True)
class Latency:
    """Seconds of each step for each timed sample, and the payload bytes of each sample, in the same order.

    `predicted` names the steps whose time a device profile predicted. The network's time is always modelled.
    """

    steps_s: Mapping[str, Seconds]
    payload_bytes: Sequence[int]
    predicted: frozenset[str] = frozenset()

    @cached_property
    def total_s(self) -> Seconds:
        """End-to-end seconds of each sample."""
        return sum_of(self.steps_s.values())

    @property
    def median_s(self) -> float:
        """Median end-to-end seconds."""
        return percentile(self.total_s.tolist(), 0.5)

    @property
    def p95_s(self) -> float | None:
        """95th percentile of the end-to-end seconds; None with fewer than 20 timed samples."""
        return percentile(self.total_s.tolist(), 0.95) if len(self.total_s) >= 20 else None

    def step_median_s(self, *steps: str) -> float:
        """Returns the median seconds of the sum of these steps."""
        return percentile(sum_of(self.steps_s[step] for step in steps).tolist(), 0.5)

    @property
    def device_s(self) -> float:
        """Median seconds on the device: head and encode."""
        return self.step_median_s("head", "encode")

    @property
    def edge_s(self) -> float:
        """Median seconds on the edge: decode and tail."""
        return self.step_median_s("decode", "tail")


def sum_of(parts: Iterable[Seconds]) -> Seconds:
    """Returns the elementwise sum of arrays, one element a sample. Adds from left to right."""
    first, *others = parts
    total = first.copy()
    for part in others:
        total += part
    return total


def latency_of(record: Record, scenario: Scenario) -> Latency:
    """Returns the latency of a measured cell. Raises DataError for a record that is not `ok`.

    A record of schema 1 holds no times of single samples: its medians count as one sample with the mean payload.
    """
    timed = _timed(record)
    steps = {
        name: np.asarray(getattr(timed, f"{name}_s"), dtype=np.float64) for name in ("head", "encode", "decode", "tail")
    }
    steps["network"] = scenario.link.seconds(timed.payload_bytes)
    predicted: set[str] = set()
    head_s = scenario.head_s(record)
    tail_s = scenario.tail_s(record)
    if scenario.device is not None and head_s is not None:
        steps["head"] = np.full_like(steps["head"], head_s)
        steps["encode"] = scenario.codec_s(scenario.device, steps["encode"], _flop(record, "encoder"), record)
        predicted |= {"head", "encode"}
    if scenario.edge is not None and tail_s is not None:
        steps["decode"] = scenario.codec_s(scenario.edge, steps["decode"], _flop(record, "decoder"), record)
        steps["tail"] = np.full_like(steps["tail"], tail_s)
        predicted |= {"decode", "tail"}
    return Latency({step: steps[step] for step in STEPS}, timed.payload_bytes, frozenset(predicted))


def raw_network(records: Iterable[Record], scenario: Scenario) -> NetworkTime:
    """Returns the network time of the raw tensor at the split of these measured records.

    Where an axis varies, it is that of the codec `raw`, which sends plain values.
    """
    tensors = [(record, groups(record).tensor) for record in records]
    _, tensor = tensors[0]
    varies = None in tensor.shape
    for record, own in tensors:
        if varies and record.key.codec == RAW and record.key.point.get("values") == own.dtype:
            return scenario.network_s(record)
    return NetworkTime(float(scenario.link.seconds([tensor.raw_bytes])[0]), of_mean=varies)


def local_latency(records: Sequence[Record], scenario: Scenario) -> Latency:
    """Returns the latency of the whole network on the device, all of it under the step `head`.

    Without a device profile, it is head plus tail of the same sample at the shallowest split, the median over the cells
    there. Raises DataError where no record was measured.
    """
    measured = [record for record in records if record.status == "ok"]
    if not measured:
        raise DataError("no cell was measured, so the latency of the whole network is not known")
    shallowest = min(measured, key=_depth).key.split
    at_split = [_timed(record) for record in measured if record.key.split == shallowest]
    count = min(len(timed.head_s) for timed in at_split)
    of_each_cell = np.array([np.add(timed.head_s[:count], timed.tail_s[:count]) for timed in at_split])
    total_s: Seconds = np.median(of_each_cell, axis=0)
    predicted_s = scenario.full_model_s(measured[0])
    if predicted_s is not None:
        total_s = np.full_like(total_s, predicted_s)
    zeros_s = np.zeros_like(total_s)
    predicted = frozenset({"head"} if predicted_s is not None else ())
    return Latency({step: total_s if step == "head" else zeros_s for step in STEPS}, [0] * len(total_s), predicted)


def _flop(record: Record, part: Literal["encoder", "decoder"]) -> int:
    """Returns the FLOPs of an encoder or decoder for one sample, 0 where none were counted."""
    found: int | None = getattr(record.cost, f"{part}_flop", None)
    return found or 0


def _depth(record: Record) -> float:
    flop = record.cost.head_flop if record.cost else None
    return float("inf") if flop is None else flop


def _timed(record: Record) -> Timed:
    if record.timed is not None:
        return record.timed
    if record.time is None or record.size is None:
        raise DataError(f"cell {record.cell} is {record.status}: it has no times")
    time = record.time
    return Timed(
        payload_bytes=[round(record.size.payload_bytes.mean)], head_s=[time.head_s.median],
        encode_s=[time.encode_s.median], decode_s=[time.decode_s.median], tail_s=[time.tail_s.median],
    )  # fmt: skip
