"""Writes the records of a run: one for each cell, when the cell is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from codecbench import measure
from codecbench.errors import without_folders
from codecbench.experiment.cells import SCORED, PlannedCell, Reporter, Summary
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.timing import Timings
from codecbench.isolation.seal import Isolation
from codecbench.results.cell import row_label
from codecbench.results.outcomes import of_full_model
from codecbench.results.record import (
    Digests,
    Key,
    Record,
    SampleDigest,
    Samples,
    Seconds,
    Size,
    TensorGroup,
    Time,
    Timed,
    TwoLooks,
)
from codecbench.results.statistics import mean_bound, mean_quality, payload_summary
from codecbench.results.store import RESAMPLED, Store
from codecbench.results.summaries import Summaries
from codecbench.system.stopping import check_stopped
from codecbench.workers.answers import FullModelRun
from codecbench.workload import SampleId, Subset


class RecordWriter:
    """Writes the records of cells, reports them, and counts them in `summary`.

    `isolation` is what seals codec processes on this machine, for the records of cells that were not measured.
    """

    def __init__(
        self,
        store: Store,
        provenance: RunProvenance,
        reporter: Reporter,
        summary: Summary,
        *,
        summaries: Summaries,
        choice_set: str,
        isolation: Isolation,
    ) -> None:
        self.store = store
        self.provenance = provenance
        self.reporter = reporter
        self.summary = summary
        self.summaries = summaries
        self.choice_set = choice_set
        self.isolation = isolation
        self._logged: set[str] = set()
        self._two_looks: TwoLooks | None = None

    def compare_looks(self, full_model: FullModelRun) -> None:
        """Compare the full model's outcomes for two looks at the test images, if it has them, with those for one."""
        if full_model.two_looks is not None:
            rows = len(next(iter(full_model.outcomes.values())))
            test = {
                **full_model.two_looks, **of_full_model(full_model.outcomes), "subset": np.full(rows, "test"),
            }  # fmt: skip
            task = self.summaries.tasks(test)[0][0]
            self._two_looks = TwoLooks(**{name: getattr(task, name) for name in TwoLooks.model_fields})

    def skipped(self, cell: PlannedCell, reason: str) -> None:
        """Write the record of a cell that is skipped, since its codec does not take this tensor or has no state.

        The record's reason names files without their folders.
        """
        self._write_unmeasured(cell, "skipped", without_folders(reason))
        self.summary.skipped += 1
        self._finish("skipped", cell, reason)

    def failed(self, cell: PlannedCell, reason: str, frames: Sequence[str] = ()) -> None:
        """Write the record of a cell that could not be measured. `frames` are the lines of the plugin's own code."""
        self._write_unmeasured(cell, "failed", reason, frames)
        self.summary.failed += 1
        self.summary.add_failure(f"{cell.label}: {reason}", frames)
        self._finish("failed", cell, reason)

    def scored(self, cell: PlannedCell) -> None:
        """Count a cell that is scored and not timed, and so has no record yet."""
        self.summary.scored += 1
        self._finish("scored", cell)

    def unscored(self, cell: PlannedCell) -> None:
        """Count a cell that cannot be timed, since it is not scored yet."""
        self.summary.unscored += 1
        self.reporter.log(f"{cell.label}: not scored yet; --measure accuracy does that")

    def ok(self, scored: ScoredCell, timings: Timings) -> None:
        """Write the record of a measured cell."""
        check_stopped()
        cell, state, columns = scored.cell, scored.state, scored.columns
        assert scored.isolation is not None
        test, choice = (_rows(columns, subset) for subset in SCORED)
        tasks, resampled = self.summaries.tasks(test)
        raw_bytes = scored.raw_bytes / len(test["sample_id"])
        seconds = {"encode_s": timings.encode_s, "decode_s": timings.decode_s, "tail_s": timings.tail_s}
        record = Record(
            cell=cell.key.cell,
            status="ok",
            key=Key(**cell.key.to_json()),
            row=_row(cell),
            description=cell.codec.description,
            workload=self.provenance.workload,
            tensor=TensorGroup(shape=list(cell.spec.shape), dtype=cell.spec.dtype, raw_bytes=raw_bytes),
            size=Size(
                payload_bytes=payload_summary(test["payload_bytes"]),
                device_state_bytes=len(state.device), edge_state_bytes=len(state.edge),
                estimated_bytes=mean_bound(test),
            ),
            time=Time(
                head_s=_seconds(timings.head_s), fit_s=state.fit_s,
                **{name: _seconds(values) for name, values in seconds.items()},
            ),
            timed=Timed(
                payload_bytes=timings.payload_bytes, head_s=_rounded(timings.head_s),
                **{name: _rounded(values) for name, values in seconds.items()},
            ),
            cost=timings.cost,
            task=tasks[0],
            others=tasks[1:],
            two_looks=self._two_looks,
            choice=self.summaries.choice(self.choice_set, choice),
            quality=mean_quality(test) if cell.spec.image else None,
            samples=self._samples(scored, resampled),
            digests=_digests(scored, test["sample_id"]),
            provenance=self.provenance.of(cell, scored.isolation),
        )  # fmt: skip
        self.store.write(cell.key, record)
        self.summary.ok += 1
        self._finish("ok", cell)
        for side, why in self.summaries.undefined_reasons(test, tasks).items():
            if side not in self._logged:  # once a run for each metric and side
                self._logged.add(side)
                self.reporter.log(f"{cell.label}: {side} is undefined: {why}; see the workload's score")

    def _samples(self, scored: ScoredCell, resampled: Mapping[str, str]) -> Samples | None:
        """Return the file of the samples, once it has the values of set metrics for resamples, if there are any."""
        if not resampled:
            return scored.samples
        kept = {**self.provenance.sources(scored.cell), "progress": scored.progress(), RESAMPLED: resampled}
        return self.store.write_samples(scored.cell.key, scored.columns, kept)

    def _write_unmeasured(
        self, cell: PlannedCell, status: Literal["skipped", "failed"], reason: str, frames: Sequence[str] = ()
    ) -> None:
        check_stopped()  # a codec whose process was ended has not failed
        record = Record(
            cell=cell.key.cell, status=status, reason=reason, key=Key(**cell.key.to_json()),
            row=_row(cell), description=cell.codec.description, frames=list(frames), workload=self.provenance.workload,
            provenance=self.provenance.of(cell, self.isolation),
        )  # fmt: skip
        self.store.write(cell.key, record)

    def _finish(self, status: str, cell: PlannedCell, reason: str = "") -> None:
        self.reporter.finish(status, f"{cell.label}: {reason}" if reason else cell.label)


def _row(cell: PlannedCell) -> str:
    return row_label(cell.codec.name, cell.codec.rows_by, cell.key.point)


def _digests(scored: ScoredCell, sample_ids: NDArray[Any]) -> Digests:
    """Return the digest of all payloads, and those of a few samples."""
    samples = [
        SampleDigest(
            sample_id=_identifier(sample_ids[position]),
            subset="test",
            payload=seen.payload_sha256,
            tensor=seen.tensor_sha256,
        )
        for position, seen in scored.digests()
    ]
    return Digests(payloads=scored.chain.hex, samples=samples)


def _identifier(value: Any) -> SampleId:
    return value if isinstance(value, str) else int(value)


def _rows(columns: Mapping[str, NDArray[Any]], subset: Subset) -> dict[str, NDArray[Any]]:
    keep = columns["subset"] == subset
    return {name: values[keep] for name, values in columns.items()}


def _seconds(values: list[float]) -> Seconds:
    return Seconds(median=measure.percentile(values, 0.5), p95=measure.percentile(values, 0.95), n=len(values))


def _rounded(seconds: list[float]) -> list[float]:
    """Return the values rounded to 10 ns: a clock does not resolve less."""
    return [round(value, 8) for value in seconds]
