"""The flat table of all records."""

import csv
import json
from pathlib import Path

import pytest
from support.factories import make_digests, make_group, make_record

from codecbench.errors import UsageError
from codecbench.results import export
from codecbench.results.record import SCHEMA

RECORDS = [
    make_record(point={"quality": 50, "tables": "shared"}, payload_bytes=123.5),
    make_record(codec="beta", status="skipped", reason='needs "an image", got (64,)'),
]


def test_csv_has_a_row_a_cell(tmp_path: Path) -> None:
    assert export.export(RECORDS, tmp_path / "all.csv") == 2
    with (tmp_path / "all.csv").open(newline="") as stream:
        ok, skipped = csv.DictReader(stream)
    assert (ok["key_codec"], ok["status"], ok["schema"]) == ("alpha", "ok", str(SCHEMA))
    assert float(ok["size_payload_bytes_mean"]) == 123.5
    assert json.loads(ok["key_point"]) == {"quality": 50, "tables": "shared"}
    assert json.loads(ok["tensor_shape"]) == [3, 4, 4]
    assert (skipped["reason"], skipped["task_value"]) == ('needs "an image", got (64,)', "")


def test_isolation_and_digests_have_columns(tmp_path: Path) -> None:
    digests = make_digests(samples=2)
    records = [make_record(isolation="audit", mixed_plugin=True, digests=digests), make_record("stem")]
    export.export(records, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as stream:
        full, without = csv.DictReader(stream)
    names = ("provenance_isolation", "provenance_isolation_detail", "provenance_mixed_plugin")
    assert [full[name] for name in names] == ["audit", "audit hook", "True"]
    assert full["digests_payloads"] == digests.payloads
    assert [found["sample_id"] for found in json.loads(full["digests_samples"])] == [0, 1]
    assert full["digest"] == records[0].digest
    assert (without["provenance_isolation"], without["digests_payloads"], without["digests_samples"]) == (
        "kernel", "", "",
    )  # fmt: skip


def test_the_hashes_that_tell_groups_of_records_apart_have_columns(tmp_path: Path) -> None:
    records = [make_record(made_by=make_group(data_hash="4" * 64), description="Nothing but rounding."), make_record()]
    export.export(records, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as stream:
        known, unknown = csv.DictReader(stream)
    names = ("provenance_weights_hash", "provenance_source_hash", "workload_source_hash", "workload_data_hash")
    assert [known[name] for name in names] == ["1" * 64, "0" * 64, "2" * 64, "4" * 64]
    assert [unknown[name] for name in names] == ["1" * 64, "0" * 64, "", ""]
    assert (known["workload_budget"], known["description"]) == ("1.0", "Nothing but rounding.")


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    assert export.export(RECORDS, tmp_path / "all.parquet") == 2
    table = pq.read_table(tmp_path / "all.parquet")
    assert {str(table.schema.field(name).type) for name in ("task_n", "cost_encoder_flop")} == {"int64"}
    for name in ("provenance_dirty", "provenance_mixed_plugin"):
        assert str(table.schema.field(name).type) == "bool"
    ok, skipped = table.to_pylist()
    assert ok["task_value"] == 90.5
    assert skipped["task_value"] is None
    assert skipped["row"] == "beta"


def test_columns_do_not_depend_on_the_records(tmp_path: Path) -> None:
    for records, name in ((RECORDS, "a.csv"), (RECORDS[1:], "b.csv"), ([], "c.csv")):
        export.export(records, tmp_path / name)
    headers = {(tmp_path / name).read_text().split("\n")[0] for name in ("a.csv", "b.csv", "c.csv")}
    assert headers == {",".join(export.columns())}


def test_every_field_of_a_record_has_its_column() -> None:
    def leaves(values: dict, prefix: str = "") -> list[str]:
        found = []
        for name, value in values.items():
            nested = isinstance(value, dict) and f"{prefix}{name}" not in export.columns()
            found += leaves(value, f"{prefix}{name}_") if nested else [f"{prefix}{name}"]
        return found

    record = make_record(digests=make_digests(), made_by=make_group()).model_dump(
        by_alias=True, exclude={"quality", "samples", "two_looks"}
    )
    assert set(leaves(record)) <= set(export.columns())


@pytest.mark.parametrize("name", ["all.xlsx", "all", "csv"])
def test_another_ending_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"'{name}': the file name must end in \.csv or \.parquet"):
        export.export(RECORDS, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot write") as caught:
        export.export(RECORDS, tmp_path / "missing" / name)
    assert "\n" not in str(caught.value)
