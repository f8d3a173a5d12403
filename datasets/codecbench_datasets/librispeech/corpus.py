"""Utterances of LibriSpeech in its official layout: `test-clean/SPEAKER/CHAPTER/*.flac`, texts in `*.trans.txt`."""

from __future__ import annotations

import hashlib
import wave
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench import DataError, Subset
from codecbench.toolbox.collecting import keep_place
from codecbench.toolbox.speech import normalised

FOLDER = "librispeech"
"""The folder in a data folder that `codecbench data get librispeech` writes."""
TEST, TRAINING = "test-clean", "dev-clean"
PARTS = (TEST, TRAINING)
CURE = "give its folder or archives: codecbench data get librispeech --from PLACE"
RATE_HZ = 16_000
MAX_S = 36
"""The longest utterance of test-clean and dev-clean lasts 35 s."""
MAX_CHOICE = 1_000
ENDINGS = (".flac", ".wav")


@dataclass(frozen=True)
class Utterance:
    """One utterance: its identifier SPEAKER-CHAPTER-NUMBER, its folder, and what is said."""

    name: str
    folder: Path
    text: str

    @property
    def speaker(self) -> str:
        """The number of the speaker."""
        return self.name.partition("-")[0]


def note(folder: Path, part: str, place: Path) -> None:
    """Keep where a part lies."""
    keep_place(folder, part, place)
    utterances.cache_clear()


@lru_cache(maxsize=8)
def utterances(root: Path) -> tuple[Utterance, ...]:
    """Return all utterances below a folder, in the order of hashes of their identifiers: random but fixed.

    Raises DataError if there are none, or for a line of a `*.trans.txt` without a text.
    """
    found = []
    for path in sorted(root.rglob("*.trans.txt")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read ({error}); {CURE}") from error
        for number, line in enumerate(lines, 1):
            name, _, text = line.partition(" ")
            if not normalised(text):
                raise DataError(f"{path}, line {number}: an identifier and what is said are expected; {CURE}")
            found.append(Utterance(name, path.parent, normalised(text)))
    if not found:
        raise DataError(f"{root} holds no *.trans.txt of LibriSpeech; {CURE}")
    return tuple(sorted(found, key=lambda utterance: _digest(utterance.name)))


def subset_of(subset: Subset, root: Path) -> list[Utterance]:
    """Return the utterances of a subset; `root` is the folder of the part that it is taken from.

    Half of the speakers of dev-clean serve to choose operating points, up to MAX_CHOICE utterances; codecs are fitted
    on the others.
    """
    found = list(utterances(root))
    if subset == "test":
        return found
    speakers = sorted({utterance.speaker for utterance in found}, key=_digest)
    chosen = set(speakers[: (len(speakers) + 1) // 2])
    if subset == "fit":
        return [utterance for utterance in found if utterance.speaker not in chosen]
    return [utterance for utterance in found if utterance.speaker in chosen][:MAX_CHOICE]


def sound(utterance: Utterance) -> NDArray[np.float32]:
    """Return a waveform at RATE_HZ, from -1 to 1. Raises DataError, with the file, for one that cannot be read."""
    paths = [utterance.folder / f"{utterance.name}{ending}" for ending in ENDINGS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise DataError(f"{paths[0]} is missing, though the transcript has it; {CURE}")
    values, rate_hz = _read_wav(path) if path.suffix == ".wav" else _read_flac(path)
    if rate_hz != RATE_HZ or values.ndim != 1 or not 0 < len(values) <= MAX_S * RATE_HZ:
        form = f"{values.ndim} channels at {rate_hz} Hz, {len(values) / rate_hz:.1f} s"
        raise DataError(f"{path} is no mono recording at {RATE_HZ} Hz of up to {MAX_S} s ({form}); {CURE}")
    return values.astype(np.float32) / np.float32(32_768)


def _read_wav(path: Path) -> tuple[NDArray[Any], int]:
    try:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2:
                raise wave.Error(f"it has {8 * file.getsampwidth()} bits a value, not 16")
            content = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            channels, rate_hz = file.getnchannels(), file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{path} does not open as a recording ({str(error) or 'it ends too early'}); {CURE}") from error
    return (content if channels == 1 else content.reshape(-1, channels)), rate_hz


def _read_flac(path: Path) -> tuple[NDArray[Any], int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its C library is missing
        raise DataError(
            "recordings in .flac need the package soundfile, which does not import; run: pip install soundfile"
        ) from error
    try:
        values, rate_hz = soundfile.read(str(path), dtype="int16")
    except (RuntimeError, OSError) as error:
        raise DataError(f"{path} does not open as a recording ({error}); {CURE}") from error
    return values, int(rate_hz)


def _digest(name: str) -> bytes:
    """Return 32 bytes that follow from a name."""
    return hashlib.sha256(f"librispeech\0{name}".encode()).digest()
