"""`cs-dct` and `cs-wavelet`: compressive sensing. Random measurements on the device, l1 recovery on the edge.

The paper's Offload-CS, twice over: `variant="faithful"` is what the paper compared against, `variant="best"` what the
method gives in good hands.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.bits import read_shape, write_shape
from codecbench.entropy import Prior
from codecbench.solver import (
    L1Solver,
    Operator,
    dct_basis,
    fourier_basis,
    gaussian_rows,
    is_orthonormal_wavelet,
    orthonormal_rows,
    wavelet_basis,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Arrays: TypeAlias = dict[str, NDArray[Any]]
    Floats: TypeAlias = NDArray[np.float64]

IMAGE_SIDE, PLANE_SIDE, SIGNAL_SIDE, SEQUENCE_SIDE = 32, 16, 256, 32
"""Greatest sides of a block: of an image, of another plane, of a vector, along an axis that varies.

On the 32 x 32 planes behind a network's first layer, blocks of 32 save 2 to 3 % of the bytes, and take four times the
computing and three times the state.
"""

LEAST_LIMIT = 1e-6
BATCH_UNITS = 128
"""Units that are worked on together: more would not be faster, and take more memory."""

FIT_BYTES, PENALTY_UNITS = 1 << 27, 32
"""Of training activations, as float64, that a fit looks at; units by which the penalty of "faithful" is chosen."""

VALUE_BITS, MATRIX_BITS = 18, 16
"""What is measured are integers up to 2^18, by matrices of multiples of 2^-16: sums stay below 2^53, so float64 holds
them exactly in whatever order, batch or number of threads they are made."""

BAND = 128
"""Coefficients that are measured together in the best variant."""

TABLE_SYMBOLS = 32
"""Measurements of a unit that share a table of the prior in the best variant."""

CODES_PER_OCTAVE, ONE_STEP_CODE = 8, 64
LEAST_CODE, FULL_CODE, DIRECT_CODE = 46, 62, 72
"""A coefficient's standard deviation in training is kept as a byte, its code: 64 is a quantiser step, 8 more are twice
as much, and 0 is what is not measured. From LEAST_CODE (0.21 steps) to FULL_CODE (0.84), the share of a band that is
measured grows from nothing to all. From DIRECT_CODE (2.0) on, coefficients are measured as they are: random rows would
take 4 to 6 % more bytes at CIFAR-10 images."""

SPARE_SYMBOLS = 16
"""By how many steps a measurement may exceed all of training before it is clipped."""

ROTATION_BITS = 14
ROTATED_GROUPS = 256
"""Channels up to which a rotation of them is learned: its state grows with their square."""


class Blocks:
    """How a tensor becomes units of `groups` blocks of `shape`, and comes back.

    A unit holds the blocks of all channels at one place. The last two axes are planes; a vector, and an axis that
    varies, are planes of one row. Blocks are as equal as can be, so that little is padded.
    """

    def __init__(self, spec: TensorSpec, halvings: int) -> None:
        self._varying = spec.shape.index(None) if None in spec.shape else None
        self._flat = self._varying is not None or spec.ndim == 1
        self.groups, *extents = self._as_planes(spec.max_shape)
        if self._flat:
            limits = (1, SIGNAL_SIDE if self._varying is None else SEQUENCE_SIDE)
            # Lengths differ, so no number of blocks divides them all.
            extents[1] = min(extents[1], limits[1]) if self._varying is not None else extents[1]
        else:
            limits = (IMAGE_SIDE, IMAGE_SIDE) if spec.image else (PLANE_SIDE, PLANE_SIDE)
        self._sides = [_block_side(n, most, halvings) for n, most in zip(extents, limits, strict=True)]
        self.shape = tuple(side for side in self._sides if side > 1) or (1,)
        self.length = math.prod(self.shape)

    def shares(self, shape: Sequence[int]) -> list[float]:
        """How much of each unit of a tensor of this shape is not padding."""
        rows, columns = (
            [min(side, extent - start) / side for start in range(0, extent, side)]
            for extent, side in zip(self._as_planes(shape)[1:], self._sides, strict=True)
        )
        return [row * column for row in rows for column in columns]

    def cut(self, values: Floats) -> Floats:
        """Units, (units, groups, length), of a tensor; its edges are repeated to fill the last blocks."""
        import numpy as np

        if self._varying is not None:
            values = np.moveaxis(values, self._varying, -1)
        planes = values.reshape(self.groups, *self._extents(values.shape))
        gaps = [-extent % side for extent, side in zip(planes.shape[1:], self._sides, strict=True)]
        if any(gaps):
            planes = np.pad(planes, [(0, 0), *((0, gap) for gap in gaps)], mode="edge")
        height, width = self._sides
        grid = planes.reshape(self.groups, planes.shape[1] // height, height, planes.shape[2] // width, width)
        units = grid.shape[1] * grid.shape[3]
        return np.ascontiguousarray(grid.transpose(1, 3, 0, 2, 4)).reshape(units, self.groups, self.length)

    def join(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """The inverse of `cut` for a tensor of this shape."""
        _, *extents = self._as_planes(shape)
        rows, columns = (-(-extent // side) for extent, side in zip(extents, self._sides, strict=True))
        height, width = self._sides
        grid = units.reshape(rows, columns, self.groups, height, width).permute(2, 0, 3, 1, 4)
        planes = grid.reshape(self.groups, rows * height, columns * width)[:, : extents[0], : extents[1]]
        ordered = planes.reshape(self._varying_last(shape))
        return ordered if self._varying is None else ordered.movedim(-1, self._varying)

    def _varying_last(self, shape: Sequence[int]) -> tuple[int, ...]:
        if self._varying is None:
            return tuple(shape)
        return (*shape[: self._varying], *shape[self._varying + 1 :], shape[self._varying])

    def _extents(self, ordered: Sequence[int]) -> tuple[int, int]:
        return (1, ordered[-1]) if self._flat else (ordered[-2], ordered[-1])

    def _as_planes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Groups, height and width of a tensor of this shape."""
        ordered = self._varying_last(shape)
        return math.prod(ordered[: -1 if self._flat else -2]), *self._extents(ordered)


def _block_side(extent: int, most: int, halvings: int) -> int:
    """The side of the fewest equal blocks that cover an extent; it halves as often as that pads an eighth at most."""
    side = -(-extent // -(-extent // most))
    for times in range(halvings, 0, -1):
        rounded = -(-side // (1 << times)) << times
        if 8 * (rounded - side) <= side and rounded > 1 << times:
            return rounded
    return side


class Sensing(ABC):
    """A way to measure units of integers, and to recover them.

    A unit has `tables * table_symbols` measurements; those of a table of the prior follow one another.
    """

    tables: int
    table_symbols: int

    @abstractmethod
    def measure(self, units: Tensor) -> Tensor:
        """Exact integers, (units, measurements), in multiples of 2^-MATRIX_BITS, of integers (units, groups, n)."""

    @abstractmethod
    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """Units, (units, groups, n) in float32, from their first so many measurements, in quantiser steps."""


class DenseGaussian(Sensing):
    """Each block alone, by one dense Gaussian matrix; plain ISTA with one penalty for all coefficients."""

    SOLVER = L1Solver("ista", iterations=100)
    MOST_TABLES = 16
    PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    """In steps; the best for training data is taken. Greater ones make up for iterations that end too early."""
    BATCH_BLOCKS = 1024

    def __init__(self, basis: Floats, groups: int, arrays: Arrays, ratio: float, seed: int) -> None:
        import torch

        self._rows = max(1, round(ratio * len(basis)))
        self.tables = next(n for n in range(min(self.MOST_TABLES, self._rows), 0, -1) if self._rows % n == 0)
        self.table_symbols = self._rows // self.tables * groups
        self._penalty = float(arrays["penalty"])
        self._groups = groups
        self._basis = torch.from_numpy(basis)
        self._matrix = torch.from_numpy(gaussian_rows(self._rows, len(basis), seed))
        self._grid = _on_grid(self._matrix)
        self._operators: dict[int, Operator] = {}

    @classmethod
    def learn(cls, units: Tensor, basis: Floats, step: float, ratio: float, seed: int) -> Arrays:
        """The penalty that recovers training units best."""
        import numpy as np

        def error(penalty: float) -> float:
            sensing = cls(basis, units.shape[1], {"penalty": np.array(penalty)}, ratio, seed)
            symbols = (sensing.measure(units) / (step * (1 << MATRIX_BITS))).round().float()
            return float((sensing.recover(symbols, step) - units).square().mean())

        return {"penalty": np.array(min(cls.PENALTIES, key=error))}

    def measure(self, units: Tensor) -> Tensor:
        """All groups by the first row, then by the second, and so on."""
        return (self._grid @ units.mT).flatten(1)

    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """Block by block, by the rows that were used."""
        import torch

        rows = symbols.shape[1] // self._groups
        blocks = symbols.reshape(-1, rows, self._groups).mT.flatten(0, 1)
        operator = self._operator(rows)
        found = [self.SOLVER.solve(operator, part, self._penalty) for part in _parts(blocks, self.BATCH_BLOCKS)]
        restored = torch.cat(found) @ self._basis.float().T * step
        return restored.reshape(len(symbols), self._groups, -1)

    def _operator(self, rows: int) -> Operator:
        if rows not in self._operators:
            self._operators = {rows: Operator((self._matrix[:rows] @ self._basis).float())}
        return self._operators[rows]


class Banded(Sensing):
    """Coefficients of all groups together, in bands of like spread, each measured by orthonormal rows of its own.

    The groups are rotated to their principal axes, then transformed by the basis. Coefficients are sorted by their
    standard deviation in training, and cut into bands. The greater it is, the more measurements has a band: all that
    there can be, fewer, or none. The rows are random, but for the first bands, which are measured as they are. This is
    the variable-density sampling of MS-BCS-SPL (Fowler, Mun and Tramel 2011) with bands and densities that are learned.

    Recovery is FISTA with continuation, and weights that are the inverse of the spreads: the most probable
    coefficients, were they drawn from Laplace distributions.
    """

    SOLVER = L1Solver("fista", iterations=24, continuation=12)
    ONE_STEP = L1Solver("ista", iterations=1)
    PENALTY = 0.3 / 12
    """Theory says 1/12, the variance of a rounding error; CIFAR-10 images lose a point of top-1 more with it."""

    def __init__(self, basis: Floats, arrays: Arrays, most: int, seed: int) -> None:
        import numpy as np
        import torch

        self._shape = arrays["spreads"].shape
        self._basis = torch.from_numpy(basis)
        self._means = torch.from_numpy(arrays["means"]).double()
        codes = arrays["spreads"].reshape(-1).astype(np.int64)
        members = np.argsort(-codes, kind="stable")[: max(1, int((codes > 0).sum()))]
        parts = [members[at : at + BAND] for at in range(0, len(members), BAND)]
        # In steps.
        self._spreads = [2 ** ((codes[part].mean() - ONE_STEP_CODE) / CODES_PER_OCTAVE) for part in parts]
        matrix = np.zeros((len(parts), BAND, BAND))
        for band, part in enumerate(parts):
            rows = _band_rows(codes[part], [seed, band])
            matrix[band, : len(rows), : len(part)] = rows
        # The last band is filled up with a coefficient that is not there.
        self._members = np.pad(members, (0, len(parts) * BAND - len(members)), constant_values=codes.size)
        self._matrix = torch.from_numpy(matrix)
        self._grid, self._grid_basis = _on_grid(self._matrix.mT.contiguous()), _on_grid(self._basis)
        self._grid_rotation = torch.from_numpy(arrays["rotation"]).double()
        slots = np.flatnonzero(matrix.any(2))[: max(1, most)]
        self.table_symbols = min(TABLE_SYMBOLS, len(slots))
        self.tables = len(slots) // self.table_symbols
        self._slots = slots[: self.tables * self.table_symbols]
        self._operators: dict[int, tuple[Operator, Operator]] = {}

    @classmethod
    def learn(cls, units: Tensor, basis: Floats, step: float) -> Arrays:
        """Means of the groups, their rotation, and the spreads of coefficients in steps, of training units."""
        import numpy as np
        import torch

        groups = units.shape[1]
        means = units.mean((0, 2)).round()
        centred = (units - means[:, None]).swapaxes(0, 1).flatten(1)
        if groups <= ROTATED_GROUPS:
            axes = torch.linalg.eigh(centred @ centred.T)[1].T.flip(0)
        else:
            axes = torch.zeros(0, groups, dtype=torch.float64)
        rotation = (axes * (1 << ROTATION_BITS)).round()
        energy = torch.zeros(groups, len(basis), dtype=torch.float64)
        for part in _parts(units, BATCH_UNITS):
            found = _coefficients(part, means, rotation, _on_grid(torch.from_numpy(basis)))
            energy += found.square().sum(0)
        spreads = (energy / max(1, len(units))).sqrt() / step
        codes = (CODES_PER_OCTAVE * spreads.clamp(min=1e-30).log2()).round() + ONE_STEP_CODE
        codes = torch.where(codes < LEAST_CODE, 0, codes.clamp(max=255))
        return {
            "means": means.numpy().astype(np.int32),
            "rotation": rotation.numpy().astype(np.int16),
            "spreads": codes.numpy().astype(np.uint8),
        }

    def measure(self, units: Tensor) -> Tensor:
        """Band by band."""
        import torch

        coefficients = _coefficients(units, self._means, self._grid_rotation, self._grid_basis).flatten(1)
        padded = torch.nn.functional.pad(coefficients, (0, 1))
        bands = padded[:, self._members].reshape(len(units), len(self._matrix), BAND).swapaxes(0, 1)
        measured: Tensor = (bands @ self._grid).swapaxes(0, 1).flatten(1)[:, self._slots]
        return measured

    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """All units of a part at once, band by band, by the rows that were used."""
        import torch

        return torch.cat([self._recover(part, step) for part in _parts(symbols, BATCH_UNITS)])

    def _recover(self, symbols: Tensor, step: float) -> Tensor:
        import torch

        units, count = symbols.shape
        bands = len(self._spreads)
        sent = torch.zeros(units, bands * BAND)
        sent[:, self._slots[:count]] = symbols
        found = self._solve(sent.reshape(units, bands, BAND).swapaxes(0, 1), count)
        groups, length = self._shape
        coefficients = torch.zeros(units, groups * length + 1)
        coefficients[:, self._members] = found.swapaxes(0, 1).flatten(1)
        blocks = (coefficients[:, :-1] * step).reshape(units, groups, length) @ self._basis.float().T
        rotation = (self._grid_rotation / (1 << ROTATION_BITS)).float()
        rotated = rotation.T @ blocks if len(rotation) else blocks
        return rotated + self._means.float()[:, None]

    def _solve(self, measured: Tensor, count: int) -> Tensor:
        """Coefficients (bands, units, BAND) of measurements (bands, units, BAND) with `count` rows in use."""
        import torch

        full, partly = self._operators_of(count)
        bands = len(full.matrix)
        weights = math.sqrt(2) / torch.tensor(self._spreads)[:, None, None]
        # A rotation is undone by one step: its gradient leads from anywhere to A^T y.
        easy = self.ONE_STEP.solve(full, measured[:bands], self.PENALTY, weights[:bands])
        return torch.cat([easy, self.SOLVER.solve(partly, measured[bands:], self.PENALTY, weights[bands:])])

    def _operators_of(self, count: int) -> tuple[Operator, Operator]:
        """The rows in use: of the leading bands that are measured in full, and of the others."""
        import torch

        if count not in self._operators:
            used = torch.zeros(len(self._spreads) * BAND)
            used[self._slots[:count]] = 1
            used = used.reshape(-1, BAND)
            matrix = self._matrix.float() * used[:, :, None]
            full = int(used.all(1).int().cumprod(0).sum())
            self._operators = {
                count: (Operator(matrix[:full], orthonormal=True), Operator(matrix[full:], orthonormal=True))
            }
        return self._operators[count]


def _band_rows(codes: NDArray[np.int64], seed: Sequence[int]) -> Floats:
    """The rows that measure a band. How many they are is found by integers, the same on both sides."""
    import numpy as np

    size, total = len(codes), int(codes.sum())
    if total > DIRECT_CODE * size:
        return np.eye(size)
    # The size times the share (mean code - LEAST_CODE) / (FULL_CODE - LEAST_CODE).
    rows = (total - LEAST_CODE * size) // (FULL_CODE - LEAST_CODE)
    return orthonormal_rows(min(size, max(1, rows)), size, seed)


def _coefficients(units: Tensor, means: Tensor, rotation: Tensor, basis: Tensor) -> Tensor:
    """Integers, (units, groups, n): blocks less their mean, rotated with their fellows, in the basis. Sums are exact.

    The rotation is in multiples of 2^-ROTATION_BITS, the basis of 2^-MATRIX_BITS.
    """
    centred = units - means[:, None]
    if len(rotation):
        centred = (rotation @ centred / (1 << ROTATION_BITS)).round()
    return (centred @ basis / (1 << MATRIX_BITS)).round()


def _parts(values: Tensor, size: int) -> list[Tensor]:
    """Slices of so many along the first axis; one of none where there are none."""
    return [values[at : at + size] for at in range(0, max(1, len(values)), size)]


def _on_grid(matrix: Tensor) -> Tensor:
    """A matrix in multiples of 2^-MATRIX_BITS."""
    return (matrix * (1 << MATRIX_BITS)).round()


def _points(steps: Sequence[float], ratios: Sequence[float]) -> tuple[Mapping[str, Any], ...]:
    best = ({"variant": "best", "ratio": 1.0, "step": step} for step in steps)
    return (*best, *({"variant": "faithful", "ratio": ratio, "step": 0.1} for ratio in ratios))


IMAGE_POINTS = _points((0.5, 0.35, 0.25, 0.18, 0.13, 0.09, 0.06), (0.25, 0.5, 0.75, 1.0))
WIDE_POINTS = _points((2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25), (0.25, 0.5, 0.75, 1.0))
SMALL_POINTS = _points((8.0, 6.5, 5.2, 4.2, 3.4, 2.5, 1.8), (0.25, 0.5, 0.75, 1.0))
SMALL_PLANE = 100
"""Values of a plane that tells of a class rather than of places, and bears coarse steps."""


class CompressiveSensing(Codec):
    """Measurements y = E x of blocks of 32 x 32, rounded to steps and entropy-coded; x recovered by l1 minimisation.

    `variant` is "faithful" (DenseGaussian) or "best" (Banded). `step` is the quantiser's, as a share of the root mean
    square: of the measurements in "faithful", of the centred values in "best". `ratio` is the number of measurements
    for each value: in "faithful" their number, in "best" their greatest. E comes from the seed of the fit.

    Payload: the length of the varying axis; the entropy-coded measurements. A block that is partly padding has the
    fewer of them.
    """

    rows_by = ("variant",)

    variant: str
    ratio: float
    step: float

    _halvings: ClassVar[int]
    """How often the sides of a block ought to halve."""

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._blocks = Blocks(spec, self._halvings)
        self._arrays: Arrays = {}
        self._priors: dict[tuple[int, ...], Prior] = {}

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Finer steps at an image, coarser ones on small planes."""
        if spec.image:
            return IMAGE_POINTS
        return SMALL_POINTS if math.prod(spec.max_shape[-2:]) < SMALL_PLANE else WIDE_POINTS

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """A step of "best" that costs little, and the most that "faithful" can do."""
        points = cls.points_for(spec)
        return (points[4], points[-1])

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Needs floating-point values and an axis."""
        if point.get("variant", "best") not in ("best", "faithful"):
            return f"variant is 'best' or 'faithful', not {point['variant']!r}"
        for name in ("ratio", "step"):
            value = point.get(name, 1.0)
            if not isinstance(value, int | float) or not 0 < value <= 100:
                return f"{name} is a number above 0, not {value!r}"
        if not spec.dtype.startswith("float"):
            return f"needs floating-point values, got {spec.dtype}"
        return None if spec.ndim and all(spec.max_shape) else f"needs an axis and values, got {spec.shape}"

    @abstractmethod
    def _basis(self) -> Floats:
        """The basis of a block, (n, n)."""

    def fit(self, data: FitData) -> None:
        """Learn the values' range, the statistics of `variant` and the prior."""
        import numpy as np
        import torch

        samples = _training_samples(data)
        low, high = min(float(x.min()) for x in samples), max(float(x.max()) for x in samples)
        limit = 2.0 ** math.ceil(math.log2(2 * max(-low, high, LEAST_LIMIT)))
        units = torch.from_numpy(np.concatenate([self._blocks.cut(_to_integers(x, limit)) for x in samples]))
        deviation = float((units - units.mean((0, 2))[:, None]).square().mean().sqrt())
        step, basis, seed = self.step * max(deviation, 1.0), self._basis(), data.seed % (1 << 32)
        if self.variant == "best":
            learned = Banded.learn(units, basis, step)
        else:
            learned = DenseGaussian.learn(units[:PENALTY_UNITS], basis, step, self.ratio, seed)
        self._take({**learned, "range": np.array([low, high, limit]), "step": np.array(step), "seed": np.array(seed)})
        symbols = self._symbols(units)
        prior = Prior.fitted(symbols.swapaxes(0, 1).reshape(self._sensing.tables, -1), margin=SPARE_SYMBOLS)
        self._take({**self._arrays, "prior": np.frombuffer(prior.to_bytes(), np.uint8)})

    def export(self, side: Side) -> bytes:
        """The same for both sides: the device needs all to measure, but for a few numbers."""
        from safetensors.numpy import save

        return zlib.compress(save(self._arrays), 9)

    def restore(self, side: Side, state: bytes) -> None:
        """Take the state, and make all matrices."""
        from safetensors.numpy import load

        self._take(load(zlib.decompress(state)))

    def _take(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._low, self._high, self._limit = map(float, arrays["range"])
        self._step, seed = float(arrays["step"]), int(arrays["seed"])
        blocks, basis = self._blocks, self._basis()
        if self.variant == "best":
            most = math.floor(self.ratio * blocks.groups * blocks.length)
            self._sensing: Sensing = Banded(basis, arrays, most, seed)
        else:
            self._sensing = DenseGaussian(basis, blocks.groups, arrays, self.ratio, seed)
        if "prior" in arrays:
            self._prior = Prior.from_bytes(arrays["prior"].tobytes())

    def encode(self, x: Tensor) -> bytes:
        """Shape and measurements. Raises ValueError for values that are not finite."""
        return self.encode_batch([x])[0]

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        """Samples are measured together; sums are exact, so that makes no difference."""
        return [
            write_shape(self.spec, x.shape) + self._prior_for(tables).encode(symbols)
            for x, (tables, symbols) in zip(xs, self._measured(xs), strict=True)
        ]

    def bound_bytes(self, x: Tensor) -> float:
        """Of the measurements under the prior."""
        ((tables, symbols),) = self._measured([x])
        return self._prior_for(tables).bound_bytes(symbols)

    def decode(self, payload: bytes) -> Tensor:
        """The most probable values, kept within the range of training values."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Units with equally many measurements are recovered together."""
        import numpy as np
        import torch

        shapes, symbols = [], []
        for payload in payloads:
            shape, body = read_shape(self.spec, payload)
            tables = self._tables(shape)
            decoded = torch.from_numpy(self._prior_for(tables).decode(body, self._sensing.table_symbols)).float()
            shapes.append(shape)
            ends = np.cumsum([0, *tables])
            symbols += [decoded[start:end].flatten() for start, end in pairwise(ends)]
        units = self._recovered(symbols)
        values = (units * (self._limit / (1 << VALUE_BITS))).clamp_(self._low, self._high)
        dtype = getattr(torch, self.spec.dtype)
        ends = np.cumsum([0, *(len(self._tables(shape)) for shape in shapes)])
        return [
            self._blocks.join(values[start:end], shape).to(dtype).clone(memory_format=torch.contiguous_format)
            for (start, end), shape in zip(pairwise(ends), shapes, strict=True)
        ]

    def _symbols(self, units: Tensor) -> NDArray[np.float64]:
        """Measurements in whole steps, (units, tables, table_symbols)."""
        import torch

        step = self._step * (1 << MATRIX_BITS)
        measured = torch.cat([self._sensing.measure(part) for part in _parts(units, BATCH_UNITS)])
        shape = (len(units), self._sensing.tables, self._sensing.table_symbols)
        symbols: NDArray[np.float64] = (measured / step).round().reshape(shape).numpy()
        return symbols

    def _measured(self, xs: Sequence[Tensor]) -> Iterator[tuple[tuple[int, ...], NDArray[np.int32]]]:
        """For each sample how many tables each unit sends of, and their symbols."""
        import numpy as np
        import torch

        if not xs:
            return
        units = [self._blocks.cut(_to_integers(x.numpy(), self._limit)) for x in xs]
        ends = np.cumsum([0, *map(len, units)])
        symbols = self._symbols(torch.from_numpy(np.concatenate(units)))
        for x, start, end in zip(xs, ends[:-1], ends[1:], strict=True):
            tables = self._tables(tuple(x.shape))
            sent = [np.zeros((0, self._sensing.table_symbols))]
            sent += [unit[:count] for unit, count in zip(symbols[start:end], tables, strict=True)]
            yield tables, self._prior_for(tables).clip(np.concatenate(sent))

    def _tables(self, shape: Sequence[int]) -> tuple[int, ...]:
        """How many tables' measurements each unit of a tensor of this shape sends: all, unless some is padding."""
        return tuple(math.ceil(share * self._sensing.tables) for share in self._blocks.shares(shape))

    def _prior_for(self, tables: tuple[int, ...]) -> Prior:
        """The prior of units that send of so many tables, one after the other."""
        if tables == (len(self._prior),):
            return self._prior
        if tables not in self._priors:
            prior = self._prior
            lowest = [least for count in tables for least in prior.lowest[:count]]
            self._priors = {tables: Prior(lowest, [table for count in tables for table in prior.tables[:count]])}
        return self._priors[tables]

    def _recovered(self, symbols: Sequence[Tensor]) -> Tensor:
        """Units, (units, groups, n), of their symbols. Units with equally many are recovered together."""
        import torch

        units = torch.zeros(len(symbols), self._blocks.groups, self._blocks.length)
        for count in sorted({len(unit) for unit in symbols}):
            chosen = [i for i, unit in enumerate(symbols) if len(unit) == count]
            units[chosen] = self._sensing.recover(torch.stack([symbols[i] for i in chosen]), self._step)
        return units


def _training_samples(data: FitData) -> list[Floats]:
    """Up to FIT_BYTES of training samples: one batch at least, more while there is time."""
    samples: list[Floats] = []
    for xs, _ in data.batches(64):
        samples += [x.numpy().astype("float64") for x in xs]
        if data.remaining_s() <= 0 or sum(x.nbytes for x in samples) >= FIT_BYTES:
            break
    return samples


def _to_integers(values: NDArray[Any], limit: float) -> Floats:
    """Values clipped to the limit, in multiples of 2^-VALUE_BITS of it. Raises ValueError where one is not finite."""
    import numpy as np

    if not np.isfinite(values).all():
        raise ValueError("the tensor holds values that are not finite; they cannot be measured")
    return np.rint(np.clip(values.astype(np.float64), -limit, limit) * ((1 << VALUE_BITS) / limit))


class CsDct(CompressiveSensing):
    """Blocks that are sparse in the DCT, or with `basis="fourier"` in the real Fourier basis."""

    name = "cs-dct"
    points = tuple({**point, "basis": "dct"} for point in WIDE_POINTS)

    basis: str
    _halvings = 0

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Needs floating-point values and an axis."""
        if point.get("basis", "dct") not in ("dct", "fourier"):
            return f"basis is 'dct' or 'fourier', not {point['basis']!r}"
        return super().skip_reason(spec, **point)

    def _basis(self) -> Floats:
        return (dct_basis if self.basis == "dct" else fourier_basis)(self._blocks.shape)


class CsWavelet(CompressiveSensing):
    """Blocks that are sparse in an orthonormal wavelet basis, by the name that PyWavelets has for it."""

    name = "cs-wavelet"
    points = tuple({**point, "wavelet": "sym4"} for point in WIDE_POINTS)

    wavelet: str
    _halvings = 3

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Needs floating-point values and an axis, and an orthonormal wavelet."""
        if not is_orthonormal_wavelet(point.get("wavelet", "haar")):
            return f"wavelet is one of haar, db1 to db38, sym2 to sym20 and coif1 to coif17, not {point['wavelet']!r}"
        return super().skip_reason(spec, **point)

    def _basis(self) -> Floats:
        return wavelet_basis(self._blocks.shape, self.wavelet)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codecs."""
    return [CsDct, CsWavelet]
