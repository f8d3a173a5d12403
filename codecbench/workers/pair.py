"""The model's processes on the two sides, set up for one workload and one split, and replaced when one has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError
from codecbench.measure import cores
from codecbench.workers.answers import BuiltModel
from codecbench.workers.client import DeviceClient, EdgeClient, ModelBuilder, ModelClient
from codecbench.workers.closing import Closing
from codecbench.workload import WEIGHTS, data_folders


@dataclass(frozen=True)
class WorkloadRef:
    """All that a worker needs to set up a workload. Only the device gets the data folder; all get those of weights."""

    reference: str
    data_dir: Path | None
    torch_device: str

    def start(self, client: ModelBuilder) -> None:
        """Have a worker build the workload's model; `finish_model` waits for it."""
        data_dir = self.data_dir if client.role == "device" else None
        folders = [place / WEIGHTS for place in data_folders(self.data_dir)]
        client.start_model(self.reference, data_dir, self.torch_device, folders)


class Pair(Closing):
    """The device's and the edge's model process of a run, set up for one split at a time. No codec runs in them."""

    def __init__(self, workload: WorkloadRef) -> None:
        self.workload = workload
        self.edge_threads = cores()
        self.cuts: dict[str, TensorSpec] = {}
        self._built: BuiltModel | None = None
        self._device: DeviceClient | None = None
        self._edge: EdgeClient | None = None
        self._builds: EdgeClient | None = None
        """The edge's process while it builds its model: it gets the split when it has."""
        self._split: str | None = None

    @property
    def device(self) -> DeviceClient:
        """The device's process, with the split's head ready; started if it does not run."""
        if self._device is None or not self._device.alive:
            _close(self._device)
            self._device = DeviceClient(threads=1)
            self.workload.start(self._device)
            self._finish_set_up(self._device)
        return self._device

    @property
    def edge(self) -> EdgeClient:
        """The edge's process, with the split's tail ready; started if it does not run."""
        self.warm()
        assert self._edge is not None
        if self._builds is self._edge:
            self._builds = None
            self._finish_set_up(self._edge)
        return self._edge

    def warm(self) -> None:
        """Start the edge's process if it does not run. It builds its model while others work; `edge` waits for it."""
        if self._edge is None or not self._edge.alive:
            _close(self._edge)
            self._edge = self._builds = EdgeClient(threads=self.edge_threads)
            self.workload.start(self._edge)

    def device_cuts(self) -> dict[str, TensorSpec]:
        """Return the tensor spec of each cut of the model, in order of execution."""
        _ = self.device  # its start fills `cuts`
        return self.cuts

    def measured_cuts(self, splits: Sequence[str]) -> dict[str, TensorSpec]:
        """Return the same, with the statistics of the training samples at these split points, if there are any."""
        cuts = self.device_cuts()
        found = self.device.statistics(splits)
        return {name: replace(spec, statistics=found.get(name)) for name, spec in cuts.items()}

    def use_split(self, split: str) -> None:
        """Set both processes up for a split."""
        self._split = split
        for client in (self._device, self._edge):
            if client is not None and client.alive and client is not self._builds:
                client.use_split(split)

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        """Run both processes on one torch thread within a with block. Otherwise the edge uses one for each core.

        The device runs on one thread at any time but for the full model; see `all_cores`.
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
        """Run a device process on one torch thread for each core within a with block: for the full model."""
        device.set_threads(cores())
        try:
            yield
        finally:
            if not device.closed:
                device.set_threads(1)

    def close(self) -> None:
        """End both processes; the next use starts new ones."""
        _close(self._device)
        _close(self._edge)

    def set_up(self, client: ModelBuilder) -> None:
        """Build the workload's model in a process. Raises PluginError if it differs from the first process's."""
        self.workload.start(client)
        self.finish(client)

    def finish(self, client: ModelBuilder) -> None:
        """Wait for a process that builds the model. Raises PluginError if it differs from the first process's."""
        built = client.finish_model()
        if self._built is not None and built != self._built:
            raise PluginError(
                f"workload {self.workload.reference}: build_model gives another model in each process; load its "
                "weights from a file, or seed it"
            )
        self._built = built
        self.cuts = dict(built.cuts)

    def _finish_set_up(self, client: DeviceClient | EdgeClient) -> None:
        try:
            self.finish(client)
            if self._split is not None:
                client.use_split(self._split)
        except BaseException:
            client.close()
            raise


def _close(client: ModelClient | None) -> None:
    if client is not None:
        client.close()
