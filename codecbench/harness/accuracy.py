"""The accuracy pass: runs every sample through head, encoder, decoder and tail, and scores it like the full model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.codec import Codec
from codecbench.experiment.cells import SCORED, PlannedCell
from codecbench.harness.opened_cell import OpenedCell
from codecbench.harness.quality import psnr_db, ssim
from codecbench.measure import Deadline
from codecbench.workers.answers import ModelOutputs
from codecbench.workers.pair import Pair, chunks
from codecbench.workload import Subset, Workload


@dataclass(frozen=True)
class Outcomes:
    """The metric's numerator and denominator for each sample of a subset."""

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """The targets of the scored samples, and the full model's outcomes on them."""

    targets: Mapping[Subset, Sequence[Any]]
    outcomes: Mapping[Subset, Outcomes]


@dataclass
class _Decoded:
    """The results of a subset's samples, in order. `quality` has a (PSNR, SSIM) pair of arrays for each chunk."""

    payload_bytes: list[int] = field(default_factory=list)
    bounds: list[float | None] = field(default_factory=list)
    outputs: list[ModelOutputs] = field(default_factory=list)
    quality: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)


def run_full_model(pair: Pair, subset: Subset, count: int) -> tuple[list[ModelOutputs], float]:
    """Return the full model's outputs on a subset's first samples, and the seconds of its batched forward passes."""
    outputs: list[ModelOutputs] = []
    forward_s = 0.0
    device = pair.device
    with pair.all_cores(device):
        for chunk in chunks(count):
            found = device.run_full_model(subset, chunk)
            outputs += found.outputs
            forward_s += found.forward_s
    return outputs, forward_s


def score_full_model(pair: Pair, workload: Workload, counts: Mapping[Subset, int]) -> Baseline:
    """Return the baseline of a run: the full model on the same samples in the same chunks."""
    targets: dict[Subset, Sequence[Any]] = {}
    outcomes: dict[Subset, Outcomes] = {}
    for subset in SCORED:
        targets[subset] = workload.targets(subset, list(range(counts[subset])))
        outputs, _ = run_full_model(pair, subset, counts[subset])
        outcomes[subset] = _scored(workload, outputs, targets[subset])
    return Baseline(targets, outcomes)


class AccuracyPass:
    """Runs every sample of the scored subsets through a cell's codec, and scores the model's outputs.

    `sample_ids` are the identifiers of the scored samples. `pair` must be set up for the cells' split. After a pass
    that raises, a request may still be running: replace the pair then.
    """

    def __init__(
        self, pair: Pair, workload: Workload, sample_ids: Mapping[Subset, Sequence[int]], baseline: Baseline
    ) -> None:
        self.pair = pair
        self.workload = workload
        self.sample_ids = sample_ids
        self.baseline = baseline

    def measure(self, opened: OpenedCell, deadline: Deadline) -> dict[str, NDArray[Any]]:
        """Return the per-sample columns of all scored subsets (`Store.samples`). Raises WorkerError if a step fails."""
        parts = [self.measure_subset(opened, subset, deadline) for subset in SCORED]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def measure_subset(self, opened: OpenedCell, subset: Subset, deadline: Deadline) -> dict[str, NDArray[Any]]:
        """Return the per-sample columns of one subset."""
        return self._columns(opened.cell, subset, self._run(opened, subset, deadline))

    def _run(self, opened: OpenedCell, subset: Subset, deadline: Deadline) -> _Decoded:
        """Encode, decode and run the tail by chunks. The device encodes a chunk while the edge decodes the last one."""
        handles = opened.handles(deadline)
        device, edge = self.pair.device, self.pair.edge
        keep = _keeps_pictures(opened.cell, subset)
        bounds = _has_bound(opened.cell) and subset == "test"  # tables show their mean over the test samples only
        groups = chunks(len(self.sample_ids[subset]))
        found = _Decoded()

        device.start_encode(handles.device, subset, 0, bounds=bounds)
        for chunk, positions in enumerate(groups):
            encoded = device.finish_encode(deadline)
            if chunk + 1 < len(groups):
                device.start_encode(handles.device, subset, chunk + 1, bounds=bounds)
            found.payload_bytes += [len(payload) for payload in encoded.payloads]
            found.bounds += encoded.bound_bytes or [None] * len(positions)
            edge.start_decode(handles.edge, encoded.payloads, keep=keep)
            decoded = edge.finish_decode(deadline)
            found.outputs += decoded.outputs
            if decoded.tensors is not None:
                pictures = np.stack(self.workload.inputs(subset, positions)), np.stack(decoded.tensors)
                found.quality.append((psnr_db(*pictures), ssim(*pictures)))
        return found

    def _columns(self, cell: PlannedCell, subset: Subset, found: _Decoded) -> dict[str, NDArray[Any]]:
        scores = _scored(self.workload, found.outputs, self.baseline.targets[subset])
        full_model = self.baseline.outcomes[subset]
        count = len(found.payload_bytes)
        columns: dict[str, NDArray[Any]] = {
            "subset": np.array([subset] * count),
            "sample_id": np.array(self.sample_ids[subset][:count], dtype=np.int64),
            "payload_bytes": np.array(found.payload_bytes, dtype=np.int64),
            "numerator": scores.numerators, "denominator": scores.denominators,
            "uncompressed_numerator": full_model.numerators, "uncompressed_denominator": full_model.denominators,
        }  # fmt: skip
        # float32: seven digits are enough for these, and take half the space on disk.
        if _has_bound(cell):
            columns["bound_bytes"] = np.array([np.nan if b is None else b for b in found.bounds], dtype=np.float32)
        if cell.spec.image:
            keep = _keeps_pictures(cell, subset)
            missing = np.full(count, np.nan, dtype=np.float32)
            for i, name in enumerate(("psnr_db", "ssim")):
                columns[name] = np.concatenate([q[i] for q in found.quality]).astype(np.float32) if keep else missing
        return columns


def _scored(workload: Workload, outputs: Sequence[ModelOutputs], targets: Sequence[Any]) -> Outcomes:
    pairs = [workload.score(output, target) for output, target in zip(outputs, targets, strict=True)]
    numerators, denominators = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return Outcomes(numerators, denominators)


def _keeps_pictures(cell: PlannedCell, subset: Subset) -> bool:
    return cell.spec.image and subset == "test"


def _has_bound(cell: PlannedCell) -> bool:
    return cell.codec.bound_bytes is not Codec.bound_bytes
