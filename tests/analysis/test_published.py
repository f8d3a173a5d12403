"""The paper's numbers, and those of other systems."""

import pytest

from codecbench.analysis.published import published_points, published_tables


def test_every_published_row_is_there() -> None:
    assert sum(len(published.entries) for published in published_tables()) == 66


def test_points_of_other_systems_say_what_they_count_and_lose() -> None:
    points = published_points()
    assert len(points) == 58
    assert {point.system for point in points} == {"edge-cloud-rac", "ladon"}
    (point,) = [p for p in points if p.payload_bytes == 4497.1 and p.metric == "top-5"]
    assert (point.model, point.accounting) == ("ResNet-50 (torchvision V1)", "bits per pixel of its result files")
    assert point.change == pytest.approx(92.064 - 92.862)
    assert {p.change for p in points if p.metric == "AP"} == {None}
    assert all("pickled" in p.accounting for p in points if p.system == "ladon")
