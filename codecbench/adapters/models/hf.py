"""Models of Hugging Face: `hf:NAME-OR-FOLDER`, by the library transformers. Their own code is never run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from codecbench.adapters.contracts import (
    ModelAdapter,
    Pictures,
    Resampling,
    Sounds,
    file_name,
    imported,
    keep_downloads,
)
from codecbench.adapters.description import RANDOM, WorkloadDescription
from codecbench.errors import DataError

ARGUMENT = "name or path"
EXAMPLE = "hf:microsoft/resnet-50"

HEADS = {
    "classification": "ForImageClassification", "segmentation": "ForSemanticSegmentation", "ctc": "ForCTC",
    "detection": "ForObjectDetection",
}  # fmt: skip
"""The end of the name of a model's class, by task."""
RESAMPLINGS: tuple[Resampling, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""The filters by their numbers in configuration files."""


class HubNetwork(ModelAdapter):
    """A pretrained model with a head for the task. Its configuration says how it takes its inputs."""

    @property
    def pictures(self) -> Pictures | None:
        """The form that the image processor's file states; without one, the size in the model's configuration."""
        if self.sounds is not None:
            return None
        stated = self._file("preprocessor_config.json")
        if stated is not None:
            return stated_form(stated, self.label)
        side = getattr(self._config, "image_size", None) or self.description.size
        if isinstance(side, (list, tuple)):
            return Pictures((side[0], side[1]), (side[0], side[1]))
        return Pictures((side, side), side) if side else None

    @cached_property
    def sounds(self) -> Sounds | None:
        """The form that the feature extractor's file states, for a model whose input is a waveform."""
        if self._kind.main_input_name != "input_values":
            return None
        stated = self._file("preprocessor_config.json") or {}
        return Sounds(int(stated.get("sampling_rate", 16_000)), bool(stated.get("do_normalize", True)))

    @property
    def classes(self) -> Sequence[Sequence[str]] | None:
        """The names in the configuration, which may be several for a class, parted by commas."""
        names: dict[int, str] = self._config.id2label
        if not self._kind.__name__.endswith("Classification"):
            return None
        found = [names.get(index, "") for index in range(self._config.num_labels)]
        return [() if name == f"LABEL_{index}" else (name, *name.split(",")) for index, name in enumerate(found)]

    @property
    def vocabulary(self) -> Sequence[str] | None:
        """The tokens in the order of the outputs; padding and other special tokens are empty texts."""
        tokens = self._file("vocab.json")
        if tokens is None:
            return None
        special = {"<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]"}
        found = [""] * (max(tokens.values()) + 1)
        for text, index in tokens.items():
            found[index] = "" if text in special else " " if text == "|" else text
        return found

    def build(self) -> Any:
        """Return the model with normalisation inside; its output is the logits alone.

        Raises DataError where weights are missing: a layer without them would be random.
        """
        from codecbench.adapters.wrappers import as_contract, load_strictly, seeded, zero_mean_unit_variance

        weights = self.description.weights
        with seeded():
            if weights is None:
                model = self._pretrained()
            else:
                model = self._kind(self._config)
                if weights != RANDOM:
                    load_strictly(model, weights, file_name(weights))
        form = self.pictures.at_size(self.description.size) if self.pictures is not None else None
        before = zero_mean_unit_variance if self.sounds is not None and self.sounds.normalise else None
        return as_contract(model, form, keyword=self._kind.main_input_name, output=self._output(), before=before)

    def _output(self) -> Callable[[Any, Any], Any]:
        if self._kind.__name__.endswith(HEADS["segmentation"]):
            return _logits_at_input_size
        return _boxes_or_logits

    def _pretrained(self) -> Any:
        kind, config = self._kind, self._config
        try:
            model, report = kind.from_pretrained(
                self.argument, config=config, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True,
            )  # fmt: skip
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self.label} has no weights that can be loaded ({reason}); name a file with --weights, or "
                "try the model out with --weights random"
            ) from error
        wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
        if wrong:
            raise DataError(f"{self.label}: its weights lack {wrong[0]!r} of {kind.__name__}, which would be random")
        return model

    @cached_property
    def _library(self) -> Any:
        keep_downloads(self.description)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        library = imported("transformers", self.label)
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        return library

    @cached_property
    def _config(self) -> Any:
        try:
            return self._library.AutoConfig.from_pretrained(self.argument, trust_remote_code=False)
        except DataError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{self.label}: there is no such model that can be read without code of its own ({reason}); give a "
                "folder with config.json, or the name of a model on the hub"
            ) from error

    @cached_property
    def _kind(self) -> Any:
        """The class of the model: the one of the configuration, if it suits the task, else the task's."""
        library, task = self._library, self.description.task.partition(":")[0]
        head = HEADS.get(task, "")
        stated = next(iter(self._config.architectures or ()), "")
        fits = stated.endswith(head) if head else "For" in stated
        kind = getattr(library, stated, None) if fits else None
        if isinstance(kind, type) and issubclass(kind, library.PreTrainedModel):
            return kind
        auto: Any = getattr(library, f"AutoModel{head or HEADS['classification']}")
        try:
            return auto._model_mapping[type(self._config)]
        except (KeyError, AttributeError) as error:
            raise DataError(
                f"{self.label} is of type {self._config.model_type!r}, which has no model for --task {task}"
            ) from error

    def _file(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file of the model, or None if it has none."""
        cached_file = self._library.utils.cached_file
        try:
            path = cached_file(self.argument, name, _raise_exceptions_for_missing_entries=False)
            found = None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.label}: its file {name} cannot be read: {' '.join(str(error).split())}") from error
        return found if isinstance(found, dict) else None


def stated_form(stated: dict[str, Any], label: str) -> Pictures:
    """Return the form of pictures in an image processor's file. Raises DataError for one that is not understood."""
    size, crop = _sides(stated.get("size")), _sides(stated.get("crop_size"))
    if size is None and crop is None:
        raise DataError(f"{label}: its preprocessor_config.json says no size of pictures; give --size")
    resize = size if stated.get("do_resize", True) else None
    share = stated.get("crop_pct")
    if share and isinstance(resize, int) and resize < 384:
        crop, resize = (resize, resize), int(resize / share)
    elif not stated.get("do_center_crop", crop is not None) or crop is None:
        crop = size
    height, width = (crop, crop) if isinstance(crop, int) else crop or (0, 0)
    if isinstance(resize, int) and resize < min(height, width):
        resize = min(height, width)
    normalised = stated.get("do_normalize", True) and "image_mean" in stated and "image_std" in stated
    filters = stated.get("resample", 2)
    return Pictures(
        (height, width), resize, RESAMPLINGS[filters] if filters in range(6) else "bilinear",
        mean=tuple(stated["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=tuple(stated["image_std"]) if normalised else (1.0, 1.0, 1.0),
        bgr=bool(stated.get("do_flip_channel_order", False)),
    )  # fmt: skip


def _sides(size: Any) -> int | tuple[int, int] | None:
    if isinstance(size, dict):
        if "shortest_edge" in size:
            return int(size["shortest_edge"])
        return (int(size["height"]), int(size["width"])) if {"height", "width"} <= size.keys() else None
    return int(size) if isinstance(size, (int, float)) else None


def _boxes_or_logits(found: Any, _x: Any) -> Any:
    boxes = getattr(found, "pred_boxes", None)
    return found.logits if boxes is None else (found.logits, boxes)


def _logits_at_input_size(found: Any, x: Any) -> Any:
    from torch.nn.functional import interpolate

    return interpolate(found.logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


def open_model(argument: str, description: WorkloadDescription) -> ModelAdapter:
    """Return the network of `hf:NAME-OR-FOLDER`."""
    return HubNetwork(argument, description)
