"""The paper's published numbers (Yao et al., SenSys 2020): Tables 1 and 2, and the training hours of Table 4."""

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


PUBLISHED_TRAININGS = (
    PublishedTraining("ImageNet", 4.8, 0.8, 134.0),
    PublishedTraining("LibriSpeech", 1.6, 0.3, 23.0),
)


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Returns Tables 1 and 2: one metric where higher is better, and one where lower is better."""
    content = files("codecbench").joinpath("analysis/data/paper_tables.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(content)))
    return (
        _table(lines, 1, "ResNet-50 on ImageNet", "top-5", "%", decimals=1, higher_is_better=True),
        _table(lines, 2, "DeepSpeech on LibriSpeech", "WER", "", decimals=3, higher_is_better=False),
    )


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
