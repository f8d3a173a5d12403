"""Estimates of a run before it starts: the number of units, and the seconds of cells and of fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from codecbench.executors.choice import slots_of
from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import RunConfig
from codecbench.fitting.fits import Fits
from codecbench.harness.chunks import chunks_of
from codecbench.harness.units.unit_size import UnitSize
from codecbench.measure import percentile
from codecbench.names import counted
from codecbench.results.record import Record
from codecbench.results.store import Store
from codecbench.workers.client import DeviceClient
from codecbench.workload import Subset

TRIED = 8
"""About the number of points that a search tries."""
SAMPLES = 32
"""The samples of the pass from which times are estimated."""
START_S = 6.0
"""The time that a run takes to start its processes."""
OVERHEAD_S = 1.0
"""The time of a cell beside that of the model."""


@dataclass(frozen=True)
class RunEstimate:
    """Seconds of scoring (in `slots` units at once) and of timing; `fits_s` are those of fits that earlier ones tell.

    Of `unknown_fits` nothing is known but their limit `max_fit_s`. `units` is 0 where there are none.
    """

    units: int
    slots: int
    scoring_s: float
    timing_s: float
    fits: int
    fits_s: float
    unknown_fits: int
    max_fit_s: float

    @property
    def total_s(self) -> float:
        """The seconds of all that is known."""
        return START_S + self.scoring_s + self.timing_s + self.fits_s

    @property
    def text(self) -> str:
        """The estimate in words."""
        parts = [f"about {self.total_s / 60:.1f} minutes"]
        if self.units:
            parts[0] = f"{counted(self.units, 'unit')}, {self.slots} at once, {parts[0]}"
        if self.fits:
            parts.append(f"{self.fits_s / 60:.1f} of them for {counted(self.fits, 'fit')}, as earlier ones took")
        if self.unknown_fits:
            limit = self.unknown_fits * self.max_fit_s / 60
            parts.append(f"and {counted(self.unknown_fits, 'fit')} beside, of which none is known: {limit:.0f} at most")
        return ", ".join(parts)


def estimate(
    config: RunConfig, cells: Sequence[PlannedCell], counts: Mapping[Subset, int], device: DeviceClient, fits: Fits,
    store: Store,
) -> RunEstimate:  # fmt: skip
    """Return what a run of these cells will take, from one pass of the model, and from fits whose times are known."""
    tried = min(SAMPLES, counts["test"])
    sample_s = device.run_full_model("test", range(tried)).forward_s / tried
    known_fits_s = fit_seconds(record for record in store.scan() if isinstance(record, Record))
    unfitted = [cell for cell in cells if fits.lacks_fit(cell)]
    return estimated(config, cells, counts, sample_s=sample_s, unfitted=unfitted, known_fits_s=known_fits_s)


def estimated(
    config: RunConfig,
    cells: Sequence[PlannedCell],
    counts: Mapping[Subset, int],
    *,
    sample_s: float,
    unfitted: Sequence[PlannedCell],
    known_fits_s: Mapping[str, float],
) -> RunEstimate:
    """Return what a run of these cells will take, searches included.

    `sample_s` is the time of the full model on a sample, on one core. `unfitted` are those of the cells that have to be
    fitted; `known_fits_s` has the seconds of a fit by codec, where one is known.
    """
    running = [cell for cell in cells if cell.is_runnable]
    by_split: dict[str, list[PlannedCell]] = {}
    for cell in running:
        by_split.setdefault(cell.key.split, []).append(cell)
    slots, units = slots_of(config), 0
    if config.executor != "local":
        splits = [
            (chunks_of(counts, found[0].spec.nbytes, config.scratch_gb), len(found)) for found in by_split.values()
        ]
        size = UnitSize.of(splits, slots, sample_s)
        units = sum(size.count(*split) for split in splits)
    scoring_s = len(running) * (OVERHEAD_S + sample_s * sum(counts.values())) if config.measure != "timing" else 0.0
    timing_s = len(running) * 2 * sample_s * config.timing_samples if config.measure != "accuracy" else 0.0
    searching_s = len(running) * TRIED * (OVERHEAD_S + sample_s * counts["choice"]) if config.points == "auto" else 0.0
    known = [known_fits_s[cell.key.codec] for cell in unfitted if cell.key.codec in known_fits_s]
    return RunEstimate(
        units, slots, scoring_s / slots + searching_s, timing_s, len(known), sum(known), len(unfitted) - len(known),
        config.max_fit_s,
    )  # fmt: skip


def fit_seconds(records: Iterable[Record]) -> dict[str, float]:
    """Return the median seconds of the fits of these records, by codec."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.time is not None and record.time.fit_s is not None:
            found.setdefault(record.key.codec, []).append(record.time.fit_s)
    return {codec: percentile(seconds, 0.5) for codec, seconds in found.items()}
