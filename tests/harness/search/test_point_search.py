"""`--points auto`: a run that searches each codec's point, keeps what it found, and measures that alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.paths import MISBEHAVING
from support.runs import KeptProcesses, run

from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.side_by_side import Pass
from codecbench.results.store import SEARCHES, Store

AUTO: dict[str, Any] = {"points": "auto", "split": ["input"]}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, shared: KeptProcesses) -> list[str]:
    """The label of each cell that an accuracy pass has run."""
    measure, seen = AccuracyPass.measure, list[str]()

    def noted(self: AccuracyPass, opened: Any, activations: Any) -> Pass:
        seen.append(opened.scored.cell.label)
        yield from measure(self, opened, activations)

    monkeypatch.setattr(AccuracyPass, "measure", noted)
    return seen


def found(out: Path) -> dict[str, Any]:
    return {value["row"]: value for value in Store(out).searches("tiny").values()}


def test_the_smallest_payload_within_the_budget_is_measured(tmp_path: Path, passes: list[str]) -> None:
    summary, _ = run(tmp_path, "quant-huffman", "raw", **AUTO)
    assert (summary.ok, summary.failures) == (3, [])
    search = found(tmp_path)["quant-huffman"]
    tried = {each["point"]["levels"]: each for each in search["tried"]}
    within = [each for each in tried.values() if each["loss"] <= search["budget"] + 1e-9]
    assert search["point"] == min(within, key=lambda each: each["payload_bytes"])["point"]
    record = next(record for record in Store(tmp_path).records() if record.key.codec == "quant-huffman")
    assert record.key.point == search["point"]
    assert record.choice is not None
    assert record.choice.payload_mean_bytes == tried[search["point"]["levels"]]["payload_bytes"]
    assert len(passes) == len(tried) + 3
    assert sorted(found(tmp_path)) == ["quant-huffman"]  # each row of `raw` has one point: nothing to search


def test_a_search_is_not_repeated_until_something_changes(tmp_path: Path, passes: list[str]) -> None:
    run(tmp_path, "quant-huffman", **AUTO)
    count = len(passes)
    summary, _ = run(tmp_path, "quant-huffman", **AUTO)
    assert (summary.present, len(passes)) == (1, count)
    (tmp_path / "tiny" / SEARCHES).write_text("{ no JSON")
    summary, _ = run(tmp_path, "quant-huffman", **AUTO)
    assert (summary.present, len(passes)) == (1, 2 * count - 1)
    run(tmp_path, "quant-huffman", seed=1, **AUTO)
    run(tmp_path, "quant-huffman", fresh=True, **AUTO)
    assert len(passes) == 4 * count - 1
    assert len(Store(tmp_path).searches("tiny")) == 2


def test_a_requested_point_is_not_searched(tmp_path: Path, passes: list[str]) -> None:
    summary, _ = run(tmp_path, "quant-huffman:levels=7", **AUTO)
    assert (summary.ok, len(passes)) == (1, 1)
    assert Store(tmp_path).searches("tiny") == {}


def test_a_row_that_is_named_by_other_values_is_searched(tmp_path: Path, passes: list[str]) -> None:
    summary, _ = run(tmp_path, "jpeg-huffman:tables=own", **AUTO)
    assert (summary.ok, summary.failures) == (1, [])
    search = found(tmp_path)["jpeg-huffman (own)"]
    assert len(search["tried"]) == len(passes) - 1 > 1
    assert search["point"]["tables"] == "own"


def test_codecs_that_fit_are_fitted_at_each_point_that_is_tried(
    tmp_path: Path, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    summary, _ = run(tmp_path / "out", "zstd", points="auto", split=["stem"])
    assert (summary.ok, summary.failures) == (1, [])
    assert len(found(tmp_path / "out")["zstd"]["tried"]) > 2


def test_a_codec_that_fails_at_every_point_fails_with_its_reason(tmp_path: Path, passes: list[str]) -> None:
    summary, _ = run(tmp_path, "segfaults", "quant-huffman", plugin=[MISBEHAVING], **AUTO)
    assert (summary.ok, summary.failed) == (1, 1)
    assert "SIGSEGV" in summary.failures[0]
