"""A linear transform of blocks, learned from training data: principal components, quantisers and a prior.

`learn_transform` designs both halves from the statistics of training data (`codecbench.toolbox.transforms.moments`).
`Analysis` turns samples into symbols on the device, `Synthesis` turns symbols into samples on the edge. Matrices and
the values they multiply are integers, and float64 holds every sum exactly, so symbols and restored values depend
neither on batches nor on threads.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.codec import TensorSpec
from codecbench.toolbox.coding.prior import Prior
from codecbench.toolbox.transforms.moments import Moments, principal_axes
from codecbench.toolbox.transforms.pooling import Pooling
from codecbench.toolbox.transforms.scalar import BINS, MAX_SYMBOL, ScalarQuantiser, find_cells
from codecbench.toolbox.transforms.sensitivity import Sensitivity
from codecbench.toolbox.transforms.tiling import Tiling
from codecbench.toolbox.transforms.uniform import to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DROP_COST_SHARE = 0.01
"""The share by which dropping further components may raise the cost, the sum of `ScalarQuantiser.cost` of
those kept."""

INPUT_BITS, INPUT_CLIP = 13, float(1 << 23)
"""The grid is chosen so that the root mean square of values is 2^13 to 2^14 units; values are clipped at 2^23 units."""

MAX_WEIGHT = 32_767
"""The limit of both matrices' magnitudes. With INPUT_CLIP, blocks of 2^14 values give sums below 2^52."""

GRID_STEPS = 24
"""Rounding the device's matrix adds an error with a deviation of at most 1/24 of a step to a component..."""

ROUNDING_SHARE = 50
"""... and rounding the edge's matrix adds at most 1/50 to the squared error; MAX_WEIGHT takes precedence over both."""

CENTROID_GRID = 256
"""Centroids are multiples of 1/256 of a step."""

_MIN_DEVIATION = 1 / 8
"""In steps. A component of smaller deviation is always zero."""


def learn_transform(
    spec: TensorSpec, relative_step: float, sensitivity: Sensitivity, moments: Moments
) -> tuple[Analysis, Synthesis]:
    """Return both halves of the Karhunen-Loève transform of weighted blocks, with one step for all components.

    `relative_step` is the step in units of the weighted values' root-mean-square deviation. An equal step gives an
    equal slope of the components' rate-distortion curves: reverse water-filling (Cover and Thomas, Elements of
    Information Theory, section 10.3.3). Components that are always zero at this step are dropped. The matrices' grids
    are so fine that rounding adds at most a few hundredths to the quantisation error.
    """
    components = _Components.of(relative_step, sensitivity, moments)
    return _analysis(spec, sensitivity, moments, components), _synthesis(spec, sensitivity, moments, components)


@dataclass(frozen=True, eq=False)
class Analysis:
    """The device's half: a matrix (components, values) in 1/scale of a step for each 1/grid of a value.

    `offset` (components,) is the matrix times the mean, in 1/scale of a step; `thresholds` are those of the components'
    quantisers, in bins.
    """

    tiling: Tiling
    grid: float
    scale: float
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    thresholds: list[NDArray[np.int64]]
    prior: Prior
    pooling: Pooling | None = None

    def symbols(self, samples: Sequence[NDArray[Any]], image: bool) -> list[NDArray[np.int32]]:
        """Return the symbols of each sample under `prior`, (components, blocks). An image's values are k/255.

        Raises ValueError for values that are not finite.
        """
        import numpy as np

        if not samples:
            return []
        blocks = [self._blocks(self._to_grid(sample, image)) for sample in samples]
        components = self.matrix @ np.concatenate(blocks).T - self.offset[:, None]
        cells = find_cells(self.thresholds, np.floor(components * (BINS / self.scale)))
        symbols = (cells + self.prior.min_symbols).astype(np.int32)
        return np.split(symbols, np.cumsum([len(of_one) for of_one in blocks])[:-1], axis=1)

    def _blocks(self, sample: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the blocks of a sample of integers, as integers."""
        import numpy as np

        blocks = self.tiling.split(sample[None])
        return blocks if self.pooling is None else np.rint(self.pooling.pool(blocks))

    def _to_grid(self, values: NDArray[Any], image: bool) -> NDArray[np.float64]:
        """Return values as integers, in float64."""
        import numpy as np

        if image:
            return to_pixels(values).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("the tensor holds values that are not finite; they cannot be quantised")
        with np.errstate(over="ignore"):
            return np.rint(values.astype(np.float64) * self.grid).clip(-INPUT_CLIP, INPUT_CLIP)

    def to_bytes(self) -> bytes:
        """Return the state that `from_bytes` takes."""
        table = _differences_from(self.thresholds, _rounding_thresholds(self.prior))
        numbers = (self.grid, self.scale)
        return _pack(self.tiling, self.prior, self.matrix, table, numbers, self.offset, self.pooling)

    @classmethod
    def from_bytes(cls, state: bytes) -> Analysis:
        """Return the half of a state; the inverse of `to_bytes`. Raises ValueError for an invalid state."""
        tiling, prior, matrix, table, (grid, scale), offset, pooling = _unpack(state)
        thresholds = _add_differences(table, _rounding_thresholds(prior))
        return cls(tiling, grid, scale, matrix, offset, thresholds, prior, pooling)


@dataclass(frozen=True, eq=False)
class Synthesis:
    """The edge's half: a matrix (values, components) in 1/scale of a value for each step.

    `mean` (values,) is in 1/(scale * CENTROID_GRID) of a value. Values are clipped to `limits`. `centroids` are those
    of the components' quantisers, in 1/CENTROID_GRID of a step.
    """

    tiling: Tiling
    scale: float
    matrix: NDArray[np.float64]
    mean: NDArray[np.float32]
    limits: tuple[float, float]
    centroids: list[NDArray[np.int64]]
    prior: Prior
    pooling: Pooling | None = None

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of blocks of a sample of this shape."""
        return self.tiling.count(shape) if self.pooling is None else 1

    def restore(self, symbols: NDArray[np.int32], shape: Sequence[int]) -> NDArray[np.float64]:
        """Return a sample of this shape from its symbols (components, blocks)."""
        import numpy as np

        rows = zip(self.centroids, symbols - self.prior.min_symbols, strict=True)
        components = np.array([centroids[cells] for centroids, cells in rows], np.float64).reshape(symbols.shape)
        blocks = (self.matrix @ components).T + self.mean.astype(np.float64)
        values = (blocks / (self.scale * CENTROID_GRID)).clip(*self.limits)
        return self.tiling.join(values if self.pooling is None else self.pooling.spread(values), shape)

    def to_bytes(self) -> bytes:
        """Return the state that `from_bytes` takes."""
        table = _differences_from(self.centroids, _rounding_centroids(self.prior))
        numbers = (self.scale, *self.limits)
        return _pack(self.tiling, self.prior, self.matrix, table, numbers, self.mean, self.pooling)

    @classmethod
    def from_bytes(cls, state: bytes) -> Synthesis:
        """Return the half of a state; the inverse of `to_bytes`. Raises ValueError for an invalid state."""
        tiling, prior, matrix, table, (scale, low, high), mean, pooling = _unpack(state)
        centroids = _add_differences(table, _rounding_centroids(prior))
        return cls(tiling, scale, matrix, mean, (low, high), centroids, prior, pooling)


@dataclass(frozen=True, eq=False)
class _Components:
    """The components that are kept: matrices (components, values) to steps and back, and the quantisers.

    `distortion` is the weighted squared error of a block: that of quantised components plus the energy of dropped ones.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]
    quantisers: list[ScalarQuantiser]
    prior: Prior
    distortion: float

    @classmethod
    def of(cls, relative_step: float, sensitivity: Sensitivity, moments: Moments) -> _Components:
        variances, vectors = principal_axes(moments.covariance)
        step = relative_step * math.sqrt(variances.mean()) or 1.0  # constants may have any step
        trained = _train(moments.weighted, variances, vectors, step)
        kept = _worth_keeping(variances / step**2, trained)
        quantisers = [trained[at] for at in kept]
        dropped = max(0.0, float(variances.sum() - variances[kept].sum()))
        return cls(
            vectors[:, kept].T @ sensitivity.matrix / step,
            sensitivity.inverse @ vectors[:, kept] * step,
            quantisers,
            Prior.from_counts([each.lowest for each in quantisers], [each.counts for each in quantisers]),
            dropped + step**2 * sum(each.error for each in quantisers),
        )


def _train(
    weighted: NDArray[np.float64], variances: NDArray[np.float64], vectors: NDArray[np.float64], step: float
) -> dict[int, ScalarQuantiser]:
    """Return quantisers of the components that are not always zero, by index."""
    import numpy as np

    likely = np.flatnonzero(variances > (step * _MIN_DEVIATION) ** 2)
    components = (weighted @ (vectors[:, likely] / step)).clip(-MAX_SYMBOL, MAX_SYMBOL)
    trained = ((int(at), ScalarQuantiser.trained(column)) for at, column in zip(likely, components.T, strict=True))
    return {at: quantiser for at, quantiser in trained if quantiser}


def _worth_keeping(variances: NDArray[np.float64], trained: Mapping[int, ScalarQuantiser]) -> list[int]:
    """Return the components without those that together lower the cost by less than DROP_COST_SHARE of it.

    `variances` are in squared steps. A component that is almost always zero is not worth a row of the matrices.
    """
    import numpy as np

    kept = np.array(list(trained), int)
    costs = np.array([quantiser.cost for quantiser in trained.values()])
    gains = variances[kept] - costs
    max_loss = DROP_COST_SHARE * (float(variances.sum()) - float(gains.sum()))
    weakest = np.argsort(gains, kind="stable")
    lost = weakest[np.cumsum(gains[weakest]) <= max_loss]
    return [int(at) for at in np.delete(kept, lost)]


def _analysis(spec: TensorSpec, sensitivity: Sensitivity, moments: Moments, components: _Components) -> Analysis:
    import numpy as np

    mean_square = (moments.variance + float(np.square(moments.mean).sum())) / len(moments.mean)
    usual = _power_of_two(2.0**INPUT_BITS / math.sqrt(mean_square)) if mean_square else 1.0
    grid = 255.0 if spec.image else usual
    needed = _power_of_two(GRID_STEPS * grid * math.sqrt(moments.variance / 12))
    scale = min(needed, _max_scale(components.forward / grid))
    matrix = np.rint(components.forward * (scale / grid))
    thresholds = [quantiser.thresholds for quantiser in components.quantisers]
    offset = np.rint(matrix @ (moments.mean * grid))
    prior, pooling = components.prior, sensitivity.pooling
    return Analysis(sensitivity.tiling, grid, scale, matrix, offset, thresholds, prior, pooling)


def _synthesis(spec: TensorSpec, sensitivity: Sensitivity, moments: Moments, components: _Components) -> Synthesis:
    import numpy as np

    energy = sum(float(np.square(each.centroids) @ each.counts / each.counts.sum()) for each in components.quantisers)
    noise = energy * float(np.square(sensitivity.matrix).sum()) / 12  # for a scale of 1
    needed = _power_of_two(math.sqrt(ROUNDING_SHARE * noise / components.distortion)) if components.distortion else 1.0
    scale = min(needed, _max_scale(components.backward))
    rows, values = sensitivity.matrix.shape
    # A tail of low rank ignores errors outside few directions. The mean within them deflates best, and restored values
    # have no known range.
    mean = sensitivity.inverse @ moments.weighted_mean if rows < values else moments.mean
    limit = float(np.finfo(spec.dtype).max)
    return Synthesis(
        sensitivity.tiling, scale, np.rint(components.backward * scale),
        np.rint(mean * (scale * CENTROID_GRID)).astype(np.float32),
        (-limit, limit) if rows < values else (moments.low, moments.high),
        [np.rint(each.centroids * CENTROID_GRID).astype(np.int64) for each in components.quantisers], components.prior,
        sensitivity.pooling,
    )  # fmt: skip


def _max_scale(matrix: NDArray[np.float64]) -> float:
    """Return the largest power of two that keeps a matrix within MAX_WEIGHT."""
    import numpy as np

    return _power_of_two(MAX_WEIGHT / 2 / np.abs(matrix).max(initial=1e-300))


def _power_of_two(value: float) -> float:
    """Return the smallest power of two that is at least `value`; 1 if the value is not finite or not above zero."""
    return 2.0 ** min(1000, max(-1000, math.ceil(math.log2(value)))) if 0 < value < math.inf else 1.0


def _rounding_thresholds(prior: Prior) -> list[NDArray[np.int64]]:
    """Return the thresholds of plain rounding, in bins."""
    return [BINS * symbols[1:] - BINS // 2 for symbols in _alphabets(prior)]


def _rounding_centroids(prior: Prior) -> list[NDArray[np.int64]]:
    """Return the centroids of plain rounding, in 1/CENTROID_GRID of a step."""
    return [CENTROID_GRID * symbols for symbols in _alphabets(prior)]


def _alphabets(prior: Prior) -> list[NDArray[np.int64]]:
    import numpy as np

    return [np.arange(low, low + len(table)) for low, table in zip(prior.lowest, prior.tables, strict=True)]


def _differences_from(rows: Sequence[NDArray[np.int64]], usual: Sequence[NDArray[np.int64]]) -> NDArray[np.int32]:
    """Return the differences of rows from the usual ones, concatenated."""
    import numpy as np

    differences = [row - usual_one for row, usual_one in zip(rows, usual, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *differences]).astype(np.int32)


def _add_differences(differences: NDArray[np.int32], usual: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the rows; the inverse of `_differences_from`."""
    import numpy as np

    ends = np.cumsum([0, *map(len, usual)])
    return [row + differences[start : start + len(row)] for row, start in zip(usual, ends[:-1], strict=True)]


def _pack(
    tiling: Tiling,
    prior: Prior,
    matrix: NDArray[np.float64],
    table: NDArray[np.int32],
    numbers: Sequence[float],
    vector: NDArray[Any],
    pooling: Pooling | None,
) -> bytes:
    """Return a side's state: safetensors, deflated.

    The matrix is stored as zigzag integers, low bytes first and then high bytes, which deflates better.
    """
    import numpy as np
    from safetensors.numpy import save

    weights = matrix.astype(np.int32)
    folded = np.ascontiguousarray((weights << 1 ^ weights >> 31).astype("<u2"))
    arrays: dict[str, NDArray[Any]] = {
        "axes": np.array(tiling.axes, np.int64), "sizes": np.array(tiling.sizes, np.int64),
        "matrix": np.stack([folded & 255, folded >> 8]).astype(np.uint8), "vector": vector,
        "table": table, "numbers": np.array(numbers, np.float64),
        "prior": np.frombuffer(prior.to_bytes(), np.uint8),
    }  # fmt: skip
    if pooling is not None:
        arrays["pooling"] = pooling.weights
    return zlib.compress(save(arrays), 9)


def _unpack(state: bytes) -> tuple[Tiling, Prior, Any, Any, list[float], Any, Pooling | None]:
    """Return the parts of a state; the inverse of `_pack`. Raises ValueError for an invalid state."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(zlib.decompress(state))
        axes, sizes, planes, prior, table, numbers, vector = (
            arrays[name] for name in ("axes", "sizes", "matrix", "prior", "table", "numbers", "vector")
        )
    except (zlib.error, SafetensorError, KeyError) as error:
        raise ValueError(f"no state of a transform: {error}") from error
    folded = planes[0].astype(np.int32) | planes[1].astype(np.int32) << 8
    matrix = (folded >> 1 ^ -(folded & 1)).astype(np.float64)
    tiling = Tiling(tuple(axes.tolist()), tuple(sizes.tolist()))
    pooling = Pooling(arrays["pooling"]) if "pooling" in arrays else None
    return tiling, Prior.from_bytes(prior.tobytes()), matrix, table, numbers.tolist(), vector, pooling
