"""Records of which figures show every kind of row, and a study of them."""

from __future__ import annotations

from typing import Any

from codecbench.analysis import study
from codecbench.analysis.latency import Scenario
from codecbench.analysis.study import Study
from codecbench.links.model import FixedRateLink, Link
from codecbench.results.record import Record
from support.factories import LINK, make_record

SLOW = FixedRateLink("slow", bandwidth_bit_per_s=1e5, latency_s=0.05)


def records(splits: tuple[str, ...] = ("input", "stem", "stage1"), **options: Any) -> list[Record]:
    """A raw row, a coder of five points, one that never stays within the budget, and one that fails at the stem."""
    found = []
    for split in splits:
        found.append(make_record(split, "raw", {"values": "float32"}, row="raw (float32)", payload_bytes=4_000,
                                 raw_bytes=4_000, change=0.0, encode_s=0.0001, **options))  # fmt: skip
        found += [
            make_record(
                split, "zlib", {"level": i}, payload_bytes=100 * 2**i, raw_bytes=4_000, change=change, **options
            )
            for i, change in enumerate((-9.0, -3.0, -0.9, -0.2, 0.0))
        ]  # fmt: skip
        found += [
            make_record(
                split, "interpolation", {"size": i}, payload_bytes=50 * i, raw_bytes=4_000, change=-20 / i,
                encode_s=0.0005, **options,
            )
            for i in (1, 2)
        ]  # fmt: skip
        found.append(
            make_record(split, "klt", status="failed", reason="it broke") if split == "stem"
            else make_record(split, "klt", payload_bytes=120, raw_bytes=4_000, change=-0.5, encode_s=0.004, **options)
        )  # fmt: skip
    return found


def data_of(found: list[Record], *scenarios: Scenario, budget: float = 1.0, all_rows: bool = False) -> Study:
    return study.build(found, scenarios or (Scenario(LINK), Scenario(SLOW)), budget, all_rows=all_rows)


class NoBandwidth(Link):
    name = "post"
    description = "letters"

    def seconds(self, payload_bytes: Any) -> Any:
        return FixedRateLink("x", bandwidth_bit_per_s=1e6).seconds(payload_bytes)


def lines_of(axes: Any) -> dict[str, Any]:
    """The lines of an axes by their colour and marker."""
    return {f"{line.get_color()} {line.get_marker()}": line for line in axes.lines}
