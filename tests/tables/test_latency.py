"""The latency table: the chosen points, side by side with the whole network on the device."""

from __future__ import annotations

import csv
import io

import pytest
from support.factories import LINK, make_layers, make_profile, make_record

from codecbench.analysis import latency
from codecbench.analysis.latency import Scenario
from codecbench.errors import UsageError
from codecbench.tables import budget as table
from codecbench.tables import document as layout
from codecbench.tables import latency as latency_table
from codecbench.tables.budget import Table

RECORDS = [
    make_record("input", "jpeg", {"quality": 50}, payload_bytes=500, change=-0.5, encode_s=0.0004),
    make_record("input", "jpeg", {"quality": 10}, payload_bytes=100, change=-9.0),
    make_record("stem", "jpeg", {"quality": 50}, payload_bytes=2_000, change=-0.5),
    make_record("input", "odd", status="failed", reason="timed out"),
    make_record("stem", "odd", {"bits": 4}, payload_bytes=9, change=-0.1),
]


def build(scenario: Scenario) -> Table:
    (built,) = table.build(RECORDS, budgets=1.0, scenario=scenario)
    return built


def test_an_entry_has_the_latency_of_its_chosen_point() -> None:
    scenario = Scenario(LINK)
    entry = build(scenario).entries["jpeg", "input"]
    chosen = latency.of(RECORDS[0], scenario)
    assert entry.latency_ms == pytest.approx(1000 * chosen.median_s)
    assert (entry.device_ms, entry.edge_ms) == (1000 * chosen.device_s, 1000 * chosen.edge_s)
    assert (entry.latency_p95_ms, entry.predicted) == (None, "")
    assert build(scenario).entries["local", "stem"].latency_ms == pytest.approx(3.3)


def test_the_text_shows_each_side_and_the_whole() -> None:
    lines = latency_table.render([build(Scenario(LINK))], "text").splitlines()
    jpeg = next(line for line in lines if line.startswith("jpeg"))
    # head 0 + encode 0.44; 1 ms + 500 bytes at 8 Mbit/s; decode and tail 5.5; 3.3 ms of the whole network.
    assert jpeg.split()[1:6] == ["0.44", "1.5", "5.5", "7.4", "0.44"]
    assert next(line for line in lines if line.startswith("odd")).split()[1] == "failed"
    assert "predicted" not in "\n".join(lines)


def test_what_a_profile_gives_is_marked() -> None:
    slow = make_profile("slow", layer_s=0.01, general=2.0)
    text = latency_table.render([build(Scenario(LINK, device=slow, layers={"toy": make_layers()}))], "text")
    jpeg = next(line for line in text.splitlines() if line.startswith("jpeg"))
    assert jpeg.split()[1:4] == ["0.88", "*", "1.5"]
    assert "Device (slow, predicted)" in text
    assert "* predicted by a device profile, not measured" in text


def test_every_format_and_a_narrow_terminal() -> None:
    built = build(Scenario(LINK))
    for name in ("md", "latex", "html"):
        assert "device" in latency_table.render([built], name)
    (line, *_) = csv.DictReader(io.StringIO(latency_table.render([built], "csv")))
    assert (line["device"], line["edge"], line["link"]) == ("host", "host", "test-link")
    assert float(line["latency_ms"]) > float(line["device_ms"])
    wide, narrow = (latency_table.render([built], "text", width) for width in (140, 70))
    assert max(map(len, narrow.splitlines())) <= 70 < max(map(len, wide.splitlines()))
    with pytest.raises(UsageError, match="no format 'pdf'"):
        latency_table.render([built], "pdf")


def test_the_papers_tables_have_no_latency() -> None:
    built = table.build(RECORDS, budgets=1.0, scenario=Scenario(LINK), paper=True)
    assert latency_table.render(built, "text") == latency_table.render(built[:1], "text")
    assert isinstance(latency_table.document(built[0]), layout.Document)
