"""A device and an edge process, set up for one workload and one split, and replaced when one has ended."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from codecbench.codec import TensorSpec
from codecbench.measure import cores
from codecbench.workers.answers import BuiltModel
from codecbench.workers.client import DeviceClient, EdgeClient, HeadClient, ModelClient
from codecbench.workload import Subset

CHUNK = 128
"""Samples in one request. The full model runs on the same chunks, so its outputs can be compared bit for bit."""


@dataclass(frozen=True)
class WorkloadRef:
    """All that a worker needs to set up a workload. The edge gets no data folder."""

    reference: str
    data_dir: Path | None
    torch_device: str

    def set_up(self, client: ModelClient) -> BuiltModel:
        """Build the workload's model in a worker; return its cuts and the hash of its weights."""
        data_dir = None if client.role == "edge" else self.data_dir
        return client.build_model(self.reference, data_dir, self.torch_device)


def chunks(count: int) -> list[list[int]]:
    """Return the positions 0 to count - 1 in chunks of CHUNK."""
    return [list(range(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]


class Pair:
    """The device and edge processes of a run, set up for one split at a time.

    `counts` is the number of samples of each subset whose activations the device stores. `generation` rises whenever
    codec handles become invalid: when a process is replaced, or the split changes.
    """

    def __init__(self, workload: WorkloadRef, counts: Mapping[Subset, int]) -> None:
        self.workload = workload
        self.counts = counts
        self.generation = 0
        self.edge_threads = cores()
        self.cuts: dict[str, TensorSpec] = {}
        self.weights_sha256 = ""
        self.raw_bytes: dict[str, int] = {}
        self._device: DeviceClient | None = None
        self._edge: EdgeClient | None = None
        self._split: str | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def device(self) -> DeviceClient:
        """The device process, with the split's head and activations ready; started if it does not run."""
        if self._device is None or not self._device.alive:
            self._discard(self._device)
            self._device = DeviceClient(threads=1)
            self._set_up(self._device)
        return self._device

    @property
    def edge(self) -> EdgeClient:
        """The edge process, with the split's tail ready; started if it does not run."""
        if self._edge is None or not self._edge.alive:
            self._discard(self._edge)
            self._edge = EdgeClient(threads=self.edge_threads)
            self._set_up(self._edge)
        return self._edge

    def use_split(self, split: str) -> None:
        """Set both processes up for a split; the activations of the split before are removed."""
        self._split = split
        self.generation += 1
        for client in (self._device, self._edge):
            if client is not None and client.alive:
                self._prepare(client, split)

    def replace(self) -> None:
        """End both processes; the next use starts new ones, so that nothing a codec has left in them stays."""
        self._close()
        self.generation += 1

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        """Run both processes on one torch thread within a with block. Otherwise the edge uses one for each core.

        The device encodes on one thread at any time, since the edge works meanwhile; see `all_cores`.
        """
        self.edge_threads = 1
        self.edge.set_threads(1)
        try:
            yield
        finally:
            self.edge_threads = cores()
            self.edge.set_threads(cores())

    @contextmanager
    def all_cores(self, device: DeviceClient) -> Iterator[None]:
        """Run a device process on one torch thread for each core within a with block: for heads and full models."""
        device.set_threads(cores())
        yield
        if not device.closed:
            device.set_threads(1)

    def _close(self) -> None:
        for client in (self._device, self._edge):
            if client is not None:
                client.close()

    def _discard(self, client: DeviceClient | EdgeClient | None) -> None:
        """Close a process that has ended; its handles become invalid."""
        if client is not None:
            client.close()
            self.generation += 1

    def _set_up(self, client: DeviceClient | EdgeClient) -> None:
        try:
            built = self.workload.set_up(client)
            self.cuts, self.weights_sha256 = dict(built.cuts), built.weights_sha256
            if self._split is not None:
                self._prepare(client, self._split)
        except BaseException:
            client.close()
            raise

    def _prepare(self, client: DeviceClient | EdgeClient, split: str) -> None:
        client.close_codecs()
        client.use_split(split)
        if isinstance(client, DeviceClient):
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="codecbench-activations-"))
            self.raw_bytes = run_heads(client, self.cuts[split], self.counts, self._folder)


def run_heads(client: HeadClient, spec: TensorSpec, counts: Mapping[Subset, int], folder: Path) -> dict[str, int]:
    """Make a worker store the activations of the first samples of each subset; return their bytes by subset."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    raw_bytes: dict[str, int] = {}
    first = True
    for subset, count in counts.items():
        for chunk, positions in enumerate(chunks(count)):
            kept_bytes = client.run_head(subset, chunk, positions, spec, folder, first=first)
            raw_bytes[subset] = raw_bytes.get(subset, 0) + kept_bytes
            first = False
    return raw_bytes
