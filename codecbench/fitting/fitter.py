"""Runs fits in sealed processes: one for all points of a codec at a split. The head runs once for all codecs of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.descriptions.data_hash import spread_positions
from codecbench.errors import CodecFailure, FailureCode
from codecbench.fitting.states import FittedState, PartialFit
from codecbench.measure import cores
from codecbench.system.folders import make_folder
from codecbench.workers.client import FitClient
from codecbench.workers.closing import Closing
from codecbench.workers.forks import FitProcesses
from codecbench.workers.pair import Pair
from codecbench.workers.tensor_file import TensorFile

BATCH = 128
"""Training samples in one request for heads."""


@dataclass
class _TrainingData:
    """The activations of a split's first training samples in a file, their shapes, and their pickled targets."""

    serves: tuple[str, int]
    file: TensorFile
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    targets: list[bytes] = field(default_factory=list)

    def remove(self) -> None:
        """Remove the file."""
        shutil.rmtree(self.file.path.parent, ignore_errors=True)


class Fitter(Closing):
    """Fits codecs on a workload's training samples. A context manager; `close` ends its processes.

    The device's process of `pair` makes the training activations, so that the process of the fit reads no data set.
    That process stays for further points of the same codec at the same split. It is replaced for another codec or
    split, and after a failed fit. `sources` are the files and packages of plugins whose modules it may import.
    """

    def __init__(self, pair: Pair, sources: Sequence[Path] = ()) -> None:
        self.pair = pair
        self._processes = FitProcesses(pair, sources)
        self._client: FitClient | None = None
        self._serves: tuple[str, str, int] | None = None
        self._training: _TrainingData | None = None

    def close(self) -> None:
        """End the processes and remove the training activations."""
        self._end_client()
        self._forget_training()
        self._processes.close()

    def warm(self) -> None:
        """Have the model of the fits built while others work."""
        self._processes.warm()

    def _end_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._serves = None

    def _forget_training(self) -> None:
        if self._training is not None:
            self._training.remove()
        self._training = None

    def data_hash(self, count: int) -> str:
        """Return the hash of a few of the first `count` training samples, inputs and targets."""
        return self.pair.device.data_hash({"fit": spread_positions(count)})

    def fit(
        self,
        codec: CodecInfo,
        spec: TensorSpec,
        split: str,
        point: Mapping[str, Any],
        seed: int,
        *,
        count: int,
        groups: Sequence[int] | None = None,
        max_s: float,
        timeout_s: float,
        start: FittedState | None = None,
        partial: PartialFit | None = None,
        on_progress: Callable[[float, str], None] = lambda _share, _text: None,
        on_saved: Callable[[PartialFit], None] = lambda _partial: None,
    ) -> FittedState:
        """Return both sides' states, fitted on the first `count` training samples.

        `groups` are those of all samples: members of one are held out together. `max_s` is the codec's own limit
        (`FitData.max_s`); the process is ended after `timeout_s`. The fit starts from `start`, a fitted state, and
        resumes `partial`. `on_saved` is called with what it saves meanwhile. The `fit_s` of the result includes the
        seconds of `partial`. Raises CodecFailure, WorkerTimeout or WorkerDied if the fit fails.
        """
        spent_s = partial.spent_s if partial is not None else 0.0
        try:
            client = self._client_for(codec, spec, split, count, groups)
            fitted = client.fit(
                codec.reference, point, seed=seed, max_s=max_s,
                start=(start.device, start.edge) if start is not None else None,
                saved=partial.saved if partial is not None else None, timeout_s=timeout_s, on_progress=on_progress,
                on_saved=lambda saved, after_s: on_saved(PartialFit(saved, spent_s + after_s)),
            )  # fmt: skip
        except BaseException as error:
            if not (isinstance(error, CodecFailure) and error.code == FailureCode.UNSUITED):
                self.close()
            raise
        return FittedState(fitted.device, fitted.edge, spent_s + fitted.fit_s)

    def complete(
        self,
        codec: CodecInfo,
        spec: TensorSpec,
        split: str,
        point: Mapping[str, Any],
        state: bytes,
        *,
        timeout_s: float,
    ) -> bytes:
        """Return the edge's state of a compact one, completed by the tail at the split; no training data is read.

        Raises CodecFailure, WorkerTimeout or WorkerDied if that fails.
        """
        self._end_client()
        self.warm()
        with self._processes.client() as client:
            client.use_split(split)
            client.seal(threads=cores())
            return client.complete(codec.reference, spec, point, state, timeout_s=timeout_s)

    def _client_for(
        self, codec: CodecInfo, spec: TensorSpec, split: str, count: int, groups: Sequence[int] | None
    ) -> FitClient:
        serves = (split, codec.reference, count)
        if self._client is None or self._serves != serves or not self._client.alive:
            self._end_client()
            self.warm()
            training = self._training_data(spec, split, count)
            self._client = self._processes.client()
            self._serves = serves
            self._client.use_split(split)
            self._client.take_data(
                training.file, training.shapes, training.targets, groups=None if groups is None else groups[:count],
                threads=cores(),
            )  # fmt: skip
        return self._client

    def _training_data(self, spec: TensorSpec, split: str, count: int) -> _TrainingData:
        """Return the activations and targets of the first training samples: the last ones, if they were of these."""
        if self._training is not None and self._training.serves == (split, count):
            return self._training
        self._forget_training()
        device = self.pair.device
        device.use_split(split)
        training = _TrainingData((split, count), TensorFile(make_folder("fit") / "activations", spec, count))
        try:
            training.file.create()
            for start in range(0, count, BATCH):
                positions = range(start, min(start + BATCH, count))
                shapes, blob = device.run_head("fit", positions, training.file, start)
                training.shapes += shapes
                training.targets.append(blob)
        except BaseException:
            training.remove()
            raise
        self._training = training
        return training
