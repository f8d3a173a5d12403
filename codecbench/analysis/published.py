"""Published numbers: Tables 1, 2 and 4 of the paper (Yao et al., SenSys 2020), and points of other open systems."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from codecbench.analysis.budget import Entry


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper; `entries` holds one entry for every pair of a row and a split."""

    number: int
    workload: str
    metric: str
    unit: str
    decimals: int
    higher_is_better: bool
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]

    @property
    def title(self) -> str:
        """The table's title: its model and dataset, and its number in the paper."""
        source = f"Yao et al., SenSys 2020, Table {self.number}"
        return f"As published, another model and dataset: {self.workload} ({source})"


class PublishedTraining(NamedTuple):
    """Training hours of DeepCOD with their deviation, and training hours of the model itself (Table 4)."""

    dataset: str
    codec_h: float
    deviation_h: float
    model_h: float


@dataclass(frozen=True)
class PublishedPoint:
    """A rate-accuracy point that another project has published. Nothing of it was measured here.

    `uncompressed` is the metric of its model without a codec, None where it is not stated; `accounting` says what its
    bytes count.
    """

    system: str
    variant: str
    model: str
    data: str
    payload_bytes: float
    metric: str
    value: float
    uncompressed: float | None
    accounting: str
    source: str

    @property
    def change(self) -> float | None:
        """The metric less that of the uncompressed model."""
        return None if self.uncompressed is None else self.value - self.uncompressed


PUBLISHED_TRAININGS = (
    PublishedTraining("ImageNet", 4.8, 0.8, 134.0),
    PublishedTraining("LibriSpeech", 1.6, 0.3, 23.0),
)


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Returns Tables 1 and 2: one metric where higher is better, and one where lower is better."""
    lines = _lines("paper_tables.csv")
    return (
        _table(lines, 1, "ResNet-50 on ImageNet", "top-5", "%", decimals=1, higher_is_better=True),
        _table(lines, 2, "DeepSpeech on LibriSpeech", "WER", "", decimals=3, higher_is_better=False),
    )


@cache
def published_points() -> tuple[PublishedPoint, ...]:
    """Returns the points of other systems, on pictures of ImageNet and COCO."""
    return tuple(
        PublishedPoint(
            **{name: line[name] for name in ("system", "variant", "model", "data", "metric", "accounting", "source")},
            payload_bytes=float(line["payload_bytes"]),
            value=float(line["value"]),
            uncompressed=float(line["uncompressed"]) if line["uncompressed"] else None,
        )
        for line in _lines("published_points.csv")
    )


def _lines(name: str) -> list[dict[str, str]]:
    content = files("codecbench").joinpath("analysis/data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(content)))


def _table(
    lines: Iterable[Mapping[str, str]],
    number: int,
    workload: str,
    metric: str,
    unit: str,
    *,
    decimals: int,
    higher_is_better: bool,
) -> PublishedTable:
    found = [line for line in lines if line["table"] == str(number)]
    return PublishedTable(
        number=number,
        workload=workload,
        metric=metric,
        unit=unit,
        decimals=decimals,
        higher_is_better=higher_is_better,
        splits=tuple(dict.fromkeys(line["split"] for line in found)),
        rows=tuple(dict.fromkeys(line["codec"] for line in found)),
        entries={(line["codec"], line["split"]): _entry(line) for line in found},
    )


def _entry(line: Mapping[str, str]) -> Entry:
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
