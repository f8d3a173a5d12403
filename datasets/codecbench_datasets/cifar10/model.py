"""The ResNet-20 of the `cifar10-resnet20` workload.

Importing this module imports torch; `codecbench_datasets.cifar10` does so only when a model is built.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNEL_MEAN = (0.4914, 0.4822, 0.4465)
CHANNEL_STD = (0.2470, 0.2435, 0.2616)


class Normalize(nn.Module):
    """Subtracts the training set's channel means and divides by its standard deviations.

    It is the first module of the network, so the `input` split carries plain k/255 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(CHANNEL_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CHANNEL_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 3, H, W) pixels in [0, 1] with zero mean and unit deviation."""
        return (x - self.mean) / self.std


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, section 3.3; projection where the shape changes)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def _stage(channels_in: int, channels_out: int, stride: int, blocks: int) -> nn.Sequential:
    layers = [BasicBlock(channels_in, channels_out, stride)]
    layers += [BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


class ResNet20(nn.Module):
    """A ResNet-20 for 32 x 32 images (He et al. 2016, section 4.2): 16, 32 and 64 channels, three blocks a stage."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stage1 = _stage(16, 16, 1, 3)
        self.stage2 = _stage(16, 32, 2, 3)
        self.stage3 = _stage(32, 64, 2, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, 32, 32) pixels in [0, 1] to (N, classes) logits."""
        x = self.stage3(self.stage2(self.stage1(self.stem(self.normalize(x)))))
        return cast(Tensor, self.classifier(torch.flatten(self.pool(x), 1)))
