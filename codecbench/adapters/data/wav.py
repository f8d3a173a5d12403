"""Recordings in a folder: `wav:DIR`, with transcripts in a table or in a text beside each recording."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.system.textfiles import lines_of, read_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "path"
EXAMPLE = "wav:DIR"
LONGEST_S = 16
"""The longest recording without `--shape`, in seconds."""
TABLES = ("transcripts.csv", "transcripts.tsv", "metadata.csv", "metadata.tsv")


class Recordings(DataAdapter):
    """The .wav files below a folder, PCM of 16 bits, mixed to mono and resampled to the model's rate.

    The transcript of a/b.wav stands in a/b.txt, or in a table of the folder with the columns file and text.
    """

    def names(self) -> Sequence[str]:
        """Return the paths of all recordings in the folder, sorted."""
        return self._names

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of a waveform of varying length, the longest by `--shape`, else 16 s."""
        return self.description.spec or TensorSpec((None,), max_length=LONGEST_S * self._rate_hz(network))

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a waveform, float32 from -1 to 1."""
        import numpy as np

        samples, rate_hz = self._read(name)
        found = resampled(samples, rate_hz, self._rate_hz(network))
        spec = self.input_spec(network)
        longest, spec_hz = spec.max_length, self._rate_hz(network)
        if longest is not None and len(found) > longest:
            raise DataError(
                f"{self.label}: {name} has {len(found)} values at {spec_hz} Hz, more than {longest}; give "
                f"--shape ..{len(found)}, or cut the recording"
            )
        return np.ascontiguousarray(found, dtype=np.float32)

    def target(self, name: str) -> Any:
        """Return the transcript, or without one the name of the folder. Raises DataError where there is neither."""
        if name in self._transcripts:
            return self._transcripts[name]
        beside = (Path(self.argument) / name).with_suffix(".txt")
        if beside.is_file():
            return read_text(beside, f"{self.label}: {Path(name).with_suffix('.txt')}").strip()
        table = self._table.name if self._table else TABLES[0]
        raise DataError(
            f"{self.label}: {name} has no transcript; add it to {table} in the "
            f"folder (columns file and text), or write it to {Path(name).with_suffix('.txt')}"
        )

    def _rate_hz(self, network: ModelAdapter) -> int:
        if network.sounds is None:
            raise DataError(f"{self.label} has sound, and the model {network.description.portable().model} takes none")
        return network.sounds.rate_hz

    def _read(self, name: str) -> tuple[NDArray[Any], int]:
        import numpy as np

        try:
            with wave.open(str(Path(self.argument) / name)) as file:
                if file.getsampwidth() != 2:
                    raise wave.Error(f"it has {8 * file.getsampwidth()} bits a sample, not 16")
                content = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
                return content.reshape(-1, file.getnchannels()).mean(1), file.getframerate()
        except (OSError, EOFError, wave.Error) as error:
            reason = str(error) or "it ends too early"
            raise DataError(
                f"{self.label}: {name} does not open as a recording ({reason}); convert or remove it"
            ) from error

    @cached_property
    def _names(self) -> list[str]:
        root = Path(self.argument)
        paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() == ".wav")
        found = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
        if not found:
            raise DataError(f"--data {self.label} holds no .wav files")
        return found

    @cached_property
    def _table(self) -> Path | None:
        paths = (Path(self.argument) / name for name in TABLES)
        return next((path for path in paths if path.is_file()), None)

    @cached_property
    def _transcripts(self) -> dict[str, str]:
        """The texts of the table by file. Raises DataError for a line of another form."""
        import csv

        if self._table is None:
            return {}
        label = f"{self.label}: {self._table.name}"
        lines = lines_of(read_text(self._table, label))
        rows = csv.reader(lines, delimiter="\t" if self._table.suffix == ".tsv" else ",")
        found: dict[str, str] = {}
        for number, row in enumerate(rows, 1):
            if not row or (number == 1 and row[0].strip().lower() in ("file", "file_name", "path")):
                continue
            if len(row) != 2:
                raise DataError(f"{label}, line {number}: it has {len(row)} columns; give file and text")
            found[row[0].strip()] = row[1].strip()
        return found


def resampled(samples: NDArray[Any], rate_hz: int, target_hz: int) -> NDArray[Any]:
    """Return a waveform at another rate, by polyphase filtering."""
    if rate_hz == target_hz:
        return samples
    from math import gcd

    from scipy.signal import resample_poly

    divisor = gcd(rate_hz, target_hz)
    found: NDArray[Any] = resample_poly(samples, target_hz // divisor, rate_hz // divisor)
    return found


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the recordings of `wav:DIR`."""
    return Recordings(argument, description)
