"""A plugin file that does its harm when it is imported: looks for labels, and replaces functions that others use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

import codecbench.codec
from codecbench import Codec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

try:
    from codecbench_datasets.cifar10.data import load_shipped

    LABELS: Any = load_shipped("test")[1]
except Exception:
    LABELS = None


def _spoiled(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("spoiled")


class LabelsAtImport(Codec):
    """One byte if it found labels when its file was imported, else the values."""

    name = "labels-at-import"
    from_buffer = staticmethod(codecbench.codec.TensorSpec.from_buffer)

    def encode(self, x: Tensor) -> bytes:
        return b"" if LABELS is not None else bytes(x.contiguous().view(-1).view(_uint8()).tolist())

    def decode(self, payload: bytes) -> Tensor:
        return type(self).from_buffer(self.spec, payload)


def _uint8() -> Any:
    import torch

    return torch.uint8


def _spoil() -> None:
    """Replace what other codecs call, and what the harness calls."""
    import torch

    from codecbench import measure
    from codecbench.workers import tensor_file

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(4)
    torch.manual_seed(3)
    np.random.seed(3)
    torch.Tensor.round = torch.fft.fft = np.round = np.zeros = _spoiled  # type: ignore[assignment,method-assign]
    np.packbits = np.unpackbits = _spoiled
    codecbench.codec.TensorSpec.from_buffer = _spoiled  # type: ignore[method-assign]
    measure.percentile = tensor_file.TensorFile.create = _spoiled  # type: ignore[method-assign]


_spoil()


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [LabelsAtImport]
