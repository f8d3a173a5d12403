"""A crew that has other software, data or files than the main process says so before it scores anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.paths import MISBEHAVING, TINY
from support.runs import KeptProcesses, LocalPluginCatalogue, RecordingReporter, configured

from codecbench.errors import UsageError
from codecbench.harness.run import Run
from codecbench.harness.units import crew_work, execution
from codecbench.harness.units.crew_work import CrewWork
from codecbench.harness.units.execution import crew_set_up
from codecbench.harness.units.versions import check_versions, versions
from codecbench.results.summaries import Summaries
from codecbench.workers.protocol import unpack_frame

SetUp = dict[str, Any]


@pytest.fixture
def set_up(tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """What crews on other machines are told of a run of the tiny workload."""
    monkeypatch.setattr(execution, "elsewhere", lambda _config: True)
    monkeypatch.setattr(crew_work, "Pair", shared.pair_of)
    monkeypatch.setattr(crew_work, "CodecProcesses", shared.codecs_of)
    monkeypatch.setattr(crew_work, "PluginCatalogue", LocalPluginCatalogue)
    with Run(configured(tmp_path, "steady"), RecordingReporter()) as job:
        parts = job.parts(Summaries)  # type: ignore[arg-type] - nothing is written
        frame = crew_set_up(parts, [TINY, MISBEHAVING]).to_frame()
    run: SetUp = unpack_frame(frame).fields["run"]
    return run


def tried(run: SetUp) -> str:
    """The error of a crew that is set up so, or an empty text."""
    request = unpack_frame(_frame(run))
    with CrewWork() as work:
        try:
            work.op_set_up(request)
        except UsageError as error:
            return str(error)
    return ""


def _frame(run: SetUp) -> bytes:
    from codecbench.harness.units.unit import CrewSetUp

    return CrewSetUp(**run).to_frame()


def test_a_crew_that_has_all_the_same_is_ready(set_up: SetUp) -> None:
    assert set(set_up["versions"]) >= {"codecbench", "Python", "torch", "numpy"}
    assert list(set_up["codec_sources"]) == ["steady"]
    assert tried(set_up) == ""


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda run: run["versions"].update(torch="1.0"), r"^torch is \S+ where a crew runs, and 1\.0 here; install"),
        (lambda run: run["sources"].append("/nowhere/x.py"), r"^/nowhere/x\.py is not there where a crew runs; put"),
        (lambda run: run["codec_sources"].update(steady="0"), r"^codec 'steady' has another source where a crew runs"),
        (lambda run: run.update(weights_sha256="0"), r"^where a crew runs, the weights of the model differ; make"),
        (lambda run: run.update(workload_source="0"), r"^where a crew runs, the source of the workload differ; make"),
        (lambda run: run["counts"].update(test=63), r"^where a crew runs, the test samples differ; make"),
        (lambda run: run.update(data_hash="0"), r"^where a crew runs, the data of the workload differ; make"),
    ],
)
def test_what_differs_is_named(set_up: SetUp, change: Callable[[SetUp], Any], error: str) -> None:
    change(set_up)
    assert re.match(error, tried(set_up))


def test_the_same_versions_are_accepted_and_a_missing_library_is_named() -> None:
    check_versions(versions())
    with pytest.raises(UsageError, match=r"^nolibrary is none where a crew runs, and 2 here"):
        check_versions({"nolibrary": "2"})
