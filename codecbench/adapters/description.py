"""A workload as texts, by the options --model, --data and --task or a TOML file. They cross processes as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from codecbench.adapters.kinds import Part, placed, portable
from codecbench.codec import TensorSpec
from codecbench.errors import UsageError

PREFIX = "described:"
"""The beginning of the reference of a described workload; its JSON follows."""
PARTS: tuple[Part, ...] = ("model", "data", "task")
RANDOM = "random"
WEIGHTS_ENDING = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_SHAPE = re.compile(r"(\d+|\.\.\d+)(x(\d+|\.\.\d+))*")


def _valid_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a workload's name has letters, digits and single hyphens")
    return name


def _valid_shape(shape: str) -> str:
    if not _SHAPE.fullmatch(shape) or shape.count("..") > 1:
        raise ValueError("a shape is like 3x64x64, or 40x..500 where one axis varies up to a length")
    return shape


class WorkloadDescription(BaseModel):
    """A model, data and a task, each a text with its kind before a colon, and what these do not say themselves.

    `weights` is a .safetensors file, or `random` to try a model out without any. `size` is the side of the model's
    pictures, `shape` the shape of other inputs, where neither model nor data say it. `labels` is a file with the name
    of a class in each line, in the order of the model's outputs. `splits` are the default split points.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    data: str
    task: str
    weights: str | None = None
    name: Annotated[str, AfterValidator(_valid_name)] | None = None
    size: int | None = Field(default=None, gt=0, le=8192)
    shape: Annotated[str, AfterValidator(_valid_shape)] | None = None
    labels: str | None = None
    budget: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    splits: tuple[str, ...] = ()
    cache_dir: str | None = None
    """The user's cache, where libraries keep what they have fetched: processes of a run have a home of their own."""

    @field_validator("weights")
    @classmethod
    def _safe_weights(cls, weights: str | None) -> str | None:
        if weights not in (None, RANDOM) and not str(weights).endswith(WEIGHTS_ENDING):
            raise ValueError(f"weights are a {WEIGHTS_ENDING} file, which holds no code, or 'random'")
        return weights

    @property
    def workload_name(self) -> str:
        """The workload's name: the one it was given, or one made of model, data and task."""
        return self.name or "-".join(_word(portable(part, getattr(self, part))) for part in PARTS)

    @property
    def reference(self) -> str:
        """The text with which other processes make the workload."""
        return PREFIX + self.model_dump_json(exclude_none=True)

    @property
    def spec(self) -> TensorSpec | None:
        """The spec that `shape` says, float32; None without a shape."""
        if self.shape is None:
            return None
        axes = self.shape.split("x")
        longest = next((int(axis[2:]) for axis in axes if axis.startswith("..")), None)
        return TensorSpec(tuple(None if axis.startswith("..") else int(axis) for axis in axes), max_length=longest)

    def portable(self) -> WorkloadDescription:
        """Return the description without the folders of paths and without the cache, as records name it."""
        short: dict[str, Any] = {part: portable(part, getattr(self, part)) for part in PARTS}
        short |= {key: Path(value).name for key in ("weights", "labels") if (value := getattr(self, key)) is not None}
        return self.model_copy(update={**short, "cache_dir": None})

    def options(self) -> list[str]:
        """Return the words of the command line that describe this workload."""
        words: list[str] = []
        for key in OPTIONS:
            value = getattr(self, key)
            words += [f"--{key}", str(value)] if value is not None else []
        return words


OPTIONS = tuple(key for key in WorkloadDescription.model_fields if key not in ("splits", "cache_dir"))
"""The keys that are options of commands as well. `--split` stands for `splits`."""
KEYS = (*OPTIONS, "splits")
"""The keys of a TOML file."""


def from_reference(text: str) -> WorkloadDescription:
    """Return the description in a workload's reference."""
    return WorkloadDescription.model_validate(json.loads(text.removeprefix(PREFIX)))


def placed_values(values: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Return the values of a description with paths made absolute. The first folder that has a path counts.

    Values of a wrong type stay as they are. Raises UsageError for a path that leads nowhere, or a text of no kind.
    """
    found = dict(values)
    for part in PARTS:
        if isinstance(values.get(part), str):
            found[part] = placed(part, values[part], *folders)
    for key in ("weights", "labels"):
        value = values.get(key)
        if isinstance(value, str) and value != RANDOM:
            found[key] = str(_existing(key, value, folders[0]))
    return found


def _existing(key: str, text: str, folder: Path) -> Path:
    path = (folder / Path(text).expanduser()).resolve()
    if not path.is_file():
        raise UsageError(f"--{key} {text}: there is no such file")
    return path


def _word(text: str) -> str:
    """Return a text as a part of a name: without its kind, its folders and its ending."""
    kind, _, argument = text.partition(":")
    if kind.endswith(".py"):
        argument = f"{Path(kind).stem}-{argument}"
    word = re.sub(r"\.(npz|onnx|py)$", "", argument.rpartition("/")[2]) or kind
    return re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-").lower() or kind
