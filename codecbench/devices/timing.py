"""Measures a machine for its device profile: single layers over a wide range of shapes, and kernels of plain code.

The layers are drawn at random from a seed, block after block, until the time is over: a slow machine measures fewer
layers, but from the same sequence. Their inputs, outputs and parameters are cached as in a model, as far as possible
(`codecbench.devices.cases`). All measurements run in a worker process with one thread, set up like the one that runs
heads.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

from codecbench import measure
from codecbench.devices.cases import draw
from codecbench.devices.layers import Layer

GROUP_LAYERS = 8
"""The number of layers that are timed in turns, grouped by moved bytes. The parameters of a layer are then in the
caches as far as in a model of similar layers."""

PASSES, ROUNDS = 3, 5
"""The number of passes over a block, seconds apart, and of timings of each layer in a pass. The result is the median of
all: if other programs slow the machine down for a moment, that affects only one pass of three."""


def measure_block(seed: int, block: int) -> list[tuple[Layer, float]]:
    """Return the layers of one block and the median seconds of each. Imports torch; the caller sets one thread."""
    import torch

    with torch.inference_mode():
        cases = list(draw(seed, block))
        layers = [case.layer() for case in cases]
        order = sorted(range(len(cases)), key=lambda i: layers[i].moved_bytes)
        times: list[list[float]] = [[] for _ in cases]
        for _ in range(PASSES):
            for start in range(0, len(order), GROUP_LAYERS):
                group = order[start : start + GROUP_LAYERS]
                found = measure.timed_in_turns([(cases[i].prepare, cases[i].run) for i in group], ROUNDS)
                for i, seconds in zip(group, found, strict=True):
                    times[i] += seconds
    return [(layers[i], measure.percentile(times[i], 0.5)) for i in order]


def measure_general() -> dict[str, float]:
    """Return the median seconds of plain-code kernels, typical of encoders, by name."""
    kernels = _general_kernels()
    times_of_kernels = measure.timed_in_turns([(lambda: None, kernel) for kernel in kernels.values()], rounds=25)
    return {name: measure.percentile(times, 0.5) for name, times in zip(kernels, times_of_kernels, strict=True)}


def measure_call() -> float:
    """Return the median seconds of calling an empty traced model: the cost of a head in addition to its layers."""
    import torch
    from torch import nn

    empty = torch.fx.symbolic_trace(nn.Sequential())
    x = torch.zeros(3, 32, 32)
    with torch.inference_mode():
        (times,) = measure.timed_in_turns([(lambda: None, lambda: empty(x.unsqueeze(0).to("cpu")))], rounds=200)
    return measure.percentile(times, 0.5)


def measure_rates() -> dict[str, float]:
    """Return the machine's rates in large steps: a product of two 1,024 x 1,024 matrices, and a copy of 32 MiB.

    Scaled profiles are based on them. The bytes of a copy are those read plus those written.
    """
    import torch

    matrix = torch.randn(1024, 1024)
    source, target = torch.ones(1 << 23), torch.zeros(1 << 23)
    steps: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
        (lambda: None, lambda: matrix @ matrix), (lambda: None, lambda: target.copy_(source))
    ]  # fmt: skip
    product_s, copy_s = (measure.percentile(times, 0.5) for times in measure.timed_in_turns(steps, rounds=15))
    return {
        "matmul_gflop_s": round(2 * 1024**3 / product_s / 1e9, 1),
        "copy_gbyte_s": round(2 * source.nbytes / copy_s / 1e9, 1),
    }


def _general_kernels() -> dict[str, Callable[[], Any]]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(-2, 3, 65_536)).astype(np.uint8)
    text = steps.tobytes()
    values = rng.normal(size=32_768).astype(np.float32)
    across = np.linspace(0, 6, 224)
    picture = 127 + 60 * np.sin(across)[:, None] * np.cos(across)[None, :] + rng.normal(0, 6, (224, 224))
    image = Image.fromarray(np.repeat(picture.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    words = text[:4096]

    def counted() -> dict[int, int]:
        found: dict[int, int] = {}
        for word in words:
            found[word] = found.get(word, 0) + 1
        return found

    return {
        "zlib_64_kib": lambda: zlib.compress(text, 6),
        "quantise_32k": lambda: np.rint(values * 20).clip(-128, 127).astype(np.int8),
        "pack_bits_32k": lambda: np.packbits(values > 0),
        "jpeg_224": lambda: image.save(io.BytesIO(), "JPEG", quality=75),
        "python_4k": counted,
    }
