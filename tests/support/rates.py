"""Records of several operating points of a codec, by payload and change of the metric."""

from __future__ import annotations

from typing import Any

from codecbench.results.record import Record
from support.factories import make_record

LEVELS = (-8.0, -4.0, -2.0, -1.0, -0.5)


def point(level: int, payload_bytes: float, change: float, **options: Any) -> Record:
    """A point of zlib."""
    return make_record(codec="zlib", point={"level": level}, payload_bytes=payload_bytes, change=change, **options)


def curve_of(
    codec: str, sizes: list[float], changes: list[float], split: str = "input", **options: Any
) -> list[Record]:
    """One record a point."""
    return [
        make_record(split, codec, {"level": i}, payload_bytes=size, change=change, **options)
        for i, (size, change) in enumerate(zip(sizes, changes, strict=True))
    ]


def rising(scale: float = 100.0) -> list[float]:
    """Payload bytes of as many points as there are LEVELS."""
    return [scale * 1.5**i for i in range(len(LEVELS))]


def mixed() -> list[Record]:
    """An anchor `alpha`, a row that is compared with it, one of a single point, and one that failed."""
    return [
        *curve_of("alpha", rising(), [*LEVELS]), *curve_of("beta", rising(40), [*LEVELS]),
        *curve_of("alpha", rising(), [*LEVELS], split="stem"), *curve_of("raw", [1_000.0], [0.0]),
        make_record(codec="gone", status="failed"),
    ]  # fmt: skip
