"""Studies: which rows are shown, and what cannot be studied."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import LINK, make_record
from support.figures import data_of

from codecbench.analysis import study
from codecbench.analysis.latency import Scenario
from codecbench.errors import UsageError


def test_rows_shown_are_raw_the_papers_and_the_best_others() -> None:
    sizes = {"raw": 4_000, "interpolation": 300, "cs-dct (best)": 900, "cs-wavelet (best)": 800, "a": 10, "b": 20}
    sizes |= {"c": 30, "d": 40}
    found = [
        make_record(codec=row.split(" ")[0], row=row, payload_bytes=size, raw_bytes=4_000)
        for row, size in sizes.items()
    ]
    assert data_of(found).shown == ("raw", "cs-wavelet (best)", "interpolation", "c", "b", "a")
    assert set(data_of(found, all_rows=True).shown) == set(sizes)


@pytest.mark.parametrize(
    ("found", "scenarios", "budget", "error"),
    [
        (
            [make_record(), make_record(workload="other")],
            [Scenario(LINK)],
            1.0,
            "one workload; these records are of other, toy",
        ),
        ([make_record()], [], 1.0, "one or more links"),
        ([make_record()], [Scenario(LINK), Scenario(LINK)], 1.0, "not test-link, test-link"),
        ([make_record()], [Scenario(LINK)], -1.0, "at least 0"),
        ([make_record(status="failed")], [Scenario(LINK)], 1.0, "no measured records"),
        ([], [Scenario(LINK)], 1.0, "no measured records"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found: Any, scenarios: Any, budget: float, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        study.build(found, scenarios, budget)
