"""The workload `digits-deepspeech`: strings of spoken digits, recognised by a small network like DeepSpeech.

`codecbench data get fsdd` unpacks the recordings, which do not ship. The README beside this file names their source and
terms. Importing this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import DataError, RatioMetric, Subset, TensorSpec, Workload, data_folders, hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class DigitsDeepSpeech(Workload):
    """Word error rate of a CTC network on strings of 3 to 7 spoken digits, split at the input or after layers 1 to 5.

    Strings are composed from recordings of the Free Spoken Digit Dataset; no recording is in two subsets. The text of
    the likeliest path decides; that of a beam search and the share of strings without any error stand beside it.
    """

    name = "digits-deepspeech"
    metrics = (
        RatioMetric("WER", "%", higher_is_better=False, scale=100.0, decimals=2),
        RatioMetric("WER (beam)", "%", higher_is_better=False, scale=100.0, decimals=2),
        RatioMetric("exact strings", "%", higher_is_better=True, scale=100.0, binary=True),
    )
    default_splits = ("input", "layer1", "layer2", "layer3", "layer4", "layer5")
    budget = 1.0
    dataset = "fsdd"
    training_note = "as the log beside the weights says, on the cores of that machine with whatever else they did."

    @property
    def input_spec(self) -> TensorSpec:
        """Frames every 20 ms of 40 logarithms of powers; the number of frames varies."""
        from codecbench_datasets.digits.features import BANDS, MAX_FRAMES

        return TensorSpec((None, BANDS), max_length=MAX_FRAMES)

    def build_model(self) -> nn.Module:
        """Return the recogniser: (N, T, 40) frames to (N, T, 11) logits. Raises DataError without its weights."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from codecbench_datasets.digits.model import DigitRecogniser
        from codecbench_datasets.digits.recordings import CURE_WEIGHTS

        self.weights_sha256()  # which says what to do where there are none
        model, path = DigitRecogniser(), self._weights_file()
        try:
            model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} holds no weights of digits-deepspeech ({reason}); {CURE_WEIGHTS}") from error
        return model.eval()

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the file of weights. Raises DataError, with the command that makes it, without one."""
        from codecbench_datasets.digits.recordings import weights_sha256

        return weights_sha256(self._weights_file())

    @property
    def training_s(self) -> float | None:
        """Seconds of the training, of the log beside the weights; None without one."""
        from codecbench_datasets.digits.recordings import training_s

        return training_s(self._weights_file())

    def sample_ids(self, subset: Subset) -> Sequence[str]:
        """Return the identifiers of strings, which are the same whatever recordings are there."""
        from codecbench_datasets.digits.strings import COUNTS, string_id

        return [string_id(subset, number) for number in range(COUNTS[subset])]

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return frames as float32 (T, 40)."""
        from codecbench_datasets.digits.features import log_mel
        from codecbench_datasets.digits.recordings import recording
        from codecbench_datasets.digits.strings import sound_of, string_of

        folder, ids = self._folder(), self.sample_ids(subset)
        strings = [string_of(subset, ids[at]) for at in positions]
        return [log_mel(sound_of(string, lambda name: recording(folder, name))) for string in strings]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[str]:
        """Return the words that are spoken."""
        from codecbench_datasets.digits.strings import string_of

        ids = self.sample_ids(subset)
        return [string_of(subset, ids[at]).text for at in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: str) -> dict[str, tuple[float, float]]:
        """Return edits over words of the likeliest path and of the beam search, and whether the first has none."""
        from codecbench.toolbox.speech import beam_text, greedy_text, word_edits
        from codecbench_datasets.digits.strings import VOCABULARY

        edits, words = word_edits(target, greedy_text(output[0], VOCABULARY))
        return {
            "WER": (edits, words),
            "WER (beam)": word_edits(target, beam_text(output[0], VOCABULARY)),
            "exact strings": (float(edits == 0), 1.0),
        }

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Say what is there. Raises DataError, with the place to get the recordings from, if none are."""
        from codecbench_datasets.digits.fetch import check

        check(data_dir, log)

    @classmethod
    def fetch_from(cls, sources: Sequence[str], data_dir: Path, log: Callable[[str], None]) -> None:
        """Take the recordings of an archive or a folder into `data_dir`."""
        from codecbench_datasets.digits.fetch import fetch

        fetch(data_dir, log, sources)

    def _folder(self) -> Path:
        """Return the folder of recordings. Raises DataError if there is none."""
        from codecbench_datasets.digits.recordings import CURE, recordings_folder

        folders = [recordings_folder(place) for place in data_folders(self.data_dir)]
        found = next((folder for folder in folders if folder.is_dir()), None)
        if found is None:
            raise DataError(f"digits-deepspeech has no recordings yet; {CURE}")
        return found

    def _weights_file(self) -> Path:
        """Return the file of weights: that of a data folder if one has it, else the one that ships."""
        from codecbench_datasets.digits.recordings import SHIPPED, WEIGHTS

        own = self.weights_file(WEIGHTS)
        return SHIPPED if SHIPPED.is_file() and not own.is_file() else own


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [DigitsDeepSpeech]
