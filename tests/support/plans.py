"""Cells for a plan to choose from, by size, loss and time of encoding."""

from __future__ import annotations

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Candidate
from support.factories import LINK, make_record


def make_candidates() -> list[Candidate]:
    records = [
        make_record("input", "small", payload_bytes=100, change=-1.0, encode_s=0.004),
        make_record("input", "quick", payload_bytes=4_000, change=-0.2, encode_s=0.0001),
        make_record("stem", "small", payload_bytes=90, change=-0.9, encode_s=0.004),
        make_record("stem", "lossy", payload_bytes=1, change=-5.0, encode_s=0.0001),
        make_record("stem", "broken", status="failed"),
    ]
    return planner.candidates(records, Scenario(LINK))
