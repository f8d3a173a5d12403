"""The ResNet-50 of the `imagenet-resnet50` workload (He et al. 2016, table 1).

Importing this module imports torch; `codecbench_datasets.imagenet` does so only when a model is built.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codecbench_datasets.imagenet.form import Form

DEPTHS = (3, 4, 6, 3)
EXPANSION = 4


class Normalize(nn.Module):
    """Subtracts channel means and divides by deviations.

    It is the first module of the network, so the `input` split carries plain k/255 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(form.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(form.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (N, 3, H, W) in [0, 1] to what the weights were trained on."""
        return (x - self.mean) / self.std


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut; `strides` are those of the first two convolutions."""

    def __init__(self, channels_in: int, width: int, strides: tuple[int, int]) -> None:
        super().__init__()
        channels_out, stride = width * EXPANSION, strides[0] * strides[1]
        self.conv1 = nn.Conv2d(channels_in, width, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, strides[1], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _stage(number: int, *, stride_first: bool) -> nn.Sequential:
    width, stride = 64 << number, 1 if number == 0 else 2
    strides = (stride, 1) if stride_first else (1, stride)
    channels_in = 64 if number == 0 else 32 * EXPANSION << number
    blocks = [Bottleneck(channels_in, width, strides)]
    blocks += [Bottleneck(width * EXPANSION, width, (1, 1)) for _ in range(DEPTHS[number] - 1)]
    return nn.Sequential(*blocks)


class ResNet50(nn.Module):
    """A ResNet-50 for RGB pictures; the stem ends after its pooling, with 64 channels at a quarter of the size."""

    def __init__(self, form: Form, classes: int = 1000) -> None:
        super().__init__()
        self.normalize = Normalize(form)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.stage1 = _stage(0, stride_first=form.stride_first)
        self.stage2 = _stage(1, stride_first=form.stride_first)
        self.stage3 = _stage(2, stride_first=form.stride_first)
        self.stage4 = _stage(3, stride_first=form.stride_first)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512 * EXPANSION, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (N, 3, H, W) in [0, 1] to (N, classes) logits."""
        x = self.stem(self.normalize(x))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return cast(Tensor, self.classifier(torch.flatten(self.pool(x), 1)))
