"""The activations at one split, in mapped files, and the processes that make them."""

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
    """The tensors at one split, in a file for each subset that is mapped, never loaded.

    One file, not one for each chunk: a mapping holds a file open, and a large training set has more chunks than a
    process may have files.
    """

    def __init__(self, folder: Path, spec: TensorSpec) -> None:
        self.folder = folder
        self.spec = spec
        self._shapes: dict[tuple[str, int], list[tuple[int, ...]]] = {}
        self._offsets: dict[tuple[str, int], int] = {}

    def add(self, subset: str, chunk: int, samples: Sequence[NDArray[Any]]) -> None:
        """Write one chunk, behind those that are there: the values of its samples, one after the other."""
        self._shapes[subset, chunk] = [s.shape for s in samples]
        with self._path(subset).open("ab") as file:
            self._offsets[subset, chunk] = file.tell() // np.dtype(self.spec.dtype).itemsize
            file.write(np.concatenate([s.reshape(-1) for s in samples]).astype(self.spec.dtype, copy=False).data)

    def read(self, subset: str, chunk: int) -> list[NDArray[Any]]:
        """Read-only views of a chunk's samples."""
        return self._views(self._mapped(subset), subset, chunk)

    def read_all(self, subset: str) -> list[NDArray[Any]]:
        """Read-only views of all samples of a subset, in order, on one mapping."""
        values = self._mapped(subset)
        chunks = sorted(chunk for name, chunk in self._shapes if name == subset)
        return [view for chunk in chunks for view in self._views(values, subset, chunk)]

    def _mapped(self, subset: str) -> NDArray[Any]:
        path = self._path(subset)
        if not path.stat().st_size:  # which cannot be mapped
            return np.empty(0, self.spec.dtype)
        # As a plain array: slices of a memmap take microseconds each to make.
        return np.asarray(np.memmap(path, self.spec.dtype, mode="r"))

    def _views(self, values: NDArray[Any], subset: str, chunk: int) -> list[NDArray[Any]]:
        views, offset = [], self._offsets[subset, chunk]
        for shape in self._shapes[subset, chunk]:
            count = math.prod(shape)
            views.append(values[offset : offset + count].reshape(shape))
            offset += count
        return views

    def one(self, subset: str, position: int) -> NDArray[Any]:
        """One sample by its position in the subset."""
        for (name, chunk), shapes in self._shapes.items():
            if name == subset:
                if position < len(shapes):
                    return self.read(subset, chunk)[position]
                position -= len(shapes)
        raise IndexError(position)

    def _path(self, subset: str) -> Path:
        return self.folder / f"{subset}.values"


class HeadProcess(ModelProcess):
    """A process that runs heads and keeps their activations."""

    def __init__(self) -> None:
        super().__init__()
        self._activations: Activations | None = None

    @property
    def activations(self) -> Activations:
        """The activations of this split, once a head ran."""
        return required(self._activations, "no head ran yet")

    def op_head(self, request: Reply) -> OperationResult:
        """Run the head on one chunk of inputs and keep its activations in the folder; returns their bytes."""
        fields = request.fields
        if fields["first"]:
            self._activations = Activations(Path(fields["folder"]), TensorSpec.from_json(fields["spec"]))
        outputs = self.models.run(self.head, self.models.inputs(fields["subset"], fields["positions"]))
        samples = [sample[0] for sample in outputs]
        self.activations.add(fields["subset"], fields["chunk"], samples)
        return {"raw_bytes": sum(s.nbytes for s in samples)}, ()
