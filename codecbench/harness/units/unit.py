"""The messages between the main process and a crew: the set-up of a run, units, and the scores of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.errors import DataError
from codecbench.executors.executor import UnitRequest
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.harness.chunks import SampleBatch
from codecbench.results.cell import CellKey
from codecbench.results.outcomes import FULL_MODEL, Columns
from codecbench.workers.protocol import Reply, pack_arrays, pack_columns, pack_frame, unpack_arrays, unpack_columns
from codecbench.workload import Subset

DIGEST_BYTES = 32
"""The size of a SHA-256."""
NOT_SENT = "sample_id"
"""The column that stays where it is known: identifiers may be texts of any length."""


@dataclass(frozen=True)
class CrewSetUp:
    """All that crews have to know of a run, as JSON values. `to_frame` is the request that sets one up.

    `sources` are the files whose modules codecs may import. `versions`, `plugins` and `codec_sources` (hashes by codec
    name) are compared with what is there where a crew runs on another machine; else they are empty.
    """

    workload: str
    data_dir: str | None
    torch_device: str
    weights_sha256: str
    workload_source: str
    data_hash: str
    counts: dict[Subset, int]
    sample_sets: dict[Subset, str]
    sources: list[str]
    timeout_s: float
    versions: dict[str, str] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    codec_sources: dict[str, str] = field(default_factory=dict)

    def to_frame(self) -> bytes:
        """Return the frame that sets a crew up."""
        return pack_frame({"op": "set_up", "run": asdict(self)})


@dataclass(frozen=True)
class ScoringUnit:
    """Batches of a split's samples that go through some of its cells. All cells carry tensors of one spec.

    `kept` are positions of test samples whose decoded tensors come back. `ended_crews` counts the crews that ended
    while they were at work on the unit, or on one that it is a part of.
    """

    cells: tuple[PlannedCell, ...]
    batches: tuple[SampleBatch, ...]
    kept: tuple[int, ...] = ()
    ended_crews: int = 0

    @property
    def split(self) -> str:
        """The split point."""
        return self.cells[0].key.split

    @property
    def spec(self) -> TensorSpec:
        """The spec of the tensors at the split."""
        return self.cells[0].spec

    @property
    def rows(self) -> range:
        """The rows of the samples in the order of a pass."""
        return range(self.batches[0].first, self.batches[-1].end)

    def positions(self, subset: Subset) -> range:
        """Return the positions of the unit's samples in a subset, which follow one another."""
        own = [batch.positions for batch in self.batches if batch.subset == subset]
        return range(own[0].start, own[-1].stop) if own else range(0)

    def request(self, number: int, states: Sequence[FittedState], full_model: Mapping[Subset, Columns]) -> UnitRequest:
        """Return the unit with the states of its cells and the full model's outcomes on its samples."""
        headers: dict[str, Any] = {}
        blobs = [part for state in states for part in (state.device, state.edge)]
        for subset, columns in full_model.items():
            own = self.positions(subset)
            headers[subset], parts = pack_columns({name: c[own.start : own.stop] for name, c in columns.items()})
            blobs += parts
        fields = {
            "spec": self.spec.to_json(),
            "cells": [{"key": cell.key.to_json(), "codec": cell.codec.to_json()} for cell in self.cells],
            "batches": [[b.subset, b.positions.start, b.positions.stop, b.first] for b in self.batches],
            "kept": list(self.kept), "full_model": headers,
        }  # fmt: skip
        return UnitRequest(number, fields, blobs)

    @classmethod
    def received(cls, request: Reply) -> tuple[ScoringUnit, list[FittedState], dict[Subset, Columns]]:
        """Return the unit of a request, the states, and the full model's outcomes on the unit's samples."""
        fields, blobs = request.fields, list(request.blobs)
        spec = TensorSpec.from_json(fields["spec"])
        cells = tuple(
            PlannedCell(CellKey(**each["key"]), CodecInfo.from_json(each["codec"]), spec) for each in fields["cells"]
        )
        batches = tuple(SampleBatch(subset, range(at, end), first) for subset, at, end, first in fields["batches"])
        states = [FittedState(blobs.pop(0), blobs.pop(0)) for _ in cells]
        full_model: dict[Subset, Columns] = {}
        for subset, headers in fields["full_model"].items():
            full_model[subset] = unpack_columns(headers, [blobs.pop(0) for _ in headers])
        return cls(cells, batches, tuple(fields["kept"])), states, full_model


@dataclass(frozen=True, eq=False)
class CellScores:
    """The scores of one cell on the samples of a unit, or the `fault` with which it failed.

    `columns` are those of the samples, without their identifiers. `payload_digests` has one of each payload,
    `tensor_digests` one of each test sample's decoded tensor; `tensors` are some of these, by position.
    """

    cell: str
    fault: str | None = None
    frames: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    raw_bytes: int = 0
    isolation: dict[str, Any] | None = None
    payload_digests: tuple[bytes, ...] = ()
    tensor_digests: tuple[bytes, ...] = ()
    tensors: Mapping[int, NDArray[Any]] = field(default_factory=dict)

    def packed(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return the scores as JSON values and byte strings. The full model's columns are known to who gets them."""
        sent = {name: c for name, c in self.columns.items() if name != NOT_SENT and not name.startswith(FULL_MODEL)}
        headers, blobs = pack_columns(sent)
        kept, tensors = pack_arrays(list(self.tensors.values()))
        fields = {
            "cell": self.cell, "fault": self.fault, "frames": list(self.frames), "order": list(self.columns),
            "columns": headers, "raw_bytes": self.raw_bytes, "isolation": self.isolation,
            "kept": list(zip(self.tensors, kept, strict=True)),
        }  # fmt: skip
        return fields, [b"".join(self.payload_digests), b"".join(self.tensor_digests), *blobs, *tensors]

    @classmethod
    def unpacked(cls, fields: Mapping[str, Any], blobs: list[bytes], known: Columns) -> CellScores:
        """Take the scores of one cell from the front of `blobs`. `known` has the columns that were not sent."""
        payloads, tensors = blobs.pop(0), blobs.pop(0)
        sent = unpack_columns(fields["columns"], [blobs.pop(0) for _ in fields["columns"]])
        kept = [(int(position), header, blobs.pop(0)) for position, header in fields["kept"]]
        return cls(
            fields["cell"], fields["fault"], tuple(fields["frames"]),
            {name: sent[name] if name in sent else known[name] for name in fields["order"]}, fields["raw_bytes"],
            fields["isolation"], _digests(payloads), _digests(tensors),
            {position: unpack_arrays([header], [blob])[0] for position, header, blob in kept},
        )  # fmt: skip


def scores_reply(scores: Sequence[CellScores]) -> tuple[dict[str, Any], list[bytes]]:
    """Return the fields and byte strings of a crew's reply."""
    packed = [each.packed() for each in scores]
    return {"cells": [fields for fields, _ in packed]}, [blob for _, blobs in packed for blob in blobs]


def checked_scores(unit: ScoringUnit, reply: Reply, known: Columns) -> list[CellScores]:
    """Return the scores in a reply. Raises DataError if they are not those of the unit's cells and samples."""
    try:
        blobs = list(reply.blobs)
        found = [CellScores.unpacked(fields, blobs, known) for fields in reply.fields["cells"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"the scores of a unit cannot be read ({type(error).__name__}: {error})") from error
    if [scores.cell for scores in found] != [cell.key.cell for cell in unit.cells]:
        raise DataError("the scores of a unit are of other cells")
    tested = len(unit.positions("test"))
    for scores in found:
        if scores.fault is not None:
            continue
        sizes = {len(column) for column in scores.columns.values()} | {len(scores.payload_digests)}
        if sizes != {len(unit.rows)} or len(scores.tensor_digests) != tested or scores.isolation is None:
            raise DataError("the scores of a unit are of other samples")
        if not np.array_equal(scores.columns["subset"], known["subset"]):
            raise DataError("the scores of a unit are of other samples")
    return found


def _digests(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
