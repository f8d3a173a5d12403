"""A tiny workload that is no picture: made-up speech of varying length, a CTC model, word error rate.

A plugin file as a stranger would write it: `codecbench run --plugin tests/support/workloads/sequence.py --workload
tiny-speech`. An utterance is a few words from a small lexicon. Each letter sounds for a random number of frames as two
"formants", two bumps on a scale of 16 bands, under loudness, pitch and noise that differ from one utterance to the
next. Everything is drawn from the sample's identifier; nothing is read but the weights, which `train_sequence.py` made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from codecbench import RatioMetric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

WEIGHTS = Path(__file__).parents[2] / "data" / "tiny_speech.safetensors"
BANDS = 16
MAX_FRAMES = 192
BLANK = 0
ALPHABET = " adeinost"  # the model's outputs, behind the blank
WORDS = (
    "and", "aside", "done", "dot", "east", "ideas", "node", "not", "one", "said", "sand", "site", "stone", "tea",
    "tin", "toe",
)  # fmt: skip
NOISE = 0.3
# First identifier and number of samples of each subset. The network was trained on identifiers from TRAINING_ID on.
SUBSETS: dict[str, tuple[int, int]] = {"fit": (0, 400), "choice": (10_000, 100), "test": (20_000, 300)}
TRAINING_ID = 1_000_000


class TinySpeech(Workload):
    """Word error rate on made-up speech: (T, 16) features, T up to 192 frames."""

    name = "tiny-speech"
    metrics = (RatioMetric("WER", "", higher_is_better=False, decimals=3),)
    default_splits = ("input", "front", "rnn")
    budget = 0.01

    @property
    def input_spec(self) -> TensorSpec:
        """Frames by bands; the number of frames varies."""
        return TensorSpec((None, BANDS), max_length=MAX_FRAMES)

    def build_model(self) -> nn.Module:
        """(N, T, 16) features to (N, ceil(T / 2), 10) logits."""
        from safetensors.torch import load_file

        model = network()
        model.load_state_dict(load_file(WEIGHTS))
        return model.eval()

    def weights_sha256(self) -> str:
        """SHA-256 of the weight file."""
        return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Consecutive identifiers; samples are independent of one another."""
        first, count = SUBSETS[subset]
        return range(first, first + count)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Features, float32 (T, 16)."""
        ids = self.sample_ids(subset)
        return [utterance(ids[position])[0] for position in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Transcripts."""
        ids = self.sample_ids(subset)
        return [utterance(ids[position])[1] for position in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        """Word edits (substitutions, deletions, insertions) over words of the transcript."""
        import jiwer

        words = jiwer.process_words(target, greedy_text(output[0]))
        return float(words.substitutions + words.deletions + words.insertions), float(len(target.split()))


def utterance(sample_id: int) -> tuple[NDArray[np.float32], str]:
    """The features (T, 16) and transcript of one sample, drawn from its identifier."""
    import numpy as np

    rng = np.random.default_rng([20261123, sample_id])
    text = " ".join(rng.choice(WORDS, size=rng.integers(2, 5)))
    loudness, pitch = rng.uniform(0.7, 1.3), rng.uniform(-0.4, 0.4)
    letters = np.repeat([ALPHABET.index(letter) for letter in text], rng.integers(3, 8, size=len(text)))
    sound = _sound(letters, pitch)
    # Half of each frame is heard in the next one: letters run into each other.
    sound[1:] = (sound[1:] + sound[:-1]) / 2
    features = loudness * sound + rng.normal(0, NOISE, sound.shape)
    return features.astype(np.float32), text


def _sound(letters: NDArray[np.int64], pitch: float) -> NDArray[np.float64]:
    """Two bumps over the 16 bands for each frame's letter, and quiet for the space: (T,) to (T, 16)."""
    import numpy as np

    low, high = np.divmod(letters[:, None] - 1, 4)
    bands = np.arange(BANDS) - pitch
    bumps = np.exp(-((bands - 2 - 3 * low) ** 2)) + np.exp(-((bands - 8 - 2 * high) ** 2))
    return np.where(letters[:, None] > 0, bumps, 0.0)


def greedy_text(logits: NDArray[Any]) -> str:
    """The most likely symbol of each step, repeats merged and blanks dropped (Graves et al. 2006, section 3.2)."""
    best = logits.argmax(axis=1)
    symbols = [s for i, s in enumerate(best) if s != BLANK and (i == 0 or s != best[i - 1])]
    return "".join(ALPHABET[s - 1] for s in symbols)


def network() -> nn.Module:
    """The untrained model. Its classes live in here so that importing this file does not import torch."""
    import torch
    from torch import Tensor, nn

    class Front(nn.Module):
        """Convolution in time that halves the frame rate: (N, T, 16) to (N, ceil(T / 2), 24)."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(BANDS, 24, 5, stride=2, padding=2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)

    class Recurrent(nn.Module):
        """A GRU that gives its outputs and drops its last state: (N, T, 24) to (N, T, 32)."""

        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(24, 32, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            outputs, _ = self.gru(x)
            return cast(Tensor, outputs)

    class Recognizer(nn.Module):
        """Features to logits over the blank and the alphabet."""

        def __init__(self) -> None:
            super().__init__()
            self.front = Front()
            self.rnn = Recurrent()
            self.classifier = nn.Linear(32, 1 + len(ALPHABET))

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.classifier(self.rnn(self.front(x))))

    return Recognizer()


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [TinySpeech]
