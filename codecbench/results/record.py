"""The versioned record of one cell: a JSON file, beside a Parquet file with per-sample columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codecbench.errors import DataError
from codecbench.results.cell import digest as canonical_digest
from codecbench.system.textfiles import without_mark
from codecbench.workload import Subset

SCHEMA = 7

IsolationLevel: TypeAlias = Literal["kernel", "partial", "audit", "unknown"]
"""The means that kept codec code in its process, strongest first.

"kernel": Landlock, seccomp and the audit hook; "partial": a part of them; "audit": the audit hook alone; "unknown": the
record was made before schema 3.
"""

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""

_FIRST_WITH_DIGEST = 3
"""The first schema whose records hold their own digest."""

_NUMBERS = re.compile(r"\[\n\s*((?:[-+.\deE]+,\s*)*[-+.\deE]+)\s*\]")
"""A list of numbers as `json.dumps` indents it. (JSON strings contain no line breaks, so none can match.)"""


class NewerSchemaError(DataError):
    """A record that a later codecbench wrote. It must not be overwritten."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Key(_Group):
    """The key of the cell; see `codecbench.results.cell.CellKey`."""

    workload: str
    split: str
    codec: str
    codec_version: int
    point: dict[str, bool | int | float | str]
    seed: int
    sample_set: str


class WorkloadGroup(_Group):
    """The workload that made the record, and what tables need of it.

    `source_hash` is of its source, `data_hash` of inputs and targets of a fixed few samples. `budget` is the usual
    accepted loss, in the metric's unit; `training_s` the seconds of the training of the model, null if unknown.
    """

    source_hash: str
    data_hash: str
    budget: float
    training_s: float | None
    training_note: str


class TensorGroup(_Group):
    """The tensor that the codec carries. If an axis varies (None), `raw_bytes` is the mean over the test samples."""

    shape: list[int | None]
    dtype: str
    raw_bytes: float


class PayloadBytes(_Group):
    """Statistics of the payload sizes in bytes, over the test samples."""

    mean: float
    median: float
    p95: float
    min: int
    max: int


class Size(_Group):
    """Bytes that are sent (`payload_bytes`), and bytes of the states that both sides have before.

    `estimated_bytes` is the mean Shannon bound of the payloads, if the codec gives one: for comparison, never a size.
    """

    payload_bytes: PayloadBytes
    device_state_bytes: int
    edge_state_bytes: int
    estimated_bytes: float | None = None


class Seconds(_Group):
    """Seconds of one step for one sample: median and 95th percentile over n samples."""

    median: float
    p95: float
    n: int


class Time(_Group):
    """Seconds for one sample, on the threads that `provenance` states; `fit_s` of the whole fit, null without a fit."""

    head_s: Seconds
    encode_s: Seconds
    decode_s: Seconds
    tail_s: Seconds
    fit_s: float | None = None


class Timed(_Group):
    """The timing pass, sample by sample. All lists are in the same order, so the steps of a sample can be summed."""

    payload_bytes: list[int]
    head_s: list[float]
    encode_s: list[float]
    decode_s: list[float]
    tail_s: list[float]


class Cost(_Group):
    """The cost for one sample, on the device but for the decoder. Null means not countable, never zero.

    `decoder_flop` is null, too, if the record was written before schema 7. `head_peak_bytes` is the peak of the live
    tensor storage while the head runs, `encoder_peak_bytes` the memory growth of a forked process during its second
    encode, `device_peak_bytes` the larger of the two.
    """

    head_flop: int | None
    encoder_flop: int | None
    encoder_parameters: int | None
    head_peak_bytes: int | None
    encoder_peak_bytes: int | None
    device_peak_bytes: int | None
    decoder_flop: int | None


class Task(_Group):
    """A metric on the test samples, with and without compression.

    `value` of a ratio metric is scale * sum(numerators) / sum(denominators) over the per-sample columns; a set metric
    has the `scale` null. `uncompressed` is the same for the full model. `decimals` is for tables. `low` and `high` are
    the 95 % bootstrap interval of the value, `change_low` and `change_high` that of the paired change
    (value - uncompressed). `p_value` is for the hypothesis of no change: McNemar's exact test for a binary metric, else
    a paired bootstrap. Null is a number without meaning: the denominators sum to 0, an outcome is not a finite number,
    or a set metric gives none. The change and `p_value` are null with either value.
    """

    metric: str
    unit: str
    higher_is_better: bool
    scale: float | None
    decimals: int
    value: float | None
    uncompressed: float | None
    low: float | None
    high: float | None
    n: int
    change: float | None
    change_low: float | None
    change_high: float | None
    p_value: float | None
    test: Literal["mcnemar", "paired-bootstrap"]


class TwoLooks(_Group):
    """The deciding metric of the full model with two looks at each test image, as in `Task`.

    Its scores for the image and for the mirror image are averaged; `change` is from its scores for the image alone.
    """

    value: float | None
    low: float | None
    high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None


class Choice(_Group):
    """The deciding metric on the choice samples: training samples that no fit uses, for choosing operating points.

    Null as in `Task`.
    """

    sample_set: str
    payload_mean_bytes: float
    value: float | None
    uncompressed: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    n: int


class Quality(_Group):
    """Mean PSNR and SSIM over the test images, for codecs of an image input, as scikit-image defines them.

    `psnr_db` excludes images that are reproduced exactly, and is null if all are. `ssim` is null if it is not finite.
    """

    psnr_db: float | None
    ssim: float | None


class Samples(_Group):
    """The Parquet file of the per-sample columns, beside the record, with its checksum and number of rows."""

    file: str
    sha256: str
    rows: int


class SampleDigest(_Group):
    """One sample's digests: of its payload, and of the decoded tensor's little-endian row-major bytes."""

    sample_id: int | str
    subset: Subset
    payload: Sha256
    tensor: Sha256


class Digests(_Group):
    """Digests with which anybody can encode again and compare.

    `payloads` is over the payloads of all test samples, then of all choice samples, see
    `codecbench.results.digests.PayloadChain`; `samples` has up to 16 samples.
    """

    payloads: Sha256
    samples: list[SampleDigest]


class Provenance(_Group):
    """The facts that are needed to reproduce the record. Never a host name, a user name or an absolute path.

    `isolation_detail` is one line, empty if unknown. With `mixed_plugin` the codec's file also registers the workload,
    so it was loaded in the model's processes too.
    """

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
    isolation: IsolationLevel
    isolation_detail: str
    mixed_plugin: bool


class Record(_Group):
    """The record of one cell. With status `ok` it has all measured groups; with `skipped` and `failed` a reason.

    `row` is the table row of the cell's point; see `codecbench.results.cell.row_label`. `description` is the first
    paragraph of the codec's docstring; it is empty, and `workload` null, if the record was written before schema 4.
    `task` is the metric that decides, `others` are the other ones of the workload. `two_looks` is null where the input
    is no image, or the outputs are no scores of classes.
    `frames` are the lines of the plugin's own code where a cell failed, outermost first: file name, line number,
    function, code. `timed` is null if the record was written with schema 1. `digest` is of the record's own text as it
    was read: null until it is written, and in records of schema 1 and 2.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_: int = Field(default=SCHEMA, alias="schema")
    cell: str
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    key: Key
    row: str
    description: str = ""
    frames: list[str] = []
    workload: WorkloadGroup | None = None
    tensor: TensorGroup | None = None
    size: Size | None = None
    time: Time | None = None
    timed: Timed | None = None
    cost: Cost | None = None
    task: Task | None = None
    others: list[Task] = []
    two_looks: TwoLooks | None = None
    choice: Choice | None = None
    quality: Quality | None = None
    samples: Samples | None = None
    digests: Digests | None = None
    provenance: Provenance
    digest: Sha256 | None = None

    def with_digest(self) -> Record:
        """Return the record with its own digest, as it is written and read again."""
        return self.model_copy(update={"digest": _own_digest(self.model_dump(mode="json", by_alias=True))})

    def to_text(self) -> str:
        """Return the record as JSON text with its own digest, one field on each line, with a newline at the end."""
        text = json.dumps(self.with_digest().model_dump(mode="json", by_alias=True), indent=1, allow_nan=False)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def parse(text: str, label: str) -> Record:
    """Parse the JSON text of a record, and upgrade an older schema. `label` names the record in errors.

    Raises NewerSchemaError for a newer schema, and DataError if the text is not a record or was changed after it was
    written.
    """
    try:
        values: Any = json.loads(without_mark(text))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{label} is not JSON ({error}); delete it and run again") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise DataError(f"{label} has no integer 'schema'; it is no codecbench record")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{label} has schema {schema}, newer than this codecbench reads ({SCHEMA}); upgrade codecbench"
        )
    written = values
    for older in range(schema, SCHEMA):
        values = _UPGRADES[older](values)
    try:
        record = Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{label}: field {place!r}: {first['msg']}; delete it and run again") from error
    has_digest = schema >= _FIRST_WITH_DIGEST or "digest" in written
    if has_digest and written.get("digest") != _own_digest(written):
        raise DataError(f"{label} was changed after it was written: its digest is another one; delete it and run again")
    return record


def _own_digest(values: dict[str, Any]) -> str:
    """Return the digest of a record from its plain values, without the field of the digest itself."""
    return canonical_digest({name: value for name, value in values.items() if name != "digest"})


def _with(schema: int, field: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the upgrade to a schema that has one field more, from one that did not know it."""
    return lambda values: {**values, "schema": schema, field: value}


def _from_2(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade from schema 2, which had no digests and did not tell what kept codec code in its process."""
    unknown = {"isolation": "unknown", "isolation_detail": "", "mixed_plugin": False}
    provenance = values.get("provenance")
    if isinstance(provenance, dict):
        provenance = {**provenance, **unknown}
    return {**values, "schema": 3, "digests": None, "provenance": provenance, "digest": None}


def _from_3(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade from schema 3, which knew nothing of the workload's source and data, and described no codec.

    It also held NaN and Infinity where a metric had no meaning, with a p-value that had none either.
    """
    values = _without_nan(values)
    task = values.get("task")
    if isinstance(task, dict) and task.get("change") is None:
        values = {**values, "task": {**task, "p_value": None}}
    return {**values, "schema": 4, "description": "", "frames": [], "workload": None}


def _without_nan(value: Any) -> Any:
    """Return plain values with None in the place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _from_6(values: dict[str, Any]) -> dict[str, Any]:
    """Upgrade from schema 6, which did not count the FLOPs of decoders."""
    cost = values.get("cost")
    return {**values, "schema": 7, "cost": {**cost, "decoder_flop": None} if isinstance(cost, dict) else cost}


_UPGRADES = {
    1: _with(2, "timed", None), 2: _from_2, 3: _from_3, 4: _with(5, "others", []), 5: _with(6, "two_looks", None),
    6: _from_6,
}  # fmt: skip
