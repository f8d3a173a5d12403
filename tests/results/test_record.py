"""Records are read for ever: what an older version wrote loads, what a newer one wrote is refused by name."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.factories import make_digests, make_record, undefined
from support.paths import DATA

from codecbench.errors import DataError
from codecbench.results.record import SCHEMA, IsolationLevel, NewerSchemaError, Record, Task, parse


@pytest.mark.parametrize("path", sorted(DATA.glob("record-v[1-4].json")), ids=lambda path: path.stem)
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
    assert parse(text, "x.json") == record.with_digest()


def test_a_record_of_schema_1_has_no_samples_of_the_timing_pass() -> None:
    assert parse((DATA / "record-v1.json").read_text(), "v1").timed is None
    kept = parse((DATA / "record-v2.json").read_text(), "v2").timed
    assert kept is not None
    assert len(kept.head_s) == len(kept.payload_bytes) == 24


@pytest.mark.parametrize("schema", [1, 2])
def test_an_older_record_does_not_know_its_isolation_and_has_no_digests(schema: int) -> None:
    record = parse((DATA / f"record-v{schema}.json").read_text(), "old")
    where = record.provenance
    assert (where.isolation, where.isolation_detail, where.mixed_plugin) == ("unknown", "", False)
    assert (record.digests, record.digest) == (None, None)


def test_a_record_of_schema_3_has_its_isolation_and_digests() -> None:
    record = parse((DATA / "record-v3.json").read_text(), "v3")
    where = record.provenance
    assert (where.isolation, where.isolation_detail, where.mixed_plugin) == ("audit", "audit hook", False)
    assert record.digests is not None
    assert [(found.subset, found.sample_id) for found in record.digests.samples] == [
        *(("test", 2000 + n) for n in range(8)), *(("choice", 1000 + n) for n in range(8)),
    ]  # fmt: skip
    assert record.digests.payloads == json.loads((DATA / "record-v3.json").read_text())["digests"]["payloads"]


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_an_older_record_knows_no_source_and_data_of_its_workload_and_describes_no_codec(schema: int) -> None:
    record = parse((DATA / f"record-v{schema}.json").read_text(), "old")
    assert (record.workload, record.description, record.frames) == (None, "", [])


def test_a_record_of_schema_4_has_its_workload_and_describes_its_codec() -> None:
    record = parse((DATA / "record-v4.json").read_text(), "v4")
    assert record.workload is not None
    assert {len(digest) for digest in (record.workload.source_hash, record.workload.data_hash)} == {64}
    assert (record.workload.budget, record.workload.training_s, record.workload.training_note) == (1.0, None, "")
    assert record.description == "Behaves: the values as float32, or rounded to float16."
    assert record.frames == []
    assert record.others == []


def test_a_record_of_schema_5_has_several_metrics() -> None:
    record = parse((DATA / "record-v5.json").read_text(), "v5")
    assert record.task is not None
    assert (record.task.metric, record.task.scale, record.task.test) == ("top-1", 100.0, "mcnemar")
    assert [(other.metric, other.scale, other.test) for other in record.others] == [
        ("probability", 1.0, "paired-bootstrap"), ("AUC", None, "paired-bootstrap"),
    ]  # fmt: skip
    assert record.two_looks is None


def test_a_record_of_schema_6_has_the_full_model_with_two_looks() -> None:
    record = parse((DATA / "record-v6.json").read_text(), "v6")
    assert record.two_looks is not None
    assert record.task is not None
    assert record.two_looks.value is not None
    assert record.task.uncompressed is not None
    assert record.two_looks.change == pytest.approx(record.two_looks.value - record.task.uncompressed)
    assert record.cost is not None
    assert record.cost.decoder_flop is None


def test_a_record_of_schema_7_counts_the_operations_of_the_decoder() -> None:
    record = parse((DATA / "record-v7.json").read_text(), "v7")
    assert record.cost is not None
    assert record.cost.decoder_flop == 55_296
    assert record.to_text() == (DATA / "record-v7.json").read_text()


@pytest.mark.parametrize("path", sorted(DATA.glob("record-v*.json")), ids=lambda path: path.stem)
def test_a_historic_record_that_is_written_again_gets_a_digest_and_stays(path: Path) -> None:
    record = parse(path.read_text(), path.name)
    again = parse(record.to_text(), path.name)
    assert again == record.with_digest()
    assert again.to_text() == record.to_text()


def test_the_digest_is_of_the_canonical_json_of_everything_else() -> None:
    values = json.loads(make_record().to_text())
    digest = values.pop("digest")
    assert digest == hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


CHANGED = r"x\.json was changed after it was written: its digest is another one; delete it and run again$"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("task.value", 90.6),
        ("provenance.isolation", "kernel"),
        ("key.point.quality", 50.0),
        ("digest", "0" * 64),
        ("digest", None),
    ],
)
def test_a_record_that_was_changed_by_hand_is_refused(place: str, value: object) -> None:
    values = json.loads(make_record(point={"quality": 50}, isolation="audit").to_text())
    *groups, name = place.split(".")
    group = functools.reduce(dict.__getitem__, groups, values)
    group[name] = value
    with pytest.raises(DataError, match=CHANGED):
        parse(json.dumps(values), "x.json")


def test_a_record_that_lost_its_digest_is_refused() -> None:
    values = json.loads(make_record().to_text())
    del values["digest"]
    with pytest.raises(DataError, match=CHANGED):
        parse(json.dumps(values), "x.json")


def test_another_order_and_other_spaces_are_no_change() -> None:
    record = make_record()
    values = json.loads(record.to_text())
    assert parse(json.dumps(dict(reversed(values.items()))), "x.json") == record


finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.booleans() | st.integers(-(2**60), 2**60) | finite | st.text(max_size=8)


@given(
    point=st.dictionaries(st.text(max_size=8), scalars, max_size=4),
    reason=st.none() | st.text(),
    change=finite,
    isolation=st.sampled_from(get_args(IsolationLevel)),
    mixed_plugin=st.booleans(),
    payload=st.none() | st.binary(max_size=8),
)
def test_every_record_survives_writing_and_reading_twice(
    point: dict[str, Any], reason: str | None, change: float, isolation: IsolationLevel, mixed_plugin: bool,
    payload: bytes | None,
) -> None:  # fmt: skip
    digests = None if payload is None else make_digests(payload)
    record = make_record(point=point, change=change, isolation=isolation, mixed_plugin=mixed_plugin, digests=digests)
    record = record.model_copy(update={"reason": reason}).with_digest()
    once = parse(record.to_text(), "x.json")
    assert once == record
    assert parse(once.to_text(), "x.json").to_text() == record.to_text()


def test_a_metric_that_is_undefined_survives_as_null() -> None:
    record = undefined(make_record())
    text = record.to_text()
    assert '"change": null' in text
    assert parse(text, "x.json") == record.with_digest()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_record_holds_a_number_that_is_not_finite(number: float) -> None:
    record = make_record()
    assert record.task is not None
    with pytest.raises(ValidationError, match="finite number"):
        Task(**{**record.task.model_dump(), "value": number})
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.model_copy(update={"task": record.task.model_copy(update={"value": number})}).to_text()


def test_a_record_of_schema_3_loses_what_had_no_meaning() -> None:
    values = json.loads((DATA / "record-v3.json").read_text())
    for name in ("value", "low", "high", "change", "change_low", "change_high"):
        values["task"][name] = math.nan
    values["choice"]["change"] = math.inf
    del values["digest"]
    values["digest"] = hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    record = parse(json.dumps(values), "x.json")
    assert record.task is not None
    assert record.choice is not None
    assert (record.task.value, record.task.change, record.task.p_value) == (None, None, None)
    assert record.task.uncompressed == values["task"]["uncompressed"]
    assert record.choice.change is None


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
