"""The accuracy pass: outcomes, sizes, bounds and picture quality of every sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.runs import RAW_BYTES, KeptProcesses, record_of, run

from codecbench.results.store import Store


@pytest.mark.parametrize("split", ["input", "stem", "block"])
def test_raw_reproduces_the_models_own_outcomes_at_every_split(measured: Path, split: str) -> None:
    record = record_of(measured, "raw", split)
    columns = Store(measured).samples(record)
    assert np.array_equal(columns["numerator"], columns["uncompressed_numerator"])
    assert np.array_equal(columns["denominator"], np.ones(64 + 24))
    assert 0 < columns["numerator"].sum() < 88
    assert columns["subset"].tolist() == ["test"] * 64 + ["choice"] * 24
    assert columns["sample_id"].tolist() == [*range(2_000, 2_064), *range(1_000, 1_024)]
    assert set(columns["payload_bytes"]) == {RAW_BYTES[split]}
    assert record.task is not None
    assert record.task.value == record.task.uncompressed
    assert (record.task.n, record.task.change, record.task.p_value) == (64, 0.0, 1.0)
    assert record.task.value == 100 * columns["numerator"][:64].mean()


def test_a_record_tells_sizes_shapes_and_choice(measured: Path) -> None:
    narrow, wide = (r for r in Store(measured).records() if (r.key.codec, r.key.split) == ("steady", "stem"))
    assert (narrow.key.point, wide.key.point) == ({"bits": 16}, {"bits": 32})
    assert narrow.tensor is not None
    assert (narrow.tensor.shape, narrow.tensor.dtype, narrow.tensor.raw_bytes) == ([6, 4, 4], "float32", 384.0)
    assert narrow.size is not None
    assert narrow.size.payload_bytes.mean == narrow.size.payload_bytes.max == 192
    assert (narrow.size.device_state_bytes, narrow.size.edge_state_bytes) == (0, 0)
    assert narrow.choice is not None
    assert narrow.choice.n == 24
    assert narrow.choice.sample_set.startswith("choice-24-")
    assert narrow.key.sample_set.startswith("test-64-")
    assert narrow.quality is None


def test_image_inputs_have_a_quality(measured: Path) -> None:
    raw = record_of(measured, "raw", "input").quality
    assert raw is not None
    assert (raw.psnr_db, raw.ssim) == (None, 1.0)
    rounded = next(r for r in Store(measured).records() if r.key.point == {"bits": 16} and r.key.split == "input")
    assert rounded.quality is not None
    assert rounded.quality.psnr_db is not None
    assert 60 < rounded.quality.psnr_db < 90
    assert 0.999 < rounded.quality.ssim < 1


def test_the_bound_of_a_payload_is_recorded(tmp_path: Path, shared: KeptProcesses) -> None:
    run(tmp_path, "bounded", "steady")
    record = record_of(tmp_path, "bounded")
    assert record.size is not None
    columns = Store(tmp_path).samples(record)
    test = columns["subset"] == "test"
    assert columns["bound_bytes"].shape == columns["payload_bytes"].shape
    assert record.size.estimated_bytes == columns["bound_bytes"][test].mean()
    plain = next(r for r in Store(tmp_path).records() if r.key.codec == "steady")
    assert plain.size is not None
    assert plain.size.estimated_bytes is None


def test_fewer_samples_are_the_first_ones(tmp_path: Path, shared: KeptProcesses) -> None:
    summary, _ = run(tmp_path, "steady:bits=16", samples=5)
    assert summary.ok == 1
    record = record_of(tmp_path, "steady")
    assert record.key.sample_set.startswith("test-5-")
    assert Store(tmp_path).samples(record)["sample_id"].tolist() == [*range(2_000, 2_005), *range(1_000, 1_005)]
