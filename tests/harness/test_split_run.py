"""The cells of a split, chunk by chunk: the same records as in one chunk, and a run that goes on at the chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.paths import MISBEHAVING, REPEATING
from support.runs import RAW_BYTES, KeptProcesses, content_of, interrupt_timing, is_start_of, record_of, run

from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.chunks import GB, SHARES
from codecbench.harness.side_by_side import Pass
from codecbench.workers.protocol import MODEL_BATCH

CODECS = ("raw:values=float32", "steady:bits=16", "bounded", "jpeg-huffman:quality=50,tables=shared", "segfaults")
SMALL = {"split": ["input"], "scratch_gb": MODEL_BATCH * SHARES * RAW_BYTES["input"] / GB}
"""Options that make three chunks of the samples: two of test samples, one of choice samples."""


def count_chunks(patch: pytest.MonkeyPatch, end: int | None = None) -> list[tuple[str, int]]:
    """Note the codec and the first row of each chunk that goes through a cell; end the run after `end` of them."""
    measure, seen = AccuracyPass.measure, list[tuple[str, int]]()

    def noted(self: AccuracyPass, opened: Any, activations: Any) -> Pass:
        if len(seen) == end:
            raise KeyboardInterrupt
        seen.append((opened.scored.cell.key.codec, activations.chunk.first))
        yield from measure(self, opened, activations)

    patch.setattr(AccuracyPass, "measure", noted)
    return seen


def end_at_chunk(out: Path, number: int) -> None:
    """Leave what a run of small chunks leaves that is ended when so many have gone through a cell."""
    with pytest.MonkeyPatch.context() as patch:
        count_chunks(patch, end=number)
        with pytest.raises(KeyboardInterrupt):
            run(out, *CODECS, **SMALL)


@pytest.fixture(scope="module")
def in_one(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a run of one chunk."""
    out = tmp_path_factory.mktemp("in-one")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        summary, _ = run(out, *CODECS, split=["input"])
    assert (summary.ok, summary.failed) == (4, 1)
    return content_of(out)


def test_several_chunks_give_the_record_of_one(
    tmp_path: Path, shared: KeptProcesses, in_one: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_chunks(monkeypatch)
    run(tmp_path, *CODECS, **SMALL)
    assert [first for codec, first in seen if codec == "steady"] == [0, 32, 64]
    # All cells go through a chunk before the next one is made; one that has failed is left out.
    assert [first for _, first in seen] == [0] * 5 + [32] * 4 + [64] * 4
    assert content_of(tmp_path) == in_one


def test_a_run_that_ended_between_chunks_goes_on_at_the_chunk(
    tmp_path: Path, shared: KeptProcesses, in_one: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    end_at_chunk(tmp_path, 7)
    left = {path.name: path for path in tmp_path.rglob("*.parquet")}
    assert len(left) == 4
    for name, path in left.items():
        assert is_start_of(path.read_bytes(), in_one[f"tiny/input/{name}"])
        assert path.read_bytes() != in_one[f"tiny/input/{name}"]
    seen = count_chunks(monkeypatch)
    summary, _ = run(tmp_path, *CODECS, **SMALL)
    assert (summary.ok, summary.present) == (4, 1)
    # Of the two that had begun with the second chunk, one was through.
    assert [first for _, first in seen] == [32] * 3 + [64] * 4
    assert content_of(tmp_path) == in_one


def test_larger_chunks_continue_where_smaller_ones_ended(
    tmp_path: Path, shared: KeptProcesses, in_one: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows that are there end within the chunk's only batch of test samples, so they are scored again."""
    end_at_chunk(tmp_path, 5)
    seen = count_chunks(monkeypatch)
    run(tmp_path, *CODECS, split=["input"])
    assert [first for _, first in seen] == [0] * 4
    assert content_of(tmp_path) == in_one


@pytest.mark.parametrize(("codec", "scored_again"), [("same", False), ("other-rounding", True), ("other-tensor", True)])
def test_a_resumed_cell_is_scored_again_only_if_a_decoded_tensor_differs(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch, codec: str, scored_again: bool
) -> None:
    """The run that scored it left digests; how far two tensors are apart needs the tensors."""
    interrupt_timing(tmp_path, codec, plugin=(REPEATING,))
    seen = count_chunks(monkeypatch)
    run(tmp_path, codec, plugin=(REPEATING,))
    assert seen == [(codec, 0)] * scored_again
    record = record_of(tmp_path, codec)
    assert record.status == ("failed" if codec == "other-tensor" else "ok")
    assert record.reason is None or "gives another tensor than the one that was scored" in record.reason


def test_a_cell_that_is_scored_again_costs_no_other_cell(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, plugins = ("same", "other-rounding", "steady:bits=16"), (REPEATING, MISBEHAVING)
    interrupt_timing(tmp_path / "out", *asked, plugin=plugins)
    seen = count_chunks(monkeypatch)
    summary, _ = run(tmp_path / "out", *asked, plugin=plugins)
    assert (summary.ok, seen) == (3, [("other-rounding", 0)])
    run(tmp_path / "whole", *asked, plugin=plugins)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")
