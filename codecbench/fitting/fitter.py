"""Runs fits in a worker process: one for all points of a codec at a split, so that the head runs once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from codecbench.codec import Codec, TensorSpec
from codecbench.fitting.states import FittedState, PartialFit
from codecbench.measure import cores
from codecbench.registry import reference
from codecbench.workers.client import FitClient
from codecbench.workers.pair import WorkloadRef, chunks, run_heads


class Fitter:
    """Fits codecs on a workload's training samples. A context manager; `close` ends its process.

    The process stays for further points of the same codec at the same split. It is replaced for another codec or split,
    and after a failed fit.
    """

    def __init__(self, workload: WorkloadRef) -> None:
        self.workload = workload
        self._client: FitClient | None = None
        self._serves: tuple[str, str, int] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Fitter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its activations."""
        if self._client is not None:
            self._client.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._client = self._serves = self._folder = None

    def fit(
        self,
        codec: type[Codec],
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
                reference(codec), point, chunks(count), seed=seed, max_s=max_s,
                start=(start.device, start.edge) if start is not None else None,
                saved=partial.saved if partial is not None else None, timeout_s=timeout_s, on_progress=on_progress,
                on_saved=lambda saved, after_s: on_saved(PartialFit(saved, spent_s + after_s)),
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        return FittedState(fitted.device, fitted.edge, spent_s + fitted.fit_s)

    def _client_for(self, codec: type[Codec], spec: TensorSpec, split: str, count: int) -> FitClient:
        serves = (split, reference(codec), count)
        if self._client is None or self._serves != serves or not self._client.alive:
            self.close()
            self._client = FitClient(threads=cores())
            self._folder = tempfile.TemporaryDirectory(prefix="codecbench-fit-")
            self._serves = serves
            self.workload.set_up(self._client)
            self._client.use_split(split)
            run_heads(self._client, spec, {"fit": count}, Path(self._folder.name) / "fit")
        return self._client
