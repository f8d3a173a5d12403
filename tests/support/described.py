"""Descriptions in a file, and the planning of a run on them: `python -m support.described FILE OUT` in `tests/`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecAtSpec, CodecInfo
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.errors import CodecbenchError
from codecbench.experiment.cells import Summary
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid, chosen_codecs
from codecbench.fitting import fits as fits_module
from codecbench.fitting.fits import Fits
from codecbench.fitting.states import FittedState
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.records import RecordWriter
from codecbench.harness.resume import EarlierResults
from codecbench.isolation.seal import Isolation
from codecbench.results.store import Store
from codecbench.results.summaries import Summaries

CUTS = {"input": TensorSpec((3, 8, 8), image=True), "stem": TensorSpec((6, 4, 4))}


class DescribedCatalogue:
    """A catalogue of what a file says: infos by name, and what each codec says of CUTS in the preset."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._infos = {name: CodecInfo.from_json(info) for name, info in values["infos"].items()}
        self._at = {name: [CodecAtSpec.from_json(at) for at in found] for name, found in values["at"].items()}

    def names(self) -> Sequence[str]:
        return list(self._infos)

    def infos(self, names: Sequence[str]) -> Sequence[CodecInfo]:
        return [self._infos[name] for name in names]

    def at(self, name: str, spec: TensorSpec, preset: str, point: Mapping[str, Any] | None = None) -> CodecAtSpec:
        return self._at[name][list(CUTS.values()).index(spec)]


class Recorder:
    """Stands for a reporter, the fitter and a codec's process: notes what it is told, and makes states of nothing."""

    def __init__(self) -> None:
        self.fits: list[str] = []
        self.exported: list[str] = []
        self.logged: list[str] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self) -> Recorder:
        return self

    def plan(self, cells: int) -> None:
        pass

    def expect(self, samples: int) -> None: ...

    def scored(self, samples: int) -> None: ...

    def expect_fits(self, *_expected: object) -> None: ...

    def fitting(self, *_progress: object) -> None: ...

    def fitted(self) -> None: ...

    def stage(self, text: str) -> None:
        pass

    def update(self, text: str) -> None:
        pass

    def finish(self, status: str, text: str) -> None:
        pass

    def log(self, line: str) -> None:
        self.logged.append(line)

    def data_hash(self, count: int) -> str:
        return "d" * 64

    def fit(self, codec: CodecInfo, *arguments: Any, start: FittedState | None, **options: Any) -> FittedState:
        self.fits.append(f"{codec.name} {dict(arguments[2])} from {start.device.decode() if start else None}")
        return FittedState(json.dumps(arguments[2]).encode(), b"", 1.0)

    def export(self, codec: str, *arguments: Any, **options: Any) -> tuple[bytes, bytes]:
        self.exported.append(codec.rpartition(":")[2])
        return b"exported", b""


def run(values: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Plan, find or make states, write records and resume, all on descriptions; return what has happened."""
    config = RunConfig(workload="tiny", split=list(CUTS), samples="all", out=out)
    workload = WorkloadInfo.from_json(values["workload"])
    catalogue, recorder = DescribedCatalogue(values), Recorder()
    grid = Grid(config, workload, catalogue, chosen_codecs(config, catalogue))
    cells = grid.cells(CUTS)
    parts: Any = recorder
    fits_module.CodecClient = lambda process: process  # type: ignore[assignment, misc]
    fits = Fits(config, workload, parts, parts, recorder)
    states = {}
    for cell in cells:
        if cell.fault is None and cell.skip_reason is None:
            try:
                states[cell.label] = fits.state_of(cell).device.decode()
            except CodecbenchError as error:
                states[cell.label] = str(error)
    provenance = RunProvenance(config, workload, data_hash="d" * 64, test_samples=grid.counts["test"])
    store, summary = Store(out), Summary()
    writer = RecordWriter(
        store, provenance, recorder, summary, summaries=Summaries(workload.metrics, values_of=parts),
        choice_set=grid.sample_sets["choice"], isolation=Isolation(None, seccomp=False),
    )  # fmt: skip
    for cell in cells:
        if cell.skip_reason is not None:
            writer.skipped(cell, cell.skip_reason)
        else:
            writer.failed(cell, cell.fault or "not measured here")
    earlier = EarlierResults(store, provenance, recorder, choice_samples=grid.counts["choice"], fresh=False)
    edited = [replace(cell, codec=replace(cell.codec, source_hash="f" * 64)) for cell in cells[:1]]
    present, stale = earlier.missing(cells), earlier.missing(edited)
    return {
        "cells": [cell.label for cell in cells], "states": states, "fitted": recorder.fits,
        "exported": recorder.exported, "logged": recorder.logged, "written": asdict(summary),
        "rows": sorted({record.row for record in store.records()} | {cell.key.codec for cell in edited}),
        "present": [len(present[0]), present[1].present], "stale": [len(stale[0]), stale[1].stale],
        "modules": sorted(name for name in sys.modules if name.startswith(("torch", "codecbench"))),
    }  # fmt: skip


if __name__ == "__main__":
    described, folder = map(Path, sys.argv[1:])
    print(json.dumps(run(json.loads(described.read_text()), folder)))
