"""The kit on deliberately broken workloads: each fails the check named for it alone; its valid counterpart passes."""

from __future__ import annotations

import re
from functools import cache

import pytest
from support.paths import BROKEN_WORKLOADS, DOCS

from codecbench.kit.runner import Outcome
from codecbench.kit.workload_checks import WORKLOAD_CHECKS
from codecbench.registry import load_file
from codecbench.testing import run_workload_checks
from codecbench.workload import Workload

broken = load_file(BROKEN_WORKLOADS)
PAIRS = broken.PAIRS

pytestmark = pytest.mark.usefixtures("prepared")
"""Workers are forked from a process that has imported torch, which is quicker than starting each."""


@cache
def outcomes(workload: type[Workload]) -> list[Outcome]:
    return run_workload_checks(workload)


@pytest.mark.parametrize(("check", "workload"), [p[:2] for p in PAIRS], ids=[p[1].name for p in PAIRS])
def test_a_broken_workload_fails_the_check_named_for_it_and_no_other(check: str, workload: type[Workload]) -> None:
    failed = [outcome for outcome in outcomes(workload) if outcome.status == "failed"]
    assert [outcome.check for outcome in failed] == [check], failed
    assert re.search(r"broken_workloads\.py, line \d+\)?: ", failed[0].reason), failed[0].reason
    assert len(failed[0].reason.splitlines()) == 1


@pytest.mark.parametrize("workload", [broken.Sound, broken.Parted, broken.Agreeing], ids=lambda w: w.name)
def test_its_valid_counterpart_passes(workload: type[Workload]) -> None:
    skipped = {"check_targets", "check_set_metrics"} if workload is broken.Agreeing else set()
    assert {outcome.check for outcome in outcomes(workload) if outcome.status == "skipped"} == skipped
    assert [outcome.line() for outcome in outcomes(workload) if outcome.status == "failed"] == []


def test_every_check_has_a_broken_workload() -> None:
    assert {pair[0] for pair in PAIRS} == set(WORKLOAD_CHECKS)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        (broken.Undocumented, "the class has no docstring"),
        (broken.Unordered, r"sample_ids\('fit'\) gives others the second time; fix their order"),
        (broken.Unfinished, r"inputs\('fit', ...\) at position 0: values are not finite"),
        (broken.Aliased, "after its arrays were changed; return copies"),
        (broken.Whitened, "gives another input at position 0 when it is read alone"),
        (broken.Leaking, "208 is the same sample in 'choice' and in 'test'; part them"),
        (broken.Unpicklable, "targets cannot be sent to another process: "),
        (broken.Unseeded, "the model has other weights the second time; load them from a file, or seed it"),
        (broken.Batched, "is another one in a batch than alone; call eval"),
        (broken.Misnamed, "default_splits has 'frist', which is no split point; did you mean 'first'"),
        (broken.HalfRight, r"'top-1' is binary, and score gave \(0.5, 1.0\); give 0 or 1, and 1"),
        (broken.InPlace, "score changes the outputs that it is given; work on a copy"),
        (broken.Constant, "'top-1' scores any outputs alike; compare them with the target"),
        (broken.Uncounted, "values of 'error' differ where samples have the count 0 and where they are missing"),
        (broken.ByProcess, "inputs or targets are others in another process; seed them"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_reason_says_what_to_mend(workload: type[Workload], text: str) -> None:
    (failed,) = (outcome for outcome in outcomes(workload) if outcome.status == "failed")
    assert re.search(text, failed.reason), failed.reason


def test_checks_that_build_on_a_failed_one_are_skipped_and_name_it() -> None:
    skipped = {o.check: o.reason for o in outcomes(broken.Unfinished) if o.status == "skipped"}
    assert skipped["check_subsets"] == "needs check_inputs, which fails"
    assert skipped["check_other_processes"] == "needs check_inputs, which fails"
    assert "check_model" not in skipped


def check_list() -> str:
    return "\n".join(f"- **`{check.name}`**: {check.says}" for check in WORKLOAD_CHECKS.values())


def test_the_page_lists_every_check_as_the_code_has_it() -> None:
    assert check_list() in (DOCS / "reference" / "kit.md").read_text()
