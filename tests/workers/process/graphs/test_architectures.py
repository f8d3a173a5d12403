"""Nine architectures of Hugging Face with small random configurations: cut, and equal bit for bit at every cut."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from codecbench.codec import TensorSpec
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workers.process.graphs.outputs import same_outputs

IMAGE = (3, 64, 64)
ATTENTION: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION: dict[str, Any] = {**ATTENTION, "intermediate_size": 32, "patch_size": 16}


def resnet(hf: Any) -> nn.Module:
    config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return hf.ResNetForImageClassification(config)


def vit(hf: Any) -> nn.Module:
    return hf.ViTForImageClassification(hf.ViTConfig(**VISION, image_size=64))


def mobilevit(hf: Any) -> nn.Module:
    config = hf.MobileViTConfig(
        image_size=64, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16], num_attention_heads=2,
    )  # fmt: skip
    model = hf.MobileViTForImageClassification(config)
    # No configuration has fewer; in none of the further ones of a stage is another cut.
    for stage in model.mobilevit.encoder.layer[2:]:
        stage.transformer.layer = stage.transformer.layer[:1]
    return model


def convnext(hf: Any) -> nn.Module:
    return hf.ConvNextForImageClassification(hf.ConvNextConfig(hidden_sizes=[8, 12, 16, 16], depths=[1, 1, 2, 1]))


def swin(hf: Any) -> nn.Module:
    config = hf.SwinConfig(image_size=64, embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4)
    return hf.SwinForImageClassification(config)


def mobilenet_v2(hf: Any) -> nn.Module:
    model = hf.MobileNetV2ForImageClassification(hf.MobileNetV2Config(depth_multiplier=0.1, image_size=64))
    # No configuration has fewer layers; those left out are like the one before.
    layers = model.mobilenet_v2.layer
    model.mobilenet_v2.layer = nn.ModuleList(layer for n, layer in enumerate(layers) if n not in (4, 7, 8, 11, 14))
    return model


def wav2vec2(hf: Any) -> nn.Module:
    config = hf.Wav2Vec2Config(
        **ATTENTION, intermediate_size=32, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3),
        num_feat_extract_layers=2, vocab_size=10, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return hf.Wav2Vec2ForCTC(config)


def yolos(hf: Any) -> nn.Module:
    return hf.YolosForObjectDetection(hf.YolosConfig(**VISION, image_size=[64, 64], num_detection_tokens=5))


def segformer(hf: Any) -> nn.Module:
    config = hf.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )
    return hf.SegformerForSemanticSegmentation(config)


ARCHITECTURES: dict[Callable[[Any], nn.Module], tuple[tuple[int, ...], int, str]] = {
    resnet: (IMAGE, 12, "resnet.encoder.stages.0"),
    vit: (IMAGE, 15, "vit.layers.0.add"),
    mobilevit: (IMAGE, 57, "mobilevit.encoder.layer.2.fusion.convolution"),
    convnext: (IMAGE, 25, "convnext.encoder.stages.0"),
    swin: (IMAGE, 22, "swin.encoder.layers.0.blocks.0.add"),
    mobilenet_v2: (IMAGE, 91, "mobilenet_v2.layer.2.conv_3x3"),
    wav2vec2: ((400,), 25, "wav2vec2.encoder.layers.0.add"),
    yolos: (IMAGE, 13, "vit.encoder.layer.1.add"),
    segformer: (IMAGE, 17, "segformer.stages.0.blocks.0.add"),
}
"""The shape of an input, the smallest number of cuts, and the name of one."""


@pytest.mark.parametrize("build", ARCHITECTURES, ids=lambda build: build.__name__)
def test_every_cut_gives_the_models_output(build: Callable[[Any], nn.Module]) -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    hf = pytest.importorskip("transformers")
    shape, count, name = ARCHITECTURES[build]
    torch.manual_seed(0)
    model = build(hf).eval()
    probes = [torch.rand(n, *shape, generator=torch.Generator().manual_seed(n)) for n in (2, 3)]
    split = SplitModel(model, probes, TensorSpec(shape))
    x = torch.rand(1, *shape)
    with torch.inference_mode():
        expected = model(x)
    for cut in split.cuts:
        head, tail = split.split(cut)
        with torch.inference_mode():
            assert same_outputs(tail(head(x)), expected), cut
    assert len(split.cuts) >= count
    assert name in split.cuts
