"""PSNR and SSIM of batches of decoded pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = 7
K1, K2 = 0.01, 0.03


def psnr_db(originals: NDArray[np.float32], decoded: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the PSNR of each picture in dB, infinite if equal. (count, channels, height, width), values 0 to 1."""
    import numpy as np

    squares = (originals.astype(np.float64) - decoded) ** 2
    with np.errstate(divide="ignore"):
        decibels: NDArray[np.float64] = -10 * np.log10(squares.mean(axis=(1, 2, 3)))
    return decibels


def ssim(originals: NDArray[np.float32], decoded: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean SSIM of each picture (Wang et al. 2004, equation 13). Shapes and values as in `psnr_db`.

    Equals `skimage.metrics.structural_similarity` with its defaults, but for all pictures in one pass: a uniform window
    of 7 pixels (smaller in a smaller picture), sample covariances, no borders, the mean over the channels.
    """
    import numpy as np
    from scipy.ndimage import uniform_filter

    height, width = originals.shape[2:]
    window = min(WINDOW, *(n - 1 + n % 2 for n in (height, width)))

    def local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = window // 2
        means: NDArray[np.float64] = uniform_filter(values, size=(1, 1, window, window))
        return means[..., inside : height - inside, inside : width - inside]

    x, y = originals.astype(np.float64), decoded.astype(np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    sample = window**2 / (window**2 - 1)
    variance_x = sample * (local_mean(x * x) - mean_x * mean_x)
    variance_y = sample * (local_mean(y * y) - mean_y * mean_y)
    covariance = sample * (local_mean(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variance_x + variance_y + K2**2)
    similarity: NDArray[np.float64] = (luminance * structure).mean(axis=(1, 2, 3))
    return similarity
