"""The table of points that other systems have published."""

from __future__ import annotations

import csv
import io

from codecbench.analysis.published import published_points
from codecbench.tables import published


def test_every_point_is_a_row_with_its_change_and_what_is_counted() -> None:
    points = [point for point in published_points() if point.metric == "top-5"]
    text = published.render(points, "text", 400)
    lines = [line for line in text.splitlines() if line.startswith("edge-cloud-rac n8")]
    assert len(lines) == 7
    assert "4,497 top-5 92.1 92.9 -0.8 ResNet-50 (torchvision V1)" in " ".join(text.split())
    assert "bits per pixel of its result files" in lines[0]
    assert text.startswith("Published by other projects, not measured here")
    assert "results/ours_n8.json" in text


def test_a_model_of_unknown_accuracy_has_no_change() -> None:
    (point, *_) = [point for point in published_points() if point.metric == "AP"]
    line = next(line for line in published.render([point], "text", 400).splitlines() if line.startswith("ladon"))
    assert "24.7 - - Faster R-CNN R50-FPN" in " ".join(line.split())


def test_as_csv_nothing_is_rounded() -> None:
    points = published_points()[:3]
    found = list(csv.DictReader(io.StringIO(published.render(points, "csv"))))
    assert [float(line["payload_bytes"]) for line in found] == [point.payload_bytes for point in points]
    assert [float(line["change"]) for line in found] == [point.change for point in points]
