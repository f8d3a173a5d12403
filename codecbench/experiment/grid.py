"""The grid of a run: the codecs, splits, operating points and samples of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from codecbench.codec import TensorSpec
from codecbench.descriptions.catalogue import CodecCatalogue
from codecbench.descriptions.codec_info import CodecInfo, Point, PointInfo, PointRequest, Preset
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.errors import CodecFailure, UsageError
from codecbench.experiment.candidates import Candidates, candidates_of
from codecbench.experiment.cells import SCORED, PlannedCell
from codecbench.experiment.config import RunConfig, split_codec
from codecbench.names import suggestion
from codecbench.registry import named_file
from codecbench.results.cell import CellKey, codec_label, sample_set_id
from codecbench.workload import Subset

NOT_DIFFERENTIABLE = "needs a tail that gradients flow through, and this model has none"
"""The reason of skipped cells whose fit takes gradients through the tail of an ONNX model, for example."""
PRESETS: tuple[Preset, Preset] = ("quick", "full")
"""The presets that have points of the codec's own."""


class Grid:
    """The cells of a configuration. Starts no process and reads no data.

    `codecs` each have the requested point, or None for the preset's points; `catalogue` says what they make of the
    tensors. Raises UsageError if the configuration wants more samples than the workload has.
    """

    def __init__(
        self,
        config: RunConfig,
        workload: WorkloadInfo,
        catalogue: CodecCatalogue,
        codecs: Sequence[tuple[CodecInfo, PointRequest | None]],
    ) -> None:
        self.config = config
        self.workload = workload
        self.catalogue = catalogue
        self.codecs = codecs
        self.counts = self._counts()
        """The number of scored samples, by subset."""
        self.sample_ids = {subset: list(workload.sample_ids[subset][:count]) for subset, count in self.counts.items()}
        """The identifiers of the scored samples, by subset."""
        self.sample_sets = {subset: sample_set_id(subset, ids) for subset, ids in self.sample_ids.items()}

    def cells(self, cuts: Mapping[str, TensorSpec]) -> list[PlannedCell]:
        """Return every cell, in the order of execution. `cuts` has the tensor spec at each split point of the model.

        Codecs see the statistics of those that have them.

        Raises UsageError for a split point that the model lacks, and for a requested point that its codec takes
        nowhere in the model though it takes its own points there.
        """
        return [cell for split in self.splits(cuts) for cell in self._cells(split, cuts)]

    def _counts(self) -> dict[Subset, int]:
        sample_ids = self.workload.sample_ids
        limit, available = self.config.sample_limit, len(sample_ids["test"])
        if limit is not None and limit > available and self.config.samples is not None:
            fetch = f"; run 'codecbench data get {self.workload.dataset}' for more" if self.workload.dataset else ""
            raise UsageError(f"--samples {limit}: workload {self.workload.name!r} has {available} test samples{fetch}")
        test = available if limit is None else min(limit, available)
        choice = self.config.choice_samples(test, len(sample_ids["choice"]))
        return dict(zip(SCORED, (test, choice), strict=True))

    def splits(self, cuts: Mapping[str, TensorSpec]) -> list[str]:
        """Return the split points of the configuration. Raises UsageError for one that the model lacks."""
        names = self.config.split or (cuts if self.config.all_splits else self.workload.default_splits)
        for name in names:
            if name not in cuts:
                workload = f" --workload {self.workload.name}" if self.config.description is None else ""
                hint = suggestion(name, cuts) or f"; see 'codecbench list splits{workload}'"
                raise UsageError(f"no split point {name!r}{hint}")
        return list(dict.fromkeys(names))

    def _cells(self, split: str, cuts: Mapping[str, TensorSpec]) -> list[PlannedCell]:
        spec = cuts[split]
        cells: dict[str, PlannedCell] = {}
        for codec, chosen in self.codecs:
            for found in self.catalogue.at(codec.name, spec, self._points, chosen).points:
                if found.refused:
                    self._check_taken_elsewhere(codec, chosen, found, cuts)
                key = CellKey(
                    self.workload.name, split, codec.name, codec.version, found.point, self.config.seed,
                    self.sample_sets["test"],
                )  # fmt: skip
                skip_reason = found.skip_reason
                trainable = self.workload.training_ids or self.workload.sample_ids["fit"]
                if found.needs_fit and not found.works_unfitted and not trainable:
                    skip_reason = skip_reason or "needs a fit, and the workload has no training samples"
                if found.needs_gradients and not self.workload.differentiable:
                    skip_reason = skip_reason or NOT_DIFFERENTIABLE
                cells[key.cell] = PlannedCell(
                    key, codec, spec, skip_reason, found.fault, found.needs_fit, found.needs_fit_fault,
                    found.starts_from, found.starts_from_fault, found.works_unfitted,
                )  # fmt: skip
        return neighbours_first(list(cells.values()))

    @property
    def _points(self) -> Preset:
        return "auto" if self.config.points == "auto" else self.config.preset

    def candidates(self, cells: Sequence[PlannedCell]) -> Candidates | None:
        """Return the cells of one row, planned with `--points auto`, for a search; None if there is no choice.

        A search begins near the codec's quick points, and does not pass over those of the full preset.
        """
        quick, full = (self.catalogue.at(cells[0].codec.name, cells[0].spec, preset).points for preset in PRESETS)
        return candidates_of(cells, [found.point for found in quick], [found.point for found in full])

    def _check_taken_elsewhere(
        self, codec: CodecInfo, chosen: PointRequest | None, refused: PointInfo, cuts: Mapping[str, TensorSpec]
    ) -> None:
        """Raise UsageError if a requested point is refused at every split point where the codec takes its own.

        It is asked of all split points of the model: those of the run alone would refuse a point in one run and record
        it as skipped in another.
        """
        for spec in cuts.values():
            (found,) = self.catalogue.at(codec.name, spec, self.config.preset, chosen).points
            if found.skip_reason is None and found.fault is None:
                return
        label = codec_label(codec.name, refused.point)
        raise UsageError(f"--codec {label}: {refused.skip_reason or refused.fault}; give a value that it takes")


def chosen_codecs(
    config: RunConfig, catalogue: CodecCatalogue, points: Mapping[str, Point] | None = None
) -> list[tuple[CodecInfo, PointRequest | None]]:
    """Return the codecs of a configuration, each with the requested point, or None for the preset's points.

    `points` are values for codecs by name, which replace those of the configuration. Raises UsageError for an unknown
    name.
    """
    requested: list[tuple[str, PointRequest]] = (
        list(points.items()) if points is not None else [split_codec(text) for text in config.codec]
    )
    if not requested:
        return [(info, None) for info in catalogue.infos(catalogue.names())]
    known = catalogue.names()
    for name, _ in requested:
        file = None if name in known else named_file(name)
        if file is not None:
            raise UsageError(f"no codec {name!r} is installed; --plugin {file} adds those of the file that is here")
    infos = catalogue.infos([name for name, _ in requested])
    return [(info, point or None) for info, (_, point) in zip(infos, requested, strict=True)]


def neighbour(cell: PlannedCell) -> PlannedCell | None:
    """Return the cell, planned or not, whose fitted state this cell's fit starts from; None if from scratch.

    See `Codec.starts_from`. Raises CodecFailure if that raised, or named an argument that the codec lacks.
    """
    if cell.starts_from_fault is not None:
        raise CodecFailure(cell.starts_from_fault)
    if cell.starts_from is None:
        return None
    return replace(cell, key=replace(cell.key, point=cell.starts_from), starts_from=None)


def neighbours_first(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Return the cells of a split, each after the cell that its fit starts from; otherwise the order is kept."""
    by_key = {cell.key.cell: cell for cell in cells}
    ordered: dict[str, PlannedCell] = {}
    for cell in cells:
        chain: list[PlannedCell] = []
        current: PlannedCell | None = cell
        while (
            current is not None and current.key.cell not in ordered and current not in chain
        ):  # stops at the end of a cycle
            chain.append(current)
            current = by_key.get(_neighbour_key(current))
        ordered.update((found.key.cell, found) for found in reversed(chain))
    return list(ordered.values())


def _neighbour_key(cell: PlannedCell) -> str:
    if cell.starts_from_fault is not None:
        return ""  # its fit will fail with the reason
    found = neighbour(cell)
    return found.key.cell if found is not None else ""
