"""The recogniser of the `digits-deepspeech` workload. Importing this module imports torch.

It has the layers of DeepSpeech (Hannun et al. 2014, section 2): three on each frame, the first of which sees the frames
around it, one that is recurrent in both directions, and one more on each frame; all of clipped rectified linear units.
It is 256 units wide in place of 2,048, its recurrent layer is a GRU, and its outputs are words in place of letters.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codecbench_datasets.digits.features import BANDS
from codecbench_datasets.digits.strings import VOCABULARY

WIDTH = 256
CONTEXT = 9
"""The frames before and behind a frame that the first layer sees."""
CLIP = 20.0


def _clipped(x: Tensor) -> Tensor:
    return F.hardtanh(x, 0.0, CLIP)


class Normalize(nn.Module):
    """Subtracts the mean of each band and divides by its standard deviation, as of the training strings."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("std", torch.ones(BANDS))

    def forward(self, x: Tensor) -> Tensor:
        """Return frames of mean zero and deviation one."""
        return (x - self.mean) / self.std


class WithContext(nn.Module):
    """A layer on each frame and the CONTEXT frames on both sides of it: (N, T, BANDS) to (N, T, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Conv1d(BANDS, WIDTH, 2 * CONTEXT + 1, padding=CONTEXT)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, WIDTH), from 0 to CLIP."""
        return _clipped(self.weights(x.transpose(1, 2)).transpose(1, 2))


class OnEachFrame(nn.Module):
    """A layer on each frame alone: (N, T, WIDTH) to (N, T, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, WIDTH), from 0 to CLIP."""
        return _clipped(self.weights(x))


class Recurrent(nn.Module):
    """A GRU in both directions, whose outputs are added: (N, T, WIDTH) to (N, T, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, WIDTH), from -2 to 2."""
        outputs, _ = self.gru(x)
        return cast(Tensor, outputs[..., :WIDTH] + outputs[..., WIDTH:])


class DigitRecogniser(nn.Module):
    """Frames (N, T, BANDS) to logits (N, T, 11) of the blank and the ten words."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.layer1 = WithContext()
        self.layer2 = OnEachFrame()
        self.layer3 = OnEachFrame()
        self.layer4 = Recurrent()
        self.layer5 = OnEachFrame()
        self.output = nn.Linear(WIDTH, len(VOCABULARY))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each frame."""
        x = self.layer3(self.layer2(self.layer1(self.normalize(x))))
        return cast(Tensor, self.output(self.layer5(self.layer4(x))))
