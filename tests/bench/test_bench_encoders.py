"""Seconds that the learned encoders take for pictures of two sizes, beside Pillow's JPEG.

Run: pytest tests/bench/test_bench_encoders.py --benchmark-only. The encoders are fitted to photographs and the frozen
ResNet-20 without training, which changes what a symbol says and not how many there are.
"""

from __future__ import annotations

import dataclasses
import io
from functools import lru_cache

import pytest

from codecbench import TensorSpec
from codecbench.kit.samples import fit_data, samples
from codecbench.measure import torch_threads
from codecbench.registry import codecs, manager
from codecbench.toolbox.transforms.uniform import to_pixels

CODECS = codecs(manager())
SIDES = (32, 224)
POINTS = {"deepcod": {"ratio": 0.5, "levels": 32, "coding": "fixed"}, "deepcod-rd": {"step": 0.65}}


@lru_cache
def encoder(name: str, side: int):
    """A device's codec, and a picture that was not in its fit."""
    from codecbench_datasets.cifar10 import Cifar10ResNet20

    spec = TensorSpec((3, side, side), image=True)
    tail = Cifar10ResNet20(None).build_model()
    for parameter in tail.parameters():
        parameter.requires_grad_(False)
    source, device = (CODECS[name](spec, **POINTS[name]) for _ in range(2))
    source.fit(dataclasses.replace(fit_data(spec), tail=tail, remaining_s=lambda: 0.0))
    device.restore("device", source.export("device"))
    return device, samples(spec, 1, seed=9)[0]


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("side", SIDES)
def test_encoder(benchmark, name, side):
    device, picture = encoder(name, side)
    benchmark.group = f"{side} x {side}"
    with torch_threads(1):
        benchmark.extra_info["payload_bytes"] = len(benchmark(device.encode, picture))


@pytest.mark.parametrize("side", SIDES)
def test_jpeg(benchmark, side):
    from PIL import Image

    (picture,) = samples(TensorSpec((3, side, side), image=True), 1, seed=9)
    image = Image.fromarray(to_pixels(picture.numpy()).transpose(1, 2, 0).copy())

    def encode() -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    benchmark.group = f"{side} x {side}"
    benchmark.extra_info["payload_bytes"] = len(benchmark(encode))
