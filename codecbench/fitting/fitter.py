"""Runs fits in a sealed process: one for all points of a codec at a split, so that the head runs once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.descriptions.data_hash import spread_positions
from codecbench.fitting.states import FittedState, PartialFit
from codecbench.measure import cores
from codecbench.system.folders import temporary_folder
from codecbench.workers.client import FitClient
from codecbench.workers.closing import Closing
from codecbench.workers.pair import Pair
from codecbench.workers.tensor_file import TensorFile

BATCH = 128
"""Training samples in one request for heads."""


class Fitter(Closing):
    """Fits codecs on a workload's training samples. A context manager; `close` ends its process.

    The device's process of `pair` makes the training activations, so that the process of the fit reads no data set.
    That process stays for further points of the same codec at the same split. It is replaced for another codec or
    split, and after a failed fit. `sources` are the files and packages of plugins whose modules it may import.
    """

    def __init__(self, pair: Pair, sources: Sequence[Path] = ()) -> None:
        self.pair = pair
        self.sources = tuple(sources)
        self._client: FitClient | None = None
        self._serves: tuple[str, str, int] | None = None

    def close(self) -> None:
        """End the process."""
        if self._client is not None:
            self._client.close()
        self._client = self._serves = None

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
        max_s: float,
        timeout_s: float,
        start: FittedState | None = None,
        partial: PartialFit | None = None,
        on_progress: Callable[[float, str], None] = lambda _share, _text: None,
        on_saved: Callable[[PartialFit], None] = lambda _partial: None,
    ) -> FittedState:
        """Return both sides' states, fitted on the first `count` training samples.

        `max_s` is the codec's own limit (`FitData.max_s`); the process is ended after `timeout_s`. The fit starts from
        `start`, a fitted state, and resumes `partial`. `on_saved` is called with what it saves meanwhile. The `fit_s`
        of the result includes the seconds of `partial`. Raises CodecFailure, WorkerTimeout or WorkerDied if the fit
        fails.
        """
        spent_s = partial.spent_s if partial is not None else 0.0
        try:
            client = self._client_for(codec, spec, split, count)
            fitted = client.fit(
                codec.reference, point, seed=seed, max_s=max_s,
                start=(start.device, start.edge) if start is not None else None,
                saved=partial.saved if partial is not None else None, timeout_s=timeout_s, on_progress=on_progress,
                on_saved=lambda saved, after_s: on_saved(PartialFit(saved, spent_s + after_s)),
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        return FittedState(fitted.device, fitted.edge, spent_s + fitted.fit_s)

    def _client_for(self, codec: CodecInfo, spec: TensorSpec, split: str, count: int) -> FitClient:
        serves = (split, codec.reference, count)
        if self._client is None or self._serves != serves or not self._client.alive:
            self.close()
            self._client = FitClient()
            self._serves = serves
            self._give_data(self._client, spec, split, count)
        return self._client

    def _give_data(self, client: FitClient, spec: TensorSpec, split: str, count: int) -> None:
        """Run the head on the training samples, and give activations and targets to the process of the fit."""
        device = self.pair.device
        device.use_split(split)
        with temporary_folder("fit") as folder:
            file = TensorFile(folder / "activations", spec, count).create()
            shapes: list[tuple[int, ...]] = []
            targets = []
            for start in range(0, count, BATCH):
                positions = range(start, min(start + BATCH, count))
                found, blob = device.run_head("fit", positions, file, start)
                shapes += found
                targets.append(blob)
            self.pair.set_up(client)
            client.use_split(split)
            # The process maps the file, which then needs its name no more.
            client.take_data(file, shapes, targets, sources=self.sources, threads=cores())
