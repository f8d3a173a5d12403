"""Spoken digit strings: which recordings, gaps and gains make each one, drawn from its identifier, and its sound.

Recordings are those of the Free Spoken Digit Dataset, named DIGIT_SPEAKER_INDEX. Their indices part them, so that no
recording is in two subsets: 0 to 4 are the official test part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench import Subset

RATE_HZ = 8_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY = ("", *(f"{word} " for word in WORDS))
"""The text of each output of the network; the first is the blank of CTC."""
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
INDICES: dict[Subset, range] = {"test": range(5), "choice": range(5, 10), "fit": range(10, 50)}
COUNTS: dict[Subset, int] = {"test": 500, "choice": 500, "fit": 4_000}
LEFT_OUT = frozenset({"7_theo_36", "9_theo_16"})
"""Recordings of more than two seconds, most of which is silence. All others last at most 1.32 s."""

MIN_DIGITS, MAX_DIGITS = 3, 7
ONE_SPEAKER = 0.5
"""The share of strings that one person speaks; in the others each digit has a speaker of its own."""
LEVEL_DB = -23.0
"""The level of each recording before gains, in dB of full scale (root of the mean square)."""
GAIN_DB, DIGIT_GAIN_DB = (-9.0, 0.0), (-3.0, 3.0)
NOISE_DB = (-70.0, -50.0)
GAP_S, EDGE_S = (0.05, 0.35), (0.1, 0.25)
MAX_RECORDING_S = 1.32
MAX_S = MAX_DIGITS * MAX_RECORDING_S + (MAX_DIGITS - 1) * GAP_S[1] + 2 * EDGE_S[1]

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class DigitString:
    """The recipe of one string: recordings in order, their gains, the silences around them, and the noise."""

    recordings: tuple[str, ...]
    gains_db: tuple[float, ...]
    gaps: tuple[int, ...]
    """Values before each recording, and behind the last."""
    noise_db: float
    noise_seed: int

    @property
    def text(self) -> str:
        """The words that are spoken."""
        return " ".join(WORDS[int(name[0])] for name in self.recordings)


def drawn_string(
    rng: np.random.Generator, indices: Sequence[int], lengths: tuple[int, int] = (MIN_DIGITS, MAX_DIGITS)
) -> DigitString:
    """Return a string of recordings with these indices; it has as many digits as `lengths` allows."""
    count = int(rng.integers(lengths[0], lengths[1] + 1))
    digits = rng.integers(0, len(WORDS), count)
    one_speaker = rng.random() < ONE_SPEAKER
    speakers = (
        np.repeat(rng.integers(0, len(SPEAKERS)), count) if one_speaker else rng.integers(0, len(SPEAKERS), count)
    )
    names = []
    for digit, speaker in zip(digits, speakers, strict=True):
        name = ""
        while not name or name in LEFT_OUT:
            name = f"{digit}_{SPEAKERS[speaker]}_{indices[int(rng.integers(0, len(indices)))]}"
        names.append(name)
    gain_db = rng.uniform(*GAIN_DB)
    gains_db = tuple(float(gain_db + each) for each in rng.uniform(*DIGIT_GAIN_DB, count))
    ranges = [EDGE_S, *[GAP_S] * (count - 1), EDGE_S]
    gaps = tuple(int(RATE_HZ * rng.uniform(*each)) for each in ranges)
    return DigitString(tuple(names), gains_db, gaps, float(rng.uniform(*NOISE_DB)), int(rng.integers(2**32)))


def string_id(subset: Subset, number: int) -> str:
    """Return the identifier of a subset's string."""
    return f"{subset}-{number:04}"


def string_of(subset: Subset, identifier: str) -> DigitString:
    """Return the recipe of a string; it depends on nothing but its subset and identifier."""
    seed = int.from_bytes(hashlib.sha256(f"digits-deepspeech\0{identifier}".encode()).digest()[:8], "big")
    return drawn_string(np.random.default_rng(seed), INDICES[subset])


def sound_of(string: DigitString, recording: Callable[[str], NDArray[np.int16]]) -> Sound:
    """Return the sound of a string at RATE_HZ, from -1 to 1; `recording` returns the values of one by its name."""
    parts = [
        levelled(recording(name)[: int(MAX_RECORDING_S * RATE_HZ)], gain_db)
        for name, gain_db in zip(string.recordings, string.gains_db, strict=True)
    ]
    return joined(parts, string.gaps, string.noise_db, np.random.default_rng(string.noise_seed))


def levelled(values: NDArray[Any], gain_db: float) -> Sound:
    """Return a recording at LEVEL_DB and a gain."""
    sound = values.astype(np.float64)
    root = np.sqrt(np.mean(sound**2)) if len(sound) else 0.0
    return sound * (10 ** ((LEVEL_DB + gain_db) / 20) / max(root, 1.0))


def joined(parts: Sequence[Sound], gaps: Sequence[int], noise_db: float, rng: np.random.Generator) -> Sound:
    """Return recordings with silences around them, and white noise over all."""
    silences = [np.zeros(gap) for gap in gaps]
    pieces = [piece for pair in zip(silences, parts, strict=False) for piece in pair]
    sound = np.concatenate([*pieces, silences[-1]])
    sound += 10 ** (noise_db / 20) * rng.standard_normal(len(sound))
    return sound.clip(-1, 1)
