"""Writes docs/reference/architectures.md: which architectures of torchvision, timm and transformers can be cut.

Needs torch, torchvision and timm of one release: `tox -e models`. Weights are random, so nothing is downloaded. An
argument is a part of the names to try; without one, all are tried and the page is written.
"""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError
from codecbench.measure import timed
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workers.process.graphs.outputs import output_tensors

PAGE = Path(__file__).parent / "reference" / "architectures.md"

TORCHVISION = (
    "resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11", "densenet121",
    "googlenet", "regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_16", "mnasnet0_5", "inception_v3", "maxvit_t",
    "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large",
)  # fmt: skip
DETECTORS = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn")
TIMM = (
    "resnet50", "resnetv2_50", "mobilenetv3_large_100", "efficientnet_lite0", "efficientnetv2_rw_t", "mobilevit_xxs",
    "mobilevitv2_050", "mobileone_s0", "repvgg_a0", "ghostnet_050", "edgenext_xx_small", "convnextv2_atto",
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s",
    "mobilenetv4_conv_small", "fastvit_t8", "tiny_vit_5m_224", "hrnet_w18_small", "dla34", "regnety_002",
    "crossvit_tiny_240", "poolformer_s12", "efficientformer_l1",
)  # fmt: skip
TRANSFORMERS = (
    ("ResNet", "ResNetForImageClassification", {}),
    ("ViT", "ViTForImageClassification", {"num_hidden_layers": 4}),
    ("MobileViT", "MobileViTForImageClassification", {}),
    ("ConvNext", "ConvNextForImageClassification", {}),
    ("Swin", "SwinForImageClassification", {}),
    ("MobileNetV2", "MobileNetV2ForImageClassification", {}),
    ("Wav2Vec2", "Wav2Vec2ForCTC", {"num_hidden_layers": 4}),
    ("Yolos", "YolosForObjectDetection", {"num_hidden_layers": 4, "image_size": [224, 224]}),
    ("Segformer", "SegformerForSemanticSegmentation", {}),
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """An architecture: a row of the page."""

    library: str
    name: str
    shape: tuple[int, ...]
    build: Callable[[], nn.Module]


class Backbone(nn.Module):
    """A detector's network up to the features of its heads: post-processing is left to the metric."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps."""
        return output_tensors(self.backbone(x))


def torchvision_model(name: str) -> nn.Module:
    """Return a classifier or segmenter of torchvision."""
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    if "googlenet" in name or "inception" in name:
        options.update(init_weights=False, aux_logits=False)
    if "lraspp" in name or "deeplab" in name:
        options["weights_backbone"] = None
    model: nn.Module = models.get_model(name, **options)
    return model


def detector_backbone(name: str) -> nn.Module:
    """Return the backbone of a detector of torchvision."""
    from torchvision import models

    return Backbone(models.get_model(name, weights=None, weights_backbone=None))


def timm_model(name: str) -> nn.Module:
    """Return a model of timm."""
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model


def transformers_model(name: str, kind: str, options: dict[str, Any]) -> nn.Module:
    """Return a model of transformers, of its default configuration but for these options."""
    import transformers

    model: nn.Module = getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**options))
    return model


def attempts() -> Iterator[Attempt]:
    """Yield all architectures."""
    for name in TORCHVISION:
        side = {"inception_v3": 299, "maxvit_t": 224}.get(name, 224)
        yield Attempt("torchvision", name, (3, side, side), functools.partial(torchvision_model, name))
    for name in DETECTORS:
        yield Attempt("torchvision, backbone", name, (3, 320, 320), functools.partial(detector_backbone, name))
    for name in TIMM:
        side = 240 if "crossvit" in name else 224
        yield Attempt("timm", name, (3, side, side), functools.partial(timm_model, name))
    for name, kind, options in TRANSFORMERS:
        shape = (16_000,) if name == "Wav2Vec2" else (3, 224, 224)
        yield Attempt("transformers", kind, shape, functools.partial(transformers_model, name, kind, options))


def row(attempt: Attempt) -> tuple[str, ...]:
    """Return the row of an architecture: library, name, way, cuts, seconds, and why it cannot be cut.

    Head and tail are run at three cuts, in the middle and at both ends.
    """
    torch.manual_seed(0)
    model = attempt.build().eval()
    probes = [torch.rand(count, *attempt.shape) for count in (2, 3)]
    try:
        split, seconds = timed(lambda: SplitModel(model, probes, TensorSpec(attempt.shape)))
        names = list(split.cuts)
        for at in sorted({1, len(names) // 2, len(names) - 2}):
            split.split(names[min(at, len(names) - 1)])
    except PluginError as error:
        return attempt.library, attempt.name, "", "", "", str(error)
    return attempt.library, attempt.name, split.way, str(len(names)), f"{seconds:.1f}", ""


def page(rows: list[tuple[str, ...]]) -> str:
    """Return the page of all rows."""
    libraries = ("torch", "torchvision", "timm", "transformers")
    versions = ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in libraries)
    lines = [
        "# Architectures",
        "",
        f"Models that were tried with random weights ({versions}), by `tox -e models`. A model is",
        "traced by torch.fx, or by torch.export where that cannot; a model that forces a batch of one runs sample by",
        "sample. Seconds are those of finding all cuts on one core; at three cuts of each, head and tail were compared",
        "with the model, bit for bit. Of a detector, the backbone is cut: its post-processing belongs to the metric.",
        "",
        "| library | architecture | traced by | cuts | seconds | why not |",
        "|---|---|---|---:|---:|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Try the architectures and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    rows = []
    for attempt in attempts():
        if part in f"{attempt.library} {attempt.name}":
            rows.append(row(attempt))
            print(*rows[-1], sep=" | ", flush=True)  # noqa: T201
            gc.collect()
    if not part:
        PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
