"""Compressive sensing: tensors as units of blocks, and methods that measure units and recover them.

A codec cuts a tensor into units of integers (`Blocks`, `to_integers`), measures them (`Sensing.symbols`), codes the
symbols, and recovers the units (`Sensing.recover_all`). Sums are exact up to the rounding into symbols, so symbols do
not depend on batch, threads or machine. Importing this module imports neither numpy nor torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from codecbench.toolbox.sensing.blocks import MATRIX_BITS
from codecbench.toolbox.sensing.recovery import L1Solver, Operator, gaussian_rows, orthonormal_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from codecbench.toolbox.sensing.blocks import Floats

    Arrays: TypeAlias = dict[str, NDArray[Any]]


BATCH_UNITS = 128
"""Units that are processed together: more would not be faster, and would take more memory."""


BAND = 128
"""Coefficients that are measured together in the best variant."""

TABLE_SYMBOLS = 32
"""Measurements of a unit that share a table of the prior in the best variant."""

CODES_PER_OCTAVE, ONE_STEP_CODE = 8, 64
MIN_CODE, FULL_CODE, DIRECT_CODE = 46, 62, 72
"""A coefficient's standard deviation in training is stored as a byte, its code, on a logarithmic scale: 64 is one
quantiser step, 8 more doubles it, and 0 means not measured. Between MIN_CODE (0.21 steps) and FULL_CODE (0.84), the
share of a band that is measured grows from zero to all. From DIRECT_CODE (2.0) on, coefficients are measured directly:
random rows would take 4 to 6 % more bytes for CIFAR-10 images."""

ROTATION_BITS = 14
ROTATED_GROUPS = 256
"""The largest number of channels for which a rotation is learned: its state grows with the square of the number."""


class Sensing(ABC):
    """A method that measures units of integers and recovers them.

    A unit of `unit_shape`, (groups, n), has `tables * table_symbols` measurements; those that share a table of the
    prior are consecutive.
    """

    unit_shape: tuple[int, int]
    tables: int
    table_symbols: int

    @abstractmethod
    def measure(self, units: Tensor) -> Tensor:
        """Return exact measurements (units, measurements) of integers (units, groups, n).

        They are integers in units of 2^-MATRIX_BITS.
        """

    @abstractmethod
    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """Return units, (units, groups, n) in float32, from their first measurements, in quantiser steps."""

    def symbols(self, units: Tensor, step: float) -> Floats:
        """Return measurements in whole steps, (units, tables, table_symbols), of integers (units, groups, n)."""
        import torch

        measured = torch.cat([self.measure(part) for part in _parts(units, BATCH_UNITS)])
        integers = (measured / (step * (1 << MATRIX_BITS))).round()
        symbols: Floats = integers.reshape(len(units), self.tables, self.table_symbols).numpy()
        return symbols

    def recover_all(self, symbols: Sequence[Tensor], step: float) -> Tensor:
        """Return units, (units, groups, n) in float32, of the symbols of each unit.

        Units with the same number of symbols are recovered together.
        """
        import torch

        units = torch.zeros(len(symbols), *self.unit_shape)
        for count in sorted({len(unit) for unit in symbols}):
            chosen = [i for i, unit in enumerate(symbols) if len(unit) == count]
            units[chosen] = self.recover(torch.stack([symbols[i] for i in chosen]), step)
        return units


class DenseGaussian(Sensing):
    """Measures each block alone, less its group's mean, by a dense Gaussian matrix; recovers by ISTA, one penalty.

    `basis` is (n, n). A block of n values has `ratio * n` measurements, by rows drawn from `seed`. `arrays` are those
    of `learn`; further entries are ignored.
    """

    SOLVER = L1Solver("ista", iterations=100)
    MAX_TABLES = 16
    PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    """In steps; `learn` takes the best for training data. Large ones compensate for too few iterations."""
    PENALTY_UNITS, BATCH_BLOCKS = 32, 1024

    def __init__(self, basis: Floats, groups: int, arrays: Arrays, ratio: float, seed: int) -> None:
        import torch

        self._rows = max(1, round(ratio * len(basis)))
        self.tables = next(n for n in range(min(self.MAX_TABLES, self._rows), 0, -1) if self._rows % n == 0)
        self.table_symbols = self._rows // self.tables * groups
        self._penalty = float(arrays["penalty"])
        self._means = torch.from_numpy(arrays["means"]).double()
        self.unit_shape = (groups, len(basis))
        self._basis = torch.from_numpy(basis)
        self._matrix = torch.from_numpy(gaussian_rows(self._rows, len(basis), seed))
        self._grid = _on_grid(self._matrix)
        self._operators: dict[int, Operator] = {}

    @classmethod
    def learn(cls, units: Tensor, basis: Floats, step: float, ratio: float, seed: int) -> Arrays:
        """Return the means of the groups, and the penalty that recovers training units best at this step.

        `units` is (units, groups, n).
        """
        import numpy as np

        means = _means(units).numpy().astype(np.int32)
        trial_units = units[: cls.PENALTY_UNITS]

        def error(penalty: float) -> float:
            sensing = cls(basis, units.shape[1], {"means": means, "penalty": np.array(penalty)}, ratio, seed)
            symbols = (sensing.measure(trial_units) / (step * (1 << MATRIX_BITS))).round().float()
            return float((sensing.recover(symbols, step) - trial_units).square().mean())

        return {"means": means, "penalty": np.array(min(cls.PENALTIES, key=error))}

    def measure(self, units: Tensor) -> Tensor:
        """Return the measurements of all groups by the first row, then by the second, and so on."""
        return (self._grid @ (units - self._means[:, None]).mT).flatten(1)

    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """Recover each block from the measurements of the first rows."""
        import torch

        groups, _ = self.unit_shape
        rows = symbols.shape[1] // groups
        blocks = symbols.reshape(-1, rows, groups).mT.flatten(0, 1)
        operator = self._operator(rows)
        found = [self.SOLVER.solve(operator, part, self._penalty) for part in _parts(blocks, self.BATCH_BLOCKS)]
        restored = torch.cat(found) @ self._basis.float().T * step
        return restored.reshape(len(symbols), groups, -1) + self._means.float()[:, None]

    def _operator(self, rows: int) -> Operator:
        if rows not in self._operators:
            self._operators = {rows: Operator((self._matrix[:rows] @ self._basis).float())}
        return self._operators[rows]


class Banded(Sensing):
    """Measures the coefficients of all groups in bands of similar spread, each with its own orthonormal rows.

    The groups are rotated to their principal axes and then transformed by the basis. Coefficients are sorted by their
    standard deviation in training and cut into bands. A band of larger deviation has more measurements: from none to
    the size of the band. Rows are random, except that the first bands are measured directly. This is the
    variable-density sampling of MS-BCS-SPL (Fowler, Mun and Tramel 2011), with learned bands and densities.

    Recovery is FISTA with continuation. The weights are inverse spreads, which gives the most probable coefficients
    under Laplace distributions.

    `basis` is (n, n). A unit has at most `max_measurements`, by rows drawn from `seed`. `arrays` are those of `learn`;
    further entries are ignored.
    """

    SOLVER = L1Solver("fista", iterations=24, continuation=12)
    ONE_STEP = L1Solver("ista", iterations=1)
    PENALTY = 0.3 / 12
    """In theory 1/12, the variance of a rounding error; but with it, CIFAR-10 images lose one more point of top-1."""

    def __init__(self, basis: Floats, arrays: Arrays, max_measurements: int, seed: int) -> None:
        import numpy as np
        import torch

        self.unit_shape = arrays["spreads"].shape
        self._basis = torch.from_numpy(basis)
        self._means = torch.from_numpy(arrays["means"]).double()
        codes = arrays["spreads"].reshape(-1).astype(np.int64)
        members = np.argsort(-codes, kind="stable")[: max(1, int((codes > 0).sum()))]
        parts = [members[at : at + BAND] for at in range(0, len(members), BAND)]
        # Mean standard deviation of each band, in steps.
        self._spreads = [2 ** ((codes[part].mean() - ONE_STEP_CODE) / CODES_PER_OCTAVE) for part in parts]
        matrix = np.zeros((len(parts), BAND, BAND))
        for band, part in enumerate(parts):
            rows = _band_rows(codes[part], [seed, band])
            matrix[band, : len(rows), : len(part)] = rows
        # The last band is padded with the index of a dummy coefficient after the last one.
        self._members = np.pad(members, (0, len(parts) * BAND - len(members)), constant_values=codes.size)
        self._matrix = torch.from_numpy(matrix)
        self._grid, self._grid_basis = _on_grid(self._matrix.mT.contiguous()), _on_grid(self._basis)
        self._grid_rotation = torch.from_numpy(arrays["rotation"]).double()
        slots = np.flatnonzero(matrix.any(2))[: max(1, max_measurements)]
        self.table_symbols = min(TABLE_SYMBOLS, len(slots))
        self.tables = len(slots) // self.table_symbols
        self._slots = slots[: self.tables * self.table_symbols]
        self._operators: dict[int, tuple[Operator, Operator]] = {}

    @classmethod
    def learn(cls, units: Tensor, basis: Floats, step: float) -> Arrays:
        """Return the means of the groups, their rotation, and the spreads of coefficients in steps, of training units.

        `units` is (units, groups, n). The arrays are `means` (groups,), `rotation` (groups, groups), or (0, groups) for
        too many groups, and `spreads` (groups, n).
        """
        import numpy as np
        import torch

        groups = units.shape[1]
        means = _means(units)
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
        codes = torch.where(codes < MIN_CODE, 0, codes.clamp(max=255))
        return {
            "means": means.numpy().astype(np.int32),
            "rotation": rotation.numpy().astype(np.int16),
            "spreads": codes.numpy().astype(np.uint8),
        }

    def measure(self, units: Tensor) -> Tensor:
        """Return the measurements band by band."""
        import torch

        coefficients = _coefficients(units, self._means, self._grid_rotation, self._grid_basis).flatten(1)
        padded = torch.nn.functional.pad(coefficients, (0, 1))
        bands = padded[:, self._members].reshape(len(units), len(self._matrix), BAND).swapaxes(0, 1)
        measured: Tensor = (bands @ self._grid).swapaxes(0, 1).flatten(1)[:, self._slots]
        return measured

    def recover(self, symbols: Tensor, step: float) -> Tensor:
        """Recover all bands of a batch of units from the measurements of the first rows."""
        import torch

        return torch.cat([self._recover(part, step) for part in _parts(symbols, BATCH_UNITS)])

    def _recover(self, symbols: Tensor, step: float) -> Tensor:
        import torch

        units, count = symbols.shape
        bands = len(self._spreads)
        sent = torch.zeros(units, bands * BAND)
        sent[:, self._slots[:count]] = symbols
        found = self._solve(sent.reshape(units, bands, BAND).swapaxes(0, 1), count)
        groups, length = self.unit_shape
        coefficients = torch.zeros(units, groups * length + 1)
        coefficients[:, self._members] = found.swapaxes(0, 1).flatten(1)
        blocks = (coefficients[:, :-1] * step).reshape(units, groups, length) @ self._basis.float().T
        rotation = (self._grid_rotation / (1 << ROTATION_BITS)).float()
        rotated = rotation.T @ blocks if len(rotation) else blocks
        return rotated + self._means.float()[:, None]

    def _solve(self, measured: Tensor, count: int) -> Tensor:
        """Return coefficients (bands, units, BAND) for measurements (bands, units, BAND), with `count` rows in use."""
        import torch

        full, partly = self._operators_of(count)
        bands = len(full.matrix)
        weights = math.sqrt(2) / torch.tensor(self._spreads)[:, None, None]
        # For a rotation one step is enough: from any point, a gradient step leads to A^T y.
        easy = self.ONE_STEP.solve(full, measured[:bands], self.PENALTY, weights[:bands])
        return torch.cat([easy, self.SOLVER.solve(partly, measured[bands:], self.PENALTY, weights[bands:])])

    def _operators_of(self, count: int) -> tuple[Operator, Operator]:
        """Return the rows in use: of the leading bands that are measured in full, and of the others."""
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
    """Return the rows that measure a band. Their number is computed in integers, so it is the same on both sides."""
    import numpy as np

    size, total = len(codes), int(codes.sum())
    if total > DIRECT_CODE * size:
        return np.eye(size)
    # size * (mean code - MIN_CODE) / (FULL_CODE - MIN_CODE).
    rows = (total - MIN_CODE * size) // (FULL_CODE - MIN_CODE)
    return orthonormal_rows(min(size, max(1, rows)), size, seed)


def _means(units: Tensor) -> Tensor:
    """Return the mean of each group, as integers."""
    return units.mean((0, 2)).round()


def _coefficients(units: Tensor, means: Tensor, rotation: Tensor, basis: Tensor) -> Tensor:
    """Return coefficients as integers, (units, groups, n): blocks less their mean, rotated across groups, in the basis.

    Sums are exact. The rotation is in multiples of 2^-ROTATION_BITS, the basis in multiples of 2^-MATRIX_BITS.
    """
    centred = units - means[:, None]
    if len(rotation):
        centred = (rotation @ centred / (1 << ROTATION_BITS)).round()
    return (centred @ basis / (1 << MATRIX_BITS)).round()


def _parts(values: Tensor, size: int) -> list[Tensor]:
    """Return slices of `size` along the first axis; one empty slice if there are no values."""
    return [values[at : at + size] for at in range(0, max(1, len(values)), size)]


def _on_grid(matrix: Tensor) -> Tensor:
    """Return a matrix in multiples of 2^-MATRIX_BITS."""
    return (matrix * (1 << MATRIX_BITS)).round()
