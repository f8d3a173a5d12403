"""The latency table: the chosen points, side by side with the whole network on the device."""

from __future__ import annotations

import csv
import io
import re

import pytest
from support.factories import LINK, make_layers, make_profile, make_record, undefined

from codecbench.analysis.latency import Scenario, latency_of
from codecbench.errors import UsageError
from codecbench.tables import budget, latency
from codecbench.tables.budget import Table
from codecbench.tables.document import Document

RECORDS = [
    make_record("input", "jpeg", {"quality": 50}, payload_bytes=500, change=-0.5, encode_s=0.0004),
    make_record("input", "jpeg", {"quality": 10}, payload_bytes=100, change=-9.0),
    make_record("stem", "jpeg", {"quality": 50}, payload_bytes=2_000, change=-0.5),
    make_record("input", "odd", status="failed", reason="timed out"),
    make_record("stem", "odd", {"bits": 4}, payload_bytes=9, change=-0.1),
]


def build(scenario: Scenario) -> Table:
    (built,) = budget.build(RECORDS, budgets=1.0, scenario=scenario)
    return built


def test_an_entry_has_the_latency_of_its_chosen_point() -> None:
    scenario = Scenario(LINK)
    entry = build(scenario).entries["jpeg", "input"]
    chosen = latency_of(RECORDS[0], scenario)
    assert entry.latency_ms == pytest.approx(1000 * chosen.median_s)
    assert (entry.device_ms, entry.edge_ms) == (1000 * chosen.device_s, 1000 * chosen.edge_s)
    assert (entry.latency_p95_ms, entry.predicted) == (None, "")
    assert build(scenario).entries["local", "stem"].latency_ms == pytest.approx(3.3)


def test_the_text_shows_each_side_and_the_whole() -> None:
    lines = latency.render([build(Scenario(LINK))], "text").splitlines()
    jpeg = next(line for line in lines if line.startswith("jpeg"))
    # head 0 + encode 0.44; 1 ms + 500 bytes at 8 Mbit/s; decode and tail 5.5; 3.3 ms of the whole network.
    assert jpeg.split()[1:6] == ["0.44", "1.5", "5.5", "7.4", "0.44"]
    assert next(line for line in lines if line.startswith("odd")).split()[1] == "failed"
    assert "predicted" not in "\n".join(lines)


def test_what_a_profile_gives_is_marked() -> None:
    slow = make_profile("slow", layer_s=0.01, general=2.0)
    text = latency.render([build(Scenario(LINK, device=slow, layers={"toy": make_layers()}))], "text")
    jpeg = next(line for line in text.splitlines() if line.startswith("jpeg"))
    assert jpeg.split()[1:4] == ["0.88", "*", "1.5"]
    assert "Device (slow, predicted)" in text
    assert "* predicted by a device profile, not measured" in text


def test_every_format_and_a_narrow_terminal() -> None:
    built = build(Scenario(LINK))
    for name in ("md", "html"):
        assert "device" in latency.render([built], name)
    (line, *_) = csv.DictReader(io.StringIO(latency.render([built], "csv")))
    assert (line["device"], line["edge"], line["link"]) == ("host", "host", "test-link")
    assert float(line["latency_ms"]) > float(line["device_ms"])
    wide, narrow = (latency.render([built], "text", width) for width in (140, 70))
    assert max(map(len, narrow.splitlines())) <= 70 < max(map(len, wide.splitlines()))
    with pytest.raises(UsageError, match="no format 'pdf'"):
        latency.render([built], "pdf")


def test_the_papers_tables_have_no_latency() -> None:
    built = budget.build(RECORDS, budgets=1.0, scenario=Scenario(LINK), paper=True)
    assert latency.render(built, "text") == latency.render(built[:1], "text")
    assert isinstance(latency.document(built[0]), Document)


def test_a_row_without_a_metric_has_no_latency_and_a_reason() -> None:
    (built,) = budget.build([undefined(make_record())], budgets=1.0, scenario=Scenario(LINK))
    text = latency.render([built], "text")
    assert re.search(r"^alpha +-$", text, re.MULTILINE)
    assert "-: left out: top-1 is undefined" in text
