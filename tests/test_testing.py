"""The kit as plugin authors call it: `parametrize_codec` and `run_checks`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import BROKEN, BROKEN_WORKLOADS

from codecbench import TensorSpec, UsageError
from codecbench.kit.runner import CheckFailed
from codecbench.kit.workload_checks import WORKLOAD_CHECKS
from codecbench.registry import load_file
from codecbench.testing import (
    described_workload,
    parametrize_codec,
    parametrize_workload,
    run_checks,
    run_workload_checks,
)

broken = load_file(BROKEN)
broken_workloads = load_file(BROKEN_WORKLOADS)

FEATURES = TensorSpec((4, 8, 8))
SEQUENCE = TensorSpec((None, 6), max_length=20)


def by_id(mark):
    return {parameter.id: parameter for parameter in mark.args[1]}


def test_ids_name_codec_point_spec_and_check():
    ids = by_id(parametrize_codec(broken.PointPair, specs=[FEATURES, SEQUENCE]))
    assert "sound-points-check_metadata" in ids
    assert "sound-points[level=2]-(4, 8, 8)-check_same_bytes" in ids
    assert "sound-points[level=1]-(None, 6)-check_same_bytes" in ids
    assert not any("check_lossless" in id_ or "check_fit" in id_ for id_ in ids)


def test_a_skipped_point_is_seen_with_its_reason():
    (skip,) = [p for id_, p in by_id(parametrize_codec(broken.VectorsOnly, specs=[FEATURES])).items() if "all_" in id_]
    assert skip.id == "sound-vectors-only[level=2]-(4, 8, 8)-all_checks"
    with pytest.raises(pytest.skip.Exception, match="level 2 needs a vector"):
        skip.values[0]()


def test_a_failure_raises_and_what_builds_on_it_skips():
    found = by_id(parametrize_codec(broken.GivesBytearray, specs=[FEATURES]))
    with pytest.raises(CheckFailed, match="encode gives bytearray, not bytes"):
        found["broken-bytearray-(4, 8, 8)-check_encode_gives_bytes"].values[0]()
    with pytest.raises(pytest.skip.Exception, match="needs check_encode_gives_bytes, which fails"):
        found["broken-bytearray-(4, 8, 8)-check_lossless".replace("lossless", "decode_batch")].values[0]()


def test_expected_failures_are_marked():
    expected = {"check_encode_gives_bytes": "kept for old readers"}
    found = by_id(parametrize_codec(broken.GivesBytearray, specs=[FEATURES], expected_failed_checks=expected))
    marked = {id_: p.marks[0].kwargs["reason"] for id_, p in found.items() if p.marks}
    assert marked == {"broken-bytearray-(4, 8, 8)-check_encode_gives_bytes": "kept for old readers"}
    outcomes = run_checks(broken.GivesBytearray, specs=[FEATURES], expected_failed_checks=expected)
    (outcome,) = [o for o in outcomes if o.status == "expected"]
    assert outcome.line() == (
        "expected broken-bytearray-(4, 8, 8)-check_encode_gives_bytes: "
        "kept for old readers (encode gives bytearray, not bytes)"
    )
    assert not any(o.status == "failed" for o in outcomes)


def test_an_unknown_expected_failure_suggests_the_nearest():
    with pytest.raises(UsageError, match="no check 'check_same_byte'; did you mean 'check_same_bytes'"):
        parametrize_codec(broken.Plain, expected_failed_checks={"check_same_byte": "?"})


def test_an_unavailable_codec_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.setattr(broken.Plain, "unavailable", classmethod(lambda cls: "needs imagecodecs"))
    (outcome,) = run_checks(broken.Plain, specs=[FEATURES])
    assert (outcome.status, outcome.reason) == ("skipped", "needs imagecodecs")


def test_outcomes_are_told_as_they_come():
    told = []
    outcomes = run_checks(broken.TakesNothing, specs=[FEATURES], on_outcome=told.append)
    assert told == outcomes
    assert {o.subject for o in outcomes} == {"broken-takes-nothing", "broken-takes-nothing-(4, 8, 8)"}


def test_importing_the_kit_imports_neither_torch_nor_pytest():
    code = "import sys, codecbench.testing; print(sorted({'torch', 'pytest', 'scipy', 'skimage'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_class_within_a_function_is_checked_up_to_what_needs_other_processes():
    class Local(broken.PointPair):
        name = "local"

    outcomes = {o.check: o for o in run_checks(Local, specs=[FEATURES])}
    assert outcomes["check_same_bytes"].status == "passed"
    assert outcomes["check_other_process"].status == "failed"
    assert "other processes cannot find its class" in outcomes["check_other_process"].reason
    assert "it is made in a function; define each class with a name of its own" in (
        outcomes["check_other_process"].reason
    )


def test_workloads_have_an_id_a_check():
    found = by_id(parametrize_workload(broken_workloads.Constant, expected_failed_checks={"check_metric_varies": "?"}))
    assert list(found) == [f"constant-{check}" for check in WORKLOAD_CHECKS]
    found["constant-check_class"].values[0]()
    with pytest.raises(CheckFailed, match="'top-1' scores any outputs alike"):
        found["constant-check_metric_varies"].values[0]()
    assert [mark.name for mark in found["constant-check_metric_varies"].marks] == ["xfail"]
    assert not found["constant-check_class"].marks


def test_accepted_failures_of_workloads_are_expected():
    accepted = {"check_metric_varies": "known"}
    told = []
    outcomes = run_workload_checks(broken_workloads.Constant, expected_failed_checks=accepted, on_outcome=told.append)
    assert told == outcomes
    (expected,) = (outcome for outcome in outcomes if outcome.status == "expected")
    assert expected.reason.startswith("known (workload 'constant' (")
    with pytest.raises(UsageError, match="no check 'check_same_bytes'"):
        run_workload_checks(broken_workloads.Sound, expected_failed_checks={"check_same_bytes": "?"})


def test_a_file_without_a_described_workload_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("samples = 3\n")
    with pytest.raises(UsageError, match=r"run\.toml describes no workload; give it the keys model, data and task"):
        described_workload(tmp_path / "run.toml")
