"""The configuration of a run: options of the command line, or a TOML file with the same names."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from codecbench.adapters.description import KEYS, PARTS, WorkloadDescription, placed_values
from codecbench.errors import UsageError
from codecbench.names import suggestion
from codecbench.registry import BESIDE_CONFIG
from codecbench.results.points import guessed, read_arguments
from codecbench.system.textfiles import decoded

DEFAULT_WORKLOAD = "cifar10-resnet20"
LONGEST_SHOWN = 80
"""The most characters of a wrong value that an error repeats."""
QUICK_SAMPLES = 500
QUICK_CHOICE_SAMPLES = 200
"""Fewer than test samples: the quick preset has few points a codec to choose from."""


def _usable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path has no character of value 0")
    return path


UsablePath = Annotated[Path, AfterValidator(_usable)]


class RunConfig(BaseModel):
    """One run. Empty `codec` and `split` mean all of them; `samples` None means the preset's number.

    `points` are the preset's, or with "auto" searched: for each codec, the smallest payload within the budget.
    With `fit`, codecs that need a long fit and have no state are fitted; without, they are skipped.
    `executor` says where cells are scored, in `jobs` sets of processes at once, and `measure` whether to score them, to
    time them, or both. `dask` is the address of a scheduler, `shared_dir` a folder that all machines see,
    `slurm` parameters of jobs, `KEY=VALUE`.
    With a `description`, `workload` is the name in it. Files and options have its keys in its place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workload: str = DEFAULT_WORKLOAD
    description: WorkloadDescription | None = None
    codec: list[str] = []
    split: list[str] = []
    all_splits: bool = False
    preset: Literal["quick", "full"] = "quick"
    points: Literal["preset", "auto"] = "preset"
    samples: Annotated[int, Field(gt=0)] | Literal["all"] | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    plugin: list[UsablePath] = []
    data_dir: UsablePath | None = None
    cache_dir: UsablePath | None = None
    out: UsablePath = Path("codecbench-results")
    timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    max_fit_s: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    scratch_gb: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    torch_device: Literal["cpu", "cuda"] = "cpu"
    fresh: bool = False
    fit: bool = False
    executor: Literal["local", "processes", "dask", "slurm"] = "local"
    jobs: int | None = Field(default=None, gt=0)
    measure: Literal["all", "accuracy", "timing"] = "all"
    dask: str | None = None
    shared_dir: UsablePath | None = None
    slurm: list[str] = []

    @property
    def sample_limit(self) -> int | None:
        """The number of test samples, or None for all."""
        if self.samples is None:
            return QUICK_SAMPLES if self.preset == "quick" else None
        return None if self.samples == "all" else self.samples

    def choice_samples(self, test: int, available: int) -> int:
        """Return the number of choice samples: that of test samples, limited by those available and by the preset."""
        return min(test, available, QUICK_CHOICE_SAMPLES if self.preset == "quick" else available)

    @property
    def timing_samples(self) -> int:
        """The number of samples of the timing pass."""
        return 24 if self.preset == "quick" else 64


def load(path: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a run. Options of the command line override the TOML file, if there is one.

    Paths in the file are relative to its folder; a `codecbench_plugin.py` beside it is loaded too. Raises UsageError
    with the file, the key and the allowed keys.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(decoded(path.read_bytes()))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except RecursionError as error:
            raise UsageError(f"{path} is not TOML: it is nested too deeply") from error
        except ValueError as error:  # not TOML, no text, or a number of thousands of digits
            raise UsageError(f"{path} is not TOML: {' '.join(str(error).split())}") from error
        values = _from_folder(values, path.parent)
    used = {key: value for key, value in options.items() if _is_set(value)}
    if "description" in values:
        raise UsageError(f"{path}: unknown key 'description'; {', '.join(PARTS)} describe a workload")
    description = _description(path, values, used)
    values, used = _without_description(values), _without_description(used)
    if description is not None:
        used.pop("workload", None)
        values |= {"workload": description.workload_name, "description": description}
    if {"split", "all_splits"} & set(used):  # either of them replaces both of the file's
        values = {key: value for key, value in values.items() if key not in ("split", "all_splits")}
    try:
        config = RunConfig.model_validate({**values, **used})
    except ValidationError as error:
        raise UsageError(_explain(error, path, used)) from error
    beside = path.parent / BESIDE_CONFIG if path is not None else None
    if beside is None or not beside.exists() or beside.resolve() in [p.resolve() for p in config.plugin]:
        return config
    return config.model_copy(update={"plugin": [*config.plugin, beside]})


def _description(path: Path | None, values: Mapping[str, Any], used: Mapping[str, Any]) -> WorkloadDescription | None:
    """Return the workload that the file's keys, its table `workload` and the options describe; None if they name one.

    Raises UsageError where one of its parts is missing or cannot be used.
    """
    described = {key: used[key] for key in KEYS if key in used}
    if described and "workload" in used:
        raise UsageError(
            f"--workload and --{next(iter(described))} exclude each other; name a workload or describe one"
        )
    if "workload" in used:
        return None
    table = values.get("workload")
    in_file = {**{key: values[key] for key in KEYS if key in values}, **(table if isinstance(table, dict) else {})}
    if not described and not in_file:
        return None
    if in_file and isinstance(table, str) and not described:
        raise UsageError(f"{path}: workload names a workload and {next(iter(in_file))} describes one; take one of them")
    data_dir = used.get("data_dir") or values.get("data_dir")
    folders = [Path(data_dir)] if isinstance(data_dir, (str, Path)) else []
    unknown = next((key for key in in_file if key not in KEYS), None)
    if unknown is not None:
        raise UsageError(f"{path}: {_unknown_key(unknown, KEYS)}")
    found: dict[str, Any] = {}
    if path is not None:
        try:
            found = placed_values(in_file, [path.parent, *folders])
        except UsageError as error:
            raise UsageError(f"{path}: {str(error).removeprefix('--')}") from error
    found |= placed_values(described, [Path(), *folders])
    missing = [part for part in PARTS if part not in found]
    if missing:
        first, dashes = next(iter(described or in_file)), "--" if described else ""
        place = "" if described else f"{path}: "
        needed = " and ".join(f"{dashes}{part}" for part in missing)
        raise UsageError(f"{place}{dashes}{first} describes a workload, which needs {needed} as well")
    found["cache_dir"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    try:
        return WorkloadDescription.model_validate(found)
    except ValidationError as error:
        raise UsageError(_explain(error, path, described, KEYS)) from error


def _without_description(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without those that describe a workload."""
    return {
        key: value for key, value in values.items()
        if key not in KEYS and not (key == "workload" and isinstance(value, dict))
    }  # fmt: skip


def _is_set(option: Any) -> bool:
    """True if an option was used. Compares by identity: 0 is a valid seed, and a time limit of 0 must be refused."""
    return option is not None and option is not False and option != []


def _from_folder(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(values)
    for key in ("data_dir", "cache_dir", "out", "shared_dir"):
        if isinstance(values.get(key), str):
            resolved[key] = folder / values[key]
    if isinstance(values.get("plugin"), list):
        resolved["plugin"] = [folder / p if isinstance(p, str) else p for p in values["plugin"]]
    return resolved


def _explain(error: ValidationError, path: Path | None, used: Mapping[str, Any], keys: Sequence[str] = ()) -> str:
    """Return the first error, with the name of the option or of the file's key."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    allowed = list(keys) or [*(field for field in RunConfig.model_fields if field != "description"), *KEYS]
    if first["type"] == "extra_forbidden":
        return f"{path}: {_unknown_key(key, allowed)}"
    place = f"--{key.replace('_', '-')}" if key in used else f"{path}: {key}"
    shown = repr(first["input"])
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
    return f"{place}: {first['msg'].removeprefix('Value error, ').lower()}, got {shown}"


def _unknown_key(key: str, allowed: Sequence[str]) -> str:
    return f"unknown key {key!r}{suggestion(key, allowed)}; allowed are {', '.join(allowed)}"


def split_codec(text: str) -> tuple[str, str]:
    """Return the name and the arguments of `NAME` or `NAME:key=value,key=value`.

    Raises UsageError where the arguments are not of this form.
    """
    name, _, arguments = text.partition(":")
    read_arguments(arguments, f"codec {text!r}")
    return name.strip(), arguments.strip().strip(",")


def parse_codec(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a codec and its arguments: the inverse of `codec_label`.

    Types are guessed from the text alone. A run knows the codec's defaults as well, and keeps text where these are.
    """
    label = f"codec {text!r}"
    name, arguments = split_codec(text)
    return name, {key: guessed(word, label) for key, word in read_arguments(arguments, label).items()}
