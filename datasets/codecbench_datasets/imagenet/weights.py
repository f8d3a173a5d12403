"""Weights of a ResNet-50 from other projects, under the names of `model.ResNet50`; and the file that keeps them.

Other projects name them otherwise. Keras has biases in the convolutions before batch normalisation, and another
epsilon: these go into the running means and variances, which changes results by rounding only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from codecbench import DataError
from codecbench_datasets.imagenet.catalogue import CURE, weights_sha256
from codecbench_datasets.imagenet.form import Form
from codecbench_datasets.imagenet.model import DEPTHS, ResNet50

FORM = "form"
"""The key of the form in the metadata of the file."""

KERAS_EPSILON, TORCH_EPSILON = 1e-3, 1e-5
"""The epsilon that batch normalisation adds to variances, in Keras and in torch."""

_TORCHVISION = (
    (r"conv1\.", "stem.0."), (r"bn1\.", "stem.1."), (r"layer(\d)\.", r"stage\1."), (r"fc\.", "classifier."),
)  # fmt: skip

_CONVOLUTION, _NORMALISATION = r"convolution\.", r"normalization\."
_LAYER = r"resnet\.encoder\.stages\.(\d)\.layers\.(\d+)\."
_TRANSFORMERS = (
    (rf"resnet\.embedder\.embedder\.{_CONVOLUTION}", "stem.0."),
    (rf"resnet\.embedder\.embedder\.{_NORMALISATION}", "stem.1."),
    (rf"{_LAYER}layer\.(\d)\.{_CONVOLUTION}", r"stage+\1.\2.conv+\3."),
    (rf"{_LAYER}layer\.(\d)\.{_NORMALISATION}", r"stage+\1.\2.bn+\3."),
    (rf"{_LAYER}shortcut\.{_CONVOLUTION}", r"stage+\1.\2.downsample.0."),
    (rf"{_LAYER}shortcut\.{_NORMALISATION}", r"stage+\1.\2.downsample.1."),
    (r"classifier\.1\.", "classifier."),
)
"""Beginnings of names, and ours; `+` before a number counts it from 1."""


def of_torch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights named as in torchvision and timm, or as in transformers. Raises DataError if they are others."""
    patterns = _TRANSFORMERS if any(name.startswith("resnet.") for name in state) else _TORCHVISION
    found = {}
    for name, value in state.items():
        theirs, ours = next(((theirs, ours) for theirs, ours in patterns if re.match(theirs, name)), ("", ""))
        renamed = re.sub(rf"\A{theirs}", ours, name, count=1)
        found[re.sub(r"\+(\d)", lambda number: str(int(number[1]) + 1), renamed)] = value
    return _checked(found)


def of_keras(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights named as in Keras' `ResNet50`, which takes BGR. Raises DataError if they are others."""
    found: dict[str, Tensor] = {}
    try:
        for ours, theirs in _keras_layers():
            conv, norm = f"{theirs[0]}/", f"{theirs[1]}/"
            found[f"{ours[0]}.weight"] = arrays[f"{conv}kernel"].permute(3, 2, 0, 1)
            found[f"{ours[1]}.weight"], found[f"{ours[1]}.bias"] = arrays[f"{norm}gamma"], arrays[f"{norm}beta"]
            found[f"{ours[1]}.running_mean"] = arrays[f"{norm}moving_mean"] - arrays[f"{conv}bias"]
            found[f"{ours[1]}.running_var"] = arrays[f"{norm}moving_variance"] + (KERAS_EPSILON - TORCH_EPSILON)
        found["classifier.weight"], found["classifier.bias"] = arrays["fc1000/kernel"].T, arrays["fc1000/bias"]
    except KeyError as error:
        raise DataError(f"these are no weights of Keras' ResNet50: {error} is missing") from error
    found["stem.0.weight"] = found["stem.0.weight"].flip(1)  # inputs are RGB here
    return _checked(found)


def _keras_layers() -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the names of each convolution and its normalisation: ours, and those of Keras."""
    layers = [(("stem.0", "stem.1"), ("conv1", "bn_conv1"))]
    for stage, depth in enumerate(DEPTHS, 1):
        for block in range(depth):
            ours, theirs = f"stage{stage}.{block}", f"{stage + 1}{'abcdef'[block]}_branch"
            layers += [
                ((f"{ours}.conv{number}", f"{ours}.bn{number}"), (f"res{theirs}2{branch}", f"bn{theirs}2{branch}"))
                for number, branch in enumerate("abc", 1)
            ]
            if block == 0:
                layers.append(((f"{ours}.downsample.0", f"{ours}.downsample.1"), (f"res{theirs}1", f"bn{theirs}1")))
    return layers


def _checked(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a ResNet-50 as float32. Raises DataError for a name or a shape that is not its."""
    with torch.device("meta"):
        expected = {
            name: value.shape for name, value in ResNet50(Form("")).state_dict().items() if not _is_counter(name)
        }
    found = {name: value for name, value in found.items() if not _is_counter(name)}
    if found.keys() != expected.keys():
        name = min(found.keys() ^ expected.keys())
        raise DataError(
            f"these are no weights of a ResNet-50: {name} is {'missing' if name in expected else 'unknown'}"
        )
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise DataError(
                f"these are no weights of a ResNet-50 for 1,000 classes: {name} has the shape "
                f"{tuple(found[name].shape)}, not {tuple(shape)}"
            )
    return {name: found[name].to(torch.float32).contiguous() for name in expected}


def _is_counter(name: str) -> bool:
    """Return True for the counters of batch normalisation, which are used in training only."""
    return name.endswith("num_batches_tracked")


def save(path: Path, state: Mapping[str, Tensor], form: Form) -> None:
    """Write weights and their form to a file, whole or not at all. Equal weights and forms give equal files."""
    aside = path.with_suffix(".new")
    save_file(dict(state), aside, metadata={FORM: form.to_json()})
    aside.replace(path)
    load_form.cache_clear()
    weights_sha256.cache_clear()


@lru_cache(maxsize=2)
def load_form(path: Path) -> Form:
    """Return the form that a file of weights states. Raises DataError if it states none."""
    try:
        with safe_open(path, "pt") as file:
            return Form.from_json((file.metadata() or {})[FORM])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no weights of imagenet-resnet50 ({error}); {CURE}") from error


def load(path: Path) -> tuple[dict[str, Tensor], Form]:
    """Return weights and their form from such a file. Raises DataError if it is none."""
    form = load_form(path)
    try:
        return _checked(load_file(path)), form
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is damaged ({error}); {CURE}") from error
