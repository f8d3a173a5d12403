"""The validation of a plan makes real requests: the payload crosses TCP between the two processes."""

from __future__ import annotations

import pytest
from support.paths import MISBEHAVING, TINY
from support.runs import KeptProcesses, RecordingReporter, execute

from codecbench.analysis.planner import Limits
from codecbench.cli.plan import validation_text
from codecbench.errors import UsageError
from codecbench.experiment.config import RunConfig
from codecbench.experiment.progress import Lines
from codecbench.harness.requests.plan_validation import PathShape, PlanValidation, validate_plan
from codecbench.results.record import Record
from codecbench.results.store import Store

PATH = PathShape(100e6, 0.0005)

pytestmark = pytest.mark.usefixtures("prepared")
"""Workers are forked from a process that has imported torch, which is quicker than starting each."""


@pytest.fixture(scope="module")
def config(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    out = tmp_path_factory.mktemp("validation")
    plugins = [TINY, MISBEHAVING]
    config = RunConfig(workload="tiny", samples=64, split=["stem"], codec=["steady:bits=16"], plugin=plugins, out=out)
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        assert execute(config)[0].ok == 1
    return config


def records_of(config: RunConfig) -> list[Record]:
    return Store(config.out).records()


@pytest.fixture(scope="module")
def found(config: RunConfig) -> PlanValidation:
    return validate_plan(config, records_of(config), Limits(100.0), PATH, 8, Lines())


def test_so_many_requests_are_made_of_what_was_planned(found: PlanValidation) -> None:
    assert found.planned.label == "stem steady bits=16"
    assert len(found.measured_s) == 8
    # Nothing comes back before the delay of both directions has passed.
    assert min(found.measured_s) > 2 * PATH.delay_s
    assert min(found.measured_s) <= found.median_s <= found.p95_s
    assert found.retimed_s > found.link.seconds(384)
    assert found.error == pytest.approx(found.planned.latency.median_s / found.median_s - 1)


def test_the_link_is_fitted_to_the_path(found: PlanValidation) -> None:
    sizes = [1, 100_000]
    small_s, large_s = found.link.seconds(sizes)
    assert small_s > 2 * PATH.delay_s
    assert large_s - small_s > 0.9 * 8 * (sizes[1] - sizes[0]) / PATH.rate_bit_per_s


def test_the_text_shows_both(found: PlanValidation) -> None:
    text = validation_text(found, "top-1 %")
    assert "planned    stem steady bits=16: " in text
    assert f"measured   {1000 * found.median_s:.2f} ms" in text
    assert "over 8 requests" in text
    assert f"error      {100 * found.error:+.1f} % of the plan" in text
    assert f"{1000 * found.retimed_s:.2f} ms, {100 * found.retimed_error:+.1f} %" in text


def test_a_plan_by_records_of_an_earlier_source_is_said(config: RunConfig) -> None:
    (record,) = records_of(config)
    earlier = record.provenance.model_copy(update={"source_hash": "e" * 64})
    reporter = RecordingReporter()
    records = [record.model_copy(update={"provenance": earlier})]
    validate_plan(config, records, Limits(100.0), PATH, 1, reporter)
    assert reporter.logged == [
        "stem steady bits=16: the codec's source has changed since its record; 'codecbench run' renews it"
    ]


def test_nothing_feasible_is_said(config: RunConfig) -> None:
    with pytest.raises(UsageError, match="no codec is feasible within these limits"):
        validate_plan(config, records_of(config), Limits(100.0, max_latency_s=1e-9), PATH, 8, Lines())
