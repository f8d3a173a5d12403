"""Models on batches of samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.workers.protocol import pack_arrays

if TYPE_CHECKING:
    from torch import Tensor


MODEL_BATCH = 32
"""Samples that a head, a tail or an uncut model runs at once. Features of more do not stay in a processor's cache: a
ResNet-20 on CIFAR-10 takes a quarter longer an image in batches of 128."""


@contextmanager
def _inference() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield


def _tensors(samples: Sequence[NDArray[Any]]) -> list[Tensor]:
    """Fresh tensors, so that nothing a codec writes reaches the cache."""
    import torch

    return [torch.from_numpy(np.array(s, copy=True)) for s in samples]


def _model_batches(groups: Iterable[list[int]]) -> Iterator[list[int]]:
    for members in groups:
        for start in range(0, len(members), MODEL_BATCH):
            yield members[start : start + MODEL_BATCH]


def _pack_outputs(outputs: Sequence[tuple[NDArray[Any], ...]]) -> dict[str, Any]:
    return {"outputs": [pack_arrays(sample)[0] for sample in outputs]}


def _probes(spec: TensorSpec) -> list[Tensor]:
    """Random inputs of two batch sizes and, where an axis varies, of two lengths."""
    import torch

    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, spec.dtype)
    probes = []
    for batch, share in ((2, 1.0), (3, 0.5)):
        shape = [
            batch,
            *(
                max(1, round(n * share)) if known is None else n
                for n, known in zip(spec.max_shape, spec.shape, strict=True)
            ),
        ]
        probes.append(torch.rand(shape, generator=generator).to(dtype))
    return probes
