"""What a run is said to take before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.factories import make_record
from support.runs import KeptProcesses, configured, planned

from codecbench.experiment.config import RunConfig
from codecbench.harness.units.estimate import RunEstimate, estimated, fit_seconds

COUNTS = {"test": 6_000, "choice": 4_000}


def estimate(config: RunConfig, fits: int = 0, known_fits_s: dict[str, float] | None = None) -> RunEstimate:
    cells = planned(config)
    return estimated(
        config, cells, COUNTS, sample_s=0.01, unfitted=cells[:fits], known_fits_s=known_fits_s or {},
    )  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, shared: KeptProcesses) -> RunConfig:
    return configured(tmp_path, "steady", "bounded")


def test_crews_share_what_can_be_shared(config: RunConfig) -> None:
    local = estimate(config)
    crews = estimate(config.model_copy(update={"executor": "processes", "jobs": 4}))
    assert (local.units, local.slots) == (0, 1)
    assert crews.units >= 16
    assert crews.slots == 4
    assert crews.scoring_s == pytest.approx(local.scoring_s / 4)
    assert crews.timing_s == local.timing_s > 0
    assert crews.text.startswith(f"{crews.units} units, 4 at once, about ")


def test_a_part_of_the_measurement_takes_its_own_time(config: RunConfig) -> None:
    accuracy, timing = (estimate(config.model_copy(update={"measure": part})) for part in ("accuracy", "timing"))
    assert (accuracy.timing_s, timing.scoring_s) == (0, 0)


def test_fits_count_as_earlier_ones_took_and_others_are_named(config: RunConfig) -> None:
    known = estimate(config, 2, {"steady": 120.0})
    assert (known.fits, known.fits_s, known.unknown_fits) == (2, 240.0, 0)
    assert known.text.endswith(" minutes, 4.0 of them for 2 fits, as earlier ones took")
    unknown = estimate(config, 2)
    assert unknown.fits_s == 0
    assert unknown.text.endswith(" minutes, and 2 fits beside, of which none is known: 30 at most")


def test_earlier_fits_are_those_of_records() -> None:
    record = make_record(codec="alpha")
    assert record.time is not None
    times = [record.time.model_copy(update={"fit_s": seconds}) for seconds in (1.0, 5.0, 9.0, None)]
    records = [record.model_copy(update={"time": time}) for time in times]
    assert fit_seconds(records) == {"alpha": 5.0}
