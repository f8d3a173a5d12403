"""Train the recogniser of `digits-deepspeech` and write its weights.

    python -m codecbench_datasets.digits.train --data-dir DIR --out FILE --max-s N

Needs the recordings (`codecbench data get fsdd`). It learns from new strings in every epoch, of the recordings that
fits use; strings of the `choice` recordings, which it does not learn from, tell its word error rate and have no
influence. Test recordings are not read. A line an epoch goes to FILE with the ending `.jsonl`. A run that was stopped
goes on from its checkpoint beside FILE. The learning rate falls with the epochs or with the seconds, whichever are
further, so the training is complete when either ends.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from codecbench.toolbox.speech import greedy_text, word_edits
from codecbench_datasets.digits.features import log_mel
from codecbench_datasets.digits.model import DigitRecogniser
from codecbench_datasets.digits.recordings import recording, recordings_folder
from codecbench_datasets.digits.strings import (
    INDICES,
    MAX_DIGITS,
    MIN_DIGITS,
    NOISE_DB,
    RATE_HZ,
    VOCABULARY,
    DigitString,
    drawn_string,
    joined,
    levelled,
    sound_of,
    string_id,
    string_of,
)

EPOCHS = 100
EPOCH_STRINGS = 2_048
FIRST_LENGTHS = ((1, 1), (1, 1), (1, 3))
"""The digits of the strings of the first epochs: with single digits, alignments are soon found."""
BATCH = 32
POOL = 8
"""The batches whose strings are sorted by length together."""
PEAK_RATE = 2e-3
WARMUP_STEPS = 50
WEIGHT_DECAY = 1e-2
MAX_GRADIENT = 1.0
OUTPUT_STD = 0.05
DROPOUT = 0.1
SPEEDS = (0.85, 1.18)
MORE_NOISE_DB = 5.0
"""The training's noise reaches this much further up and down than that of the subsets."""
BAND_MASK, FRAME_MASK = 6, 5
"""The most bands and frames that are masked at once; each string has two masks of either kind."""
LENGTHS = (MIN_DIGITS, MAX_DIGITS)
NORMAL_STRINGS = 200
VALIDATION_STRINGS, FINAL_STRINGS = 100, 500
"""The strings of `choice` that are recognised after each epoch, and after the last."""
LABELS = {word.strip(): label for label, word in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Drawn:
    """A string to learn from: its recipe, and its recordings at their speeds and levels."""

    string: DigitString
    parts: tuple[NDArray[np.float64], ...]

    @property
    def length(self) -> int:
        """The values of its sound."""
        return sum(map(len, self.parts)) + sum(self.string.gaps)


def drawn(rng: np.random.Generator, folder: Path, lengths: tuple[int, int] = LENGTHS) -> Drawn:
    """Return a new string of so many digits, each recording at a speed of its own."""
    string = drawn_string(rng, INDICES["fit"], lengths)
    parts = []
    for name, gain_db in zip(string.recordings, string.gains_db, strict=True):
        values = recording(folder, name).astype(np.float64)
        count = max(2, round(len(values) / rng.uniform(*SPEEDS)))
        faster = np.interp(np.linspace(0, len(values) - 1, count), np.arange(len(values)), values)
        parts.append(levelled(faster, gain_db))
    return Drawn(string, tuple(parts))


def frames_of(item: Drawn, length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the frames of a string in the midst of `length` values, at a place of its own, with noise over all."""
    before = int(rng.integers(0, length - item.length + 1))
    first, *others, last = item.string.gaps
    gaps = (first + before, *others, last + length - item.length - before)
    noise_db = rng.uniform(NOISE_DB[0] - MORE_NOISE_DB, NOISE_DB[1] + MORE_NOISE_DB)
    return log_mel(joined(item.parts, gaps, noise_db, rng))


def masked(frames: Tensor, mean: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (N, T, bands) frames with some bands and some frames at their mean (Park et al. 2019)."""
    frames = frames.clone()
    for sample in frames:
        for _ in range(2):
            band, frame = (int(rng.integers(0, size)) for size in (frames.shape[2], frames.shape[1]))
            bands, count = (int(rng.integers(0, limit + 1)) for limit in (BAND_MASK, FRAME_MASK))
            sample[:, band : band + bands] = mean[band : band + bands]
            sample[frame : frame + count] = mean
    return frames


def batches(
    rng: np.random.Generator, folder: Path, lengths: tuple[int, int] = LENGTHS
) -> Iterator[tuple[Tensor, Sequence[str]]]:
    """Yield the (N, T, bands) frames and the texts of an epoch. All strings of a batch are as long as the longest."""
    for _ in range(EPOCH_STRINGS // (BATCH * POOL)):
        pool = sorted((drawn(rng, folder, lengths) for _ in range(BATCH * POOL)), key=lambda item: item.length)
        for at in rng.permutation(POOL):
            chosen = pool[at * BATCH : (at + 1) * BATCH]
            length = max(item.length for item in chosen) + int(rng.integers(0, RATE_HZ // 4))
            frames = np.stack([frames_of(item, length, rng) for item in chosen])
            yield torch.from_numpy(frames), [item.string.text for item in chosen]


def learning_rate(step: int, share: float) -> float:
    """Return the rate: a linear rise, then half a cosine down to zero over the training, of which `share` is done."""
    return PEAK_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def ctc_loss(logits: Tensor, texts: Sequence[str]) -> Tensor:
    """Return the mean loss of (N, T, outputs) logits."""
    labels = [[LABELS[word] for word in text.split()] for text in texts]
    lengths = torch.tensor([len(each) for each in labels])
    steps = torch.full((len(texts),), logits.shape[1])
    targets = torch.tensor([label for each in labels for label in each])
    return F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), targets, steps, lengths, zero_infinity=True)


def word_error_rate(model: torch.nn.Module, folder: Path, count: int) -> float:
    """Return edits over words on the first strings of `choice`, whose recordings are not learned from."""
    model.eval()
    edits, words = 0.0, 0.0
    with torch.inference_mode():
        for number in range(count):
            string = string_of("choice", string_id("choice", number))
            frames = log_mel(sound_of(string, lambda name: recording(folder, name)))
            logits = model(torch.from_numpy(frames)[None])[0].numpy()
            found = word_edits(string.text, greedy_text(logits, VOCABULARY))
            edits, words = edits + found[0], words + found[1]
    return edits / words


def set_normalisation(model: DigitRecogniser, folder: Path, rng: np.random.Generator) -> None:
    """Let the model normalise by the mean and the deviation of each band in some training strings."""
    items = [drawn(rng, folder) for _ in range(NORMAL_STRINGS)]
    frames = np.concatenate([frames_of(item, item.length, rng) for item in items])
    model.normalize.mean.copy_(torch.from_numpy(frames.mean(0)))
    model.normalize.std.copy_(torch.from_numpy(frames.std(0)))


def draw_weights(model: DigitRecogniser) -> None:
    """Draw weights that keep the size of values from layer to layer (He et al. 2015); without it nothing is learned."""
    for name, value in model.named_parameters():
        if value.ndim == 1:
            torch.nn.init.zeros_(value)
        elif "gru" in name:
            for gate in value.chunk(3):
                torch.nn.init.orthogonal_(gate)
        else:
            torch.nn.init.kaiming_normal_(value, nonlinearity="relu")
    torch.nn.init.normal_(model.output.weight, std=OUTPUT_STD)


def with_dropout(model: DigitRecogniser) -> None:
    """Drop some outputs of the layers on each frame while the model learns."""
    for layer in (model.layer1, model.layer2, model.layer3, model.layer5):
        layer.register_forward_hook(lambda module, _, found: F.dropout(found, DROPOUT, module.training))


class Training:
    """The model, its optimiser and how far both are; kept in a checkpoint after each epoch."""

    def __init__(self, folder: Path, checkpoint: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.folder, self.checkpoint, self.seed = folder, checkpoint, seed
        self.model = DigitRecogniser()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
        self.epoch, self.step, self.elapsed_s = 0, 0, 0.0
        if checkpoint.exists():
            state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.step, self.elapsed_s = state["epoch"], state["step"], state["elapsed_s"]
        else:
            draw_weights(self.model)
            set_normalisation(self.model, folder, np.random.default_rng(seed))
        with_dropout(self.model)

    def run_epoch(self, max_s: float) -> dict[str, Any]:
        """Learn from new strings until the epoch or the time is over; return a line of the log."""
        began, before_s, losses = time.perf_counter(), self.elapsed_s, list[float]()
        rng = np.random.default_rng([self.seed, 1 + self.epoch])
        torch.manual_seed(1_000_003 * self.seed + self.epoch)
        steps = EPOCHS * EPOCH_STRINGS // BATCH
        self.model.train()
        lengths = (*FIRST_LENGTHS, LENGTHS)[min(self.epoch, len(FIRST_LENGTHS))]
        for frames, texts in batches(rng, self.folder, lengths):
            share = max(self.step / steps, self.elapsed_s / max_s)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, share)
            loss = ctc_loss(self.model(masked(frames, self.model.normalize.mean, rng)), texts)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
            self.optimizer.step()
            losses.append(float(loss.detach()))
            self.step += 1
            self.elapsed_s = before_s + time.perf_counter() - began
            if self.elapsed_s >= max_s:
                break
        self.epoch += 1
        return {"epoch": self.epoch, "loss": round(float(np.mean(losses)), 4), "elapsed_s": round(self.elapsed_s, 1)}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}
        aside = self.checkpoint.with_suffix(".new")
        torch.save({**state, "step": self.step, "elapsed_s": self.elapsed_s}, aside)
        aside.replace(self.checkpoint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or resume; write the weights as float16, which is what the last line of the log is measured with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="where 'codecbench data get fsdd' put recordings")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--max-s", type=float, default=math.inf, help="seconds of training (default: all epochs)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and strings (default: 0)")
    args = parser.parse_args(arguments)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    folder = recordings_folder(args.data_dir)
    training = Training(folder, args.out.with_suffix(".checkpoint"), args.seed)
    while training.epoch < EPOCHS and training.elapsed_s < args.max_s:
        row = training.run_epoch(args.max_s)
        row["choice_wer"] = round(word_error_rate(training.model, folder, VALIDATION_STRINGS), 4)
        training.save()
        _log(args.out, row)
    model = training.model
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    save_file(weights, args.out)
    _log(args.out, {"weights": args.out.name, "choice_wer": round(word_error_rate(model, folder, FINAL_STRINGS), 4)})


def _log(out: Path, row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)
    with out.with_suffix(".jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
