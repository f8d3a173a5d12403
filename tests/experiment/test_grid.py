"""The grid: which cells a configuration asks for, on which samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.codec_files import method, plugin_with
from support.runs import KeptPair, RecordingReporter, configured, run

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError, UsageError
from codecbench.experiment.grid import Grid, chosen_codecs
from codecbench.harness.run import Run
from codecbench.registry import codecs, manager, workloads


def test_the_grid(tmp_path: Path, shared: KeptPair) -> None:
    def cells(*codecs: str, **options: Any) -> list[str]:
        return [cell.label for cell in Run(configured(tmp_path, *codecs, **options), RecordingReporter()).plan()]

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
    workload = workloads(pm)["tiny"]
    grid = Grid(config, workload, chosen_codecs(config, codecs(pm)), {"test": [9, 8, 7], "choice": [5]})
    assert (grid.counts, grid.sample_ids) == ({"test": 2, "choice": 1}, {"test": [9, 8], "choice": [5]})
    cuts = {"input": TensorSpec((3, 8, 8), image=True), "stem": TensorSpec((6, 4, 4)), "block": TensorSpec((6, 4, 4))}
    cells = {(cell.key.split, cell.key.codec): cell for cell in grid.cells(cuts)}
    assert {cell.key.sample_set for cell in cells.values()} == {grid.sample_sets["test"]}
    assert cells["input", "skips-input"].skip_reason == "takes no images"
    assert cells["stem", "skips-input"].skip_reason is None
    assert (cells["stem", "raises-when-asked"].fault or "").endswith("raised ZeroDivisionError: division by zero")


def test_points_that_are_no_json_scalars_are_refused(tmp_path: Path, shared: KeptPair) -> None:
    odd = plugin_with(tmp_path, method("points_for(cls, spec): return ({'bits': (1, 2)},)"))
    with pytest.raises(PluginError, match=r"mine\.py:Steady: bits=\(1, 2\) in a point is no JSON scalar"):
        run(tmp_path / "out", "mine", plugin=(odd,))


def test_a_whole_number_is_the_same_point_as_its_fraction(tmp_path: Path, shared: KeptPair) -> None:
    job = Run(configured(tmp_path, "interpolation:scale=1", split=["stem"]), RecordingReporter())
    (cell,) = job.plan()
    assert repr(cell.key.point["scale"]) == "1.0"


def test_more_samples_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--samples 65: workload 'tiny' has 64 test samples$"):
        Run(configured(tmp_path, samples=65), RecordingReporter())
    with pytest.raises(UsageError, match="run 'codecbench data get cifar10' for more"):
        Run(configured(tmp_path, samples=20_000, workload="cifar10-resnet20"), RecordingReporter())


def test_a_tensor_spec_reaches_the_codec(tmp_path: Path, shared: KeptPair) -> None:
    specs = {
        cell.key.split: cell.spec for cell in Run(configured(tmp_path, "steady", split=[]), RecordingReporter()).plan()
    }
    assert specs["input"] == TensorSpec((3, 8, 8), image=True)
    assert specs["stem"] == TensorSpec((6, 4, 4))
