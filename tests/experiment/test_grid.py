"""The grid: which cells a configuration asks for, on which samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.codec_files import method, plugin_with
from support.registered import CODECS
from support.runs import KeptProcesses, RecordingReporter, configured, planned, run

from codecbench.codec import TensorSpec
from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.descriptions.describe import describe_workload
from codecbench.errors import PluginError, UsageError
from codecbench.experiment.grid import NOT_DIFFERENTIABLE, Grid, chosen_codecs
from codecbench.harness.run import Run
from codecbench.registry import manager, workloads
from codecbench.workload import Subset


def test_the_grid(tmp_path: Path, shared: KeptProcesses) -> None:
    def cells(*codecs: str, **options: Any) -> list[str]:
        return [cell.label for cell in planned(configured(tmp_path, *codecs, **options))]

    assert cells("steady", split=["block", "input", "block"]) == [
        "block steady bits=16", "block steady bits=32", "input steady bits=16", "input steady bits=32",
    ]  # fmt: skip
    assert cells("steady:bits=8", "steady:bits=8") == ["stem steady bits=8"]
    every = cells("steady:bits=16", split=[], all_splits=True)
    assert {"input steady bits=16", "stem.0 steady bits=16", "classifier steady bits=16"} <= set(every)
    with pytest.raises(UsageError, match="no split point 'steem'; did you mean 'stem'"):
        cells("steady", split=["steem"])
    with pytest.raises(
        UsageError, match=r"codec 'steady' has no argument 'bist'; did you mean 'bits'\?; it takes: bits"
    ):
        cells("steady:bist=3")
    assert not list(tmp_path.iterdir())


def test_a_grid_needs_the_tensors_at_the_splits_and_no_process(tmp_path: Path) -> None:
    config = configured(tmp_path, "steady:bits=16", "skips-input", "raises-when-asked", samples=2, split=[])
    pm = manager(config.plugin)
    ids: dict[Subset, tuple[int, ...]] = {"test": (9, 8, 7), "choice": (5,), "fit": ()}
    workload = replace(describe_workload(workloads(pm)["tiny"]()), sample_ids=ids)
    catalogue = LocalCatalogue(pm)
    grid = Grid(config, workload, catalogue, chosen_codecs(config, catalogue))
    assert (grid.counts, grid.sample_ids) == ({"test": 2, "choice": 1}, {"test": [9, 8], "choice": [5]})
    cuts = {"input": TensorSpec((3, 8, 8), image=True), "stem": TensorSpec((6, 4, 4)), "block": TensorSpec((6, 4, 4))}
    cells = {(cell.key.split, cell.key.codec): cell for cell in grid.cells(cuts)}
    assert {cell.key.sample_set for cell in cells.values()} == {grid.sample_sets["test"]}
    assert cells["input", "skips-input"].skip_reason == "takes no images"
    assert cells["stem", "skips-input"].skip_reason is None
    assert (cells["stem", "raises-when-asked"].fault or "").endswith("raised ZeroDivisionError: division by zero")


def test_without_training_samples_only_what_works_unfitted_is_planned(tmp_path: Path) -> None:
    config = configured(tmp_path, "klt:step=0.7", "webp:quality=9", "webp:quality=9,edge=steered", split=["input"])
    pm = manager(config.plugin)
    workload = describe_workload(workloads(pm)["tiny"]())
    workload = replace(workload, training_ids=(), sample_ids={**workload.sample_ids, "fit": ()})
    catalogue = LocalCatalogue(pm)
    grid = Grid(config, workload, catalogue, chosen_codecs(config, catalogue))
    cells = {cell.label: cell for cell in grid.cells({"input": TensorSpec((3, 8, 8), image=True)})}
    reasons = {label: cell.skip_reason for label, cell in cells.items()}
    fitless = "needs a fit, and the workload has no training samples"
    assert reasons == {
        "input klt step=0.7": fitless, "input webp quality=9": None, "input webp quality=9,edge=steered": fitless,
    }  # fmt: skip
    assert cells["input webp quality=9"].works_unfitted


def test_a_run_plans_by_the_statistics_of_its_splits(tmp_path: Path, shared: KeptProcesses) -> None:
    config = configured(tmp_path, "klt", split=["stem"])
    with Run(config, RecordingReporter()) as job:
        specs = job.cuts
        (cell,) = job.plan()
    assert {name for name, spec in specs.items() if spec.statistics} == {"stem"}
    assert cell.spec.statistics == specs["stem"].statistics
    (point,) = CODECS["klt"].quick_points_for(specs["stem"])
    assert cell.key.point == point
    assert cell.key.point != CODECS["klt"].quick_points_for(TensorSpec((6, 4, 4)))[0]


def test_a_codec_that_needs_gradients_is_skipped_where_the_tail_has_none(tmp_path: Path) -> None:
    codecs = ("klt-task:step=0.7", "klt:step=0.7", "webp:quality=9", "avif:quality=9,edge=steered")
    config = configured(tmp_path, *codecs, split=["input"])
    pm = manager(config.plugin)
    catalogue = LocalCatalogue(pm)
    cuts = {"input": TensorSpec((3, 8, 8), image=True)}

    def reasons(differentiable: bool) -> dict[str, str | None]:
        workload = replace(describe_workload(workloads(pm)["tiny"]()), differentiable=differentiable)
        grid = Grid(config, workload, catalogue, chosen_codecs(config, catalogue))
        return {cell.key.codec: cell.skip_reason for cell in grid.cells(cuts)}

    assert set(reasons(differentiable=True).values()) == {None}
    assert reasons(differentiable=False) == {
        "klt-task": NOT_DIFFERENTIABLE, "klt": None, "webp": None, "avif": NOT_DIFFERENTIABLE,
    }  # fmt: skip


def test_points_that_were_there_before_the_edge_keep_their_keys(tmp_path: Path) -> None:
    def cells(*codecs: str) -> dict[str, str]:
        config = configured(tmp_path, *codecs, split=["input"], samples=8, preset="quick")
        pm = manager(config.plugin)
        catalogue = LocalCatalogue(pm)
        workload = describe_workload(workloads(pm)["tiny"]())
        grid = Grid(config, workload, catalogue, chosen_codecs(config, catalogue))
        cuts = {"input": TensorSpec((3, 8, 8), image=True)}
        return {cell.label: cell.key.cell for cell in grid.cells(cuts)}

    known = {
        "input webp quality=90": "2142508a6d44", "input klt step=0.15": "a86c0bd46510",
        "input deepcod-rd step=0.5": "c2e055f5407f",
    }  # fmt: skip
    assert cells("webp", "klt", "deepcod-rd") == known
    assert cells("webp:quality=90,edge=plain", "klt:step=0.15,edge=plain", "deepcod-rd:step=0.5,edge=steered") == known
    others = cells("webp:quality=90,edge=steered", "deepcod-rd:step=0.5,edge=plain")
    assert list(others) == ["input webp quality=90,edge=steered", "input deepcod-rd step=0.5,edge=plain"]
    assert not set(others.values()) & set(known.values())


def test_a_value_that_the_codec_takes_nowhere_is_refused(tmp_path: Path, shared: KeptProcesses) -> None:
    """It is skipped where only some tensors do not suit it, whatever splits a run asks for."""

    def refused(*codecs: str, **options: Any) -> str:
        with pytest.raises(UsageError) as caught:
            planned(configured(tmp_path, *codecs, **options))
        return str(caught.value)

    reason = "quality is a number from 0 to 100, not 1000"
    for splits in (["stem"], ["input", "stem"]):
        assert refused("webp:quality=1000", split=splits).startswith(f"--codec webp:quality=1000: {reason}; ")
    assert refused("webp:quality=abc") == "codec 'webp': quality takes a number, not abc"
    source = "skip_reason(cls, spec, **point): return 'no image' if spec.image and point['bits'] == 8 else None"
    own = (plugin_with(tmp_path, method(source)),)
    (cell,) = planned(configured(tmp_path, "mine:bits=8", split=["input"], plugin=own))
    assert cell.skip_reason == "no image"
    (cell,) = planned(configured(tmp_path, "skips-input", split=["input"]))
    assert cell.skip_reason == "takes no images"


def test_values_are_asked_for_as_they_are(tmp_path: Path) -> None:
    catalogue = LocalCatalogue(manager(configured(tmp_path).plugin))
    ((info, point),) = chosen_codecs(configured(tmp_path, "raw"), catalogue, {"steady": {"bits": 8}})
    assert (info.name, point) == ("steady", {"bits": 8})


def test_points_that_are_no_json_scalars_are_refused(tmp_path: Path, shared: KeptProcesses) -> None:
    odd = plugin_with(tmp_path, method("points_for(cls, spec): return ({'bits': (1, 2)},)"))
    with pytest.raises(PluginError, match=r"mine\.py:Steady: bits=\(1, 2\) in a point is no JSON scalar"):
        run(tmp_path / "out", "mine", plugin=(odd,))


def test_a_whole_number_is_the_same_point_as_its_fraction(tmp_path: Path, shared: KeptProcesses) -> None:
    (cell,) = planned(configured(tmp_path, "interpolation:scale=1", split=["stem"]))
    assert repr(cell.key.point["scale"]) == "1.0"


def test_a_preset_takes_the_samples_that_are_there(tmp_path: Path, shared: KeptProcesses) -> None:
    """Nobody asked for its 500."""
    cells = planned(configured(tmp_path, "steady:bits=16", samples=None, preset="quick"))
    assert {cell.key.sample_set.rpartition("-")[0] for cell in cells} == {"test-64"}


def test_more_samples_than_there_are(tmp_path: Path, shared: KeptProcesses) -> None:
    with pytest.raises(UsageError, match=r"^--samples 65: workload 'tiny' has 64 test samples$"):
        planned(configured(tmp_path, samples=65))
    with pytest.raises(UsageError, match="run 'codecbench data get cifar10' for more"):
        planned(configured(tmp_path, samples=20_000, workload="cifar10-resnet20"))


def test_a_tensor_spec_reaches_the_codec(tmp_path: Path, shared: KeptProcesses) -> None:
    specs = {cell.key.split: cell.spec for cell in planned(configured(tmp_path, "steady", split=[]))}
    assert specs["input"] == TensorSpec((3, 8, 8), image=True)
    assert specs["stem"] == TensorSpec((6, 4, 4))
