"""The activations at one split, in memory-mapped files, and the base class of the processes that make them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.workers.process.models import ModelProcess, OperationResult, required
from codecbench.workers.protocol import Reply


class Activations:
    """The activations at one split, in one memory-mapped file for each subset.

    One file, not one for each chunk: a mapping keeps its file open, and a large training set has more chunks than a
    process may open files.
    """

    def __init__(self, folder: Path, spec: TensorSpec) -> None:
        self.folder = folder
        self.spec = spec
        self._shapes: dict[tuple[str, int], list[tuple[int, ...]]] = {}
        self._offsets: dict[tuple[str, int], int] = {}

    def add(self, subset: str, chunk: int, samples: Sequence[NDArray[Any]]) -> None:
        """Append one chunk to the subset's file: the values of its samples, one after another."""
        self._shapes[subset, chunk] = [s.shape for s in samples]
        with self._path(subset).open("ab") as file:
            self._offsets[subset, chunk] = file.tell() // np.dtype(self.spec.dtype).itemsize
            file.write(np.concatenate([s.reshape(-1) for s in samples]).astype(self.spec.dtype, copy=False).data)

    def read(self, subset: str, chunk: int) -> list[NDArray[Any]]:
        """Return read-only views of a chunk's samples."""
        return self._views(self._mapped(subset), subset, chunk)

    def read_all(self, subset: str) -> list[NDArray[Any]]:
        """Return read-only views of all samples of a subset, in order, on one mapping."""
        values = self._mapped(subset)
        chunks = sorted(chunk for name, chunk in self._shapes if name == subset)
        return [view for chunk in chunks for view in self._views(values, subset, chunk)]

    def _mapped(self, subset: str) -> NDArray[Any]:
        path = self._path(subset)
        if not path.stat().st_size:  # an empty file cannot be mapped
            return np.empty(0, self.spec.dtype)
        # A plain array, because each slice of a memmap costs microseconds.
        return np.asarray(np.memmap(path, self.spec.dtype, mode="r"))

    def _views(self, values: NDArray[Any], subset: str, chunk: int) -> list[NDArray[Any]]:
        views, offset = [], self._offsets[subset, chunk]
        for shape in self._shapes[subset, chunk]:
            count = math.prod(shape)
            views.append(values[offset : offset + count].reshape(shape))
            offset += count
        return views

    def one(self, subset: str, position: int) -> NDArray[Any]:
        """Return a read-only view of one sample. Raises IndexError if there is none at this position."""
        for (name, chunk), shapes in self._shapes.items():
            if name == subset:
                if position < len(shapes):
                    return self.read(subset, chunk)[position]
                position -= len(shapes)
        raise IndexError(position)

    def _path(self, subset: str) -> Path:
        return self.folder / f"{subset}.values"


class HeadProcess(ModelProcess):
    """A process that runs heads and stores their activations."""

    def __init__(self) -> None:
        super().__init__()
        self._activations: Activations | None = None

    @property
    def activations(self) -> Activations:
        """The activations of this split. Raises RuntimeError before a head has run."""
        return required(self._activations, "no head ran yet")

    def op_head(self, request: Reply) -> OperationResult:
        """Run the head on one chunk of inputs and store its activations in the folder; return their bytes."""
        fields = request.fields
        if fields["first"]:
            self._activations = Activations(Path(fields["folder"]), TensorSpec.from_json(fields["spec"]))
        outputs = self.models.run(self.head, self.models.inputs(fields["subset"], fields["positions"]))
        samples = [sample[0] for sample in outputs]
        self.activations.add(fields["subset"], fields["chunk"], samples)
        return {"raw_bytes": sum(s.nbytes for s in samples)}, ()
