"""Train the model of `sequence.py` and write its weights, in under a minute.

python tests/support/workloads/train_sequence.py
"""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from codecbench.registry import load_file

STEPS = 400
BATCH = 24
PEAK_RATE = 1e-2


def batch(speech: ModuleType, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Zero-padded features (N, T, 16), their output lengths, concatenated symbols, and the symbols' lengths."""
    first = speech.TRAINING_ID + step * BATCH
    features, texts = zip(*(speech.utterance(first + i) for i in range(BATCH)), strict=True)
    x = np.zeros((BATCH, max(map(len, features)), speech.BANDS), np.float32)
    for row, values in zip(x, features, strict=True):
        row[: len(values)] = values
    symbols = [speech.ALPHABET.index(letter) + 1 for text in texts for letter in text]
    steps_out = [(len(values) + 1) // 2 for values in features]
    return torch.from_numpy(x), torch.tensor(steps_out), torch.tensor(symbols), torch.tensor([len(t) for t in texts])


def trained(speech: ModuleType) -> nn.Module:
    """The model after STEPS steps of Adam on the CTC loss, the rate decaying linearly to zero."""
    torch.set_num_threads(1)  # steps this small only lose by threads
    torch.manual_seed(0)
    model: nn.Module = speech.network()
    optimizer = torch.optim.Adam(model.parameters(), PEAK_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min((step + 1) / 50, 1 - step / STEPS)
        x, steps_out, symbols, symbol_counts = batch(speech, step)
        log_p = model(x).log_softmax(-1).transpose(0, 1)
        loss = F.ctc_loss(log_p, symbols, steps_out, symbol_counts, blank=speech.BLANK, zero_infinity=True)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return model


def word_error_rate(workload: Any, model: nn.Module) -> float:
    """On the test samples, one at a time."""
    positions = range(len(workload.sample_ids("test")))
    edits, words = 0.0, 0.0
    with torch.inference_mode():
        for x, target in zip(workload.inputs("test", positions), workload.targets("test", positions), strict=True):
            numerator, denominator = workload.score((model(torch.from_numpy(x)[None])[0].numpy(),), target)
            edits, words = edits + numerator, words + denominator
    return edits / words


def main() -> None:
    """Train, write the weights, and print the word error rate."""
    speech = load_file(Path(__file__).with_name("sequence.py"))
    began = time.process_time()
    model = trained(speech)
    speech.WEIGHTS.parent.mkdir(exist_ok=True)
    save_file({name: values.contiguous() for name, values in model.state_dict().items()}, speech.WEIGHTS)
    speech.WEIGHTS.chmod(0o644)
    print(f"trained in {time.process_time() - began:.0f} s of processor time")
    print(f"word error rate {word_error_rate(speech.TinySpeech(), model.eval()):.4f}")


if __name__ == "__main__":
    main()
