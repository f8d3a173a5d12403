"""Parts that tests of runs share: a reporter that keeps what it is told, processes that outlive a run, short runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from codecbench.experiment.cells import Summary
from codecbench.experiment.config import RunConfig
from codecbench.harness import run as run_module
from codecbench.harness.run import Run
from codecbench.results.record import Record
from codecbench.results.store import LAYERS, Store
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workload import Subset
from support.paths import MISBEHAVING, TINY

RAW_BYTES = {"input": 3 * 8 * 8 * 4, "stem": 6 * 4 * 4 * 4, "block": 6 * 4 * 4 * 4}
"""Size of one sample of the tiny workload at its splits."""


@dataclass
class RecordingReporter:
    """A reporter that keeps what it is told."""

    cells: int = 0
    finished: list[tuple[str, str]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def plan(self, cells: int) -> None:
        self.cells = cells

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


@contextmanager
def pair_for(config: RunConfig) -> Iterator[KeptPair]:
    """Two processes for the workload of this configuration. They start when a run first uses them."""
    pair = KeptPair(Run(config, RecordingReporter()).ref, {})
    try:
        yield pair
    finally:
        Pair.__exit__(pair, None, None, None)


def share(pair: KeptPair, patch: pytest.MonkeyPatch) -> None:
    """Let every run take this pair of processes, or fresh ones in their place where it has another workload."""

    def make(ref: WorkloadRef, counts: Mapping[Subset, int]) -> KeptPair:
        if ref != pair.workload:
            pair.replace()
        pair.workload, pair.counts = ref, counts
        return pair

    patch.setattr(run_module, "Pair", make)


def configured(out: Path, *codecs: str, plugin: tuple[Path, ...] = (MISBEHAVING,), **options: Any) -> RunConfig:
    return RunConfig(
        **{"workload": "tiny", "samples": "all", "split": ["stem"], "codec": list(codecs), **options},
        out=out,
        plugin=[TINY, *plugin],
    )


def run(out: Path, *codecs: str, **options: Any) -> tuple[Summary, RecordingReporter]:
    reporter = RecordingReporter()
    return Run(configured(out, *codecs, **options), reporter).execute(), reporter


def record_of(out: Path, codec: str, split: str = "stem") -> Record:
    (record,) = (r for r in Store(out).records() if r.key.codec == codec and r.key.split == split)
    return record


def lasting(text: str) -> dict[str, Any]:
    """A record without its timings, what a process's memory happened to be, and the state of the checkout meanwhile."""
    values: dict[str, Any] = json.loads(text)
    values.pop("time")
    values.pop("timed")
    for part in ("started_utc", "git", "dirty"):
        values["provenance"].pop(part)
    for part in ("encoder_peak_bytes", "device_peak_bytes"):
        (values["cost"] or {}).pop(part, None)
    return values


def content_of(out: Path) -> dict[str, Any]:
    """Every file of a results folder: records without timings, samples byte for byte."""
    assert not list(out.rglob("*.tmp"))
    files = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file() and p.name not in (".lock", LAYERS)}
    return {name: lasting(p.read_text()) if p.suffix == ".json" else p.read_bytes() for name, p in files.items()}


def files_of(out: Path, ending: str) -> dict[str, tuple[int, int]]:
    """Identity and time of change of each file: a file that was written again is another one."""
    found = [p for p in out.rglob(f"*{ending}") if p.name != LAYERS]
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}
