"""Two results folders side by side."""

import numpy as np
import pytest
from support.factories import FakeStore, make_digests, make_group, make_others, make_record, make_samples

from codecbench.errors import DataError, UsageError
from codecbench.results import statistics as stats
from codecbench.results.record import WorkloadGroup
from codecbench.tables.comparison import compare

ALL = np.ones(40)
FEWER = np.array([0] * 8 + [1] * 32)


def store(right: np.ndarray = ALL, **record: object) -> FakeStore:
    found = FakeStore()
    found.add(make_record(**record), make_samples(right))  # type: ignore[arg-type]
    return found


def words(found: str) -> str:
    return " ".join(found.split())


def test_the_same_results_do_not_differ() -> None:
    (pair,) = compare(store(), store()).pairs
    assert (pair.payload_ratio, pair.change, pair.change_low, pair.change_high, pair.p_value) == (1, 0, 0, 0, 1)
    assert (pair.encode_ratio, pair.decode_ratio) == (1, 1)


def test_a_pair_is_tested_on_its_samples() -> None:
    (pair,) = compare(store(ALL, payload_bytes=100.0), store(FEWER, payload_bytes=50.0)).pairs
    assert pair.payload_ratio == 0.5
    assert pair.change == pytest.approx(-20.0)
    assert pair.change_low < -20 < pair.change_high < 0
    assert pair.p_value == stats.mcnemar_p(ALL, FEWER) == 2 / 2**8


def test_a_ratio_of_sums_is_tested_by_the_bootstrap() -> None:
    edits = np.array([0.0, 1.0, 2.0, 1.0] * 10)
    (pair,) = compare(store(edits, higher_is_better=False), store(edits + 1, higher_is_better=False)).pairs
    assert pair.change == pytest.approx(1.0)
    assert pair.p_value == pytest.approx(2 / 2001)


def of_set(values: list[float], first_id: int = 0, **task: object) -> FakeStore:
    """A folder with a cell of a set metric: its value is the first, the others are those for resamples."""
    record, found = make_record(), FakeStore()
    assert record.task is not None
    changed = {"metric": "AP", "unit": "", "scale": None, "test": "paired-bootstrap", "value": values[0], **task}
    samples = {"subset": np.array(["test"] * 3), "sample_id": np.arange(first_id, first_id + 3)}
    found.add(
        record.model_copy(update={"task": record.task.model_copy(update=changed)}),
        {**samples, "AP": np.array(values[1:])},
    )
    return found


def test_a_set_metric_is_tested_by_its_values_for_the_same_resamples() -> None:
    (pair,) = compare(of_set([0.5, 0.4, 0.5, 0.6]), of_set([0.4, 0.3, 0.4, 0.4])).pairs
    assert (pair.change, pair.change_low, pair.change_high) == pytest.approx((-0.1, -0.195, -0.1))
    assert pair.p_value == 2 / 4
    assert "paired bootstrap, two-sided" in compare(of_set([0.5, 0.4]), of_set([0.4, 0.3])).render("text")


def test_a_set_metric_that_is_undefined_has_no_change_and_says_so() -> None:
    nothing = of_set([0.4, 0.3], value=None)
    found = compare(nothing, of_set([0.4, 0.3]))
    assert (found.pairs[0].change, found.pairs[0].p_value) == (None, None)
    assert "-: AP is undefined: it gives no finite value for these samples, so there is no" in words(
        found.render("text")
    )


def test_a_set_metric_of_other_samples_or_another_metric_is_an_error() -> None:
    with pytest.raises(DataError, match="A and B name the sample set alike"):
        compare(of_set([0.4, 0.3]), of_set([0.4, 0.3], first_id=1))
    with pytest.raises(DataError, match="toy input alpha: AP decides in A and top-1 in B; run one of them again"):
        compare(of_set([0.4, 0.3]), store())


def with_others(**values: float) -> FakeStore:
    found = FakeStore()
    record = make_record()
    found.add(record.model_copy(update={"others": make_others(record, **values)}), make_samples(ALL))
    return found


def test_the_values_of_other_metrics_stand_beside_the_deciding_one() -> None:
    text = compare(with_others(top5=98.25, auc=0.5), with_others(top5=97.0)).render("md")
    (row,) = [line for line in text.split("\n") if line.startswith("| input alpha")]
    assert [cell.strip() for cell in row.split("|")][9:13] == ["98.2", "97.0", "0.5", "-"]
    assert "top5 %" in text


def test_samples_are_matched_by_their_identifiers_and_choice_samples_are_left_out() -> None:
    right = np.array([0.0, 1.0, 1.0, 0.0])
    a, b = FakeStore(), FakeStore()
    a.add(make_record(), make_samples(right))
    turned = {name: column[::-1] for name, column in make_samples(right).items()}
    others = {**make_samples(np.zeros(3)), "subset": np.array(["choice"] * 3, dtype=object)}
    b.add(make_record(), {name: np.concatenate([column, others[name]]) for name, column in turned.items()})
    (pair,) = compare(a, b).pairs
    assert (pair.change, pair.p_value) == (0, 1)


def test_other_samples_under_one_name_are_an_error() -> None:
    a, b = FakeStore(), FakeStore()
    a.add(make_record(), make_samples(ALL))
    b.add(make_record(), make_samples(ALL, first_id=1))
    with pytest.raises(DataError, match="toy input alpha: A and B name the sample set alike"):
        compare(a, b)


def test_times_of_different_machines_are_not_compared() -> None:
    comparison = compare(store(cpu="one"), store(cpu="two", encode_s=0.002))
    assert comparison.pairs[0].encode_ratio is None
    assert "Times are not compared: A on one, 1 thread, cpu; B on two, 1 thread, cpu." in words(
        comparison.render("text")
    )
    assert compare(store(), store(encode_s=0.002)).pairs[0].encode_ratio == pytest.approx(2.0)


def test_codec_versions_are_matched_and_named_and_the_newest_counts() -> None:
    a, b = store(version=1), store(version=2)
    b.add(make_record(version=1), make_samples(FEWER))
    comparison = compare(a, b)
    assert comparison.pairs[0].b.key.codec_version == 2
    assert "alpha is version 1 in A, 2 in B." in comparison.render("text")


def test_a_changed_source_is_named() -> None:
    a, b = store(), FakeStore()
    record = make_record()
    changed = record.provenance.model_copy(update={"source_hash": "f" * 64})
    b.add(record.model_copy(update={"provenance": changed}), make_samples(ALL))
    text = compare(a, b).render("text")
    assert "The source of alpha differs between A and B." in text


def of(made_by: WorkloadGroup | None, right: np.ndarray = ALL, **provenance: str) -> FakeStore:
    return store(right, made_by=made_by, provenance=provenance)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (of(make_group(), FEWER, weights_hash="e" * 64), "weights (11111111, eeeeeeee)"),
        (of(make_group(data_hash="e" * 64), FEWER), "data (33333333, eeeeeeee)"),
        (
            of(make_group(data_hash="e" * 64), FEWER, weights_hash="e" * 64),
            "weights (11111111, eeeeeeee) and data (33333333, eeeeeeee)",
        ),
    ],
)
def test_cells_of_other_weights_or_data_are_not_compared(other: FakeStore, difference: str) -> None:
    found = compare(of(make_group()), other)
    assert (found.pairs, found.incomplete, found.only_a, found.only_b) == ((), (), (), ())
    text = words(found.render("text"))
    assert "0 compared, 0 without two measurements, 1 of other weights or data" in text
    assert f"The {difference} of toy differ between A and B, so outcomes are not compared." in text
    assert "Not compared: toy input alpha." in text


def test_cells_of_another_source_of_the_workload_are_compared_and_it_is_said() -> None:
    found = compare(of(make_group()), of(make_group(source_hash="e" * 64), FEWER))
    assert len(found.pairs) == 1
    assert "The source of the workload toy differs between A and B." in found.render("text")


def test_records_that_do_not_know_their_data_are_compared_and_it_is_said() -> None:
    found = compare(of(None), of(make_group(), FEWER))
    assert len(found.pairs) == 1
    text = words(found.render("text"))
    assert "Records of A do not say which source and data of the workload made them." in text
    assert "do not say" not in compare(of(None), of(None)).render("text")


def payloads_of(*texts: bytes | None, **record: object) -> FakeStore:
    """A folder with a cell for each text, which is its payload; None is a cell without digests."""
    found = FakeStore()
    for number, text in enumerate(texts):
        digests = None if text is None else make_digests(text)
        found.add(make_record(point={"q": number}, digests=digests, **record), make_samples(ALL))  # type: ignore[arg-type]
    return found


def test_equal_payloads_are_counted_and_others_are_named() -> None:
    comparison = compare(payloads_of(b"a", b"b", b"c", None), payloads_of(b"a", b"B", b"c", b"d"))
    assert [pair.equal_payloads for pair in comparison.pairs] == [True, False, True, None]
    text = comparison.render("text")
    assert "Payloads: byte for byte equal in 2 of 3 cells, by their digests." in text
    assert text.count("Other payloads") == 1
    assert "Other payloads: toy input alpha q=1." in text


def test_without_digests_in_both_nothing_is_said_of_payloads() -> None:
    text = compare(payloads_of(b"a"), payloads_of(None)).render("text")
    assert "ayloads:" not in text


def test_payloads_of_other_choice_samples_are_not_compared() -> None:
    (pair,) = compare(payloads_of(b"a"), payloads_of(b"b", with_choice=False)).pairs
    assert pair.equal_payloads is None


def test_each_folder_has_its_own_reservations() -> None:
    a = store(isolation="unknown")
    b = payloads_of(b"a", b"b")
    b.add(make_record(isolation="audit"), make_samples(ALL))
    a.add(make_record(point={"q": 1}, isolation="unknown"), make_samples(ALL))
    comparison = compare(a, b)
    text = words(comparison.render("text"))
    assert "A: Isolation unknown: made before schema 3." in text
    assert "° B: isolation below the kernel's in 1 of 2 cells: the audit hook alone: 1 (alpha)" in text
    rows = [[cell.strip() for cell in line.split("|")][1:4] for line in comparison.render("md").split("\n")]
    assert [row for row in rows if row[:1] in (["input alpha"], ["input alpha q=1"])] == [
        ["input alpha", "100", "100 °"], ["input alpha q=1", "100", "100"],
    ]  # fmt: skip


def test_cells_of_one_folder_only_are_listed() -> None:
    a, b = store(), store()
    a.add(make_record("stem", "zlib", {"level": 9}), make_samples(ALL))
    b.add(make_record("stem", "zlib", {"level": 9}, seed=3), make_samples(ALL))
    text = compare(a, b).render("text")
    assert "Cells: 1 compared, 0 without two measurements, 1 only in A, 1 only in B" in text
    assert "Only in A: toy stem zlib level=9." in text
    assert "Only in B: toy stem zlib level=9 seed=3." in text


def test_cells_without_two_measurements_are_listed_with_their_reasons() -> None:
    b = FakeStore([make_record(status="failed", reason="timed out\nafter 9 s")])
    comparison = compare(store(), b)
    assert comparison.pairs == ()
    assert "toy input alpha: ok in A, failed (timed out after 9 s) in B." in comparison.render("text")


def test_each_workload_has_its_table() -> None:
    a, b = store(), store()
    for found in (a, b):
        found.add(make_record(workload="speech", higher_is_better=False), make_samples(ALL))
    text = compare(a, b).render("text")
    assert "toy: A against B" in text
    assert "speech: A against B" in text
    assert "McNemar's exact test" in text
    assert "paired bootstrap, two-sided" in text


def test_markdown_and_unknown_formats() -> None:
    comparison = compare(store(ALL, point={"quality": 50}), store(FEWER, point={"quality": 50}))
    (row,) = [line for line in comparison.render("md").split("\n") if "quality=50" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")][:6] == [
        "input alpha quality=50", "100", "100", "1.000", "90.5", "90.5",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no format 'html'"):
        comparison.render("html")


def test_empty_folders_compare_to_nothing() -> None:
    assert compare(FakeStore(), FakeStore()).render("text").startswith("Cells: 0 compared")


def test_a_metric_that_is_undefined_has_no_change_and_no_p() -> None:
    nan = np.where(ALL, np.nan, 1.0)
    for a, b in ((store(nan), store(nan)), (store(ALL), store(nan)), (store(nan), store(ALL))):
        found = compare(a, b)
        (pair,) = found.pairs
        assert (pair.change, pair.change_low, pair.change_high, pair.p_value) == (None, None, None, None)
        assert "top-1 is undefined: its denominators sum to 0, or an outcome is not" in words(found.render("text"))
    (row,) = (line for line in compare(store(nan), store(nan)).render("text").split("\n") if line.startswith("input"))
    assert "nan" not in row


def test_empty_references_have_no_change_and_no_p() -> None:
    empty = {**make_samples(ALL), "denominator": np.zeros(40), "uncompressed_denominator": np.zeros(40)}
    a = FakeStore()
    a.add(make_record(higher_is_better=False), empty)
    (pair,) = compare(a, a).pairs
    assert (pair.change, pair.p_value) == (None, None)


def test_payloads_of_no_bytes_have_no_ratio() -> None:
    found = compare(store(payload_bytes=0.0), store(payload_bytes=10.0))
    assert found.pairs[0].payload_ratio is None
    assert "B / A is -: the payloads of A have 0 bytes." in words(found.render("text"))
