"""The workload `librispeech`: read English, recognised by a model like wav2vec 2.0.

`codecbench data get librispeech` takes the recordings and a model, none of which ship. The README beside this file
names their sources. Importing this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import DataError, RatioMetric, Subset, TensorSpec, Workload, data_folders, hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class SplitsOfModel:
    """The split points of a workload's model: empty for the class, those that follow from its depth for an instance."""

    def __get__(self, workload: LibriSpeech | None, kind: type[LibriSpeech]) -> tuple[str, ...]:
        """Return the names of the split points."""
        return () if workload is None else workload.usual_splits()


class LibriSpeech(Workload):
    """Word and character error rates of a wav2vec2-class model on LibriSpeech, split at the input or within.

    Results are those of test-clean. Half of the speakers of dev-clean serve to choose operating points, codecs are
    fitted on the others. The model is any of the library transformers with a CTC head that takes waveforms.
    """

    name = "librispeech"
    metrics = (
        RatioMetric("WER", "%", higher_is_better=False, scale=100.0, decimals=2),
        RatioMetric("CER", "%", higher_is_better=False, scale=100.0, decimals=2),
    )
    default_splits = SplitsOfModel()
    budget = 1.0
    dataset = "librispeech"

    @property
    def input_spec(self) -> TensorSpec:
        """Values of a waveform at 16 kHz from -1 to 1; their number varies."""
        from codecbench_datasets.librispeech.corpus import MAX_S, RATE_HZ

        return TensorSpec((None,), max_length=MAX_S * RATE_HZ)

    def build_model(self) -> nn.Module:
        """Return the model: (N, T) waveforms to (N, frames, tokens) logits. Raises DataError without one."""
        from codecbench_datasets.librispeech.model import load

        self.weights_sha256()  # which says what to do where there is none
        return load(self._model_folder())

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the model's files: configuration, weights, vocabulary, preprocessing."""
        from codecbench_datasets.librispeech.files import files_sha256

        return files_sha256(self._model_folder())

    def usual_splits(self) -> tuple[str, ...]:
        """Return the input, the features, and the layers at a quarter, a half and three quarters of the depth."""
        from codecbench_datasets.librispeech.files import split_names

        return split_names(self._model_folder())

    def sample_ids(self, subset: Subset) -> Sequence[str]:
        """Return identifiers of utterances, SPEAKER-CHAPTER-NUMBER."""
        return [utterance.name for utterance in self._utterances(subset)]

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return waveforms as float32 (T,)."""
        from codecbench_datasets.librispeech.corpus import sound

        found = self._utterances(subset)
        return [sound(found[at]) for at in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[str]:
        """Return what is said, in small letters."""
        found = self._utterances(subset)
        return [found[at].text for at in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: str) -> dict[str, tuple[float, float]]:
        """Return edits over words, and edits over characters, of the likeliest path."""
        from codecbench.toolbox.speech import character_edits, greedy_text, word_edits
        from codecbench_datasets.librispeech.files import vocabulary

        recognised = greedy_text(output[0], vocabulary(self._model_folder()))
        return {"WER": word_edits(target, recognised), "CER": character_edits(target, recognised)}

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Fetch a model if there is none. Raises DataError, with the place to get them from, without recordings."""
        cls.fetch_from((), data_dir, log)

    @classmethod
    def fetch_from(cls, sources: Sequence[str], data_dir: Path, log: Callable[[str], None]) -> None:
        """Take recordings of folders or archives, and a model as `hf:NAME-OR-FOLDER`."""
        from codecbench_datasets.librispeech.fetch import fetch

        fetch(data_dir, log, sources)

    def _utterances(self, subset: Subset) -> Sequence[Any]:
        """Return the utterances of a subset. Raises DataError if their part is not there."""
        from codecbench.toolbox.collecting import kept_places
        from codecbench_datasets.librispeech.corpus import CURE, FOLDER, TEST, TRAINING, subset_of

        part = TEST if subset == "test" else TRAINING
        for folder in data_folders(self.data_dir):
            place = kept_places(folder / FOLDER).get(part)
            if place is not None:
                return subset_of(subset, place)
        raise DataError(f"librispeech has no {part} yet; {CURE}")

    def _model_folder(self) -> Path:
        from codecbench_datasets.librispeech.files import CONFIG, MODEL_FOLDER

        return self.weights_file(f"{MODEL_FOLDER}/{CONFIG}").parent


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [LibriSpeech]
