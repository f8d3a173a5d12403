"""What a report of 2,000 cells costs."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import LINK, many_records

from codecbench.analysis.latency import Scenario
from codecbench.links.model import FixedRateLink
from codecbench.report import build as report


@pytest.mark.benchmark(group="report")
@pytest.mark.parametrize("figures", [True, False], ids=["figures", "no figures"])
def test_report_of_2000_cells(benchmark: Any, figures: bool) -> None:
    """Seconds for two links; `extra_info` holds the page's megabytes."""
    pytest.importorskip("matplotlib")
    scenarios = [Scenario(LINK), Scenario(FixedRateLink("slow", 1e6, description="a slow one"))]
    request = report.Request(records=many_records(2_000), scenarios=scenarios, budgets=1.0, figures=figures)
    page = benchmark.pedantic(report.build, args=(request,), rounds=1)
    benchmark.extra_info["page_mb"] = len(page.encode()) / 1e6
    print(f"\n{len(page.encode()) / 1e6:.2f} MB in {benchmark.stats.stats.median:.2f} s")
