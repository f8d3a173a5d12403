"""Files of tensors between a model process and a codec process: one chunk of samples, written once, then mapped."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.codec import DTYPE_BYTES, TensorSpec
from codecbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class TensorFile:
    """Room for `count` tensors of a spec in one file, each in a row of `row_bytes`, the size of the largest.

    A row that is not written takes no space on disk. `create` makes the file; `write` and `read` open it at their first
    use. A process that seals itself calls `open_for_writing` or `map` before.
    """

    def __init__(self, path: Path, spec: TensorSpec, count: int) -> None:
        self.path = path
        self.spec = spec
        self.count = count
        self.row_bytes = max(spec.nbytes, DTYPE_BYTES[spec.dtype])
        self._descriptor: int | None = None
        self._values: NDArray[Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal file in another process."""
        return {"path": str(self.path), "spec": self.spec.to_json(), "count": self.count}

    @classmethod
    def from_json(cls, values: Any) -> TensorFile:
        """The inverse of `to_json`."""
        return cls(Path(values["path"]), TensorSpec.from_json(values["spec"]), values["count"])

    def create(self) -> TensorFile:
        """Make the file, empty and of its full length; return self. Raises DataError if it cannot be made."""
        try:
            with self.path.open("xb") as file:
                file.truncate(max(1, self.count) * self.row_bytes)
        except OSError as error:
            raise _no_room(self.path, error) from error
        return self

    def open_for_writing(self) -> int:
        """Open the file for `write`; return the descriptor. Raises DataError if that fails."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_WRONLY)
            except OSError as error:
                raise _no_room(self.path, error) from error
        return self._descriptor

    def map(self) -> None:
        """Map the file for `read`. Raises DataError if that fails."""
        import numpy as np

        if self._values is None:
            try:
                self._values = np.asarray(np.memmap(self.path, self.spec.dtype, mode="r"))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"the file of a chunk's tensors is gone ({error}); run the same command again"
                ) from error

    def write(self, row: int, values: NDArray[Any]) -> None:
        """Write one tensor. Raises DataError if there is no room: the file is written, never stored to by a mapping."""
        import numpy as np

        descriptor = self.open_for_writing()
        rest = np.ascontiguousarray(values, dtype=self.spec.dtype).reshape(-1).view(np.uint8).data
        offset = row * self.row_bytes
        try:
            while rest:
                written = os.pwrite(descriptor, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            raise _no_room(self.path, error) from error

    def read(self, row: int, shape: Sequence[int]) -> NDArray[Any]:
        """Return a read-only view of one tensor of this shape."""
        import math

        self.map()
        assert self._values is not None
        first = row * (self.row_bytes // DTYPE_BYTES[self.spec.dtype])
        return self._values[first : first + math.prod(shape)].reshape(tuple(shape))

    def read_rows(self, first: int, shapes: Sequence[Sequence[int]]) -> list[NDArray[Any]]:
        """Return views of the tensors from row `first` on, one for each shape."""
        import math

        full = bool(shapes) and math.prod(shapes[0]) * DTYPE_BYTES[self.spec.dtype] == self.row_bytes
        if not full or any(shape != shapes[0] for shape in shapes):
            return [self.read(row, shape) for row, shape in enumerate(shapes, first)]
        self.map()
        assert self._values is not None
        values = math.prod(shapes[0])
        return list(self._values[first * values : (first + len(shapes)) * values].reshape(len(shapes), *shapes[0]))

    def remove(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file in this process. Views that were read stay valid."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._values = None


def copies(samples: Sequence[NDArray[Any]]) -> list[Tensor]:
    """Return copies as tensors, so that a codec that writes to them does not change the stored samples."""
    import numpy as np
    import torch

    return [torch.from_numpy(np.array(sample, copy=True)) for sample in samples]


def _no_room(path: Path, error: OSError) -> DataError:
    cause = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
    return DataError(
        f"cannot write tensors to {path.parent}: {cause}; make room, lower --scratch-gb, or set TMPDIR elsewhere"
    )
