"""Pictures of 512 x 512: the codecs that train no network take them, and give them back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.registered import CODECS
from support.training import training

from codecbench import TensorSpec
from codecbench.kit.samples import samples

LARGE = TensorSpec((3, 512, 512), image=True)
FAST = (
    "raw", "lossless", "interpolation", "jpeg-huffman", "webp", "avif", "jpegxl", "jpeg2000", "quant-huffman",
    "quant-rans", "zstd", "klt",
)  # fmt: skip
MIN_PSNR_DB = 24.0


@pytest.mark.parametrize("name", FAST)
def test_a_large_picture_is_encoded_and_decoded(name: str) -> None:
    codec = CODECS[name]
    if codec.unavailable():
        pytest.skip(codec.unavailable() or "")
    point = codec.quick_points_for(LARGE)[0]
    assert codec.skip_reason(LARGE, **point) is None
    x, *others = samples(LARGE, 3)
    fitted, device, edge = (codec(LARGE, **point) for _ in range(3))
    if codec.needs_fit(LARGE, **point) and not codec.works_unfitted(LARGE, **point):
        fitted.fit(replace(training(torch.stack(others), torch.nn.Flatten()), spec=LARGE))
    device.restore("device", fitted.export("device"))
    edge.restore("edge", fitted.export("edge"))
    payload = device.encode(x)
    y = edge.decode(payload)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert len(payload) <= LARGE.nbytes
    assert -10 * float((y - x).square().mean().clamp(min=1e-9).log10()) > MIN_PSNR_DB
