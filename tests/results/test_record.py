"""Records are read for ever: what an older version wrote loads, what a newer one wrote is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.factories import make_record
from support.paths import DATA

from codecbench.errors import DataError
from codecbench.results.record import SCHEMA, NewerSchemaError, Record, parse


@pytest.mark.parametrize("path", sorted(DATA.glob("record-v*.json")), ids=lambda path: path.stem)
def test_a_historic_record_loads_for_ever(path: Path) -> None:
    record = parse(path.read_text(), path.name)
    assert record.schema_ == SCHEMA
    assert record.status == "ok"
    assert record.task is not None
    assert record.size is not None
    assert (record.key.codec, record.key.point, record.task.n) == ("steady", {"bits": 16}, 64)
    assert record.size.payload_bytes.mean == 384.0


def test_there_is_a_historic_record_of_every_schema() -> None:
    assert [path.stem for path in sorted(DATA.glob("record-v*.json"))] == [f"record-v{n + 1}" for n in range(SCHEMA)]


@pytest.mark.parametrize("status", ["ok", "skipped", "failed"])
def test_a_record_survives_its_text(status: str) -> None:
    record = make_record(point={"quality": 50, "tables": "shared", "scale": 1.0, "fast": True}, status=status)
    text = record.to_text()
    assert text.endswith("}\n")
    assert json.loads(text)["schema"] == SCHEMA
    assert parse(text, "x.json") == record
    # The kinds of a point's values survive too: 1.0 is no 1, and True is no 1.
    assert [type(v) for v in parse(text, "x.json").key.point.values()] == [int, str, float, bool]


def test_a_list_of_numbers_takes_one_line_and_a_text_that_looks_like_one_is_left_alone() -> None:
    record = make_record().model_copy(update={"reason": "levels [\n 1,\n 2\n] and [ 1 ]"})
    text = record.to_text()
    assert record.timed is not None
    assert f'"payload_bytes": {record.timed.payload_bytes}' in text
    assert '"shape": [3, 4, 4]' in text
    assert parse(text, "x.json") == record


def test_a_record_of_schema_1_has_no_samples_of_the_timing_pass() -> None:
    assert parse((DATA / "record-v1.json").read_text(), "v1").timed is None
    kept = parse((DATA / "record-v2.json").read_text(), "v2").timed
    assert kept is not None
    assert len(kept.head_s) == len(kept.payload_bytes) == 24


def test_a_metric_that_is_undefined_survives() -> None:
    record = make_record()
    assert record.task is not None
    task = record.task.model_copy(update={"value": math.nan})
    again = parse(record.model_copy(update={"task": task}).to_text(), "x.json")
    assert again.task is not None
    assert math.isnan(again.task.value)


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(make_record().to_text()), **changes})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", r"x\.json is not JSON \(.*\); delete it and run again"),
        ("[]", r"x\.json has no integer 'schema'; it is no codecbench record"),
        ("{}", r"x\.json has no integer 'schema'"),
        (changed(schema=0), r"x\.json has no integer 'schema'"),
        (changed(schema="1"), r"x\.json has no integer 'schema'"),
        (changed(status="fine"), r"x\.json: field 'status': .*; delete it and run again"),
        (changed(surprise=1), r"x\.json: field 'surprise': "),
        (changed(key={}), r"x\.json: field 'key\.workload': "),
    ],
)
def test_what_is_no_record_is_named_with_the_field(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        parse(text, "x.json")
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused() -> None:
    reason = rf"x\.json has schema {SCHEMA + 1}, newer than this codecbench reads \({SCHEMA}\); upgrade codecbench"
    with pytest.raises(NewerSchemaError, match=reason):
        parse(changed(schema=SCHEMA + 1), "x.json")


def test_records_do_not_change() -> None:
    with pytest.raises(ValidationError):
        make_record().cell = "0"  # type: ignore[misc]


def test_unknown_fields_are_refused_when_a_record_is_made() -> None:
    with pytest.raises(ValidationError):
        Record(**{**make_record().model_dump(by_alias=True), "host": "here"})
