"""Parts that tests of runs share: a reporter that keeps what it is told, processes that outlive a run, short runs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.experiment.cells import PlannedCell, Summary
from codecbench.experiment.config import RunConfig
from codecbench.experiment.run_status import FILE
from codecbench.fitting import fitter as fitter_module
from codecbench.harness import run as run_module
from codecbench.harness.run import Run
from codecbench.harness.timing import TimingPass
from codecbench.isolation.seal import Isolation
from codecbench.names import pick
from codecbench.registry import manager, reference, reference_file, workloads
from codecbench.results.record import Record
from codecbench.results.store import LAYERS, Store
from codecbench.workers.forks import CodecProcesses, FitProcesses, SealedProcesses
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workers.plugins import PluginClient
from support.paths import MISBEHAVING, PLUGIN_FILES, TINY
from support.prepared import PreparedServer

RAW_BYTES = {"input": 3 * 8 * 8 * 4, "stem": 6 * 4 * 4 * 4, "block": 6 * 4 * 4 * 4}
"""Size of one sample of the tiny workload at its splits."""


@dataclass
class RecordingReporter:
    """A reporter that keeps what it is told."""

    cells: int = 0
    expected: int = 0
    samples: int = 0
    finished: list[tuple[str, str]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    expected_fits: list[str] = field(default_factory=list)
    fits: list[tuple[str, float, str]] = field(default_factory=list)
    fits_ended: int = 0

    def plan(self, cells: int) -> None:
        self.cells = cells

    def expect(self, samples: int) -> None:
        self.expected += samples

    def scored(self, samples: int) -> None:
        self.samples += samples

    def expect_fits(self, cells: Sequence[PlannedCell], limit_s: float) -> None:
        self.expected_fits += [cell.label for cell in cells]

    def fitting(self, cell: PlannedCell, share: float, text: str) -> None:
        self.fits.append((cell.label, share, text))

    def fitted(self) -> None:
        self.fits_ended += 1

    def stage(self, text: str) -> None:
        pass

    def update(self, text: str) -> None:
        pass

    def finish(self, status: str, text: str) -> None:
        self.finished.append((status, text))

    def log(self, line: str) -> None:
        self.logged.append(line)


class KeptPair(Pair):
    """A pair whose processes outlive the run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class KeptCodecProcesses(CodecProcesses):
    """Codec processes whose fork server outlives the run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class KeptFitProcesses(FitProcesses):
    """Processes of fits whose fork server, which has built the model, outlives the run."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        """End the fork server."""
        super().close()


class LocalPluginCatalogue(LocalCatalogue):
    """Stands for a `PluginCatalogue`, and asks the plugins in this process."""

    def __init__(self, plugin_files: Sequence[Path] = ()) -> None:
        pm = manager([path.resolve() for path in plugin_files])
        super().__init__(pm)
        self._workloads = workloads(pm)

    @property
    def isolation(self) -> Isolation:
        return isolation_here()

    def __enter__(self) -> LocalPluginCatalogue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def close(self) -> None:
        pass

    def workload(self, name: str) -> str:
        return reference(pick(self._workloads, name, "workload"))


class KeptProcesses:
    """The processes that serve the runs of all tests: starting them is what takes time.

    The model's processes, and the one that fits are forked from, are those of the workload of the last run. One fork
    server may read all plugin files of `tests/support`; plugin files that tests write have one of their own, which is
    kept until other files are asked for.
    """

    def __init__(self, prepared: PreparedServer) -> None:
        self.pair: KeptPair | None = None
        self._prepared = prepared
        self._supported = KeptCodecProcesses(PLUGIN_FILES)
        self._written: KeptCodecProcesses | None = None
        self._written_files: list[tuple[Path, int]] = []
        self._fits: KeptFitProcesses | None = None
        self._fits_of: object = None

    def share(self, patch: pytest.MonkeyPatch) -> None:
        """Let every run take these processes, and ask about plugins in this one."""
        self._prepared.share(patch)
        patch.setattr(run_module, "Pair", self.pair_of)
        patch.setattr(run_module, "CodecProcesses", self.codecs_of)
        patch.setattr(run_module, "PluginCatalogue", LocalPluginCatalogue)
        patch.setattr(fitter_module, "FitProcesses", self.fits_of)

    def pair_of(self, workload: WorkloadRef) -> KeptPair:
        """The model's processes for this workload."""
        if self.pair is None or self.pair.workload != workload:
            if self.pair is not None:
                self.pair.close()
            self.pair = KeptPair(workload)
        return self.pair

    def codecs_of(self, sources: Sequence[Path] = ()) -> KeptCodecProcesses:
        """Codec processes that may read these plugin files."""
        if set(sources) <= set(PLUGIN_FILES):
            return self._supported
        files = _identities(sources)
        if self._written is None or files != self._written_files:
            if self._written is not None:
                self._written.close()
            self._written, self._written_files = KeptCodecProcesses(sources), files
        return self._written

    def fits_of(self, pair: Pair, sources: Sequence[Path] = ()) -> KeptFitProcesses:
        """Processes of fits with this workload's model, which may read these plugin files."""
        readable = PLUGIN_FILES if set(sources) <= set(PLUGIN_FILES) else sources
        workload_file = Path(reference_file(pair.workload.reference))
        wanted = pair.workload, _identities([*readable, workload_file] if workload_file.is_file() else readable)
        if self._fits is None or wanted != self._fits_of:
            if self._fits is not None:
                self._fits.end()
            self._fits, self._fits_of = KeptFitProcesses(pair, readable), wanted
        return self._fits

    def close(self) -> None:
        """End all of them."""
        for kept in (self.pair, self._supported, self._written):
            if kept is not None:
                kept.close()
        if self._fits is not None:
            self._fits.end()


def _identities(files: Sequence[Path]) -> list[tuple[Path, int, int]]:
    """What may be read is decided when a fork server starts, and holds for the file, not for its name."""
    return [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in files]


@lru_cache(maxsize=1)
def isolation_here() -> Isolation:
    """What seals the processes of plugins and codecs on this machine."""
    with SealedProcesses("plugin", [TINY]) as processes, PluginClient(processes.start()) as client:
        client.start_load(str(TINY), None)
        return client.finish_load().isolation


def configured(out: Path, *codecs: str, plugin: tuple[Path, ...] = (MISBEHAVING,), **options: Any) -> RunConfig:
    return RunConfig(
        **{"workload": "tiny", "samples": "all", "split": ["stem"], "codec": list(codecs), **options},
        out=out,
        plugin=[TINY, *plugin],
    )


def run(out: Path, *codecs: str, **options: Any) -> tuple[Summary, RecordingReporter]:
    return execute(configured(out, *codecs, **options))


def interrupt_timing(out: Path, *codecs: str, **options: Any) -> None:
    """Leave what a run leaves that is ended as its timing begins."""

    def end(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimingPass, "measure", end)
        with pytest.raises(KeyboardInterrupt):
            run(out, *codecs, **options)


def execute(config: RunConfig) -> tuple[Summary, RecordingReporter]:
    """Measure all cells of a configuration; return the counts and what was reported."""
    reporter = RecordingReporter()
    with Store(config.out).locked(), Run(config, reporter) as job:
        return job.execute(), reporter


def planned(config: RunConfig) -> list[PlannedCell]:
    """The cells of a configuration."""
    with Run(config, RecordingReporter()) as job:
        return job.plan()


def record_of(out: Path, codec: str, split: str = "stem") -> Record:
    (record,) = (r for r in Store(out).records() if r.key.codec == codec and r.key.split == split)
    return record


def lasting(text: str) -> dict[str, Any]:
    """A record without its digest, timings, what a process's memory happened to be, and the state of the checkout."""
    values: dict[str, Any] = json.loads(text)
    for part in ("time", "timed", "digest"):
        values.pop(part)
    for part in ("started_utc", "git", "dirty"):
        values["provenance"].pop(part)
    for part in ("encoder_peak_bytes", "device_peak_bytes"):
        (values["cost"] or {}).pop(part, None)
    return values


def content_of(out: Path) -> dict[str, Any]:
    """Every file of a results folder: records without timings, samples byte for byte."""
    assert not list(out.rglob("*.tmp"))
    files = {
        str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file() and p.name not in (".lock", FILE, LAYERS)
    }
    return {name: lasting(p.read_text()) if p.suffix == ".json" else p.read_bytes() for name, p in files.items()}


def files_of(out: Path, ending: str) -> dict[str, tuple[int, int]]:
    """Identity and time of change of each file: a file that was written again is another one."""
    found = [p for p in out.rglob(f"*{ending}") if p.name != LAYERS]
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def is_start_of(part: bytes, whole: bytes) -> bool:
    """True if the rows of a file of samples are the first rows of another one, column by column."""
    found, expected = (pq.read_table(io.BytesIO(content)) for content in (part, whole))
    assert found.column_names == expected.column_names
    return all(_equal(found[name], expected[name].slice(0, found.num_rows)) for name in found.column_names)


def _equal(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> bool:
    """True for the same values; values that are not numbers are equal."""
    left, right = found.to_numpy(), expected.to_numpy()
    return bool(np.array_equal(left, right, equal_nan=pa.types.is_floating(found.type)))
