"""Chooses the axis of a matrix that blocks lie along, and the axis of its channels, by training data.

Importing this module does not import numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codecbench.codec import FitData, TensorSpec
from codecbench.toolbox.transforms.tiling import MAX_CHANNELS, Tiling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLES = 64
"""The training samples by which tilings are compared, half for the transform and half for its outcome."""
RELATIVE_STEP = 0.5
"""The quantiser's step of the comparison, in units of the values' root-mean-square deviation."""
AXIS_MARGIN_BITS = 0.01
"""The bits a value that the second axis of a matrix has to save, to count as the one of the channels."""


def possible_tilings(spec: TensorSpec) -> list[Tiling]:
    """Return the tilings that a codec may choose from: of a matrix of fixed size, blocks along either axis.

    A matrix may be channels by positions or tokens by channels, and its spec does not say which. Of other tensors it
    is `Tiling.of` alone. The list is empty where every block would have over MAX_CHANNELS channels.
    """
    tilings = [Tiling.of(spec)]
    if spec.ndim == 2 and None not in spec.shape:
        turned = Tiling.of(TensorSpec(spec.shape[::-1], spec.dtype))
        tilings.append(Tiling((0,), turned.sizes))
    return [tiling for tiling in tilings if tiling.channels(spec.max_shape) <= MAX_CHANNELS]


def suited_tiling(data: FitData) -> Tiling:
    """Return the tiling whose blocks take fewer bits after a Karhunen-Loève transform, estimated on held-out blocks.

    Raises ValueError where there is no possible tiling. Where there is a choice, it takes one batch of the data.
    """
    import numpy as np

    tilings = possible_tilings(data.spec)
    if not tilings:
        raise ValueError(f"a tensor of shape {data.spec.shape} has more than {MAX_CHANNELS} channels")
    if len(tilings) == 1:
        return tilings[0]
    batch, _ = next(data.batches(SAMPLES))
    samples = np.stack([x.numpy() for x in batch]).astype(np.float64)
    return min(tilings, key=lambda tiling: _bits(samples, tiling))


def suited_channel_axis(data: FitData) -> int:
    """Return the axis of a matrix whose lines, the channels, are better coded by distributions of their own: 0 or 1.

    Means and variances of the lines are taken from half of a batch, and the bits of the other half are estimated with
    them, for normal distributions. It is 0 unless the data speaks for 1. Raises ValueError for a tensor that is no
    matrix of fixed size.
    """
    import numpy as np

    if data.spec.ndim != 2 or None in data.spec.shape:
        raise ValueError(f"a tensor of shape {data.spec.shape} is no matrix of fixed size")
    batch, _ = next(data.batches(SAMPLES))
    samples = np.stack([x.numpy() for x in batch]).astype(np.float64)
    first, second = _line_bits(samples, 0), _line_bits(samples, 1)
    return int(second < first - AXIS_MARGIN_BITS)


def _line_bits(samples: NDArray[np.float64], axis: int) -> float:
    """Return the bits a value, less a constant, with a mean and a variance for each line across an axis."""
    import numpy as np

    noise = (RELATIVE_STEP * float(samples.std())) ** 2 / 12 or 1.0
    lines = np.moveaxis(samples, axis + 1, 0)
    half = max(1, len(samples) // 2)
    known, coded = lines[:, :half], lines[:, half:] if len(samples) > half else lines
    mean, variance = known.mean(axis=(1, 2)), known.var(axis=(1, 2)) + noise
    distance = np.square(coded - mean[:, None, None]).mean(axis=(1, 2)) + noise
    return float((np.log2(variance) + distance / variance / np.log(2)).mean() / 2)


def _bits(samples: NDArray[np.float64], tiling: Tiling) -> float:
    """Return the bits of a sample at RELATIVE_STEP by the variances of components, for normal distributions."""
    import numpy as np

    blocks = tiling.split(samples)
    blocks -= blocks.mean(axis=0)
    half = max(1, len(samples) // 2 * tiling.count(samples.shape[1:]))
    first, second = blocks[:half], blocks[half:] if len(blocks) > half else blocks
    _, vectors = np.linalg.eigh(first.T @ first)
    noise = (RELATIVE_STEP * float(samples.std())) ** 2 / 12 or 1.0
    variances = ((second @ vectors) ** 2).mean(axis=0)
    return float(tiling.count(samples.shape[1:]) * np.log2(1 + variances / noise).sum() / 2)
