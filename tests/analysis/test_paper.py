"""The comparison with the paper: which rows stand side by side, and what each verdict takes."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import make_record

from codecbench.analysis import paper
from codecbench.analysis.paper import RowComparison
from codecbench.analysis.published import published_tables
from codecbench.results.record import Record

JPEG = "jpeg-huffman (shared)"


def jpeg(split: str, percent: float, change: float, **options: Any) -> Record:
    """A point of the row that stands beside Offload-Lossy, which took 3.3 % at the input for a loss of 1.4."""
    return make_record(
        split, "jpeg-huffman", {"quality": percent}, row=JPEG, payload_bytes=10 * percent, change=change, **options
    )


def verdict(*records: Record, split: str = "input", system: str = "Offload-Lossy") -> RowComparison:
    found = paper.compare_with_paper(records)
    assert found is not None
    (comparison,) = [c for c in found.comparisons if (c.system, c.published.split) == (system, split)]
    return comparison


@pytest.mark.parametrize(("percent", "expected"), [(4.125, "reproduced"), (4.2, "not reproduced"), (0.5, "reproduced")])
def test_a_share_within_the_factor_is_reproduced(percent: float, expected: str) -> None:
    found = verdict(jpeg("input", percent, -1.4))
    assert (found.verdict, found.share) == (expected, pytest.approx(percent))
    assert found.reason == f"{percent / 3.3:.3g} times the share"


def test_the_smallest_payload_that_loses_no_more_is_compared() -> None:
    found = verdict(jpeg("input", 1, -1.6), jpeg("input", 3, -1.3), jpeg("input", 9, 0.0))
    assert found.record is not None
    assert found.record.key.point == {"quality": 3}


def test_no_point_that_loses_so_little_is_not_reproduced() -> None:
    found = verdict(jpeg("input", 1, -1.5))
    assert (found.verdict, found.reason) == (
        "not reproduced", "no point loses as little as 1.4; this is the nearest",
    )  # fmt: skip


def test_a_loss_that_only_the_test_samples_show_counts() -> None:
    found = verdict(jpeg("input", 1, -2.0, half_width=0.5, choice_change=-1.0))
    assert (found.verdict, found.reason) == ("not reproduced", "on the test samples it loses more than 1.4")
    assert verdict(jpeg("input", 1, -2.0, half_width=0.7, choice_change=-1.0)).verdict == "reproduced"


def test_split_points_stand_side_by_side_by_depth() -> None:
    records = [jpeg("stage1", 1, 0.0), jpeg("input", 1, 0.0), jpeg("stem", 1, 0.0)]
    assert [verdict(*records, split=s).split for s in ("input", "block1", "block2")] == ["input", "stem", "stage1"]
    beyond = verdict(*records, split="block3")
    assert (beyond.verdict, beyond.reason) == ("not comparable", "these records have no split point in this place")


def test_equal_inputs_stand_side_by_side_by_raw_size() -> None:
    kib = {"input": 588, "stem": 784, "stage1": 3136, "stage2": 1568, "stage3": 784, "stage4": 392}
    records = [jpeg(split, 1, 0.0, raw_bytes=1024.0 * size) for split, size in kib.items()]
    pairs = {block: verdict(*records, split=block).split for block in ("input", "block1", "block2", "block3", "block4")}
    assert pairs == {"input": "input", "block1": "stem", "block2": "stage2", "block3": "stage3", "block4": "stage4"}
    without_stem = [record for record in records if record.key.split != "stem"]
    assert verdict(*without_stem, split="block1").split == "stage3"
    assert verdict(*without_stem, split="block3").verdict == "not comparable"


def test_points_of_other_systems_stand_beside_pictures_of_their_size_only() -> None:
    at_size = jpeg("input", 1, 0.0, raw_bytes=4.0 * 3 * 224 * 224)
    points = paper.comparable_points([at_size])
    assert {point.metric for point in points} == {"top-1"}
    assert len(points) == 29
    assert paper.comparable_points([jpeg("input", 1, 0.0)]) == ()
    assert paper.comparable_points([jpeg("stem", 1, 0.0, raw_bytes=4.0 * 3 * 224 * 224)]) == ()


def test_without_an_input_split_the_features_still_stand_side_by_side() -> None:
    record = jpeg("stem", 1, 0.0)
    assert verdict(record).verdict == "not comparable"
    assert verdict(record, split="block1").verdict == "reproduced"


def test_what_these_records_lack_is_not_comparable() -> None:
    records = [jpeg("input", 1, 0.0), make_record("stem", "other")]
    lacking = verdict(*records, system="DeepCOD")
    assert (lacking.verdict, lacking.row, lacking.reason) == (
        "not comparable", "", "no row of these records is this system",
    )  # fmt: skip
    assert verdict(*records, split="block1").reason == "not measured at this split point"


def test_a_metric_where_less_is_better_stands_beside_table_2() -> None:
    found = paper.compare_with_paper([jpeg("input", 12, 0.1, higher_is_better=False)])
    assert found is not None
    assert found.published.metric == "WER"
    comparison = next(c for c in found.comparisons if (c.system, c.published.split) == ("Offload-Lossy", "input"))
    assert comparison.verdict == "reproduced"
    assert found.counts("Offload-Lossy", JPEG)["not comparable"] == 5


def test_a_metric_of_another_unit_is_not_comparable() -> None:
    record = jpeg("input", 1, 0.0)
    assert record.task is not None
    other = record.model_copy(update={"task": record.task.model_copy(update={"unit": "dB"})})
    assert verdict(other).reason == "the metric top-1 is in another unit than the published one"


def test_every_system_of_the_paper_has_its_place() -> None:
    for published in published_tables():
        assert set(published.rows) == set(paper.OUR_ROWS)


def test_nothing_measured_is_no_comparison() -> None:
    assert paper.compare_with_paper([make_record(status="failed")]) is None
