"""Clients of the model's processes on the two sides, and of fits: a class for each, a method for each operation.

Each worker is started by exec (`codecbench.workers.launch`) and exchanges frames over a socket pair: a JSON header and
byte strings. `codecbench.workers.process` is the other end. `codecbench.workers.codec_client` is for codecs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench.codec import TensorSpec
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.devices.layers import Layer, ModelLayers
from codecbench.measure import Deadline
from codecbench.operating_points import TensorStatistics
from codecbench.results.outcomes import TWO_LOOKS, Columns, replaced
from codecbench.results.set_values import SetValues
from codecbench.workers.answers import BuiltModel, FitResult, FullModelRun, GeneralTimes, HeadCost
from codecbench.workers.connection import WorkerClient
from codecbench.workers.protocol import Role, pack_arrays, pack_columns, unpack_arrays, unpack_columns
from codecbench.workers.tensor_file import TensorFile
from codecbench.workload import Subset

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADS_TIMEOUT_S = 3600.0
"""The limit for one chunk of samples in a head or the full model, and for a block of layers."""


class ModelBuilder(WorkerClient):
    """A process that can build a workload's model."""

    def build_model(
        self, workload_ref: str, data_dir: Path | None, torch_device: str, weights_folders: Sequence[Path] = ()
    ) -> BuiltModel:
        """Build a workload's model in the process; return its cuts and the hash of its weights."""
        self.start_model(workload_ref, data_dir, torch_device, weights_folders)
        return self.finish_model()

    def start_model(
        self, workload_ref: str, data_dir: Path | None, torch_device: str, weights_folders: Sequence[Path] = ()
    ) -> None:
        """Start `build_model`."""
        fields = {
            "workload": workload_ref, "data_dir": str(data_dir.resolve()) if data_dir else "",
            "torch_device": torch_device, "weights_folders": [str(place.resolve()) for place in weights_folders],
        }  # fmt: skip
        self.send("workload", fields)

    def finish_model(self) -> BuiltModel:
        """Wait for `start_model` and return the cuts and the hash of the weights."""
        found = self.receive().fields
        cuts = {cut["name"]: TensorSpec.from_json(cut["spec"]) for cut in found["cuts"]}
        return BuiltModel(cuts, found["weights_sha256"], found["parameters_sha256"])


class ModelClient(ModelBuilder):
    """A process that runs a part of a workload's model."""

    def use_split(self, split: str) -> None:
        """Choose the split point whose head or tail the process runs."""
        self.call("split", {"split": split})


class DeviceClient(ModelClient):
    """The device's model process: reads inputs, runs heads and the full model, scores it, and times heads."""

    role: ClassVar[Role] = "device"

    def describe_workload(self) -> WorkloadInfo:
        """Return what a run has to know of the workload. Raises DataError if it says something that cannot be used."""
        return WorkloadInfo.from_json(self.call("describe_workload").fields["info"])

    def data_hash(self, positions: Mapping[Subset, Sequence[int]]) -> str:
        """Return the hash of inputs and targets at these positions of each subset."""
        fields = {"positions": {subset: list(at) for subset, at in positions.items()}}
        return str(self.call("data_hash", fields, timeout_s=HEADS_TIMEOUT_S).fields["data_hash"])

    def statistics(self, splits: Sequence[str]) -> dict[str, TensorStatistics | None]:
        """Return the statistics of the tensors at split points, over the first training samples, if there are any."""
        reply = self.call("statistics", {"splits": list(splits)}, timeout_s=HEADS_TIMEOUT_S)
        found: Mapping[str, Any] = reply.fields["statistics"]
        return {name: values and TensorStatistics.from_json(values) for name, values in found.items()}

    def run_full_model(
        self,
        subset: Subset,
        positions: Sequence[int],
        *,
        two_looks: bool = False,
        timeout_s: float = HEADS_TIMEOUT_S,
    ) -> FullModelRun:
        """Return the full model's outcomes on the inputs at these positions, and the seconds."""
        fields = {"subset": subset, "positions": list(positions), "two_looks": two_looks}
        reply = self.call("full_model", fields, timeout_s=timeout_s)
        columns = unpack_columns(reply.fields["outcomes"], reply.blobs)
        names = [name for name in columns if name.startswith(TWO_LOOKS)]
        looks = {name.removeprefix(TWO_LOOKS): columns.pop(name) for name in names}
        return FullModelRun(columns, float(reply.fields["forward_s"]), looks or None)

    def metric_values(self, name: str, outcomes: Mapping[str, NDArray[Any]], *, resamples: int) -> SetValues:
        """Return the value of a set metric for the samples with these outcomes, and for resamples of them."""
        headers, blobs = pack_columns(outcomes)
        fields = {"metric": name, "outcomes": headers, "resamples": resamples}
        reply = self.call("metric_values", fields, blobs, timeout_s=HEADS_TIMEOUT_S)
        value, resampled = unpack_arrays(reply.fields["arrays"], reply.blobs)
        return SetValues(float(value[0]), resampled)

    def run_head(
        self, subset: Subset, positions: Sequence[int], tensors: TensorFile, first_row: int
    ) -> tuple[list[tuple[int, ...]], bytes]:
        """Run the head on inputs and write the activations to rows of the file; return their shapes, and the targets.

        The targets are pickled: for other processes of the workload, not for this one.
        """
        self.start_head(subset, positions, tensors, first_row)
        return self.finish_head(Deadline(HEADS_TIMEOUT_S))

    def start_head(self, subset: Subset, positions: Sequence[int], tensors: TensorFile, first_row: int) -> None:
        """Start `run_head`."""
        fields = {
            "subset": subset, "positions": list(positions), "tensors": tensors.to_json(), "first_row": first_row,
        }  # fmt: skip
        self.send("head", fields)

    def finish_head(self, deadline: Deadline) -> tuple[list[tuple[int, ...]], bytes]:
        """Wait for `start_head` and return the shapes and the targets."""
        reply = self.receive(timeout_s=deadline.remaining_s())
        return [tuple(shape) for shape in reply.fields["shapes"]], reply.blobs[0]

    def activation(self, subset: Subset, position: int) -> NDArray[Any]:
        """Return the activation of one input."""
        reply = self.call("run_head", {"subset": subset, "position": position})
        return unpack_arrays(reply.fields["arrays"], reply.blobs)[0]

    def time_head(self, subset: Subset, position: int) -> float:
        """Return the seconds of the head on one sample."""
        return float(self.call("time_head", {"subset": subset, "position": position}).fields["head_s"])

    def head_cost(self, subset: Subset, position: int) -> HeadCost:
        """Return the FLOPs and memory of the head on one sample."""
        found = self.call("head_cost", {"subset": subset, "position": position}).fields
        return HeadCost(found["head_flop"], found["head_peak_bytes"])

    def layers(self, subset: Subset, position: int, *, timeout_s: float) -> ModelLayers:
        """Return the full model's layers on one sample."""
        reply = self.call("layers", {"subset": subset, "position": position}, timeout_s=timeout_s)
        return ModelLayers.from_json(reply.fields["layers"])

    def measure_layers(self, seed: int, block: int) -> list[tuple[Layer, float]]:
        """Return the random layers of one block, with the seconds of each."""
        found = self.call("measure_layers", {"seed": seed, "block": block}, timeout_s=HEADS_TIMEOUT_S).fields
        return [(Layer(**values), seconds) for values, seconds in found["layers"]]

    def measure_general(self) -> GeneralTimes:
        """Return the times of plain code on this machine, and its rates."""
        return GeneralTimes(**self.call("measure_general", timeout_s=600).fields)


class EdgeClient(ModelClient):
    """The edge's model process: runs tails on decoded tensors and scores their outputs."""

    role: ClassVar[Role] = "edge"
    _kept: tuple[Mapping[str, NDArray[Any]], Sequence[bool]]
    """The outcomes of the full model on the samples that are being scored, and the samples that keep these."""

    def start_score(
        self, tensors: TensorFile, first_row: int, shapes: Sequence[Sequence[int]], *, targets: bytes,
        full_model: Mapping[str, NDArray[Any]], exact: Sequence[bool], finite: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        """Start to run the tail on decoded tensors of a file, and to score its outputs against the targets.

        Where `exact` is true, the decoded tensor is the activation itself: the outcome of the full model is taken.
        Where `finite` is true, by default everywhere, all values have to be finite.
        """
        fields = {
            "tensors": tensors.to_json(), "first_row": first_row, "shapes": [list(shape) for shape in shapes],
            "exact": list(exact), "finite": [True] * len(exact) if finite is None else list(finite),
        }  # fmt: skip
        self._kept = full_model, exact
        self.send("score", fields, [targets])

    def finish_score(self, deadline: Deadline) -> Columns:
        """Wait for `start_score` and return the outcomes of all samples."""
        import numpy as np

        full_model, exact = self._kept
        reply = self.receive_until(deadline)
        return replaced(full_model, ~np.array(exact, dtype=bool), unpack_columns(reply.fields["outcomes"], reply.blobs))

    def outputs(self, decoded: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Return the model's outputs for one decoded tensor."""
        headers, blobs = pack_arrays([decoded])
        reply = self.call("run_tail", {"arrays": headers}, blobs)
        return tuple(unpack_arrays(reply.fields["arrays"], reply.blobs))

    def time_tail(self, decoded: NDArray[Any]) -> float:
        """Return the seconds of the tail on one decoded tensor."""
        headers, blobs = pack_arrays([decoded])
        return float(self.call("time_tail", {"arrays": headers}, blobs).fields["tail_s"])


class FitClient(ModelClient):
    """A process that fits codecs on the activations of training samples."""

    role: ClassVar[Role] = "fit"

    def take_data(
        self,
        tensors: TensorFile,
        shapes: Sequence[Sequence[int]],
        targets: Sequence[bytes],
        *,
        groups: Sequence[int] | None,
        threads: int,
    ) -> Mapping[str, Any]:
        """Give the process the training activations and targets, and seal it; return what the seal consists of.

        Samples of one of the `groups`, one number a sample, are held out together.
        """
        fields = {
            "tensors": tensors.to_json(), "shapes": [list(shape) for shape in shapes], "threads": threads,
            "groups": None if groups is None else list(groups),
        }  # fmt: skip
        isolation: Mapping[str, Any] = self.call("fit_data", fields, targets).fields["isolation"]
        return isolation

    def fit(
        self,
        codec_ref: str,
        point: Mapping[str, Any],
        *,
        seed: int,
        max_s: float,
        start: tuple[bytes, bytes] | None,
        saved: bytes | None,
        timeout_s: float,
        on_progress: Callable[[float, str], None],
        on_saved: Callable[[bytes, float], None],
    ) -> FitResult:
        """Fit a codec on the training activations.

        The fit starts from `start`, a fitted (device, edge) state, and resumes from `saved`, the last save of an
        interrupted fit. `on_progress` gets a share and a text, `on_saved` the saved bytes and the seconds so far.
        """
        fields = {
            "codec": codec_ref, "point": dict(point), "seed": seed, "max_s": max_s, "starts": start is not None,
            "goes_on": saved is not None,
        }  # fmt: skip
        blobs = [*(start or ()), *(() if saved is None else (saved,))]
        reply = self.call("fit", fields, blobs, timeout_s=timeout_s, on_progress=on_progress, on_saved=on_saved)
        return FitResult(reply.blobs[0], reply.blobs[1], reply.fields["fit_s"])

    def seal(self, *, threads: int) -> None:
        """Seal the process, which then has no training samples."""
        self.call("seal", {"threads": threads})

    def complete(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], state: bytes, *, timeout_s: float
    ) -> bytes:
        """Return the edge's state that a codec makes of a compact one and the tail."""
        fields = {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point)}
        return self.call("complete", fields, [state], timeout_s=timeout_s).blobs[0]
