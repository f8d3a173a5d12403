"""Synthetic records and results for tests that need no run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.devices.layers import Layer, ModelLayers
from codecbench.devices.profile import DeviceProfile, Leaf
from codecbench.experiment.cells import PlannedCell
from codecbench.links.model import TcpRampLink
from codecbench.results.cell import CellKey
from codecbench.results.digests import PayloadChain, sample_digest
from codecbench.results.payload_sizes import SizeCounts
from codecbench.results.record import (
    Choice,
    Cost,
    Digests,
    IsolationLevel,
    Key,
    PayloadBytes,
    Provenance,
    Record,
    Seconds,
    Size,
    Task,
    TensorGroup,
    Time,
    Timed,
    WorkloadGroup,
)
from codecbench.results.set_values import SetValues

LINK = TcpRampLink("test-link", round_trip_s=0.004, bandwidth_bit_per_s=8e6, base_s=0.001, description="a test link")
DEPTH = {"input": 0, "stem": 1_000, "stage1": 2_000, "stage2": 3_000, "stage3": 4_000}
CPU = "Test CPU at 3 GHz"


def make_key(
    split: str = "input",
    codec: str = "alpha",
    point: Mapping[str, Any] | None = None,
    *,
    workload: str = "toy",
    n: int = 100,
    seed: int = 0,
    version: int = 1,
    sample_set: str | None = None,
) -> CellKey:
    """A cell key; the sample set is named after `n` unless given."""
    return CellKey(workload, split, codec, version, point or {}, seed, sample_set or f"test-{n}-00c0ffee")


def make_info(name: str = "alpha", **fields: Any) -> CodecInfo:
    """The description of a codec that is nowhere."""
    described = {
        "version": 1, "reference": f"nowhere.{name}:Codec", "file": f"/nowhere/{name}.py", "plugin": f"file {name}.py",
        "source_hash": "0" * 64, "fit_samples": 4000,
    }  # fmt: skip
    return CodecInfo(**{"name": name, **described, **fields})


def cell_of(codec: str, *, tags: tuple[str, ...] = (), split: str = "stem") -> PlannedCell:
    """A planned cell of a codec at a split."""
    return PlannedCell(make_key(split, codec), make_info(codec, tags=tags), TensorSpec((2, 2)))


def make_record(
    split: str = "input",
    codec: str = "alpha",
    point: Mapping[str, Any] | None = None,
    *,
    status: str = "ok",
    reason: str | None = None,
    row: str | None = None,
    payload_bytes: float = 100.0,
    raw_bytes: float = 1_000.0,
    dtype: str = "float32",
    change: float = -0.5,
    half_width: float = 0.25,
    choice_change: float | None = None,
    choice_half_width: float = 0.25,
    with_choice: bool = True,
    uncompressed: float = 91.0,
    higher_is_better: bool = True,
    n: int = 100,
    cpu: str = CPU,
    encode_s: float = 0.001,
    with_timed: bool = True,
    estimated_bytes: float | None = None,
    encoder_flop: int | None = None,
    decoder_flop: int | None = None,
    fit_s: float | None = None,
    isolation: IsolationLevel = "kernel",
    mixed_plugin: bool = False,
    digests: Digests | None = None,
    made_by: WorkloadGroup | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    **key: Any,
) -> Record:
    """A record as it is read; one that is not "ok" carries only a reason. `choice_change` defaults to `change`.

    Without `made_by` it is one of before schema 4; `provenance` changes fields of the provenance.
    """
    cell_key = make_key(split, codec, point, n=n, **key)
    common: dict[str, Any] = {
        "cell": cell_key.cell,
        "status": status,
        "key": Key(**cell_key.to_json()),
        "row": row or codec,
        "provenance": make_provenance(cpu, isolation, mixed_plugin).model_copy(update=dict(provenance or {})),
        "workload": made_by,
        "description": description,
    }
    if status != "ok":
        return Record(reason=reason or f"{codec} cannot", **common).with_digest()
    choice = change if choice_change is None else choice_change
    metric = ("top-1", "%", 100.0, 1) if higher_is_better else ("WER", "", 1.0, 3)
    return Record(
        **common,
        tensor=TensorGroup(shape=[3, 4, 4], dtype=dtype, raw_bytes=raw_bytes),
        size=Size(
            payload_bytes=PayloadBytes(
                mean=payload_bytes,
                median=payload_bytes,
                p95=payload_bytes,
                min=int(payload_bytes),
                max=int(payload_bytes),
            ),
            device_state_bytes=0,
            edge_state_bytes=0,
            estimated_bytes=estimated_bytes,
        ),
        time=Time(
            head_s=seconds(DEPTH.get(split, 9_000) * 1e-6),
            encode_s=seconds(encode_s),
            decode_s=seconds(0.002),
            tail_s=seconds(0.003),
            fit_s=fit_s,
        ),
        timed=make_timed(split, payload_bytes, encode_s) if with_timed else None,
        cost=Cost(
            head_flop=DEPTH.get(split, 9_000),
            encoder_flop=encoder_flop,
            encoder_parameters=None,
            head_peak_bytes=None,
            encoder_peak_bytes=None,
            device_peak_bytes=None,
            decoder_flop=decoder_flop,
        ),
        task=Task(
            metric=metric[0],
            unit=metric[1],
            scale=metric[2],
            decimals=metric[3],
            higher_is_better=higher_is_better,
            value=uncompressed + change,
            uncompressed=uncompressed,
            low=uncompressed + change - 2,
            high=uncompressed + change + 2,
            n=n,
            change=change,
            change_low=change - half_width,
            change_high=change + half_width,
            p_value=0.5,
            test="mcnemar" if higher_is_better else "paired-bootstrap",
        ),
        choice=Choice(
            sample_set="choice-50-0badcafe",
            payload_mean_bytes=payload_bytes,
            value=uncompressed + choice,
            uncompressed=uncompressed,
            change=choice,
            change_low=choice - choice_half_width,
            change_high=choice + choice_half_width,
            n=50,
        )
        if with_choice
        else None,
        digests=digests,
    ).with_digest()


def make_others(record: Record, **values: float | None) -> list[Task]:
    """Other metrics of a record, by name, with these values."""
    assert record.task is not None
    return [
        record.task.model_copy(update={"metric": name, "value": value, "uncompressed": 99.0})
        for name, value in values.items()
    ]


def make_group(**fields: Any) -> WorkloadGroup:
    """The workload of a synthetic record."""
    known = {"source_hash": "2" * 64, "data_hash": "3" * 64, "budget": 1.0, "training_s": None, "training_note": ""}
    return WorkloadGroup(**{**known, **fields})


def undefined(record: Record, test: bool = True) -> Record:
    """The same record with a metric that is undefined on the choice samples and, with `test`, on the test samples."""
    nothing = dict.fromkeys(("value", "uncompressed", "change", "change_low", "change_high"))
    task, choice = record.task, record.choice
    if task and test:
        task = task.model_copy(update={**nothing, "low": None, "high": None, "p_value": None})
    return record.model_copy(update={"task": task, "choice": choice and choice.model_copy(update=nothing)})


def make_digests(payloads: bytes = b"payload", samples: int = 2) -> Digests:
    """Digests of samples with one payload, which decodes to zeros."""
    chain = PayloadChain()
    for _ in range(samples):
        chain.add(payloads)
    zeros = np.zeros((2, 3), np.float32)
    return Digests(payloads=chain.hex, samples=[sample_digest("test", i, payloads, zeros) for i in range(samples)])


def seconds(median: float) -> Seconds:
    """A spread-free timing."""
    return Seconds(median=median, p95=median, n=10)


def make_provenance(cpu: str = CPU, isolation: IsolationLevel = "kernel", mixed_plugin: bool = False) -> Provenance:
    """Where a synthetic record comes from."""
    return Provenance(
        codecbench="0.1.0",
        plugin="tests",
        source_hash="0" * 64,
        weights_hash="1" * 64,
        python="3.11",
        packages={"numpy": "2"},
        cpu=cpu,
        cores=2,
        threads=1,
        torch_device="cpu",
        os="Linux",
        git=None,
        dirty=None,
        command="codecbench run",
        started_utc="2026-01-01T00:00:00Z",
        isolation=isolation,
        isolation_detail={"kernel": "Landlock 7, seccomp, audit hook", "audit": "audit hook"}.get(isolation, ""),
        mixed_plugin=mixed_plugin,
    )


def make_samples(
    right: list[int] | np.ndarray[Any, Any],
    uncompressed_right: list[int] | np.ndarray[Any, Any] | None = None,
    payload_bytes: int = 100,
    first_id: int = 0,
) -> dict[str, np.ndarray[Any, Any]]:
    """Per-sample columns of right-or-wrong outcomes on test samples."""
    n = len(right)
    ones = np.ones(n)
    return {
        "subset": np.array(["test"] * n, dtype=object),
        "sample_id": np.arange(first_id, first_id + n),
        "payload_bytes": np.full(n, payload_bytes),
        "numerator": np.asarray(right, dtype=float),
        "denominator": ones,
        "uncompressed_numerator": ones if uncompressed_right is None else np.asarray(uncompressed_right, dtype=float),
        "uncompressed_denominator": ones,
    }


@dataclass
class FakeStore:
    """Records and per-sample columns held in memory, with the reading side of `codecbench.results.store.Store`."""

    found: list[Record] = field(default_factory=list)
    columns: dict[str, dict[str, np.ndarray[Any, Any]]] = field(default_factory=dict)

    def add(self, record: Record, samples: dict[str, np.ndarray[Any, Any]] | None = None) -> None:
        """Keep a record with its columns."""
        self.found.append(record)
        if samples is not None:
            self.columns[record.cell] = samples

    def records(self) -> list[Record]:
        """Every record."""
        return list(self.found)

    def samples(self, record: Record) -> dict[str, np.ndarray[Any, Any]]:
        """A record's columns."""
        return self.columns[record.cell]

    def set_values(self, record: Record, task: Task) -> SetValues:
        """The values of a set metric for resamples, which are in a column of their own name."""
        assert task.value is not None
        return SetValues(task.value, self.columns[record.cell][task.metric])


def make_timed(split: str, payload_bytes: float, encode_s: float) -> Timed:
    """Four samples of the timing pass, each a tenth slower than the one before."""

    def rising(first: float) -> list[float]:
        return [round(first * (1 + 0.1 * i), 8) for i in range(4)]

    return Timed(
        payload_bytes=[int(payload_bytes)] * 4,
        head_s=rising(DEPTH.get(split, 9_000) * 1e-6),
        encode_s=rising(encode_s),
        decode_s=rising(0.002),
        tail_s=rising(0.003),
    )


def make_layers() -> ModelLayers:
    """Five layers of a model, one before each of the splits of DEPTH but the input."""
    layers = tuple(Layer(f"layer{i}", "conv2d", 1_000, 500, out_elements=10) for i in range(5))
    return ModelLayers(layers, {split: depth // 1_000 for split, depth in DEPTH.items()})


def make_profile(name: str, *, layer_s: float, general: float) -> DeviceProfile:
    """A profile that takes as long for every layer, and so many times as long for plain code."""
    tree = Leaf({"per_layer": layer_s})
    return DeviceProfile(name, "a test profile", "made up", "measured", tree, general_factor=general)


def make_board(name: str = "a-pi", **kernels_s: float) -> DeviceProfile:
    """A profile of a small board, which took so long for each kernel of plain code."""
    tree = Leaf({"per_layer": 1e-5, "per_flop": 1e-10})
    return DeviceProfile(name, "a board", "a test", "measured", tree, 2.0, general_kernels_s=kernels_s)


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, which knows nothing of the one that this test runs in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def many_records(count: int) -> list[Record]:
    """Cells of 20 codecs at 5 split points."""
    splits = ("input", "stem", "stage1", "stage2", "stage3")
    points = count // (20 * len(splits))
    return [
        make_record(split, f"codec-{c:02}", {"quality": q, "tables": "shared"}, payload_bytes=20.0 + 31 * q + c,
                    change=-20 / (q + 1) - c / 10, encode_s=0.0001 * (q + c + 1), estimated_bytes=19.5 + 31 * q + c)
        for split in splits for c in range(20) for q in range(points)
    ]  # fmt: skip


def sizes_of(payload_bytes: Mapping[str, Sequence[int]]) -> Callable[[Record], SizeCounts | None]:
    """What `Scenario.payload_sizes` is of payloads of these sizes, by cell."""

    def sizes(record: Record) -> SizeCounts | None:
        found = payload_bytes.get(record.cell)
        return None if found is None else SizeCounts(*np.unique(found, return_counts=True))

    return sizes
