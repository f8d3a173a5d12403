"""A workload's model in a worker process: cut into head and tail, run in batches, timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, hub, nn

from codecbench import measure
from codecbench.adapters.described import resolve_workload
from codecbench.checked_workload import CheckedWorkload
from codecbench.codec import TensorSpec
from codecbench.errors import PluginError, UsageError, one_line
from codecbench.locations import method_location, raised_location
from codecbench.results.outcomes import Columns, as_columns, set_outcomes
from codecbench.results.set_values import SetValues, bootstrap
from codecbench.system.onnx_files import INSTALL
from codecbench.workers.process.cut_model import CutModel, Part
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workers.process.graphs.outputs import NARROW, output_leaves, same_values
from codecbench.workers.process.graphs.tracing import runnable
from codecbench.workers.protocol import MODEL_BATCH, OperationResult, Reply
from codecbench.workers.tensor_file import copies
from codecbench.workload import OnnxModel, SetMetric, Subset

CHECKED_SAMPLES = 4
"""The samples of each subset that are read, and of the scored ones run and scored, before any cell is."""

KEPT_OUTPUTS_BYTES = 64 << 20
"""The size of the full model's outputs that are kept as targets, at most."""

Item = TypeVar("Item")


class ModelHost:
    """A workload with its traced model and all cuts.

    The constructor reads no data: the probes are random. Raises UsageError if `torch_device` does not exist,
    PluginError if the model cannot be cut, and DataError for a mistake in the workload.
    """

    def __init__(self, workload: CheckedWorkload, torch_device: str) -> None:
        if torch_device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this machine has no CUDA device that torch can use; leave out --torch-device cuda")
        self.workload = workload
        self.torch_device = torch_device
        self._full_outputs: dict[tuple[Subset, int], tuple[NDArray[Any], ...]] = {}
        self._room_bytes = KEPT_OUTPUTS_BYTES
        model = workload.build_model()
        probes = [probe.to(torch_device) for probe in _probes(workload.input_spec)]
        self.cut_model = self._cut(model, probes)

    def _cut(self, model: nn.Module | OnnxModel, probes: Sequence[Tensor]) -> CutModel:
        """Return the model with its cuts, once it has given the same outputs twice."""
        if isinstance(model, OnnxModel):
            with self._named():
                found = _onnx_split(model, probes, self.workload.input_spec)
            self._check_all_repeat(found.full, probes)
            return found
        module = model.to(self.torch_device)
        self._check_all_repeat(runnable(module, probes[0]).full, probes)
        with self._named():
            return SplitModel(module, probes, self.workload.input_spec)

    @property
    def full_model(self) -> Part:
        """The model as the workload built it."""
        return self.cut_model.full

    def split(self, name: str) -> tuple[Part, Part]:
        """Return head and tail at a cut. Raises UsageError if there is no such cut."""
        with self._named():
            return self.cut_model.split(name)

    def check_samples(self, counts: Mapping[Subset, int]) -> None:
        """Read the first few samples of each subset, run the model on them and score it, so that all of it is checked.

        `counts` are the numbers of samples that are there.
        """
        for subset, count in counts.items():
            positions = range(min(CHECKED_SAMPLES, count))
            inputs = self.workload.inputs(subset, positions)
            targets = self.targets(subset, positions, inputs)
            if subset != "fit":
                outputs = self.run(self.full_model, inputs)
                self._check_numbers(subset, outputs)
                outcomes = self.score(outputs, targets)
                for metric in self.workload.workload.metrics:
                    if isinstance(metric, SetMetric) and outcomes:
                        self.metric_values(metric.name, outcomes, resamples=2)

    def _check_numbers(self, subset: Subset, outputs: Sequence[tuple[NDArray[Any], ...]]) -> None:
        """Raise DataError for NaN among the full model's outputs: nothing could be measured by them."""
        for position, output in enumerate(outputs):
            wrong = [number for number, leaf in enumerate(output) if leaf.dtype.kind == "f" and np.isnan(leaf).any()]
            if wrong:
                self.workload.refuse(
                    "build_model", f"output {wrong[0]} of the model has NaN for {subset!r} at position {position}; "
                    "mend the model, its weights or the input",
                )  # fmt: skip

    def targets(
        self, subset: Subset, positions: Sequence[int], inputs: Sequence[NDArray[Any]],
        outputs: Sequence[tuple[NDArray[Any], ...]] | None = None,
    ) -> list[Any]:  # fmt: skip
        """Return the targets of these inputs: the workload's, or where these stand for them the full model's outputs.

        `outputs` are those, if they are there already. They are kept, up to a limit, since the targets of a sample are
        asked for at each split.
        """
        if not self.workload.workload.targets_from_model:
            return self.workload.targets(subset, positions)
        keys = [(subset, position) for position in positions]
        if outputs is not None:
            found = dict(zip(keys, outputs, strict=True))
        else:
            found = {key: self._full_outputs[key] for key in keys if key in self._full_outputs}
            missing = {key: x for key, x in zip(keys, inputs, strict=True) if key not in found}
            found |= dict(zip(missing, self.run(self.full_model, list(missing.values())), strict=True))
        for key in keys:
            size = sum(leaf.nbytes for leaf in found[key])
            if key in self._full_outputs or size <= self._room_bytes:
                self._room_bytes -= size if key not in self._full_outputs else 0
                self._full_outputs[key] = tuple(leaf.copy() for leaf in found[key])
        return [found[key] for key in keys]

    def input_batch(self, subset: Subset, position: int) -> Tensor:
        """Return one input as a batch of one, on `torch_device`."""
        (sample,) = copies(self.workload.inputs(subset, [position]))
        return self.batch_of_one(sample)

    def batch_of_one(self, x: Tensor) -> Tensor:
        """Return the sample with a batch axis, on `torch_device`."""
        return x.unsqueeze(0).to(self.torch_device)

    def run(self, model: Part, xs: Sequence[NDArray[Any]]) -> list[tuple[NDArray[Any], ...]]:
        """Return a model's output tensors for each sample. Only samples of equal shape share a batch: no padding."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, x in enumerate(xs):
            groups.setdefault(tuple(x.shape), []).append(i)
        outputs: list[tuple[NDArray[Any], ...]] = [()] * len(xs)
        with torch.inference_mode():
            for members in _model_batches(groups.values()):
                batch = torch.from_numpy(np.stack([xs[i] for i in members])).to(self.torch_device)
                leaves = [_array(leaf) for leaf in self._outputs(model, batch)]
                for row, i in enumerate(members):
                    outputs[i] = tuple(leaf[row, ...] for leaf in leaves)
        return outputs

    def score(self, outputs: Sequence[tuple[NDArray[Any], ...]], targets: Sequence[Any]) -> Columns:
        """Return the outcomes of these samples as columns."""
        return as_columns(self.workload.workload.metrics, self.workload.scores(outputs, targets))

    def metric_values(self, name: str, outcomes: Columns, resamples: int) -> SetValues:
        """Return the value of a set metric for the samples with these outcomes, and for resamples of them."""
        (metric,) = [each for each in self.workload.workload.metrics if each.name == name]
        assert isinstance(metric, SetMetric)
        return bootstrap(partial(self.workload.metric_values, metric), set_outcomes(metric, outcomes), resamples)

    def _outputs(self, model: Part, batch: Tensor) -> list[Tensor]:
        """Return the output tensors of a model. Raises DataError if it raises, or if axis 0 is not the batch."""
        with self.workload.calling("build_model", "the model"):
            leaves = [leaf for leaf in output_leaves(model(batch)) if not isinstance(leaf, (int, float, NoneType))]
        if not leaves:
            self.workload.refuse("build_model", "the model gives no output; return at least one tensor")
        for number, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                self.workload.refuse(
                    "build_model", f"output {number} of the model is {type(leaf).__name__}; return tensors only"
                )
            if leaf.ndim == 0 or leaf.shape[0] != len(batch):
                self.workload.refuse(
                    "build_model", f"output {number} of the model has the shape {tuple(leaf.shape)} for a batch of "
                    f"{len(batch)}; axis 0 of every output must be the batch",
                )  # fmt: skip
        return leaves

    def _check_all_repeat(self, model: Part, probes: Sequence[Tensor]) -> None:
        """Raise DataError unless a model gives the same outputs for the same batches once more."""
        for probe in probes:
            self._check_repeats(model, probe)

    def _check_repeats(self, model: Part, probe: Tensor) -> None:
        with torch.inference_mode():
            first, second = (self._outputs(model, probe.clone()) for _ in range(2))
        if len(first) != len(second) or not all(map(same_values, first, second)):
            self.workload.refuse(
                "build_model", "the model gives other outputs for the same batch the second time; switch dropout off, "
                "and draw and keep nothing in forward",
            )  # fmt: skip

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Raise a PluginError about the model again, with the workload's name, file and line before it."""
        try:
            yield
        except PluginError as error:
            place = raised_location(error.__cause__ or error) or method_location(
                type(self.workload.workload), "build_model"
            )
            raise PluginError(f"workload {self.workload.name!r} ({place}): {error}") from error

    def time(self, model: Part, x: Tensor) -> float:
        """Return the seconds of a model on one sample."""

        def step() -> None:
            with self.workload.calling("build_model", "the model"):
                model(self.batch_of_one(x))
            if self.torch_device != "cpu":
                torch.cuda.synchronize()

        with torch.inference_mode():
            _, seconds = measure.timed(step)
        return seconds


class ModelProcess:
    """A process that builds a model and runs its head or its tail. It imports no codec."""

    def __init__(self, models: ModelHost | None = None) -> None:
        # torch.fx makes a progress bar for each run of a graph, and tqdm, where it is installed, then starts a thread.
        # A process that seals itself must have one thread.
        hub.tqdm.monitor_interval = 0  # type: ignore[attr-defined]
        self._models = models
        self._parts: tuple[Part, Part] | None = None

    @property
    def models(self) -> ModelHost:
        """The model. Raises RuntimeError before it is built."""
        return required(self._models, "no model was built")

    @property
    def head(self) -> Part:
        """The part of the model before the split. Raises RuntimeError before a split is chosen."""
        return required(self._parts, "no split was chosen")[0]

    @property
    def tail(self) -> Part:
        """The part of the model after the split. Raises RuntimeError before a split is chosen."""
        return required(self._parts, "no split was chosen")[1]

    def op_threads(self, request: Reply) -> OperationResult:
        """Set torch's thread count."""
        torch.set_num_threads(request.fields["threads"])
        return {}, ()

    def op_workload(self, request: Reply) -> OperationResult:
        """Build a workload's model and find its cuts; return their names and specs, and the hashes of the weights.

        Reads no data. Only the device is given the data folder.
        """
        data_dir = request.fields["data_dir"]
        workload = CheckedWorkload.make(
            resolve_workload(request.fields["workload"]), Path(data_dir) if data_dir else None
        )
        workload.workload.weights_folders = tuple(map(Path, request.fields["weights_folders"]))
        self._models = ModelHost(workload, request.fields["torch_device"])
        cuts = [{"name": c.name, "spec": c.spec.to_json()} for c in self._models.cut_model.cuts.values()]
        digest = self._models.cut_model.parameters_sha256()
        return {"cuts": cuts, "weights_sha256": workload.weights_sha256(), "parameters_sha256": digest}, ()

    def op_split(self, request: Reply) -> OperationResult:
        """Choose the split point whose head or tail this process runs."""
        self._parts = self.models.split(request.fields["split"])
        return {}, ()


def required(item: Item | None, missing: str) -> Item:
    """Return the item, made by an earlier request. Raises RuntimeError with the text `missing` if it is None."""
    if item is None:
        raise RuntimeError(missing)
    return item


def _onnx_split(model: OnnxModel, probes: Sequence[Tensor], input_spec: TensorSpec) -> CutModel:
    """Return an ONNX model with its cuts. Raises PluginError if a package is missing, or as OnnxSplit does."""
    try:
        from codecbench.workers.process.onnx_cuts.split import OnnxSplit
    except ImportError as error:
        raise PluginError(f"{model.path.name} needs onnx and onnxruntime ({one_line(error)}): {INSTALL}") from error
    return OnnxSplit(model, probes, input_spec)


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor; those of a type of two bytes as float32."""
    array: NDArray[Any] = (tensor.float() if tensor.dtype in NARROW else tensor).cpu().numpy()
    return array


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
