"""Arrays in a file of numpy: `npz:FILE` with `x` and `y`, or `inputs` and `targets`. Samples lie along axis 0."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, file_name
from codecbench.adapters.description import WorkloadDescription
from codecbench.codec import DTYPE_BYTES, TensorSpec
from codecbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "path"
EXAMPLE = "npz:FILE.npz"
INPUTS, TARGETS = ("x", "inputs"), ("y", "targets")


class ArrayFile(DataAdapter):
    """The rows of two arrays. Pictures as uint8, (n, height, width, 3) or (n, 3, height, width), become k/255."""

    def names(self) -> Sequence[str]:
        """Return the numbers of the rows."""
        return [str(row) for row in range(self._header[0][0])]

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of a row, from the header of the array alone."""
        (_, *shape), dtype = self._header
        if dtype == "uint8":
            return TensorSpec((3, *_sides(shape, self.label)), image=True)
        spec = TensorSpec(tuple(shape), "float32" if dtype == "float64" else dtype)
        stated = self.description.spec
        if stated is not None and stated.shape != spec.shape:
            raise DataError(f"{self.label}: its inputs have the shape {spec.shape}, and --shape says {stated.shape}")
        return spec

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a row as the spec says."""
        import numpy as np

        row = self._array(INPUTS)[int(name)]
        if row.dtype == np.uint8:
            channels_first = row if row.shape[0] == 3 and row.shape[-1] != 3 else row.transpose(2, 0, 1)
            return np.ascontiguousarray(channels_first).astype(np.float32) / np.float32(255)
        row = row.astype(np.float32) if row.dtype == np.float64 else np.ascontiguousarray(row)
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            raise DataError(f"{self.label}: row {name} of its inputs has values that are not finite; remove the row")
        return row

    def target(self, name: str) -> Any:
        """Return a row of the targets: Python's own number, or an array."""
        targets = self._array(TARGETS)
        if len(targets) != self._header[0][0]:
            raise DataError(f"{self.label} has {self._header[0][0]} inputs and {len(targets)} targets; give as many")
        row = targets[int(name)]
        return row.item() if row.ndim == 0 else row

    @cached_property
    def _file(self) -> dict[str, Any]:
        return {}

    def _array(self, keys: Sequence[str]) -> NDArray[Any]:
        """Return one of the arrays, read at the first use. Raises DataError where it is not there."""
        import numpy as np

        if keys[0] not in self._file:
            try:
                with np.load(self.argument, allow_pickle=False) as content:
                    key = next((key for key in keys if key in content), None)
                    found = None if key is None else content[key]
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise DataError(
                    f"{self.label} is no .npz file of plain arrays ({' '.join(str(error).split())})"
                ) from error
            if found is None:
                raise DataError(f"{self.label} has no array {' or '.join(map(repr, keys))}; save it under that name")
            self._file[keys[0]] = found
        array: NDArray[Any] = self._file[keys[0]]
        return array

    @cached_property
    def _header(self) -> tuple[tuple[int, ...], str]:
        """The shape and dtype of the inputs, from the file's header."""
        from numpy.lib import format as formats

        try:
            with zipfile.ZipFile(self.argument) as content:
                key = next((key for key in INPUTS if f"{key}.npy" in content.namelist()), None)
                if key is None:
                    raise DataError(
                        f"{self.label} has no array {' or '.join(map(repr, INPUTS))}; save it under that name"
                    )
                with content.open(f"{key}.npy") as array:
                    read = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
                    shape, _, dtype = read[formats.read_magic(array)](array)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.label} is no .npz file of plain arrays ({' '.join(str(error).split())})") from error
        if dtype.name not in {*DTYPE_BYTES, "float64"} or not shape:
            raise DataError(
                f"{self.label}: {file_name(self.argument)} has inputs of {dtype}; give numbers, a row a sample"
            )
        return tuple(shape), dtype.name


def _sides(shape: Sequence[int], label: str) -> tuple[int, int]:
    if len(shape) == 3 and shape[2] == 3:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] == 3:
        return shape[1], shape[2]
    raise DataError(f"{label} has inputs of uint8 of the shape {tuple(shape)}; pictures have three channels")


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the rows of `npz:FILE`."""
    return ArrayFile(argument, description)
