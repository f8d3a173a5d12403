"""A workload's model in a worker process: cut into head and tail, run in batches, timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench import measure
from codecbench.codec import TensorSpec
from codecbench.errors import UsageError
from codecbench.registry import resolve
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workers.protocol import MODEL_BATCH, OperationResult, Reply
from codecbench.workers.tensor_file import copies
from codecbench.workload import Subset, Workload

Item = TypeVar("Item")


class ModelHost:
    """A workload with its traced model and all cuts.

    The constructor reads no data: the probes are random. Raises UsageError if `torch_device` does not exist.
    """

    def __init__(self, workload: Workload, torch_device: str) -> None:
        if torch_device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this machine has no CUDA device that torch can use; leave out --torch-device cuda")
        self.workload = workload
        self.torch_device = torch_device
        model = workload.build_model().to(torch_device)
        probes = [probe.to(torch_device) for probe in _probes(workload.input_spec)]
        self.split_model = SplitModel(model, probes, workload.input_spec)

    @property
    def full_model(self) -> nn.Module:
        """The model as the workload built it."""
        return self.split_model.model

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[Tensor]:
        """Return new tensors of the inputs at these positions."""
        return copies(self.workload.inputs(subset, positions))

    def input_batch(self, subset: Subset, position: int) -> Tensor:
        """Return one input as a batch of one, on `torch_device`."""
        (sample,) = self.inputs(subset, [position])
        return self.batch_of_one(sample)

    def batch_of_one(self, x: Tensor) -> Tensor:
        """Return the sample with a batch axis, on `torch_device`."""
        return x.unsqueeze(0).to(self.torch_device)

    def run(self, model: nn.Module, xs: Sequence[Tensor]) -> list[tuple[NDArray[Any], ...]]:
        """Return a model's output tensors for each sample. Only samples of equal shape share a batch: no padding."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, x in enumerate(xs):
            groups.setdefault(tuple(x.shape), []).append(i)
        outputs: list[tuple[NDArray[Any], ...]] = [()] * len(xs)
        with torch.inference_mode():
            for members in _model_batches(groups.values()):
                batch = torch.stack([xs[i] for i in members]).to(self.torch_device)
                leaves = [leaf.cpu().numpy() for leaf in torch.utils._pytree.tree_leaves(model(batch))]
                for row, i in enumerate(members):
                    outputs[i] = tuple(leaf[row] for leaf in leaves)
        return outputs

    def score(self, outputs: Sequence[tuple[NDArray[Any], ...]], targets: Sequence[Any]) -> list[bytes]:
        """Return the metric's numerators and denominators of these samples, as the bytes of two float64 arrays."""
        pairs = [self.workload.score(output, target) for output, target in zip(outputs, targets, strict=True)]
        return [column.tobytes() for column in np.array(pairs, dtype=np.float64).reshape(-1, 2).T]

    def time(self, model: nn.Module, x: Tensor) -> float:
        """Return the seconds of a model on one sample."""

        def step() -> None:
            model(self.batch_of_one(x))
            if self.torch_device != "cpu":
                torch.cuda.synchronize()

        with torch.inference_mode():
            _, seconds = measure.timed(step)
        return seconds


class ModelProcess:
    """A process that builds a model and runs its head or its tail. It imports no codec."""

    def __init__(self) -> None:
        self._models: ModelHost | None = None
        self._parts: tuple[nn.Module, nn.Module] | None = None

    @property
    def models(self) -> ModelHost:
        """The model. Raises RuntimeError before it is built."""
        return required(self._models, "no model was built")

    @property
    def head(self) -> nn.Module:
        """The part of the model before the split. Raises RuntimeError before a split is chosen."""
        return required(self._parts, "no split was chosen")[0]

    @property
    def tail(self) -> nn.Module:
        """The part of the model after the split. Raises RuntimeError before a split is chosen."""
        return required(self._parts, "no split was chosen")[1]

    def op_threads(self, request: Reply) -> OperationResult:
        """Set torch's thread count."""
        torch.set_num_threads(request.fields["threads"])
        return {}, ()

    def op_workload(self, request: Reply) -> OperationResult:
        """Build a workload's model and find its cuts; return their names and specs, and the hash of the weights.

        Reads no data. Only the device is given the data folder.
        """
        data_dir = request.fields["data_dir"]
        workload: Workload = resolve(request.fields["workload"])(Path(data_dir) if data_dir else None)
        self._models = ModelHost(workload, request.fields["torch_device"])
        cuts = [{"name": c.name, "spec": c.spec.to_json()} for c in self._models.split_model.cuts.values()]
        return {"cuts": cuts, "weights_sha256": workload.weights_sha256()}, ()

    def op_split(self, request: Reply) -> OperationResult:
        """Choose the split point whose head or tail this process runs."""
        self._parts = self.models.split_model.split(request.fields["split"])
        return {}, ()


def required(item: Item | None, missing: str) -> Item:
    """Return the item, made by an earlier request. Raises RuntimeError with the text `missing` if it is None."""
    if item is None:
        raise RuntimeError(missing)
    return item


def _model_batches(groups: Iterable[list[int]]) -> Iterator[list[int]]:
    for members in groups:
        for start in range(0, len(members), MODEL_BATCH):
            yield members[start : start + MODEL_BATCH]


def _probes(spec: TensorSpec) -> list[Tensor]:
    """Return random input batches of two sizes and, if an axis varies, of two lengths."""
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
