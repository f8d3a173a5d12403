"""The fit process: fits one codec on the activations of training samples. It seals itself before it loads the codec."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench import measure
from codecbench.codec import Batch, Codec, FitData, TensorSpec
from codecbench.errors import CodecFailure, FailureCode
from codecbench.isolation.landlock import Ruleset
from codecbench.isolation.seal import close_process, readable_files
from codecbench.registry import resolve
from codecbench.results.repeats import NOT_CARRIED, is_finite
from codecbench.workers.launch import OWN_LOG
from codecbench.workers.process.codec import bytes_only, codec_call
from codecbench.workers.process.cut_model import Part
from codecbench.workers.process.models import ModelHost, ModelProcess, required
from codecbench.workers.protocol import OperationResult, Reply, pack_frame
from codecbench.workers.tensor_file import TensorFile, copies


class TrainingSamples:
    """Training samples and targets in batches. The seed decides which samples are held out, and the order.

    `static` is True if all samples have one shape, so that a batch is one tensor. `groups` has a number for each
    sample; samples of one number are held out together. None: each stands alone.
    """

    def __init__(
        self,
        samples: Sequence[NDArray[Any]],
        targets: Sequence[Any],
        seed: int,
        *,
        static: bool,
        groups: Sequence[int] | None = None,
    ) -> None:
        self.samples = samples
        self.targets = targets
        self.seed = seed
        self.static = static
        self._rows, self.count = _parted(len(samples), seed, groups)
        self._passes = count()

    @property
    def held_out_count(self) -> int:
        """The number of held-out samples."""
        return len(self._rows) - self.count

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield one epoch of the samples that are not held out. Each epoch has its own order."""
        shuffle = np.random.default_rng([self.seed, next(self._passes)])
        return self._walk(shuffle.permutation(self._rows[: self.count]), size)

    def held_out(self, size: int) -> Iterator[Batch]:
        """Yield the held-out samples, always in the same order."""
        return self._walk(self._rows[self.count :], size)

    def _walk(self, order: NDArray[np.int64], size: int) -> Iterator[Batch]:
        for start in range(0, len(order), size):
            picked = order[start : start + size].tolist()
            chosen = [self.samples[i] for i in picked]
            # Each sample is read from its file here, and copied once.
            xs = torch.from_numpy(np.stack(chosen)) if self.static else copies(chosen)
            yield xs, [self.targets[i] for i in picked]


def _parted(count: int, seed: int, groups: Sequence[int] | None) -> tuple[NDArray[np.int64], int]:
    """Return all rows, those that are held out last, and the number of the others.

    A fifth is held out, but at most 500; of groups as many as fit into that, and at least one if there are two.
    """
    held_out = min(500, count // 5)
    if groups is None:
        return np.random.default_rng(seed).permutation(count), count - held_out
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    order = list(members)
    parts = [members[order[at]] for at in np.random.default_rng(seed).permutation(len(order)).tolist()]
    kept, sizes = len(parts), 0
    while kept > 1 and (kept == len(parts) or sizes + len(parts[kept - 1]) <= held_out):
        kept -= 1
        sizes += len(parts[kept])
    return np.array([row for part in parts for row in part], np.int64), count - sizes


class _ConstantTail(nn.Module):
    """A tail that is no torch module as one, through which no gradients flow."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._part = part

    def forward(self, x: Tensor) -> Any:
        """Return the tail's outputs for a batch."""
        return self._part(x)


class FitProcess(ModelProcess):
    """Serves the operations of fits. `send` sends progress and saved bytes before the reply.

    `rules` are the files that the process may read once it is sealed, and `models` its model, where it was forked from
    one that has these.

    The process holds the model, for its tail, and what the device's model process made of the training samples: it
    never reads a data set, so nothing of the choice and test samples is in it.
    """

    def __init__(
        self, send: Callable[[bytes], None], rules: Ruleset | None = None, models: ModelHost | None = None
    ) -> None:
        super().__init__(models)
        self.send = send
        self._rules = rules
        self._samples: tuple[list[NDArray[Any]], list[Any]] | None = None
        self._groups: Sequence[int] | None = None
        self._file: TensorFile | None = None

    def op_prepare(self, request: Reply) -> OperationResult:
        """Find the files that this process may read, where it was not forked from one that has found them."""
        self._rules = readable_files([Path(source) for source in request.fields["sources"]])
        return {}, ()

    def op_fit_data(self, request: Reply) -> OperationResult:
        """Take the training activations of a file and their targets; then seal the process for good."""
        fields = request.fields
        self._file = TensorFile.from_json(fields["tensors"])
        activations = self._file.read_rows(0, fields["shapes"])
        targets = [target for blob in request.blobs for target in pickle.loads(blob)]  # noqa: S301 - from the device
        self._samples, self._groups = (activations, targets), fields["groups"]
        isolation = close_process(self._rules, output=OWN_LOG)
        # Only now: threads that are there before the seal is closed would not be bound by it.
        torch.set_num_threads(fields["threads"])
        return {"isolation": isolation.to_json()}, ()

    def op_seal(self, request: Reply) -> OperationResult:
        """Seal the process without training samples, to complete states."""
        close_process(self._rules, output=OWN_LOG)
        torch.set_num_threads(request.fields["threads"])
        return {}, ()

    def op_complete(self, request: Reply) -> OperationResult:
        """Return the edge's state of a compact one."""
        fields, (state,) = request.fields, request.blobs
        with codec_call("complete"):
            codec: Codec = resolve(fields["codec"])(TensorSpec.from_json(fields["spec"]), **fields["point"])
            completed = codec.complete(state, self._frozen_tail())
        return {}, bytes_only([completed], "complete")

    def op_fit(self, request: Reply) -> OperationResult:
        """Fit a codec on this split's training activations; return both sides' states and the seconds."""
        fields = request.fields
        torch.manual_seed(fields["seed"])
        np.random.seed(fields["seed"] % 2**32)
        spec = required(self._file, "no training samples are there").spec
        with codec_call("fit"):
            codec: Codec = resolve(fields["codec"])(spec, **fields["point"])
        if "learned" in codec.tags:
            measure.warm_optimizers()  # not part of the fit's time
        data = self._fit_data(request)
        # Not `measure.timed`, which turns garbage collection off: some fits take hours.
        watch = measure.Stopwatch()
        try:
            with codec_call("fit"):
                codec.fit(data)
                states = [codec.export("device"), codec.compact()]
        except CodecFailure as error:
            if error.code == FailureCode.UNSUITED or all(
                map(is_finite, required(self._samples, "no training samples are there")[0])
            ):
                raise
            raise CodecFailure(NOT_CARRIED, code=error.code) from error
        return {"fit_s": watch.elapsed_s()}, bytes_only(states, "export")

    def _frozen_tail(self) -> nn.Module:
        tail = self.tail if isinstance(self.tail, nn.Module) else _ConstantTail(self.tail)
        return tail.requires_grad_(False)

    def _fit_data(self, request: Reply) -> FitData:
        fields, blobs = request.fields, list(request.blobs)
        start = (blobs.pop(0), blobs.pop(0)) if fields["starts"] else None
        saved = blobs.pop(0) if fields["goes_on"] else None
        spec = required(self._file, "no training samples are there").spec
        activations, targets = required(self._samples, "no training samples are there")
        samples = TrainingSamples(
            activations, targets, fields["seed"], static=None not in spec.shape, groups=self._groups
        )
        deadline = measure.Deadline(fields["max_s"])
        watch = measure.Stopwatch()

        def progress(fraction: float, text: str) -> None:
            self.send(pack_frame({"progress": fraction, "text": text}))

        def save(state: bytes) -> None:
            if not isinstance(state, bytes):
                raise TypeError(f"save takes bytes, not {type(state).__name__}")
            self.send(pack_frame({"saved_after_s": watch.elapsed_s()}, [state]))

        return FitData(
            spec=spec, count=samples.count, held_out_count=samples.held_out_count, batches=samples.batches,
            held_out=samples.held_out, tail=self._frozen_tail(), torch_device=self.models.torch_device,
            seed=fields["seed"], max_s=fields["max_s"], progress=progress, remaining_s=deadline.remaining_s,
            start=start, saved=saved, save=save,
            differentiable=self.models.cut_model.differentiable,
        )  # fmt: skip
