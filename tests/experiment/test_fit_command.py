"""The command that fits a cell: its options are those of the run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from support.factories import make_info, make_key

from codecbench.adapters.description import WorkloadDescription
from codecbench.codec import TensorSpec
from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import RunConfig
from codecbench.experiment.fit_command import fit_command

CELL = PlannedCell(make_key("stem", "alpha", {"width": 2}), make_info(), TensorSpec((4,)))
START = "codecbench fit --workload toy --codec"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, f"{START} alpha --preset quick"),
        ({"preset": "full", "codec": ["beta:a=1", "alpha"]}, f"{START} alpha"),
        ({"codec": ["alpha:width=2"]}, f"{START} alpha:width=2"),
        ({"codec": ["alpha:width=2", "alpha"]}, f"{START} alpha --preset quick"),
        ({"split": ["stem", "input"]}, f"{START} alpha --split stem --split input --preset quick"),
        ({"all_splits": True, "preset": "full"}, f"{START} alpha --all-splits"),
        (
            {"plugin": [Path("my codecs/a.py")], "data_dir": Path("d"), "max_fit_s": 60.0},
            f"{START} alpha --preset quick --plugin 'my codecs/a.py' --data-dir d --max-fit-s 60.0",
        ),
    ],
)
def test_it_has_the_options_of_the_run(options: dict[str, Any], command: str) -> None:
    assert fit_command(RunConfig(workload="toy", **options), CELL) == command


def test_a_point_that_is_asked_for_is_fitted_alone() -> None:
    assert shlex.split(fit_command(RunConfig(workload="toy"), CELL, requested=True))[5] == "alpha:width=2"


def test_a_described_workload_is_described_again() -> None:
    description = WorkloadDescription(model="net.py:make", data="imagefolder:my pictures", task="agreement", size=32)
    config = RunConfig(workload="net-pictures", description=description, preset="full")
    assert fit_command(config, CELL) == (
        "codecbench fit --model net.py:make --data 'imagefolder:my pictures' --task agreement --size 32 --codec alpha"
    )


def test_the_seed_is_the_cells() -> None:
    cell = PlannedCell(make_key("stem", "alpha", seed=7), make_info(), TensorSpec((4,)))
    assert fit_command(RunConfig(workload="toy", preset="full", seed=7), cell).endswith(" alpha --seed 7")
