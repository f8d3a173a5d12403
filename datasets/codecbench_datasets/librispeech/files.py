"""The files of the model of `librispeech`: where they lie, and what can be known of them without the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from codecbench import DataError

MODEL_FOLDER = "librispeech"
"""The folder of the model, in the folder `weights` of a data folder."""
CONFIG, WEIGHTS, VOCABULARY, PREPROCESSOR = "config.json", "model.safetensors", "vocab.json", "preprocessor_config.json"
FILES = (CONFIG, WEIGHTS, VOCABULARY, PREPROCESSOR)
DEFAULT_MODEL = "facebook/wav2vec2-base-960h"
CURE = "name a model: codecbench data get librispeech --from hf:NAME-OR-FOLDER"
SPECIAL = frozenset({"<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]"})


def read_file(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of the model. Raises DataError if there is none."""
    try:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"librispeech has no usable {name} in {folder} yet; {CURE}") from error


@lru_cache(maxsize=2)
def vocabulary(folder: Path) -> Sequence[str]:
    """Return the text of each output: a space for `|`, nothing for special tokens, among them the blank."""
    tokens = read_file(folder, VOCABULARY)
    found = [""] * (max(tokens.values()) + 1)
    for text, index in tokens.items():
        found[index] = "" if text in SPECIAL else " " if text == "|" else text
    return found


@lru_cache(maxsize=2)
def files_sha256(folder: Path) -> str:
    """Return the SHA-256 of the files of the model. Raises DataError if one is missing."""
    digest = hashlib.sha256()
    for name in FILES:
        try:
            with (folder / name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            raise DataError(f"librispeech has no {name} in {folder} yet; {CURE}") from error
        digest.update(found.digest())
    return digest.hexdigest()


def split_names(folder: Path) -> tuple[str, ...]:
    """Return the usual split points: the input, the features, and the layers at a quarter, a half, three quarters.

    What leaves the last layer leaves the model without its head, so it is none of these.
    """
    layers = int(read_file(folder, CONFIG).get("num_hidden_layers", 0))
    depths = sorted({min(max(1, round(layers * share / 4)), layers - 1) - 1 for share in (1, 2, 3)})
    return ("input", "speech.feature_extractor", *(f"speech.encoder.layers.{depth}" for depth in depths if depth >= 0))
