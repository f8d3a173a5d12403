"""PSNR and SSIM: what scikit-image gives, for all pictures at once."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from codecbench.results.quality import psnr_db, ssim


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 24), (3, 5, 8)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_both_are_what_scikit_image_gives(shape: tuple[int, int, int], noise: float) -> None:
    rng = np.random.default_rng(0)
    originals = rng.random((4, *shape)).astype(np.float32)
    decoded = np.clip(originals + noise * rng.normal(size=originals.shape), 0, 1).astype(np.float32)
    window = min(7, *(n - 1 + n % 2 for n in shape[1:]))
    pairs = list(zip(originals, decoded, strict=True))
    assert psnr_db(originals, decoded) == pytest.approx(
        [peak_signal_noise_ratio(x.astype(np.float64), y.astype(np.float64), data_range=1.0) for x, y in pairs]
    )
    assert ssim(originals, decoded) == pytest.approx(
        [
            structural_similarity(
                x.astype(np.float64), y.astype(np.float64), data_range=1.0, channel_axis=0, win_size=window
            )
            for x, y in pairs
        ],
        abs=1e-9,
    )


def test_equal_pictures() -> None:
    pictures = np.random.default_rng(0).random((2, 3, 32, 32)).astype(np.float32)
    assert psnr_db(pictures, pictures.copy()).tolist() == [float("inf")] * 2
    assert ssim(pictures, pictures.copy()) == pytest.approx([1.0, 1.0])


def test_each_picture_has_its_own() -> None:
    black = np.zeros((2, 1, 8, 8), np.float32)
    decoded = black.copy()
    decoded[1] += np.float32(0.1)
    assert psnr_db(black, decoded) == pytest.approx([np.inf, 20.0])
    assert ssim(black, decoded)[0] > ssim(black, decoded)[1]
