"""Three real models as workloads, built without a download: what a device profile's predictions of heads are held to.

A plugin file. The weights are random, since time does not depend on them; the data are noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import RatioMetric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class _Timed(Workload):
    """A model that is only timed."""

    metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)
    budget = 1.0
    shape: tuple[int, ...]

    @property
    def input_spec(self) -> TensorSpec:
        return TensorSpec(self.shape)

    def build_model(self) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return self.network().eval()

    def network(self) -> nn.Module:
        raise NotImplementedError

    def weights_sha256(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        return range(4)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        import numpy as np

        return [np.random.default_rng(p).normal(size=self.shape).astype(np.float32) for p in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        return [0 for _ in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        return 1.0, 1.0


class ResNet50(_Timed):
    """A ResNet-50 (He et al. 2016) at 224 x 224."""

    name, shape = "timed-resnet50", (3, 224, 224)
    default_splits = ("stem", "stage1", "stage2", "stage3", "stage4", "classifier")

    def network(self) -> nn.Module:
        from collections import OrderedDict

        from torch import Tensor, nn

        class Bottleneck(nn.Module):
            def __init__(self, c_in: int, width: int, stride: int) -> None:
                super().__init__()
                self.body = nn.Sequential(
                    nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                    nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
                )  # fmt: skip
                self.shortcut: nn.Module = nn.Identity()
                if stride != 1 or c_in != 4 * width:
                    self.shortcut = nn.Sequential(
                        nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
                    )
                self.relu = nn.ReLU(inplace=True)

            def forward(self, x: Tensor) -> Tensor:
                return self.relu(self.body(x) + self.shortcut(x))

        def stage(c_in: int, width: int, blocks: int, stride: int) -> nn.Module:
            return nn.Sequential(
                Bottleneck(c_in, width, stride), *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))
            )

        return nn.Sequential(OrderedDict(
            stem=nn.Sequential(
                nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
            ),
            stage1=stage(64, 64, 3, 1), stage2=stage(256, 128, 4, 2), stage3=stage(512, 256, 6, 2),
            stage4=stage(1024, 512, 3, 2), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
            classifier=nn.Linear(2048, 1000),
        ))  # fmt: skip


class MobileNetV2(_Timed):
    """A MobileNetV2 (Sandler et al. 2018) at 224 x 224."""

    name, shape = "timed-mobilenetv2", (3, 224, 224)
    default_splits = ("blocks.0", "blocks.3", "blocks.6", "blocks.10", "blocks.13", "blocks", "classifier")

    def network(self) -> nn.Module:
        from collections import OrderedDict

        from torch import Tensor, nn

        def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
            return [
                nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)
            ]  # fmt: skip

        class Inverted(nn.Module):
            def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
                super().__init__()
                width = c_in * expand
                first = [*conv(c_in, width, 1), nn.ReLU6(inplace=True)] if expand > 1 else []
                self.body = nn.Sequential(
                    *first, *conv(width, width, 3, stride, width), nn.ReLU6(inplace=True), *conv(width, c_out, 1)
                )
                self.adds = stride == 1 and c_in == c_out

            def forward(self, x: Tensor) -> Tensor:
                return x + self.body(x) if self.adds else self.body(x)

        blocks, c_in = [], 32
        for expand, c_out, count, stride in (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
        ):  # fmt: skip
            for i in range(count):
                blocks.append(Inverted(c_in, c_out, stride if i == 0 else 1, expand))
                c_in = c_out
        return nn.Sequential(OrderedDict(
            stem=nn.Sequential(*conv(3, 32, 3, 2), nn.ReLU6(inplace=True)), blocks=nn.Sequential(*blocks),
            last=nn.Sequential(*conv(320, 1280, 1), nn.ReLU6(inplace=True)), pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(), classifier=nn.Linear(1280, 1000),
        ))  # fmt: skip


class Speech(_Timed):
    """Convolutions in time and two LSTMs over three seconds of 80 mel bands, as in a small speech recogniser."""

    name, shape = "timed-speech", (300, 80)
    default_splits = ("front", "first", "second", "classifier")

    def network(self) -> nn.Module:
        from torch import Tensor, nn

        class Front(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = nn.Sequential(
                    nn.Conv1d(80, 128, 5, 2, 2), nn.ReLU(inplace=True), nn.Conv1d(128, 192, 5, 1, 2),
                    nn.ReLU(inplace=True),
                )  # fmt: skip

            def forward(self, x: Tensor) -> Tensor:
                return self.body(x.transpose(1, 2)).transpose(1, 2)

        class Recurrent(nn.Module):
            def __init__(self, width: int) -> None:
                super().__init__()
                self.lstm = nn.LSTM(width, 256, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                outputs, _ = self.lstm(x)
                return outputs

        class Recognizer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.front, self.first, self.second = Front(), Recurrent(192), Recurrent(256)
                self.classifier = nn.Linear(256, 64)

            def forward(self, x: Tensor) -> Tensor:
                return self.classifier(self.second(self.first(self.front(x))))

        return Recognizer()


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    return [ResNet50, MobileNetV2, Speech]
