"""Frames of sound: the logarithm of the power in bands of the mel scale, every 20 ms, as DeepSpeech hears."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from codecbench_datasets.digits.strings import MAX_S, RATE_HZ

WINDOW, HOP, TRANSFORM = 256, 160, 512
"""Values of a frame (32 ms), from frame to frame (20 ms), and of the Fourier transform, filled up with zeros."""
BANDS = 40
LOWEST_HZ = 60.0
FLOOR = 1e-9
"""The power that is added in each band, -90 dB of full scale."""
STEPS = 256
"""Values are rounded to 1/256, so that they are the same on every machine: the last bits of sums are not."""
FRAME_S = HOP / RATE_HZ
MAX_FRAMES = 1 + (int(MAX_S * RATE_HZ) - WINDOW) // HOP


def log_mel(sound: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return (frames, BANDS) natural logarithms of mean powers, of full scale 1; nothing else is done to them."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window, TRANSFORM)) ** 2 / np.sum(window**2)
    logarithms = np.log(power @ _filters() + FLOOR)
    return (np.round(logarithms * STEPS) / STEPS).astype(np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """Return the weights of frequencies in bands, (frequencies, BANDS): triangles on the mel scale of sum 1."""
    edges = _hz(np.linspace(_mel(LOWEST_HZ), _mel(RATE_HZ / 2), BANDS + 2))
    frequencies = np.fft.rfftfreq(TRANSFORM, 1 / RATE_HZ)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    triangles = np.minimum(rising, falling).clip(0)
    found: NDArray[np.float64] = triangles / triangles.sum(0)
    return found


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 700 * (10 ** (mel / 2595) - 1)
    return found
