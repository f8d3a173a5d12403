"""The sentence on networks that decoders keep on the edge."""

from __future__ import annotations

from support.factories import make_record
from support.tables import build_one

from codecbench.analysis.budget import Entry
from codecbench.tables.decoders import decoders_remark


def entry(row: str, split: str, decode_ms: float, edge_state_bytes: int) -> Entry:
    return Entry(row, split, "ok", decode_ms=decode_ms, edge_state_bytes=edge_state_bytes)


def test_rows_with_a_network_have_their_decode_time_and_state() -> None:
    entries = [
        entry("webp", "input", 0.3, 0), entry("webp (steered)", "input", 11.04, 556_757),
        entry("learned", "input", 20.0, 1_700_000), entry("learned", "stem", 9.0, 400_000),
        Entry("bad", "stem", "failed"),
    ]  # fmt: skip
    assert list(decoders_remark(entries)) == [
        "Networks on the edge (median decode time of the codec, its state there): webp (steered) 11.0 ms, 0.56 MB; "
        "learned 9.0 to 20.0 ms, 0.4 to 1.7 MB."
    ]


def test_without_one_there_is_no_sentence() -> None:
    assert list(decoders_remark([entry("webp", "input", 0.3, 99_999)])) == []
    shown = build_one([make_record("input", "alpha")])
    assert "Networks on the edge" not in shown.render("text")
    assert shown.entries["alpha", "input"].decode_ms is not None
