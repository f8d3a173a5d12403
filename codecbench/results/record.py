"""The versioned record of one cell, as stored in one JSON file beside its per-sample Parquet columns."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codecbench.errors import DataError

SCHEMA = 2

_NUMBERS = re.compile(r"\[\n\s*((?:[-+.\deE]+,\s*)*[-+.\deE]+)\s*\]")
"""A list of numbers as `json.dumps` indents it. (A string holds no line break.)"""


class NewerSchemaError(DataError):
    """A record that a later codecbench wrote. It must not be overwritten."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(_Group):
    """The name of the cell; see `codecbench.results.cell.CellKey`."""

    workload: str
    split: str
    codec: str
    codec_version: int
    point: dict[str, bool | int | float | str]
    seed: int
    sample_set: str


class TensorGroup(_Group):
    """The tensor that crosses. An axis of None varies; `raw_bytes` is then the mean over the test samples."""

    shape: list[int | None]
    dtype: str
    raw_bytes: float


class PayloadBytes(_Group):
    """Bytes of one message over the test samples."""

    mean: float
    median: float
    p95: float
    min: int
    max: int


class Size(_Group):
    """Bytes that cross (`payload_bytes`), and bytes that both sides hold beforehand.

    `estimated_bytes` is the mean Shannon bound of the payloads, where the codec gives one: a yardstick, never a size.
    """

    payload_bytes: PayloadBytes
    device_state_bytes: int
    edge_state_bytes: int
    estimated_bytes: float | None = None


class Seconds(_Group):
    """Seconds of one step over n samples, one at a time."""

    median: float
    p95: float
    n: int


class Time(_Group):
    """Seconds a sample, on one thread unless provenance says otherwise; `fit_s` once, null where nothing is fitted."""

    head_s: Seconds
    encode_s: Seconds
    decode_s: Seconds
    tail_s: Seconds
    fit_s: float | None = None


class Timed(_Group):
    """The timing pass, sample by sample: all lists are in the same order, so a sample's own steps can be summed."""

    payload_bytes: list[int]
    head_s: list[float]
    encode_s: list[float]
    decode_s: list[float]
    tail_s: list[float]


class Cost(_Group):
    """On-device cost of one sample. Null means not countable, never zero.

    `head_peak_bytes` is the greatest sum of live tensor storage while the head runs, `encoder_peak_bytes` the growth
    of a fresh process while it encodes once more, `device_peak_bytes` the greater of the two.
    """

    head_flop: int | None
    encoder_flop: int | None
    encoder_parameters: int | None
    head_peak_bytes: int | None
    encoder_peak_bytes: int | None
    device_peak_bytes: int | None


class Task(_Group):
    """The metric on the test samples, beside the uncompressed model on the same samples.

    `value` is scale * sum(numerators) / sum(denominators) over the per-sample columns; `decimals` is for tables.
    `low` and `high` bound the value, `change_low` and `change_high` its paired change (value - uncompressed): 95 %
    bootstrap intervals. `p_value` tests that change against none: McNemar's exact test where the metric is right or
    wrong, else a paired bootstrap.
    """

    metric: str
    unit: str
    higher_is_better: bool
    scale: float
    decimals: int
    value: float
    uncompressed: float
    low: float
    high: float
    n: int
    change: float
    change_low: float
    change_high: float
    p_value: float
    test: Literal["mcnemar", "paired-bootstrap"]


class Choice(_Group):
    """The same metric on the held-out training samples, on which an operating point is chosen for a budget."""

    sample_set: str
    payload_mean_bytes: float
    value: float
    uncompressed: float
    change: float
    change_low: float
    change_high: float
    n: int


class Quality(_Group):
    """Means over the test images at an image input, by scikit-image.

    `psnr_db` leaves out images that came through exactly, and is null where all did.
    """

    psnr_db: float | None
    ssim: float


class Samples(_Group):
    """The per-sample columns: a Parquet file beside the record, its checksum and its rows."""

    file: str
    sha256: str
    rows: int


class Provenance(_Group):
    """The facts needed to make the record again. Never a host name, a user name or an absolute path."""

    codecbench: str
    plugin: str
    source_hash: str
    weights_hash: str
    python: str
    packages: dict[str, str]
    cpu: str
    cores: int
    threads: int
    torch_device: str
    os: str
    git: str | None
    dirty: bool | None
    command: str
    started_utc: str


class Record(_Group):
    """One cell's outcome. `ok` carries every measured group; `skipped` and `failed` carry a reason.

    `row` is the row of a table in which the cell's point competes; see `codecbench.results.cell.row_label`. `timed` is
    null where the record was made under schema 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: int = Field(default=SCHEMA, alias="schema")
    cell: str
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    key: Key
    row: str
    tensor: TensorGroup | None = None
    size: Size | None = None
    time: Time | None = None
    timed: Timed | None = None
    cost: Cost | None = None
    task: Task | None = None
    choice: Choice | None = None
    quality: Quality | None = None
    samples: Samples | None = None
    provenance: Provenance

    def to_text(self) -> str:
        """The record as JSON text, one field a line, ending in a newline."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=1)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def parse(text: str, label: str) -> Record:
    """A record from its JSON text, upgraded where its schema is older. `label` names it in errors.

    Raises DataError for a newer schema, or text that is no record.
    """
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{label} is not JSON ({error}); delete it and run again") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise DataError(f"{label} has no integer 'schema'; it is no codecbench record")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{label} has schema {schema}, newer than this codecbench reads ({SCHEMA}); upgrade codecbench"
        )
    for older in range(schema, SCHEMA):
        values = _UPGRADES[older](values)
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{label}: field {place!r}: {first['msg']}; delete it and run again") from error


def _from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 kept medians and 95th percentiles of the times, not each sample's."""
    return {**values, "schema": 2, "timed": None}


_UPGRADES = {1: _from_1}
