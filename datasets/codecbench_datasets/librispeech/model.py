"""Speech models of the library transformers with a CTC head, such as wav2vec 2.0. Their own code is never run.

Importing this module imports torch; transformers is imported when a model is loaded.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from codecbench import DataError
from codecbench_datasets.librispeech.files import PREPROCESSOR, VOCABULARY, read_file

EPSILON = 1e-7
UNUSED = "masked_spec_embed"
"""The end of the name of a weight that only training uses; published files may lack it."""


class Recogniser(nn.Module):
    """Waveforms (N, T) to logits (N, frames, tokens): the model without its head, and the head.

    With `normalise`, each waveform is brought to mean 0 and variance 1 first, as the feature extractor's file asks.
    """

    def __init__(self, model: Any, *, normalise: bool) -> None:
        super().__init__()
        self.speech = getattr(model, model.base_model_prefix)
        self.head = model.lm_head
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each frame."""
        if self.normalise:
            mean = x.mean(-1, keepdim=True)
            x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + EPSILON)
        return cast(Tensor, self.head(self.speech(x)[0]))


def load(folder: Path) -> Recogniser:
    """Return the model in a folder that `keep` wrote. Raises DataError if it is damaged."""
    stated = read_file(folder, PREPROCESSOR)
    return Recogniser(_pretrained(str(folder), str(folder)), normalise=bool(stated.get("do_normalize", True))).eval()


def keep(name: str, folder: Path) -> None:
    """Write a model of the hub, or of a folder of `save_pretrained`, to a folder, with vocabulary and preprocessing.

    Raises DataError for one that is no speech model with a CTC head, a vocabulary and inputs at 16 kHz.
    """
    label = f"--from hf:{name}"
    model = _pretrained(name, label)
    stated = _file(name, PREPROCESSOR, label) or {}
    tokens = _file(name, VOCABULARY, label)
    if tokens is None:
        raise DataError(f"{label} has no {VOCABULARY}, which says the text of its outputs; name another model")
    rate_hz = stated.get("sampling_rate", 16_000)
    if rate_hz != 16_000 or getattr(model, "main_input_name", "") != "input_values":
        raise DataError(f"{label} takes no waveforms at 16,000 Hz; name another model")
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / PREPROCESSOR).write_text(json.dumps(stated), encoding="utf-8")
    (folder / VOCABULARY).write_text(json.dumps(tokens), encoding="utf-8")


def _pretrained(name: str, label: str) -> Any:
    library = _library(label)
    try:
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
        model, report = library.AutoModelForCTC.from_pretrained(
            name, config=config, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # what the library raises for a folder without a model, or without a network
        raise DataError(f"{label}: no CTC model can be loaded ({' '.join(str(error).split())[:160]})") from error
    missing = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    wrong = sorted(key for key in missing if not key.endswith(UNUSED))
    if wrong:
        raise DataError(f"{label}: its weights lack {wrong[0]!r}, which would be random; name another model")
    return _without_unused(model)


def _without_unused(model: Any) -> Any:
    """Return the model with zeros for the weight that only training uses, which a file may lack."""
    for key, value in model.named_parameters():
        if key.endswith(UNUSED):
            torch.nn.init.zeros_(value)
    return model


def _library(label: str) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        library: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise DataError(f"{label} needs the package transformers; run: pip install transformers") from error
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def _file(name: str, file: str, label: str) -> dict[str, Any] | None:
    """Return the content of a JSON file of a model, or None if it has none."""
    try:
        path = _library(label).utils.cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        found = None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{label}: its file {file} cannot be read: {' '.join(str(error).split())[:160]}") from error
    return found if isinstance(found, dict) else None
