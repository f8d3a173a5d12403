"""The recordings of the Free Spoken Digit Dataset, where `codecbench data get fsdd` puts them, and the weights."""

from __future__ import annotations

import hashlib
import json
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codecbench import DataError
from codecbench_datasets.digits.strings import RATE_HZ

FOLDER = "fsdd"
"""The folder in a data folder that `codecbench data get fsdd` writes."""
WEIGHTS = "digits-deepspeech.safetensors"
"""The file of weights: in the folder `weights` of a data folder, or, where none is there, beside this module."""
SHIPPED = Path(__file__).parent / "data" / WEIGHTS
CURE = "get them by: codecbench data get fsdd --from ARCHIVE"
CURE_WEIGHTS = (
    f"train them by: python -m codecbench_datasets.digits.train --data-dir DIR --out DIR/weights/{WEIGHTS} --max-s 2400"
)


def recordings_folder(data_dir: Path) -> Path:
    """Return the folder of recordings below a data folder."""
    return data_dir / FOLDER / "recordings"


@lru_cache(maxsize=4_096)
def recording(folder: Path, name: str) -> NDArray[np.int16]:
    """Return the values of one recording. Raises DataError if it is missing, or not mono of 16 bits at 8 kHz."""
    return read_wav(folder / f"{name}.wav")


def read_wav(path: Path) -> NDArray[np.int16]:
    """Return the values of a file. Raises DataError if it is missing, or not mono of 16 bits at 8 kHz."""
    try:
        with wave.open(str(path)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, RATE_HZ):
                raise wave.Error(f"{form[0]} channels of {8 * form[1]} bits at {form[2]} Hz")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (OSError, EOFError, wave.Error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it ends too early"
        raise DataError(f"{path} is no recording of the Free Spoken Digit Dataset ({reason}); {CURE}") from error


@lru_cache(maxsize=4)
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a file of weights. Raises DataError if it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"no weights in {path} ({error.strerror}); {CURE_WEIGHTS}") from error


def training_s(weights: Path) -> float | None:
    """Return the seconds that the log beside the weights says, whose lines are JSON objects; None without a log."""
    try:
        lines = weights.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        seconds = [float(row["elapsed_s"]) for row in map(json.loads, lines) if "elapsed_s" in row]
    except (OSError, ValueError, TypeError):
        return None
    return max(seconds, default=None)
