"""The numbers of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping

from codecbench.analysis.budget import Entry


def _paper_entry(line: Mapping[str, str]) -> Entry:
    return Entry(
        row=line["codec"],
        split=line["split"],
        status="ok",
        codec=line["codec"],
        payload_bytes=float(line["payload_kib"]) * 1024,
        payload_percent=float(line["size_percent_of_raw"]),
        network_ms=float(line["network_ms"]),
        network_percent=float(line["network_percent_of_raw"]),
        value=float(line["metric_value"]),
        change=float(line["metric_change"]),
    )
