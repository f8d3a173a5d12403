"""Recordings of the form of the Free Spoken Digit Dataset, made up: a digit is a tone, a speaker its loudness."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

RATE_HZ = 8_000


def write_recordings(folder: Path, names: Iterable[str], values: int = 1_200) -> None:
    """Write a WAV file for each name, DIGIT_SPEAKER_INDEX."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(values) / RATE_HZ
    tones = [np.sin(2 * np.pi * (300 + 350 * digit) * seconds) * np.hanning(values) for digit in range(10)]
    for name in names:
        digit, speaker, index = name.split("_")
        loudness = 2_000 + 100 * len(speaker) + 50 * int(index)
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes((loudness * tones[int(digit)]).astype("<i2").tobytes())
