"""The command that fits a cell's codec with the options of a run."""

from __future__ import annotations

import shlex

from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import RunConfig, split_codec
from codecbench.results.cell import codec_label

KEPT_OPTIONS = ("data_dir", "cache_dir", "max_fit_s", "torch_device")
"""Options of a run that `codecbench fit` takes as well, and that are named where they are not the defaults."""


def fit_command(config: RunConfig, cell: PlannedCell, requested: bool = False) -> str:
    """Return the command that makes the fitted state of a cell, quoted for a POSIX shell in the same folder.

    It fits the codec at all split points of the run, so that it is the same for all of them, and at all points of the
    preset or, where the configuration has its points or `requested` is True, at the cell's alone.
    """
    key = cell.key
    points = [arguments for name, arguments in map(split_codec, config.codec) if name == key.codec]
    alone = requested or (bool(points) and all(points))
    workload = config.description.options() if config.description is not None else ["--workload", key.workload]
    words = ["codecbench", "fit", *workload]
    words += ["--codec", codec_label(key.codec, key.point) if alone else key.codec]
    words += [word for split in config.split for word in ("--split", split)] or ["--all-splits"] * config.all_splits
    words += ["--preset", config.preset] if not alone and config.preset != "full" else []
    words += ["--seed", str(key.seed)] if key.seed else []
    for file in config.plugin:
        words += ["--plugin", str(file)]
    for option in KEPT_OPTIONS:
        value = getattr(config, option)
        if value != RunConfig.model_fields[option].default:
            words += [f"--{option.replace('_', '-')}", str(value)]
    return shlex.join(words)
